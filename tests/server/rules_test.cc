#include "server/scheduler/rules.h"

#include <gtest/gtest.h>

#include <set>
#include <utility>

namespace quantd {
namespace {

Failure FailureWith(Reason reason) { return FailureOf(MakeError(reason, "told by the test")); }

TEST(TransitionTest, ExactlyTheseChangesAreAllowed) {
  const std::set<std::pair<JobState, JobState>> allowed = {
      {JobState::kPending, JobState::kRunning},    {JobState::kPending, JobState::kFailed},
      {JobState::kPending, JobState::kCancelled},  {JobState::kRunning, JobState::kPending},
      {JobState::kRunning, JobState::kCancelling}, {JobState::kRunning, JobState::kSucceeded},
      {JobState::kRunning, JobState::kFailed},     {JobState::kCancelling, JobState::kCancelled}};
  for (const JobState from : kJobStates) {
    for (const JobState to : kJobStates) {
      EXPECT_EQ(MayChange(from, to), allowed.contains({from, to}))
          << NameOf(from) << " -> " << NameOf(to);
    }
  }
}

TEST(TransitionTest, FinalStatesLeadNowhere) {
  for (const JobState from : kJobStates) {
    bool leads_on = false;
    for (const JobState to : kJobStates) leads_on = leads_on || MayChange(from, to);
    EXPECT_EQ(IsFinal(from), !leads_on) << NameOf(from);
  }
}

TEST(TransitionTest, EveryVerdictIsAnAllowedChange) {
  for (const JobState from : {JobState::kRunning, JobState::kCancelling}) {
    for (const AttemptEnd end :
         {AttemptEnd::kSucceeded, AttemptEnd::kGateMissed, AttemptEnd::kFailed,
          AttemptEnd::kStopped, AttemptEnd::kReturned, AttemptEnd::kLeaseLost}) {
      for (int failures = 0; failures < 4; ++failures) {
        for (const ReasonRow& row : Reasons()) {
          Task task;
          task.failures = failures;
          const Verdict verdict = AfterAttempt(from, task, end, FailureWith(row.reason), Limits{});
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
    const Verdict first = AfterAttempt(JobState::kRunning, Task{}, AttemptEnd::kFailed,
                                       FailureWith(row.reason), Limits{.max_attempts = 3});
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
    const Verdict verdict =
        AfterAttempt(JobState::kRunning, task, AttemptEnd::kFailed, crash, limits);
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
  const Verdict lost =
      AfterAttempt(JobState::kRunning, task, AttemptEnd::kLeaseLost, {}, Limits{.max_attempts = 3});
  EXPECT_EQ(lost.state, JobState::kFailed);
  EXPECT_EQ(lost.failure->reason, "ATTEMPTS_EXHAUSTED");
  const Verdict returned =
      AfterAttempt(JobState::kRunning, task, AttemptEnd::kReturned, {}, Limits{.max_attempts = 3});
  EXPECT_EQ(returned.state, JobState::kPending);
  EXPECT_FALSE(returned.counts_as_failure);
}

TEST(VerdictTest, AMissedGateFailsAndKeepsItsFiles) {
  const Verdict verdict =
      AfterAttempt(JobState::kRunning, Task{}, AttemptEnd::kGateMissed, {}, Limits{});
  EXPECT_EQ(verdict.state, JobState::kFailed);
  EXPECT_EQ(verdict.failure->reason, "QUALITY_GATE");
  EXPECT_TRUE(verdict.keep_files);
}

TEST(VerdictTest, CancelWinsOverWhateverTheWorkerDid) {
  for (const AttemptEnd end :
       {AttemptEnd::kSucceeded, AttemptEnd::kGateMissed, AttemptEnd::kFailed, AttemptEnd::kStopped,
        AttemptEnd::kReturned, AttemptEnd::kLeaseLost}) {
    const Verdict verdict = AfterAttempt(JobState::kCancelling, Task{}, end, {}, Limits{});
    EXPECT_EQ(verdict.state, JobState::kCancelled);
    EXPECT_FALSE(verdict.keep_files);
  }
}

TEST(CancelTest, Table) {
  EXPECT_EQ(OnCancel(JobState::kPending), CancelAction::kCancelNow);
  EXPECT_EQ(OnCancel(JobState::kRunning), CancelAction::kAskWorker);
  EXPECT_EQ(OnCancel(JobState::kCancelling), CancelAction::kNothing);
  EXPECT_EQ(OnCancel(JobState::kCancelled), CancelAction::kNothing);
  EXPECT_EQ(OnCancel(JobState::kSucceeded), CancelAction::kRefuse);
  EXPECT_EQ(OnCancel(JobState::kFailed), CancelAction::kRefuse);
}

Task Waiting(int64_t order, int priority, std::string backend, int64_t memory_bytes) {
  Task task;
  task.order = order;
  task.priority = priority;
  task.backend = std::move(backend);
  task.memory_bytes = memory_bytes;
  return task;
}

Worker CpuWorker(int64_t free_memory_bytes) {
  Worker worker;
  worker.backends = {"cpu"};
  worker.free_memory_bytes = free_memory_bytes;
  return worker;
}

TEST(PickTest, HighestPriorityThenFirstCome) {
  const Task tasks[] = {Waiting(1, 0, "any", 0), Waiting(2, 5, "any", 0), Waiting(3, 5, "any", 0),
                        Waiting(4, -5, "any", 0)};
  EXPECT_EQ(PickTask(tasks, CpuWorker(0)), 1u);
}

TEST(PickTest, PassesOverWhatDoesNotFit) {
  const Task tasks[] = {Waiting(1, 9, "cuda", 0), Waiting(2, 8, "cpu", 1001),
                        Waiting(3, 0, "cpu", 1000)};
  EXPECT_EQ(PickTask(tasks, CpuWorker(1000)), 2u);
  EXPECT_EQ(PickTask(tasks, CpuWorker(999)), std::nullopt);
}

TEST(PickTest, GivesNothingToAWorkerThatIsLeaving) {
  Worker worker = CpuWorker(1000);
  worker.draining = true;
  const Task tasks[] = {Waiting(1, 0, "any", 0)};
  EXPECT_EQ(PickTask(tasks, worker), std::nullopt);
  worker.draining = false;
  worker.backends.clear();
  EXPECT_EQ(PickTask(tasks, worker), std::nullopt);
}

TEST(PickTest, NeverGivesATaskThatIsLeased) {
  Task task = Waiting(1, 0, "any", 0);
  task.state = TaskState::kLeased;
  EXPECT_EQ(PickTask(std::span(&task, 1), CpuWorker(10)), std::nullopt);
}

TEST(TimeTest, LeasesExpireAtTheirTimeAndQueueLimitsOnlyForPendingTasks) {
  const absl::Time now = absl::FromUnixSeconds(1000);
  Lease lease;
  lease.expire_time = now;
  EXPECT_TRUE(HasExpired(lease, now));
  lease.expire_time = now + absl::Microseconds(1);
  EXPECT_FALSE(HasExpired(lease, now));
  Task task;
  task.queued_time = now - absl::Seconds(10);
  EXPECT_FALSE(WaitedTooLong(task, now));
  task.max_queue_time = absl::Seconds(10);
  EXPECT_TRUE(WaitedTooLong(task, now));
  task.state = TaskState::kLeased;
  EXPECT_FALSE(WaitedTooLong(task, now));
}

TEST(RoomTest, RefusesTheOneThatIsTooMany) {
  const Limits limits{.queue_length = 2, .open_jobs = 4};
  EXPECT_TRUE(CheckRoom({.pending = 1, .open = 3}, limits).ok());
  EXPECT_EQ(ReasonOf(CheckRoom({.pending = 2, .open = 3}, limits)), Reason::kQueueFull);
  EXPECT_EQ(ReasonOf(CheckRoom({.pending = 1, .open = 4}, limits)), Reason::kQuotaExceeded);
}

}  // namespace
}  // namespace quantd
