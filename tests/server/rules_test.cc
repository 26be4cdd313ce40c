#include "server/scheduler/rules.h"

#include <gtest/gtest.h>

#include <set>
#include <utility>

namespace quantd {
namespace {

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

TEST(CancelTest, Table) {
  EXPECT_EQ(OnCancel(JobState::kPending), CancelAction::kCancelNow);
  EXPECT_EQ(OnCancel(JobState::kRunning), CancelAction::kAskWorker);
  EXPECT_EQ(OnCancel(JobState::kCancelling), CancelAction::kNothing);
  EXPECT_EQ(OnCancel(JobState::kCancelled), CancelAction::kNothing);
  EXPECT_EQ(OnCancel(JobState::kSucceeded), CancelAction::kRefuse);
  EXPECT_EQ(OnCancel(JobState::kFailed), CancelAction::kRefuse);
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
  const Limits of_tenant{.tenant_queue = 2};
  EXPECT_TRUE(CheckRoom({.pending = 100, .pending_of_tenant = 1}, of_tenant).ok());
  EXPECT_EQ(ReasonOf(CheckRoom({.pending_of_tenant = 2}, of_tenant)), Reason::kQueueFull);
}

}  // namespace
}  // namespace quantd
