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

TEST_F(LocalWorkersTest, WaitsLongerAfterEachFailureAndForgetsThemAfterALongLife) {
  const std::string starts = folder_->path() + "/starts";
  const std::string stay = folder_->path() + "/stay";
  ASSERT_TRUE(WriteFileAtomic(program_, "#!/bin/sh\necho x >> " + starts + "\nif [ -e " + stay +
                                            " ]; then exec sleep 600; fi\nexit 1\n")
                  .ok());
  ASSERT_EQ(chmod(program_.c_str(), 0755), 0);
  ManualClock clock(absl::UnixEpoch());
  LocalWorkerOptions options = Options(1);
  options.first_back_off = absl::Seconds(10);
  options.longest_back_off = absl::Seconds(25);
  const auto workers = LocalWorkers::Start(options, clock);
  ASSERT_TRUE(workers.ok()) << workers.status();
  // Turns the clock until the program has been started that often; how long that took.
  const auto until_start = [&](size_t count) {
    const absl::Time before = clock.Now();
    EXPECT_TRUE(Eventually([&] {
      const auto text = ReadFile(starts, 1000);
      if (text.ok() && text->size() == 2 * count) return true;
      if ((*workers)->pids().empty()) clock.Advance(absl::Milliseconds(500));
      return false;
    }));
    return clock.Now() - before;
  };
  until_start(1);
  EXPECT_GE(until_start(2), absl::Seconds(9));
  EXPECT_GE(until_start(3), absl::Seconds(19));
  ASSERT_TRUE(WriteFileAtomic(stay, "x").ok());
  EXPECT_GE(until_start(4), absl::Seconds(24));
  ASSERT_TRUE(Eventually([&] { return (*workers)->pids().size() == 1; }));
  clock.Advance(absl::Minutes(1));
  ASSERT_EQ(kill((*workers)->pids()[0], SIGKILL), 0);
  EXPECT_LT(until_start(5), absl::Seconds(24)) << "a worker that was well begins anew";
  (*workers)->Stop(absl::InfiniteDuration());
}

TEST_F(LocalWorkersTest, SaysSoWhenThereIsNoProgram) {
  LocalWorkerOptions options = Options(1);
  options.program = folder_->path() + "/missing";
  EXPECT_EQ(ReasonOf(LocalWorkers::Start(options).status()), Reason::kUnavailable);
}

}  // namespace
}  // namespace quantd
