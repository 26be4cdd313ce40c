#include "worker/runner/child.h"

#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "absl/synchronization/notification.h"
#include "base/error.h"
#include "base/files.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/paths.h"

namespace quantd {
namespace {

using testing::HasSubstr;

class ChildTest : public testing::Test {
 protected:
  ChildTest() : folder_(TemporaryFolder::Create("child").value()) {}

  std::unique_ptr<Child> Start(const std::string& mode, ChildLimits limits = {}) {
    auto child = Child::Start({.program = BuiltPath("tests/misbehaving_child"),
                               .arguments = {mode},
                               .folder = folder_.path(),
                               .limits = limits},
                              [this] {
                                if (!woken_.HasBeenNotified()) woken_.Notify();
                              });
    EXPECT_TRUE(child.ok()) << child.status();
    return *std::move(child);
  }
  absl::Status EndOf(const std::string& mode, ChildLimits limits = {}) {
    return Start(mode, limits)->Outcome().status();
  }
  // Waits until the child has told something (or ended).
  void WaitForEvent() { EXPECT_TRUE(woken_.WaitForNotificationWithTimeout(absl::Seconds(30))); }

  TemporaryFolder folder_;
  absl::Notification woken_;
};

TEST_F(ChildTest, ACrashNamesTheSignalAndWhatWasSaid) {
  const absl::Status status = EndOf("abort");
  EXPECT_EQ(ReasonOf(status), Reason::kRunnerCrashed);
  EXPECT_THAT(std::string(status.message()), HasSubstr("SIGABRT"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("about to fail; badly"));
}

TEST_F(ChildTest, ASegmentationFaultIsACrash) {
  const absl::Status status = EndOf("segfault");
  EXPECT_EQ(ReasonOf(status), Reason::kRunnerCrashed);
  EXPECT_THAT(std::string(status.message()), HasSubstr("SIGSEGV"));
}

TEST_F(ChildTest, KilledByAStrangerIsACrashThatMayBeTriedAgain) {
  const absl::Status status = EndOf("kill-self");
  EXPECT_EQ(ReasonOf(status), Reason::kRunnerCrashed);
  EXPECT_THAT(std::string(status.message()), HasSubstr("SIGKILL"));
  EXPECT_TRUE(RowOf(*ReasonOf(status)).retryable);
}

TEST_F(ChildTest, AnExitWithoutAResultIsACrash) {
  EXPECT_THAT(std::string(EndOf("exit-3").message()), HasSubstr("exit code 3"));
  EXPECT_EQ(ReasonOf(EndOf("silent-success")), Reason::kRunnerCrashed);
}

TEST_F(ChildTest, AProgramThatIsNotThereIsACrashThatSaysSo) {
  auto child = Child::Start({.program = "/nowhere/quantd-worker",
                             .arguments = {},
                             .folder = folder_.path(),
                             .limits = {}},
                            [] {});
  ASSERT_TRUE(child.ok());
  const absl::Status status = (*child)->Outcome().status();
  EXPECT_EQ(ReasonOf(status), Reason::kRunnerCrashed);
  EXPECT_THAT(std::string(status.message()), HasSubstr("/nowhere/quantd-worker"));
}

TEST_F(ChildTest, AMissingFolderIsACrashThatSaysSo) {
  auto child = Child::Start(
      {.program = "/bin/true", .arguments = {}, .folder = "/nowhere", .limits = {}}, [] {});
  ASSERT_TRUE(child.ok());
  EXPECT_THAT(std::string((*child)->Outcome().status().message()), HasSubstr("/nowhere"));
}

TEST_F(ChildTest, AllocationWithoutEndMeetsTheMemoryLimit) {
#if defined(QUANTD_SANITIZED)
  GTEST_SKIP() << "sanitizers reserve more memory than any limit";
#endif
  EXPECT_EQ(ReasonOf(EndOf("memory", {.data_bytes = int64_t{200} << 20})),
            Reason::kRunnerMemoryLimit);
}

TEST_F(ChildTest, AFileBeyondTheLimitIsDiskFull) {
  EXPECT_EQ(ReasonOf(EndOf("file", {.file_bytes = int64_t{4} << 20})), Reason::kDiskFull);
}

TEST_F(ChildTest, TheErrorThatItSendsIsTheOutcome) {
  const absl::Status status = EndOf("error");
  EXPECT_EQ(ReasonOf(status), Reason::kModelNotFinite);
  EXPECT_EQ(status.message(), "NaN in w");
  ASSERT_EQ(ViolationsOf(status).size(), 1u);
  EXPECT_EQ(ViolationsOf(status)[0].wanted, "a number");
}

TEST_F(ChildTest, GarbageInPlaceOfEventsEndsIt) {
  EXPECT_EQ(ReasonOf(EndOf("garbage")), Reason::kInternal);
  EXPECT_EQ(ReasonOf(EndOf("outside")), Reason::kInternal);
  EXPECT_EQ(ReasonOf(EndOf("endless-line")), Reason::kInternal);
  EXPECT_EQ(ReasonOf(EndOf("cut-line")), Reason::kInternal);
}

TEST_F(ChildTest, RunTimeIsLimited) {
  const absl::Status status = EndOf("sleep", {.run_time = absl::Milliseconds(100)});
  EXPECT_EQ(ReasonOf(status), Reason::kRunnerTimeLimit);
}

TEST_F(ChildTest, RunTimeIsLimitedForTheStubbornToo) {
  EXPECT_EQ(ReasonOf(EndOf("stubborn", {.run_time = absl::Milliseconds(50),
                                        .cancel_grace = absl::Milliseconds(50)})),
            Reason::kRunnerTimeLimit);
}

TEST_F(ChildTest, OneThatClosesItsEventsAndStaysIsKilled) {
  const auto before = std::chrono::steady_clock::now();
  EXPECT_EQ(ReasonOf(EndOf("close-and-stay")), Reason::kRunnerCrashed);
  EXPECT_LT(std::chrono::steady_clock::now() - before, std::chrono::seconds(20));
}

TEST_F(ChildTest, CancelStopsIt) {
  const auto child = Start("sleep");
  WaitForEvent();
  EXPECT_FALSE(child->finished());
  EXPECT_EQ(child->TakeEvents().size(), 1u);
  child->Cancel();
  EXPECT_EQ(ReasonOf(child->Outcome().status()), Reason::kCancelled);
}

TEST_F(ChildTest, CancelKillsTheStubbornAfterTheGraceTime) {
  const auto child = Start("stubborn", {.cancel_grace = absl::Milliseconds(200)});
  WaitForEvent();
  const auto before = std::chrono::steady_clock::now();
  child->Cancel();
  EXPECT_EQ(ReasonOf(child->Outcome().status()), Reason::kCancelled);
  const auto took = std::chrono::steady_clock::now() - before;
  EXPECT_GE(took, std::chrono::milliseconds(190)) << "the grace time was not given";
  EXPECT_LT(took, std::chrono::seconds(10));
}

TEST_F(ChildTest, KillDoesNotWaitForTheGraceTime) {
  const auto child = Start("stubborn", {.cancel_grace = absl::Hours(1)});
  WaitForEvent();
  child->Cancel();
  child->Kill();
  EXPECT_EQ(ReasonOf(child->Outcome().status()), Reason::kCancelled);
}

TEST_F(ChildTest, DestructionKillsAndLeavesNoZombie) {
  Start("stubborn", {.cancel_grace = absl::Hours(1)}).reset();
  EXPECT_EQ(waitpid(-1, nullptr, WNOHANG), -1) << "a child is left";
  EXPECT_EQ(errno, ECHILD);
}

TEST_F(ChildTest, WhatIsThrownWhileItIsWatchedEndsItAndNothingElse) {
  std::atomic<bool> thrown{false};
  auto child = Child::Start({.program = BuiltPath("tests/misbehaving_child"),
                             .arguments = {"sleep"},
                             .folder = folder_.path(),
                             .limits = {}},
                            [&thrown] {
                              if (!thrown.exchange(true)) throw std::runtime_error("no room");
                            });
  ASSERT_TRUE(child.ok()) << child.status();
  const absl::Status status = (*child)->Outcome().status();
  EXPECT_EQ(ReasonOf(status), Reason::kInternal);
  EXPECT_THAT(std::string(status.message()), HasSubstr("no room"));
  EXPECT_EQ(waitpid(-1, nullptr, WNOHANG), -1) << "a child is left";
}

TEST_F(ChildTest, SeesOnlyItsOwnFolderDescriptorsAndEnvironment) {
  setenv("QUANTD_TOKEN", "secret", 1);
  const std::string said(EndOf("describe").message());
  EXPECT_THAT(said, HasSubstr("cwd=" + RealPath(folder_.path()).value()));
  EXPECT_THAT(said, HasSubstr("tmp=" + folder_.path()));
  EXPECT_THAT(said, HasSubstr("secret=no"));
  EXPECT_THAT(said, HasSubstr("fds=0,1,2,3, group=own"));
}

}  // namespace
}  // namespace quantd
