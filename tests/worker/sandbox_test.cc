#include "worker/runner/sandbox.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <functional>
#include <thread>

#include "base/error.h"
#include "base/files.h"

namespace quantd {
namespace {

// Each test shuts in a process of its own: there is no way back.
class SandboxTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!MissingForSandbox().empty()) GTEST_SKIP() << "this kernel cannot";
    ASSERT_TRUE(MakeFolders(Path("in")).ok());
    ASSERT_TRUE(MakeFolders(Path("out")).ok());
    ASSERT_TRUE(WriteFileAtomic(Path("in/model"), "weights").ok());
    ASSERT_TRUE(WriteFileAtomic(Path("secret"), "secret").ok());
    ASSERT_EQ(symlink(Path("secret").c_str(), Path("in/link").c_str()), 0);
  }
  std::string Path(const std::string& name) const { return folder_.path() + "/" + name; }

  // Whether `holds` does in the sandbox.
  bool Inside(const std::function<bool()>& holds) const {
    const pid_t child = fork();
    if (child == 0) {
      const absl::Status entered =
          EnterSandbox({.readable = {Path("in"), Path("not there")}, .writable = {Path("out")}});
      _exit(entered.ok() && holds() ? 0 : 1);
    }
    int status = 0;
    waitpid(child, &status, 0);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
  }
  static bool Fails(long result, int error) { return result == -1 && errno == error; }

  TemporaryFolder folder_ = *TemporaryFolder::Create("sandbox");
};

TEST_F(SandboxTest, ItsOwnFoldersCanBeUsed) {
  EXPECT_TRUE(Inside([&] { return *ReadFile(Path("in/model"), 100) == "weights"; }));
  EXPECT_TRUE(Inside([&] { return WriteFileAtomic(Path("out/codes"), "codes").ok(); }));
  EXPECT_EQ(*ReadFile(Path("out/codes"), 100), "codes");
  EXPECT_TRUE(Inside([&] {
    return MakeFolders(Path("out/a/b")).ok() && WriteFileAtomic(Path("out/a/x"), "x").ok() &&
           rename(Path("out/a/x").c_str(), Path("out/a/b/x").c_str()) == 0 &&
           truncate(Path("out/a/b/x").c_str(), 0) == 0 && RemoveTree(Path("out/a")).ok();
  }));
  EXPECT_TRUE(Inside([] { return ReadFile("/proc/self/status", 1 << 20).ok(); }));
  EXPECT_TRUE(Inside([] {
    bool ran = false;
    std::thread([&] { ran = true; }).join();
    return ran;
  }));
}

TEST_F(SandboxTest, OtherFilesCannot) {
  EXPECT_TRUE(Inside([&] { return Fails(open(Path("secret").c_str(), O_RDONLY), EACCES); }));
  EXPECT_TRUE(Inside([&] { return Fails(open(Path("in/link").c_str(), O_RDONLY), EACCES); }));
  EXPECT_TRUE(Inside([] { return Fails(open("/etc/passwd", O_RDONLY), EACCES); }));
  EXPECT_TRUE(Inside([&] { return Fails(open(Path("in/model").c_str(), O_WRONLY), EACCES); }));
  EXPECT_TRUE(
      Inside([&] { return Fails(open(Path("new").c_str(), O_WRONLY | O_CREAT, 0600), EACCES); }));
  EXPECT_TRUE(Inside([&] { return Fails(unlink(Path("in/model").c_str()), EACCES); }));
  EXPECT_TRUE(Inside([&] { return Fails(truncate(Path("secret").c_str(), 0), EACCES); }));
  EXPECT_EQ(*ReadFile(Path("secret"), 100), "secret");
}

TEST_F(SandboxTest, ThereIsNoNetworkNoProgramAndNoOtherProcess) {
  EXPECT_TRUE(Inside([] { return Fails(socket(AF_INET, SOCK_STREAM, 0), EPERM); }));
  EXPECT_TRUE(Inside([] { return Fails(socket(AF_UNIX, SOCK_STREAM, 0), EPERM); }));
  EXPECT_TRUE(Inside([] {
    char program[] = "/bin/true";
    char* const arguments[] = {program, nullptr};
    return Fails(execv(program, arguments), EPERM);
  }));
  EXPECT_TRUE(Inside([] { return Fails(kill(getppid(), 0), EPERM); }));
  // In threads that are made later too.
  EXPECT_TRUE(Inside([] {
    bool refused = false;
    std::thread([&] { refused = Fails(socket(AF_INET, SOCK_STREAM, 0), EPERM); }).join();
    return refused;
  }));
}

TEST_F(SandboxTest, ACrashIsStillACrash) {
  const pid_t child = fork();
  if (child == 0) {
    signal(SIGABRT, SIG_DFL);
    if (!EnterSandbox({.readable = {}, .writable = {}}).ok()) _exit(1);
    std::abort();
  }
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

}  // namespace
}  // namespace quantd
