// A real S3-compatible server for the tests of one program: versitygw over a temporary folder, on a
// free port of this machine.
#pragma once

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/files.h"
#include "blob/s3/s3_client.h"

namespace quantd {

class S3Server {
 public:
  // The one of this program, started at the first call; null where there is no versitygw.
  static S3Server* Get() {
    static const std::unique_ptr<S3Server> server = Start();
    return server.get();
  }
  ~S3Server() {
    kill(process_, SIGKILL);
    waitpid(process_, nullptr, 0);
  }

  // Of a new, empty place in a bucket.
  std::string NewUri() {
    static std::atomic<int> count = 0;
    return absl::StrCat("s3://", kBucket, "/place", ++count, "?endpoint=", endpoint());
  }
  std::string endpoint() const { return absl::StrCat("http://127.0.0.1:", port_); }
  S3Location Location() const {
    return {.endpoint = endpoint(),
            .region = "us-east-1",
            .bucket = kBucket,
            .prefix = "",
            .keys = {.id = kId, .secret = kSecret}};
  }

  static constexpr char kBucket[] = "quantd-test", kId[] = "tester", kSecret[] = "secret-of-tests";

 private:
  S3Server(TemporaryFolder folder, int port, pid_t process)
      : folder_(std::move(folder)), port_(port), process_(process) {}

  static std::unique_ptr<S3Server> Start() {
    const std::string program = Find();
    if (program.empty()) return nullptr;
    auto folder = *TemporaryFolder::Create("s3");
    const int port = FreePort();
    const pid_t process = fork();
    if (process == 0) Become(program, folder.path(), port);
    // What OpenS3BlobStore reads.
    setenv("AWS_ACCESS_KEY_ID", kId, 1);
    setenv("AWS_SECRET_ACCESS_KEY", kSecret, 1);
    std::unique_ptr<S3Server> server(new S3Server(std::move(folder), port, process));
    // Tried until it listens.
    S3Client client(server->Location(), {.tries = 12});
    const absl::Status made = client.Send({.method = "PUT"}).status();
    EXPECT_TRUE(made.ok()) << made;
    return server;
  }

  [[noreturn]] static void Become(const std::string& program, const std::string& folder, int port) {
    setenv("ROOT_ACCESS_KEY", kId, 1);
    setenv("ROOT_SECRET_KEY", kSecret, 1);
    const int null = open("/dev/null", O_RDWR);
    for (const int stream : {0, 1, 2}) dup2(null, stream);
    const std::string address = absl::StrCat("127.0.0.1:", port);
    const std::string sidecar = folder + "/attributes", data = folder + "/data";
    if (!MakeFolders(sidecar).ok() || !MakeFolders(data).ok()) _exit(1);
    execl(program.c_str(), program.c_str(), "--port", address.c_str(), "posix", "--sidecar",
          sidecar.c_str(), data.c_str(), nullptr);
    _exit(1);
  }

  // In PATH, and where ./dev setup puts tools.
  static std::string Find() {
    const char* home = std::getenv("HOME");
    const char* cache = std::getenv("XDG_CACHE_HOME");
    std::string folders = std::getenv("PATH") == nullptr ? "" : std::getenv("PATH");
    absl::StrAppend(&folders, ":",
                    cache != nullptr ? cache : absl::StrCat(home == nullptr ? "" : home, "/.cache"),
                    "/quantd/bin");
    for (const absl::string_view folder : absl::StrSplit(folders, ':')) {
      const std::string program = absl::StrCat(folder, "/versitygw");
      if (access(program.c_str(), X_OK) == 0) return program;
    }
    return "";
  }

  static int FreePort() {
    const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    EXPECT_EQ(bind(listener, reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size), 0);
    close(listener);
    return ntohs(address.sin_port);
  }

  const TemporaryFolder folder_;
  const int port_;
  const pid_t process_;
};

}  // namespace quantd
