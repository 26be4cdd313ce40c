#include "base/partial_files.h"

#include <sys/wait.h>
#include <unistd.h>

#include <string>

#include "base/files.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace quantd {
namespace {

using ::testing::UnorderedElementsAre;

// The number of a process that has just ended.
pid_t DeadProcess() {
  const pid_t child = fork();
  if (child == 0) _exit(0);
  waitpid(child, nullptr, 0);
  return child;
}

TEST(RemoveDeadPartialsTest, OnlyWhatDeadProcessesWroteGoes) {
  const auto folder = TemporaryFolder::Create("partials");
  ASSERT_TRUE(folder.ok()) << folder.status();
  const std::string alive = "other.partial-" + std::to_string(getpid());
  const std::string dead = "model.partial-" + std::to_string(DeadProcess());
  for (const std::string& name : {alive, dead, std::string("model.partial-"),
                                  std::string("model.partial-0"), std::string("model")}) {
    ASSERT_TRUE(WriteFileAtomic(folder->path() + "/" + name, "x").ok());
  }
  EXPECT_TRUE(RemoveDeadPartials(folder->path()).ok());
  EXPECT_THAT(*ListFolder(folder->path()),
              UnorderedElementsAre(alive, "model.partial-", "model.partial-0", "model"));
}

TEST(RemoveDeadPartialsTest, AFolderThatIsNotThereHasNone) {
  EXPECT_TRUE(RemoveDeadPartials("/nowhere/at/all").ok());
}

}  // namespace
}  // namespace quantd
