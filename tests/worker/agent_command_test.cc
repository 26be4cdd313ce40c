// `quantd-worker agent` as a program, without a server.

#include <csignal>
#include <string>

#include "base/files.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "process.h"
#include "tests/built_programs.h"
#include "worker/agent/scratch.h"
#include "worker/runner/exit_codes.h"

namespace quantd {
namespace {

using testing::HasSubstr;

const std::string kProgram = BuiltProgram("bin/quantd-worker");

TEST(AgentCommand, EveryWrongFlagIsNamedAtOnce) {
  const ProcessResult result =
      RunProcess({.arguments = {kProgram, "agent", "--server", "nowhere", "--name", "No Name!",
                                "--backend", "abacus"}});
  EXPECT_EQ(result.exit_code, kExitRefused);
  for (const char* text : {"nowhere", "No Name!", "abacus"})
    EXPECT_THAT(result.err, HasSubstr(text));
}

TEST(AgentCommand, TheServerMustBeNamed) {
  EXPECT_EQ(RunProcess({.arguments = {kProgram, "agent"}}).exit_code, kExitRefused);
}

TEST(AgentCommand, IsTheDefaultAndLeavesInOrderWithoutAServer) {
  const auto scratch = TemporaryFolder::Create("scratch").value();
  // Port 1 is privileged and nothing listens there.
  const ProcessResult result =
      RunProcess({.arguments = {kProgram, "--server", "127.0.0.1:1", "--name", "lonely",
                                "--scratch", scratch.path()},
                  .signal_at = "trying again",
                  .signal = SIGTERM});
  EXPECT_EQ(result.exit_code, kExitDone) << result.err;
  EXPECT_THAT(result.err, HasSubstr("leaving"));
}

TEST(AgentCommand, AScratchFolderInUseIsRefused) {
  const auto root = TemporaryFolder::Create("scratch").value();
  const auto held = Scratch::Open(root.path(), "twin");
  ASSERT_TRUE(held.ok());
  const ProcessResult result =
      RunProcess({.arguments = {kProgram, "--server", "127.0.0.1:1", "--name", "twin", "--scratch",
                                root.path()}});
  EXPECT_EQ(result.exit_code, kExitRefused);
  EXPECT_THAT(result.err, HasSubstr("--name"));
}

}  // namespace
}  // namespace quantd
