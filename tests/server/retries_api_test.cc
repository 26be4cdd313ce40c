// Attempts, one after the other: what is kept between them, when the next one comes, when a worker
// counts as stuck, and who is given no more work.
#include <gmock/gmock.h>

#include <thread>

#include "tests/server/running_server.h"

namespace quantd {
namespace {

using testing::HasSubstr;
using testing::SizeIs;
using Desired = v1::SynchronizeResponse;

class RetriesApiTest : public RunningServerTest {
 protected:
  std::string MakeJob() {
    const auto made = Create(NewJob());
    EXPECT_TRUE(made.ok()) << made.status();
    return made.ok() ? made->name() : "";
  }
  // The attempt fails, with so many parts in the checkpoint.
  absl::Status Fail(const v1::TaskAssignment& task, int64_t sealed_parts,
                    const char* reason = "RUNNER_CRASHED") {
    v1::SynchronizeRequest report = Report(task, v1::TaskReport::FAILED);
    report.mutable_task()->set_sealed_parts(sealed_parts);
    report.mutable_task()->mutable_error()->set_reason(reason);
    report.mutable_task()->mutable_error()->set_message("told by the test");
    return Synchronize(report).status();
  }
  void PutCheckpoint(const v1::TaskAssignment& task, const std::string& name) {
    const auto blobs = OpenBlobStore("file://" + *RealPath(options_.data) + "/blobs");
    const std::string file = folder_->path() + "/sealed";
    ASSERT_TRUE(WriteFileAtomic(file, "sealed").ok());
    ASSERT_TRUE((*blobs)->PutCopy(Name(task, name), file).ok());
  }
  bool HasCheckpoint(const v1::TaskAssignment& task, const std::string& name) {
    return PathExists(options_.data + "/blobs/" + Name(task, name));
  }
  static std::string Name(const v1::TaskAssignment& task, const std::string& name) {
    return absl::StrCat(task.checkpoint_prefix(), task.fencing_token(), "/", name);
  }
};

TEST_F(RetriesApiTest, ACheckpointOutlivesAttemptsAndGoesWithTheJobsEnd) {
  const std::string name = MakeJob();
  const v1::TaskAssignment first = Take();
  EXPECT_THAT(first.checkpoint_prefix(), HasSubstr("/checkpoints/"));
  PutCheckpoint(first, "block-00000.json");
  Seal(first, "model.safetensors", "of the first attempt");
  ASSERT_TRUE(Fail(first, 1).ok());
  const v1::TaskAssignment second = Take();
  EXPECT_EQ(second.checkpoint_prefix(), first.checkpoint_prefix());
  const std::string half = options_.data + "/blobs/" + first.blob_prefix() + "model.safetensors";
  EXPECT_TRUE(Eventually([&] { return !PathExists(half); }));
  EXPECT_TRUE(HasCheckpoint(first, "block-00000.json"));
  ASSERT_TRUE(Finish(second, "weights", nullptr).ok());
  EXPECT_TRUE(Eventually([&] { return !HasCheckpoint(first, "block-00000.json"); }));
}

TEST_F(RetriesApiTest, ACheckpointGoesWithACancelAndWithWhatIsWrittenLater) {
  options_.sweep_period = absl::Milliseconds(20);
  StartServer();
  const std::string name = MakeJob();
  const v1::TaskAssignment task = Take();
  PutCheckpoint(task, "block-00000.json");
  ASSERT_TRUE(Synchronize(Report(task, v1::TaskReport::RETURNED)).ok());
  EXPECT_TRUE(HasCheckpoint(task, "block-00000.json"));
  ASSERT_TRUE(Cancel(name).ok());
  EXPECT_TRUE(Eventually([&] { return !HasCheckpoint(task, "block-00000.json"); }));
  PutCheckpoint(task, "block-00001.json");
  EXPECT_TRUE(Eventually([&] { return !HasCheckpoint(task, "block-00001.json"); }))
      << "what a worker from the dead leaves is swept";
}

// Four blocks and a choice: each attempt gets one further, and none counts; then three that get
// nowhere.
TEST_F(RetriesApiTest, AttemptsThatGetFurtherAreNotCounted) {
  const std::string name = MakeJob();
  for (int64_t sealed = 1; sealed <= 5; ++sealed) {
    ASSERT_TRUE(Fail(Take(), sealed).ok());
    ASSERT_EQ(Get(name)->state(), v1::Job::PENDING) << sealed;
  }
  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE(Fail(Take(), 5).ok());
    ASSERT_EQ(Get(name)->state(), v1::Job::PENDING) << i;
  }
  ASSERT_TRUE(Fail(Take(), 5, "IO_ERROR").ok());
  const auto job = Get(name);
  EXPECT_EQ(job->state(), v1::Job::FAILED);
  EXPECT_EQ(job->attempts(), 8);
  EXPECT_EQ(job->error().reason(), "ATTEMPTS_EXHAUSTED");
  ASSERT_THAT(job->error().violations(), SizeIs(8));
  EXPECT_EQ(job->error().violations(0).where(), "attempt 1 on w1");
  EXPECT_EQ(job->error().violations(0).got(), "RUNNER_CRASHED: told by the test");
  EXPECT_EQ(job->error().violations(7).got(), "IO_ERROR: told by the test");
}

TEST_F(RetriesApiTest, AWorkerThatLiesAboutItsProgressEndsToo) {
  const std::string name = MakeJob();
  int attempts = 0;
  while (Get(name)->state() == v1::Job::PENDING) {
    ASSERT_LT(++attempts, 100);
    ASSERT_TRUE(Fail(Take(), int64_t{1} << attempts).ok());
  }
  EXPECT_EQ(Get(name)->state(), v1::Job::FAILED);
  EXPECT_LE(attempts, 4 + 1 + 3) << "no more than there are parts, and max_attempts";
}

TEST_F(RetriesApiTest, AFailedAttemptWaitsForItsTimeAndNotLonger) {
  options_.limits.retry_delay = absl::Seconds(60);
  StartOnManualClock();
  const std::string name = MakeJob();
  ASSERT_TRUE(Fail(Take(), 0).ok());
  EXPECT_EQ(Get(name)->state(), v1::Job::PENDING);
  EXPECT_EQ(Synchronize(Idle())->desired(), Desired::IDLE) << "given at once";
  v1::SynchronizeRequest idle = Idle();
  idle.mutable_long_poll()->set_seconds(20);
  clock_.Advance(absl::Seconds(29));
  EXPECT_EQ(Synchronize(Idle())->desired(), Desired::IDLE) << "before half of the delay";
  clock_.Advance(absl::Seconds(31));
  EXPECT_EQ(Synchronize(idle)->desired(), Desired::RUN) << "a worker that waits is woken";
}

TEST_F(RetriesApiTest, ADelayedJobIsCancelledAtOnceAndItsDelayIsNoQueueTime) {
  options_.limits.retry_delay = absl::Seconds(60);
  StartOnManualClock();
  v1::CreateJobRequest request = NewJob();
  request.mutable_job()->mutable_spec()->mutable_resources()->mutable_max_queue_time()->set_seconds(
      5);
  const std::string name = Create(request)->name();
  ASSERT_TRUE(Fail(Take(), 0).ok());
  clock_.Advance(absl::Seconds(20));
  EXPECT_EQ(Synchronize(Idle())->desired(), Desired::IDLE);
  EXPECT_EQ(Get(name)->state(), v1::Job::PENDING);
  EXPECT_EQ(Cancel(name)->state(), v1::Job::CANCELLED);
}

TEST_F(RetriesApiTest, AWorkerWithoutProgressLosesItsTask) {
  options_.limits.stall_time = absl::Minutes(10);
  options_.limits.lease = absl::Minutes(1);
  StartOnManualClock();
  const std::string name = MakeJob();
  const v1::TaskAssignment stuck = Take("w1", "s1");
  int64_t event = 0;
  // As long as something comes of it, it may take its time.
  for (int minute = 0; minute < 30; ++minute) {
    clock_.Advance(absl::Minutes(1));
    v1::SynchronizeRequest report = Report(stuck, v1::TaskReport::RUNNING, "w1", "s1");
    if (minute % 5 == 0) AddEvent(report, ++event)->mutable_progress()->set_blocks_done(1);
    const auto answer = Synchronize(report);
    ASSERT_TRUE(answer.ok()) << minute << ": " << answer.status();
  }
  absl::Status refused;
  for (int minute = 0; minute < 20 && refused.ok(); ++minute) {
    clock_.Advance(absl::Minutes(1));
    refused = Synchronize(Report(stuck, v1::TaskReport::RUNNING, "w1", "s1")).status();
    if (minute >= 6) Eventually([&] { return Get(name)->state() != v1::Job::RUNNING; });
  }
  EXPECT_EQ(ReasonOf(refused), Reason::kLeaseLost) << "it has a lease, and does nothing with it";
  const v1::TaskAssignment task = Take("w2", "s2");
  EXPECT_EQ(task.job(), name);
  EXPECT_GT(task.fencing_token(), stuck.fencing_token());
  // Back from the dead, with a result.
  EXPECT_EQ(ReasonOf(Synchronize(Report(stuck, v1::TaskReport::SUCCEEDED, "w1", "s1")).status()),
            Reason::kLeaseLost);
  EXPECT_EQ(Get(name)->state(), v1::Job::RUNNING);
}

TEST_F(RetriesApiTest, AWorkerThatOverrunsFailsTheJob) {
  options_.limits.lease = absl::Minutes(1);
  StartOnManualClock();
  v1::CreateJobRequest request = NewJob();
  request.mutable_job()->mutable_spec()->mutable_resources()->mutable_max_run_time()->set_seconds(
      300);
  const std::string name = Create(request)->name();
  const v1::TaskAssignment task = Take();
  int64_t event = 0;
  const auto call = [&] {
    v1::SynchronizeRequest report = Report(task, v1::TaskReport::RUNNING);
    AddEvent(report, ++event)->mutable_warning()->set_text("still at it");
    return Synchronize(report).status();
  };
  for (int minute = 0; minute < 6; ++minute) {
    clock_.Advance(absl::Minutes(1));
    ASSERT_TRUE(call().ok()) << minute;
  }
  clock_.Advance(absl::Seconds(61));
  ASSERT_TRUE(EventuallyIn(name, v1::Job::FAILED));
  EXPECT_EQ(Get(name)->error().reason(), "RUNNER_TIME_LIMIT");
  EXPECT_EQ(ReasonOf(call()), Reason::kLeaseLost);
}

TEST_F(RetriesApiTest, ADrainedWorkerEndsItsTaskAndGetsNoOther) {
  const std::string first = MakeJob(), second = MakeJob();
  const v1::TaskAssignment task = Take("w1", "s1");
  v1::DrainWorkerRequest request;
  request.set_name("workers/w1");
  const auto drained = User(&v1::QuantizationService::Stub::DrainWorker, request);
  ASSERT_TRUE(drained.ok()) << drained.status();
  EXPECT_EQ(drained->state(), v1::Worker::DRAINING);
  EXPECT_EQ(drained->job(), first);
  const auto going_on = Synchronize(Report(task, v1::TaskReport::RUNNING, "w1", "s1"));
  EXPECT_EQ(going_on->desired(), Desired::RUN);
  EXPECT_TRUE(going_on->drain());
  ASSERT_TRUE(Finish(task, "weights", nullptr).ok());
  const auto idle = Synchronize(Idle("w1", "s1"));
  EXPECT_EQ(idle->desired(), Desired::IDLE);
  EXPECT_TRUE(idle->drain());
  EXPECT_EQ(Get(second)->state(), v1::Job::PENDING);
  EXPECT_EQ(Take("w1", "s2").job(), second) << "a new process of that name works";
}

TEST_F(RetriesApiTest, ADrainReachesAWorkerThatWaits) {
  ASSERT_TRUE(Synchronize(Idle()).ok());
  v1::SynchronizeRequest idle = Idle();
  idle.mutable_long_poll()->set_seconds(20);
  absl::StatusOr<v1::SynchronizeResponse> answer = absl::UnknownError("");
  const absl::Time start = absl::Now();
  std::thread waiting([&] { answer = Synchronize(idle); });
  v1::DrainWorkerRequest request;
  request.set_name("workers/w1");
  EXPECT_TRUE(User(&v1::QuantizationService::Stub::DrainWorker, request).ok());
  waiting.join();
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_TRUE(answer->drain());
  EXPECT_LT(absl::Now() - start, absl::Seconds(15));
}

TEST_F(RetriesApiTest, DrainSaysWhichWorkerIsUnknown) {
  v1::DrainWorkerRequest request;
  request.set_name("workers/nobody");
  const auto unknown = User(&v1::QuantizationService::Stub::DrainWorker, request).status();
  EXPECT_EQ(unknown.code(), absl::StatusCode::kNotFound);
  request.set_name("nobody");
  EXPECT_EQ(ReasonOf(User(&v1::QuantizationService::Stub::DrainWorker, request).status()),
            Reason::kInvalidField);
}

TEST_F(RetriesApiTest, JobsThatEndedLongAgoAreRemovedWithTheirFiles) {
  options_.limits.retention = absl::Hours(1);
  StartOnManualClock();
  const std::string name = MakeJob();
  const v1::TaskAssignment task = Take();
  ASSERT_TRUE(Finish(task, "weights", nullptr).ok());
  const std::string open = MakeJob();
  clock_.Advance(absl::Minutes(59));
  ASSERT_TRUE(Get(name).ok());
  clock_.Advance(absl::Minutes(2));
  EXPECT_TRUE(Eventually([&] { return ReasonOf(Get(name).status()) == Reason::kJobNotFound; }));
  const std::string file = options_.data + "/blobs/" + task.blob_prefix() + "model.safetensors";
  EXPECT_TRUE(Eventually([&] { return !PathExists(file); }));
  EXPECT_TRUE(Get(open).ok()) << "a job that waits is not old";
}

TEST_F(RetriesApiTest, ATenantHasNoMoreWaitingAndRunningThanItsQuotas) {
  options_.limits.tenant_queue = 2;
  options_.limits.tenant_running = 1;
  StartServer();
  MakeJob();
  MakeJob();
  const absl::Status refused = Create(NewJob()).status();
  EXPECT_EQ(ReasonOf(refused), Reason::kQueueFull);
  EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted);
  const v1::TaskAssignment task = Take("w1", "s1");
  EXPECT_EQ(Synchronize(Idle("w2", "s2"))->desired(), Desired::IDLE);
  EXPECT_TRUE(Create(NewJob()).ok());
  // Whoever waits is woken when the tenant may have one more.
  v1::SynchronizeRequest idle = Idle("w2", "s2");
  idle.mutable_long_poll()->set_seconds(20);
  absl::StatusOr<v1::SynchronizeResponse> answer = absl::UnknownError("");
  const absl::Time start = absl::Now();
  std::thread waiting([&] { answer = Synchronize(idle); });
  ASSERT_TRUE(Finish(task, "weights", nullptr).ok());
  waiting.join();
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_EQ(answer->desired(), Desired::RUN);
  EXPECT_LT(absl::Now() - start, absl::Seconds(15));
}

}  // namespace
}  // namespace quantd
