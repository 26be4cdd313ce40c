#include "server/local_workers.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "absl/time/clock.h"
#include "base/error.h"
#include "base/files.h"

namespace quantd {
namespace {

// A program that stands in the place of quantd-worker: it writes its arguments and waits for a
// signal.
class LocalWorkersTest : public testing::Test {
 protected:
  void SetUp() override {
    auto folder = TemporaryFolder::Create("workers");
    ASSERT_TRUE(folder.ok());
    folder_ = std::make_unique<TemporaryFolder>(*std::move(folder));
    program_ = folder_->path() + "/worker";
    ASSERT_TRUE(WriteFileAtomic(program_,
                                "#!/bin/sh\necho \"$@\" > \"$7.arguments\"\n"
                                "exec sleep 600\n")
                    .ok());
    ASSERT_EQ(chmod(program_.c_str(), 0755), 0);
  }

  LocalWorkerOptions Options(int count) const {
    return {.count = count,
            .program = program_,
            .server = "127.0.0.1:1",
            .scratch = folder_->path(),
            .first_back_off = absl::Milliseconds(5)};
  }

  template <typename Done>
  static bool Eventually(Done done) {
    const absl::Time deadline = absl::Now() + absl::Seconds(60);
    while (absl::Now() < deadline) {
      if (done()) return true;
      absl::SleepFor(absl::Milliseconds(5));
    }
    return false;
  }

  std::unique_ptr<TemporaryFolder> folder_;
  std::string program_;
};

TEST_F(LocalWorkersTest, StartsEachWithItsNameAndScratch) {
  auto workers = LocalWorkers::Start(Options(2));
  ASSERT_TRUE(workers.ok()) << workers.status();
  const std::string second = folder_->path() + "/local-2.arguments";
  ASSERT_TRUE(Eventually([&] {
    const auto text = ReadFile(second, 1000);
    return text.ok() && text->ends_with("\n");
  }));
  EXPECT_TRUE(ReadFile(second, 1000)
                  ->starts_with("agent --server 127.0.0.1:1 --name local-2 --scratch " +
                                folder_->path() + "/local-2"));
}

TEST_F(LocalWorkersTest, StartsADeadOneAgainAndLeavesNoneBehind) {
  auto workers = LocalWorkers::Start(Options(1));
  ASSERT_TRUE(workers.ok()) << workers.status();
  ASSERT_TRUE(Eventually([&] { return (*workers)->pids().size() == 1; }));
  const pid_t first = (*workers)->pids()[0];
  ASSERT_EQ(kill(first, SIGKILL), 0);
  ASSERT_TRUE(Eventually([&] {
    const auto pids = (*workers)->pids();
    return pids.size() == 1 && pids[0] != first;
  }));
  const pid_t second = (*workers)->pids()[0];
  (*workers)->Stop(absl::Seconds(60));
  EXPECT_TRUE((*workers)->pids().empty());
  EXPECT_EQ(kill(second, 0), -1);
}

TEST_F(LocalWorkersTest, SaysSoWhenThereIsNoProgram) {
  LocalWorkerOptions options = Options(1);
  options.program = folder_->path() + "/missing";
  EXPECT_EQ(ReasonOf(LocalWorkers::Start(options).status()), Reason::kUnavailable);
}

}  // namespace
}  // namespace quantd
