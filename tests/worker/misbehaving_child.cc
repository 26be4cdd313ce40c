// Ends in every way that a runner must not, or obeys slowly: `misbehaving_child MODE`. Events go to
// descriptor 3.

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string>
#include <string_view>
#include <vector>

namespace {

void Say(std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = write(3, text.data(), text.size());
    if (written <= 0) _exit(9);
    text.remove_prefix(static_cast<size_t>(written));
  }
}

constexpr std::string_view kReady =
    "{\"event\":\"progress\",\"stage\":\"open\",\"blocks_done\":0,\"blocks_total\":2}\n";

int FillMemory() {
  std::vector<char*> blocks;
  while (true) {
    char* block = new (std::nothrow) char[size_t{8} << 20];
    if (block == nullptr) return 5;
    std::memset(block, 1, size_t{8} << 20);
    blocks.push_back(block);
  }
}

int FillFile() {
  std::signal(SIGXFSZ, SIG_IGN);
  const int file = open("big", O_CREAT | O_WRONLY | O_TRUNC, 0600);
  const std::string block(size_t{1} << 20, 'x');
  for (int i = 0; i < 64; ++i) {
    if (write(file, block.data(), block.size()) == static_cast<ssize_t>(block.size())) continue;
    if (errno != EFBIG && errno != ENOSPC) return 8;
    Say("{\"event\":\"error\",\"reason\":\"DISK_FULL\",\"message\":\"no "
        "room\",\"violations\":[]}\n");
    return 1;
  }
  return 7;  // nothing stopped us
}

[[noreturn]] void SleepForever() {
  while (true) pause();
}

int Describe() {
  std::fprintf(stderr, "cwd=%s tmp=%s secret=%s fds=", getcwd(nullptr, 0), std::getenv("TMPDIR"),
               std::getenv("QUANTD_TOKEN") == nullptr ? "no" : "yes");
  for (int descriptor = 0; descriptor < 1024; ++descriptor) {
    if (fcntl(descriptor, F_GETFD) >= 0) std::fprintf(stderr, "%d,", descriptor);
  }
  std::fprintf(stderr, " group=%s", getpgrp() == getpid() ? "own" : "shared");
  return 1;
}

[[noreturn]] void SealAndWait() {
  mkdir("out", 0700);
  const int file = open("out/a.bin", O_CREAT | O_WRONLY | O_TRUNC, 0600);
  if (write(file, "abc", 3) != 3) _exit(8);
  Say("{\"event\":\"file\",\"path\":\"a.bin\",\"bytes\":3,\"sha256\":"
      "\"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\"}\n");
  SleepForever();
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view mode = argc > 1 ? argv[1] : "";
  if (mode == "abort") {
    std::fprintf(stderr, "about to fail\nbadly\n");
    std::abort();
  }
  if (mode == "segfault") {
    std::signal(SIGSEGV, SIG_DFL);  // a sanitizer's handler would turn the signal into an exit
    std::raise(SIGSEGV);
  }
  if (mode == "exit-3") return 3;
  if (mode == "silent-success") return 0;
  if (mode == "memory") return FillMemory();
  if (mode == "file") return FillFile();
  if (mode == "describe") return Describe();
  if (mode == "kill-self") std::raise(SIGKILL);
  if (mode == "error") {
    Say("{\"event\":\"error\",\"reason\":\"MODEL_NOT_FINITE\",\"message\":\"NaN in "
        "w\",\"violations\":"
        "[{\"where\":\"w\",\"got\":\"NaN\",\"wanted\":\"a number\"}]}\n");
    return 1;
  }
  if (mode == "garbage") {
    Say("{\"event\":\"progress\"\n");
    SleepForever();
  }
  if (mode == "endless-line") {
    const std::string block(size_t{1} << 20, 'x');
    while (true) Say(block);
  }
  if (mode == "outside") {
    Say("{\"event\":\"file\",\"path\":\"../../etc/passwd\",\"bytes\":1,\"sha256\":\"00\"}\n");
    SleepForever();
  }
  if (mode == "cut-line") {
    Say("{\"event\":\"progress\",\"sta");
    return 0;
  }
  if (mode == "close-and-stay") {
    close(3);
    SleepForever();
  }
  if (mode == "sleep") {
    Say(kReady);
    SleepForever();
  }
  if (mode == "seal-and-wait") SealAndWait();
  if (mode == "seal-when-told") {
    mkfifo("go", 0600);
    Say(kReady);
    open("go", O_RDONLY);  // until somebody opens the other end
    SealAndWait();
  }
  if (mode == "stubborn") {
    std::signal(SIGTERM, SIG_IGN);
    Say(kReady);
    SleepForever();
  }
  return 6;
}
