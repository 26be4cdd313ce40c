#include "server/scheduler/attempts.h"

#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "server/scheduler/rules.h"

namespace quantd {
namespace {

constexpr AttemptEnd kEnds[] = {
    AttemptEnd::kSucceeded, AttemptEnd::kGateMissed, AttemptEnd::kFailed, AttemptEnd::kStopped,
    AttemptEnd::kReturned,  AttemptEnd::kLeaseLost,  AttemptEnd::kStuck,  AttemptEnd::kOverran};

Failure FailureWith(Reason reason) { return FailureOf(MakeError(reason, "told by the test")); }
std::string NameOfReason(Reason reason) { return std::string(RowOf(reason).name); }

TEST(TransitionTest, EveryVerdictIsAnAllowedChange) {
  for (const JobState from : {JobState::kRunning, JobState::kCancelling}) {
    for (const AttemptEnd end : kEnds) {
      for (int failures = 0; failures < 4; ++failures) {
        for (const ReasonRow& row : Reasons()) {
          Task task;
          task.failures = failures;
          const Verdict verdict =
              AfterAttempt(from, task, {.end = end, .failure = FailureWith(row.reason)}, Limits{});
          EXPECT_TRUE(MayChange(from, verdict.state))
              << NameOf(from) << " -> " << NameOf(verdict.state);
          EXPECT_EQ(verdict.state == JobState::kFailed,
                    verdict.failure.has_value() && IsFinal(verdict.state));
        }
      }
    }
  }
}

TEST(RetryTest, FollowsTheReasonsTable) {
  for (const ReasonRow& row : Reasons()) {
    const Verdict first =
        AfterAttempt(JobState::kRunning, Task{}, {.failure = FailureWith(row.reason)},
                     Limits{.max_attempts = 3});
    EXPECT_EQ(first.state, row.retryable ? JobState::kPending : JobState::kFailed) << row.name;
    EXPECT_TRUE(first.counts_as_failure);
    EXPECT_FALSE(first.keep_files);
    if (row.fault == Fault::kUser) {
      EXPECT_EQ(first.state, JobState::kFailed) << row.name;
    }
  }
}

TEST(RetryTest, StopsAfterMaxAttempts) {
  Task task;
  const Limits limits{.max_attempts = 3};
  const Failure crash = FailureWith(Reason::kRunnerCrashed);
  for (int failures = 0; failures < 5; ++failures) {
    task.failures = failures;
    const Verdict verdict = AfterAttempt(JobState::kRunning, task, {.failure = crash}, limits);
    if (failures + 1 < 3) {
      EXPECT_EQ(verdict.state, JobState::kPending);
      EXPECT_EQ(verdict.failure->reason, "RUNNER_CRASHED");
    } else {
      EXPECT_EQ(verdict.state, JobState::kFailed);
      EXPECT_EQ(verdict.failure->reason, "ATTEMPTS_EXHAUSTED");
      EXPECT_NE(verdict.failure->message.find("RUNNER_CRASHED"), std::string::npos);
    }
  }
}

TEST(RetryTest, ALostLeaseCountsAndAReturnedTaskDoesNot) {
  Task task;
  task.failures = 2;
  const Verdict lost = AfterAttempt(JobState::kRunning, task, {.end = AttemptEnd::kLeaseLost},
                                    Limits{.max_attempts = 3});
  EXPECT_EQ(lost.state, JobState::kFailed);
  EXPECT_EQ(lost.failure->reason, "ATTEMPTS_EXHAUSTED");
  const Verdict returned = AfterAttempt(JobState::kRunning, task, {.end = AttemptEnd::kReturned},
                                        Limits{.max_attempts = 3});
  EXPECT_EQ(returned.state, JobState::kPending);
  EXPECT_FALSE(returned.counts_as_failure);
}

TEST(VerdictTest, AMissedGateFailsAndKeepsItsFiles) {
  const Verdict verdict =
      AfterAttempt(JobState::kRunning, Task{}, {.end = AttemptEnd::kGateMissed}, Limits{});
  EXPECT_EQ(verdict.state, JobState::kFailed);
  EXPECT_EQ(verdict.failure->reason, "QUALITY_GATE");
  EXPECT_TRUE(verdict.keep_files);
}

TEST(VerdictTest, CancelWinsOverWhateverTheWorkerDid) {
  for (const AttemptEnd end : kEnds) {
    const Verdict verdict = AfterAttempt(JobState::kCancelling, Task{}, {.end = end}, Limits{});
    EXPECT_EQ(verdict.state, JobState::kCancelled);
    EXPECT_FALSE(verdict.keep_files);
  }
}

TEST(RetryTest, AnAttemptThatSealedMoreThanThoseBeforeDoesNotCount) {
  Task task;
  task.failures = 2;
  task.sealed_parts = 5;
  const Limits limits{.max_attempts = 3};
  const Attempt more = {.failure = FailureWith(Reason::kRunnerCrashed), .sealed_parts = 6};
  const Verdict verdict = AfterAttempt(JobState::kRunning, task, more, limits);
  EXPECT_EQ(verdict.state, JobState::kPending);
  EXPECT_FALSE(verdict.counts_as_failure);
  const Attempt no_more = {.failure = FailureWith(Reason::kRunnerCrashed), .sealed_parts = 5};
  EXPECT_EQ(AfterAttempt(JobState::kRunning, task, no_more, limits).state, JobState::kFailed);
  const Attempt users = {.failure = FailureWith(Reason::kModelCorrupt), .sealed_parts = 6};
  EXPECT_EQ(AfterAttempt(JobState::kRunning, task, users, limits).state, JobState::kFailed)
      << "a fault of the user is not tried again, whatever was sealed";
}

// A job that is killed at each of its blocks ends, and one that is killed before the first does not
// go on for ever.
TEST(RetryTest, AttemptsAreBoundedByBlocksAndMaxAttempts) {
  const Limits limits{.max_attempts = 3};
  for (const int64_t blocks : {0, 1, 40}) {
    Task task;
    int attempts = 0;
    while (true) {
      const Attempt attempt = {.failure = FailureWith(Reason::kRunnerCrashed),
                               .sealed_parts = std::min<int64_t>(++attempts, blocks)};
      const Verdict verdict = AfterAttempt(JobState::kRunning, task, attempt, limits);
      if (verdict.state == JobState::kFailed) break;
      if (verdict.counts_as_failure) ++task.failures;
      task.sealed_parts = std::max(task.sealed_parts, attempt.sealed_parts);
    }
    EXPECT_EQ(attempts, blocks + 3);
  }
}

TEST(RetryTest, TheLastFailureListsTheAttempts) {
  Task task;
  task.failures = 2;
  task.failed_attempts = {{.where = "attempt 1 on w1", .got = "LEASE_LOST: gone", .wanted = ""}};
  const Attempt last = {
      .failure = FailureWith(Reason::kRunnerCrashed), .number = 7, .worker = "w2"};
  const Verdict verdict = AfterAttempt(JobState::kRunning, task, last, Limits{.max_attempts = 3});
  ASSERT_EQ(verdict.failure->violations.size(), 2u);
  EXPECT_EQ(verdict.failure->violations[0].where, "attempt 1 on w1");
  EXPECT_EQ(verdict.failure->violations[1].where, "attempt 7 on w2");
  EXPECT_EQ(verdict.failure->violations[1].got, "RUNNER_CRASHED: told by the test");
}

TEST(DelayTest, DoublesByFailuresUpToALimit) {
  const Limits limits{.retry_delay = absl::Seconds(2), .longest_retry_delay = absl::Seconds(60)};
  Task task;
  task.id = "t";
  const std::string crashed = NameOfReason(Reason::kRunnerCrashed);
  for (int failures = 1; failures < 100; ++failures) {
    const absl::Duration whole =
        std::min(absl::Seconds(60), absl::Seconds(2) * std::exp2(failures - 1));
    const absl::Duration delay = RetryDelay(task, crashed, failures, limits);
    EXPECT_GE(delay, whole / 2) << failures;
    EXPECT_LE(delay, whole) << failures;
  }
}

TEST(DelayTest, FollowsTheReason) {
  const Limits limits{.retry_delay = absl::Seconds(2)};
  const Task task;
  const auto delay = [&](Reason reason, int failures) {
    return RetryDelay(task, NameOfReason(reason), failures, limits);
  };
  EXPECT_EQ(delay(Reason::kLeaseLost, 1), absl::ZeroDuration())
      << "a lease was lost already, and another worker may be there";
  EXPECT_EQ(delay(Reason::kLeaseLost, 2), delay(Reason::kRunnerCrashed, 2));
  EXPECT_LT(
      absl::AbsDuration(delay(Reason::kUnavailable, 1) - 4 * delay(Reason::kRunnerCrashed, 1)),
      absl::Microseconds(1));
  EXPECT_EQ(delay(Reason::kIo, 1), delay(Reason::kUnavailable, 1));
}

TEST(DelayTest, JitterSpreadsTasksAndIsTheSameWhenAskedAgain) {
  const Limits limits{.retry_delay = absl::Seconds(2)};
  absl::Duration least = absl::InfiniteDuration(), most;
  for (int i = 0; i < 100; ++i) {
    Task task;
    task.id = absl::StrCat("t", i);
    const auto delay = RetryDelay(task, "RUNNER_CRASHED", 1, limits);
    EXPECT_EQ(delay, RetryDelay(task, "RUNNER_CRASHED", 1, limits));
    least = std::min(least, delay);
    most = std::max(most, delay);
  }
  EXPECT_LT(least, absl::Milliseconds(1150));
  EXPECT_GT(most, absl::Milliseconds(1850));
}

TEST(StallTest, TheLimitFollowsTheEstimateOfABlock) {
  const Limits limits{.stall_time = absl::Minutes(15)};
  EXPECT_EQ(StallLimit(absl::Minutes(1), 32, limits), absl::Minutes(15));
  EXPECT_EQ(StallLimit(absl::Hours(8), 80, limits), absl::Minutes(120));
  EXPECT_EQ(StallLimit(absl::Hours(1), 0, limits), absl::Hours(20));
}

TEST(StallTest, AWorkerIsStuckAfterTheLimitAndOverranAfterItsRunTime) {
  const absl::Time start = absl::FromUnixSeconds(1000);
  const Limits limits{.lease = absl::Seconds(30)};
  Task task;
  task.stall_limit = absl::Minutes(10);
  task.max_run_time = absl::Hours(1);
  EXPECT_EQ(StuckTime(task, start, start, limits), start + absl::Minutes(10));
  task.failures = 2;
  EXPECT_EQ(StuckTime(task, start, start, limits), start + absl::Minutes(40));
  const absl::Time late = start + absl::Minutes(59);
  const absl::Time over = start + absl::Minutes(61) + absl::Seconds(30);
  EXPECT_EQ(StuckTime(task, start, late, limits), over) << "whatever it tells";
  EXPECT_EQ(StuckOrOverran(task, start, over), AttemptEnd::kOverran);
  EXPECT_EQ(StuckOrOverran(task, start, start + absl::Minutes(40)), AttemptEnd::kStuck);
}

}  // namespace
}  // namespace quantd
