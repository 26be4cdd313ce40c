// Synchronize: leases, tokens, sessions, retries, cancel, results.
#include <gmock/gmock.h>

#include <thread>

#include "base/clock.h"
#include "server/store/sqlite.h"
#include "tests/server/running_server.h"

namespace quantd {
namespace {

using testing::HasSubstr;
using Desired = v1::SynchronizeResponse;

class WorkerApiTest : public RunningServerTest {
 protected:
  std::string MakeJob() {
    const auto made = Create(NewJob());
    EXPECT_TRUE(made.ok()) << made.status();
    return made.ok() ? made->name() : "";
  }
};

TEST_F(WorkerApiTest, AJobRunsToItsResult) {
  const std::string name = MakeJob();
  const v1::TaskAssignment task = Take();
  EXPECT_EQ(task.job(), name);
  EXPECT_EQ(task.attempt(), 1);
  EXPECT_EQ(task.spec().model().path(), *RealPath(ModelFolder()));
  EXPECT_GT(task.max_run_time().seconds(), 0);
  ASSERT_GE(task.model_roots_size(), 1);  // where files may lie when the worker opens them
  EXPECT_TRUE(task.spec().model().path().starts_with(task.model_roots(0)));
  EXPECT_EQ(Get(name)->state(), v1::Job::RUNNING);
  EXPECT_EQ(Get(name)->worker(), "workers/w1");

  v1::SynchronizeRequest report = Report(task, v1::TaskReport::RUNNING);
  AddEvent(report, 1)->mutable_progress()->set_blocks_done(1);
  AddEvent(report, 2)->mutable_layer()->set_module("m");
  AddEvent(report, 3)->mutable_progress()->set_blocks_done(2);
  const auto going_on = Synchronize(report);
  ASSERT_TRUE(going_on.ok()) << going_on.status();
  EXPECT_EQ(going_on->desired(), Desired::RUN);
  EXPECT_EQ(going_on->acknowledged_event(), 3);
  EXPECT_EQ(Get(name)->progress().blocks_done(), 2);

  const auto done = Finish(task, "weights", nullptr);
  ASSERT_TRUE(done.ok()) << done.status();
  EXPECT_EQ(done->desired(), Desired::IDLE);
  const auto job = Get(name);
  EXPECT_EQ(job->state(), v1::Job::SUCCEEDED);
  EXPECT_EQ(job->result().files(0).path(), "model.safetensors");
  EXPECT_EQ(job->result().resolved_recipe_size(), 1);
  EXPECT_TRUE(job->has_end_time());
}

TEST_F(WorkerApiTest, EventsThatCameBeforeAreSkipped) {
  const std::string name = MakeJob();
  const v1::TaskAssignment task = Take();
  v1::SynchronizeRequest report = Report(task, v1::TaskReport::RUNNING);
  AddEvent(report, 1)->mutable_warning()->set_text("a");
  ASSERT_TRUE(Synchronize(report).ok());
  const int64_t before = Get(name)->last_sequence();
  ASSERT_TRUE(Synchronize(report).ok());
  EXPECT_EQ(Get(name)->last_sequence(), before);
  AddEvent(report, 2)->mutable_warning()->set_text("b");
  EXPECT_EQ(Synchronize(report)->acknowledged_event(), 2);
  EXPECT_EQ(Get(name)->last_sequence(), before + 1);
}

TEST_F(WorkerApiTest, AnAnswerThatGotLostIsGivenAgain) {
  MakeJob();
  const v1::TaskAssignment first = Take();
  const v1::TaskAssignment again = Take();
  EXPECT_EQ(first.SerializeAsString(), again.SerializeAsString());
}

// The worker could not be reached for longer than its lease and has dropped the task; the server,
// which was away as well, still holds the lease.
TEST_F(WorkerApiTest, AWorkerThatDroppedItsTaskGetsANewTokenAndItsEventsCount) {
  const std::string name = MakeJob();
  const v1::TaskAssignment dropped = Take();
  v1::SynchronizeRequest report = Report(dropped, v1::TaskReport::RUNNING);
  for (int64_t number : {1, 2, 3}) AddEvent(report, number)->mutable_warning()->set_text("before");
  ASSERT_TRUE(Synchronize(report).ok());
  const v1::TaskAssignment task = Take();
  EXPECT_EQ(task.job(), name);
  EXPECT_GT(task.fencing_token(), dropped.fencing_token());
  EXPECT_EQ(task.attempt(), 2);
  const int64_t before = Get(name)->last_sequence();
  report = Report(task, v1::TaskReport::RUNNING);
  AddEvent(report, 1)->mutable_warning()->set_text("after");
  EXPECT_EQ(Synchronize(report)->acknowledged_event(), 1);
  EXPECT_EQ(Get(name)->last_sequence(), before + 1) << "the new attempt's event was dropped";
}

// A heartbeat that tells nothing is no transaction: SQLite's data_version stands still.
TEST_F(WorkerApiTest, HeartbeatsAreNotWrittenAndStillKeepTheLease) {
  StartOnManualClock();
  const std::string name = MakeJob();
  const v1::SynchronizeRequest heartbeat = Report(Take(), v1::TaskReport::RUNNING);
  const auto connection =
      SqliteConnection::Open(options_.data + "/quantd.db", SqliteConnection::Access::kReadOnly);
  ASSERT_TRUE(connection.ok()) << connection.status();
  const auto version = [&] {
    auto statement = (*connection)->Prepare("PRAGMA data_version");
    EXPECT_TRUE(statement.ok() && statement->Step().ok());
    return statement->Int();
  };
  ASSERT_TRUE(Synchronize(heartbeat).ok());
  const int64_t before = version();
  for (int i = 0; i < 20; ++i) ASSERT_EQ(Synchronize(heartbeat)->desired(), Desired::RUN);
  EXPECT_EQ(version(), before) << "a heartbeat was written";
  int writes = 0;
  int64_t last = before;
  for (int second = 0; second < 300; ++second) {
    clock_.Advance(absl::Seconds(1));
    const auto answer = Synchronize(heartbeat);
    ASSERT_TRUE(answer.ok()) << second << ": " << answer.status();
    const int64_t now = version();
    writes += now != last ? 1 : 0;
    last = now;
  }
  EXPECT_LE(writes, 20) << "of 300 heartbeats";
  EXPECT_EQ(Get(name)->attempts(), 1);
  clock_.Advance(2 * options_.limits.lease);
  ASSERT_TRUE(EventuallyIn(name, v1::Job::PENDING)) << "silence is still noticed";
}

TEST_F(WorkerApiTest, WhatADeadAttemptLeavesOrWritesLaterIsSwept) {
  options_.sweep_period = absl::Milliseconds(20);
  StartServer();
  const std::string name = MakeJob();
  const v1::TaskAssignment zombie = Take("w1", "before");
  const v1::TaskAssignment task = Take("w1", "after");
  const std::string blobs = options_.data + "/blobs/";
  Seal(zombie, "late.bin", "from the grave");
  Seal(task, "unreported.bin", "of the attempt under way");
  EXPECT_TRUE(Eventually([&] { return !PathExists(blobs + zombie.blob_prefix() + "late.bin"); }));
  EXPECT_TRUE(PathExists(blobs + task.blob_prefix() + "unreported.bin"));
  v1::SynchronizeRequest done = Report(task, v1::TaskReport::SUCCEEDED, "w1", "after");
  *AddEvent(done, 1)->mutable_file_sealed() = Seal(task, "model.safetensors", "weights");
  done.mutable_task()->mutable_result()->mutable_gate()->set_passed(true);
  ASSERT_TRUE(Synchronize(done).ok());
  Seal(zombie, "later.bin", "again");
  EXPECT_TRUE(Eventually([&] { return !PathExists(blobs + zombie.blob_prefix() + "later.bin"); }));
  EXPECT_TRUE(PathExists(blobs + task.blob_prefix() + "model.safetensors"));
  ASSERT_TRUE(Delete(name).ok());
  Seal(task, "much-later.bin", "of a job that is gone");
  EXPECT_TRUE(
      Eventually([&] { return !PathExists(blobs + task.blob_prefix() + "much-later.bin"); }));
}

TEST_F(WorkerApiTest, AWorkerThatHangsUpLeavesNoCallBehind) {
  MakeJob();
  v1::SynchronizeRequest heartbeat = Report(Take(), v1::TaskReport::RUNNING);
  heartbeat.mutable_long_poll()->set_seconds(20);
  const auto ended = [&] {
    return server_->MetricsPage().find("code=\"CANCELLED\"") != std::string::npos;
  };
  // Long before the call would have been answered.
  const absl::Time until = absl::Now() + absl::Seconds(8);
  while (!ended() && absl::Now() < until) {
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(absl::Now() + absl::Milliseconds(200)));
    v1::SynchronizeResponse response;
    workers_->Synchronize(&context, heartbeat, &response);
  }
  EXPECT_TRUE(ended()) << "the call is still held";
}

TEST_F(WorkerApiTest, AWorkerThatFallsSilentLosesItsLeaseAndChangesNothingMore) {
  StartOnManualClock();
  const std::string name = MakeJob();
  const v1::TaskAssignment old = Take("w1", "s1");
  clock_.Advance(2 * options_.limits.lease);
  ASSERT_TRUE(EventuallyIn(name, v1::Job::PENDING));
  const v1::TaskAssignment task = Take("w2", "s2");
  EXPECT_EQ(task.job(), name);
  EXPECT_GT(task.fencing_token(), old.fencing_token());
  EXPECT_EQ(task.attempt(), 2);
  v1::SynchronizeRequest stale = Report(old, v1::TaskReport::SUCCEEDED, "w1", "s1");
  stale.mutable_task()->mutable_result()->mutable_gate()->set_passed(true);
  AddEvent(stale, 1)->mutable_warning()->set_text("from the grave");
  const absl::Status refused = Synchronize(stale).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kAborted);
  EXPECT_EQ(ReasonOf(refused), Reason::kLeaseLost);
  const auto job = Get(name);
  EXPECT_NE(job->state(), v1::Job::SUCCEEDED);
}

TEST_F(WorkerApiTest, ASilentWorkerCostsAtMostMaxAttempts) {
  options_.limits.max_attempts = 2;
  StartOnManualClock();
  const std::string name = MakeJob();
  Take("w1", "s1");
  clock_.Advance(2 * options_.limits.lease);
  ASSERT_TRUE(EventuallyIn(name, v1::Job::PENDING));
  Take("w2", "s2");
  clock_.Advance(2 * options_.limits.lease);
  ASSERT_TRUE(EventuallyIn(name, v1::Job::FAILED));
  EXPECT_EQ(Get(name)->error().reason(), "ATTEMPTS_EXHAUSTED");
}

TEST_F(WorkerApiTest, HowLongACallIsHeldIsMeasured) {
  StartOnManualClock();
  v1::SynchronizeRequest idle = Idle();
  idle.mutable_long_poll()->set_seconds(20);
  std::thread waiting([&] { EXPECT_TRUE(Synchronize(idle).ok()); });
  // The call has come once its worker is known.
  EXPECT_TRUE(Eventually([&] {
    const auto workers =
        User(&v1::QuantizationService::Stub::ListWorkers, v1::ListWorkersRequest());
    return workers.ok() && workers->workers_size() == 1;
  }));
  clock_.Advance(absl::Seconds(20));
  waiting.join();
  EXPECT_THAT(server_->MetricsPage(),
              HasSubstr("quantd_rpc_duration_seconds_sum{code=\"OK\",method=\"Synchronize\"} 20"));
}

TEST_F(WorkerApiTest, ANewSessionEndsTheOldOne) {
  const std::string name = MakeJob();
  const v1::TaskAssignment old = Take("w1", "before-restart");
  const v1::TaskAssignment task = Take("w1", "after-restart");
  EXPECT_EQ(task.job(), name);
  EXPECT_GT(task.fencing_token(), old.fencing_token());
  EXPECT_EQ(
      ReasonOf(Synchronize(Report(old, v1::TaskReport::RUNNING, "w1", "before-restart")).status()),
      Reason::kLeaseLost);
  EXPECT_EQ(ReasonOf(Synchronize(Idle("w1", "before-restart")).status()), Reason::kLeaseLost);
  EXPECT_TRUE(Synchronize(Report(task, v1::TaskReport::RUNNING, "w1", "after-restart")).ok());
}

TEST_F(WorkerApiTest, AFailureIsRetriedByItsReason) {
  const std::string name = MakeJob();
  v1::SynchronizeRequest crash = Report(Take(), v1::TaskReport::FAILED);
  crash.mutable_task()->mutable_error()->set_reason("RUNNER_CRASHED");
  crash.mutable_task()->mutable_error()->set_message("signal 11");
  ASSERT_TRUE(Synchronize(crash).ok());
  EXPECT_EQ(Get(name)->state(), v1::Job::PENDING);
  v1::SynchronizeRequest fault = Report(Take(), v1::TaskReport::FAILED);
  fault.mutable_task()->mutable_error()->set_reason("MODEL_NOT_FINITE");
  fault.mutable_task()->mutable_error()->set_message("NaN in q_proj");
  auto* violation = fault.mutable_task()->mutable_error()->add_violations();
  violation->set_where("q_proj");
  ASSERT_TRUE(Synchronize(fault).ok());
  const auto job = Get(name);
  EXPECT_EQ(job->state(), v1::Job::FAILED);
  EXPECT_EQ(job->error().reason(), "MODEL_NOT_FINITE");
  EXPECT_TRUE(job->error().user_fault());
  EXPECT_EQ(job->error().violations(0).where(), "q_proj");
  EXPECT_EQ(job->attempts(), 2);
}

TEST_F(WorkerApiTest, AMissedGateFailsTheJobAndKeepsResultAndFiles) {
  const std::string name = MakeJob();
  ASSERT_TRUE(Finish(Take(), "weights", "mean KL: got 1, wanted at most 0.1").ok());
  const auto job = Get(name);
  EXPECT_EQ(job->state(), v1::Job::FAILED);
  EXPECT_EQ(job->error().reason(), "QUALITY_GATE");
  EXPECT_THAT(job->error().message(), HasSubstr("mean KL"));
  EXPECT_DOUBLE_EQ(job->result().bits_per_weight(), 4.5);
  v1::ListArtifactFilesRequest request;
  request.set_job(name);
  const auto files = User(&v1::QuantizationService::Stub::ListArtifactFiles, request);
  EXPECT_EQ(files->files_size(), 1);
  EXPECT_TRUE(files->complete());
}

TEST_F(WorkerApiTest, AManifestThatWasNotSealedIsNoSuccess) {
  const std::string name = MakeJob();
  v1::SynchronizeRequest report = Report(Take(), v1::TaskReport::SUCCEEDED);
  report.mutable_task()->mutable_result()->mutable_gate()->set_passed(true);
  auto* file = report.mutable_task()->mutable_result()->add_files();
  file->set_path("model.safetensors");
  file->set_sha256(std::string(64, 'a'));
  ASSERT_TRUE(Synchronize(report).ok());
  EXPECT_EQ(Get(name)->state(), v1::Job::PENDING);
}

TEST_F(WorkerApiTest, AFileThatIsNotInTheBlobStoreIsRefused) {
  MakeJob();
  v1::SynchronizeRequest report = Report(Take(), v1::TaskReport::RUNNING);
  auto* file = AddEvent(report, 1)->mutable_file_sealed();
  file->set_path("model.safetensors");
  file->set_sha256(std::string(64, 'a'));
  EXPECT_EQ(ReasonOf(Synchronize(report).status()), Reason::kArtifactNotFound);
  file->set_path("../../etc/passwd");
  EXPECT_EQ(ReasonOf(Synchronize(report).status()), Reason::kInvalidField);
}

TEST_F(WorkerApiTest, CancelReachesAWorkerThatWaits) {
  const std::string name = MakeJob();
  const v1::TaskAssignment task = Take();
  v1::SynchronizeRequest report = Report(task, v1::TaskReport::RUNNING);
  report.mutable_long_poll()->set_seconds(20);
  absl::StatusOr<v1::SynchronizeResponse> answer = absl::UnknownError("");
  const absl::Time start = absl::Now();
  std::thread waiting([&] { answer = Synchronize(report); });
  EXPECT_EQ(Cancel(name)->state(), v1::Job::CANCELLING);
  waiting.join();
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_EQ(answer->desired(), Desired::CANCEL);
  EXPECT_LT(absl::Now() - start, absl::Seconds(15));
  ASSERT_TRUE(Synchronize(Report(task, v1::TaskReport::CANCELLED)).ok());
  EXPECT_EQ(Get(name)->state(), v1::Job::CANCELLED);
}

TEST_F(WorkerApiTest, CancelWinsOverALateSuccessAndItsFilesGo) {
  const std::string name = MakeJob();
  const v1::TaskAssignment task = Take();
  ASSERT_TRUE(Cancel(name).ok());
  ASSERT_TRUE(Finish(task, "weights", nullptr).ok());
  EXPECT_EQ(Get(name)->state(), v1::Job::CANCELLED);
  const std::string blobs = options_.data + "/blobs/jobs/" + name.substr(5) + "/1";
  EXPECT_TRUE(Eventually([&] { return !PathExists(blobs + "/model.safetensors"); }));
}

TEST_F(WorkerApiTest, WorkReachesAWorkerThatWaits) {
  v1::SynchronizeRequest idle = Idle();
  idle.mutable_long_poll()->set_seconds(20);
  absl::StatusOr<v1::SynchronizeResponse> answer = absl::UnknownError("");
  const absl::Time start = absl::Now();
  std::thread waiting([&] { answer = Synchronize(idle); });
  const std::string name = MakeJob();
  waiting.join();
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_EQ(answer->desired(), Desired::RUN);
  EXPECT_EQ(answer->assignment().job(), name);
  EXPECT_LT(absl::Now() - start, absl::Seconds(15));
}

TEST_F(WorkerApiTest, AnIdleCallWithoutWaitingAnswersAtOnce) {
  const auto answer = Synchronize(Idle());
  ASSERT_TRUE(answer.ok());
  EXPECT_EQ(answer->desired(), Desired::IDLE);
  EXPECT_THAT(answer->blob_store_uri(), HasSubstr("file:///"));
}

TEST_F(WorkerApiTest, AReturnedTaskGoesToAnotherWorkerAndIsNoFailure) {
  options_.limits.max_attempts = 1;
  StartServer();
  const std::string name = MakeJob();
  ASSERT_TRUE(Synchronize(Report(Take(), v1::TaskReport::RETURNED)).ok());
  EXPECT_EQ(Get(name)->state(), v1::Job::PENDING);
  EXPECT_EQ(Take("w2", "s2").job(), name);
}

TEST_F(WorkerApiTest, ARestartedServerKnowsItsLeases) {
  const std::string name = MakeJob();
  const v1::TaskAssignment task = Take();
  StartServer();
  EXPECT_EQ(Get(name)->state(), v1::Job::RUNNING);
  ASSERT_TRUE(Finish(task, "weights", nullptr).ok());
  EXPECT_EQ(Get(name)->state(), v1::Job::SUCCEEDED);
  EXPECT_EQ(Get(name)->attempts(), 1);
}

TEST_F(WorkerApiTest, AJobThatWaitsTooLongFails) {
  v1::CreateJobRequest request = NewJob();
  request.mutable_job()->mutable_spec()->mutable_resources()->mutable_max_queue_time()->set_nanos(
      1'000'000);
  const auto made = Create(request);
  ASSERT_TRUE(made.ok()) << made.status();
  ASSERT_TRUE(EventuallyIn(made->name(), v1::Job::FAILED));
  EXPECT_EQ(Get(made->name())->error().reason(), "QUEUE_TIME_LIMIT");
}

TEST_F(WorkerApiTest, ListsWorkersWithTheirStates) {
  const std::string name = MakeJob();
  Take("busy", "s");
  ASSERT_TRUE(Synchronize(Idle("idle", "s")).ok());
  v1::SynchronizeRequest leaving = Idle("leaving", "s");
  leaving.set_draining(true);
  ASSERT_TRUE(Synchronize(leaving).ok());
  const auto workers = User(&v1::QuantizationService::Stub::ListWorkers, v1::ListWorkersRequest());
  ASSERT_TRUE(workers.ok());
  ASSERT_EQ(workers->workers_size(), 3);
  EXPECT_EQ(workers->workers(0).state(), v1::Worker::BUSY);
  EXPECT_EQ(workers->workers(0).job(), name);
  EXPECT_EQ(workers->workers(1).state(), v1::Worker::IDLE);
  EXPECT_EQ(workers->workers(2).state(), v1::Worker::DRAINING);
}

TEST_F(WorkerApiTest, PagesHoldEveryWorkerOnce) {
  for (const char* name : {"c", "a", "e", "b", "d"}) ASSERT_TRUE(Synchronize(Idle(name, "s")).ok());
  v1::ListWorkersRequest request;
  request.set_page_size(2);
  std::vector<std::string> met;
  std::vector<int> sizes;
  do {
    const auto page = User(&v1::QuantizationService::Stub::ListWorkers, request);
    ASSERT_TRUE(page.ok()) << page.status();
    sizes.push_back(page->workers_size());
    for (const v1::Worker& worker : page->workers()) met.push_back(worker.name());
    request.set_page_token(page->next_page_token());
  } while (!request.page_token().empty());
  EXPECT_THAT(sizes, testing::ElementsAre(2, 2, 1));
  EXPECT_THAT(
      met, testing::ElementsAre("workers/a", "workers/b", "workers/c", "workers/d", "workers/e"));
  request.set_page_token("garbage");
  EXPECT_EQ(ReasonOf(User(&v1::QuantizationService::Stub::ListWorkers, request).status()),
            Reason::kInvalidField);
  request.clear_page_token();
  request.set_page_size(-1);
  EXPECT_EQ(ReasonOf(User(&v1::QuantizationService::Stub::ListWorkers, request).status()),
            Reason::kInvalidField);
}

// Adds a field that no schema has.
void AddUnknown(google::protobuf::Message* message) {
  message->GetReflection()->MutableUnknownFields(message)->AddVarint(4711, 1);
}

TEST_F(WorkerApiTest, WhatANewerWorkerSaysIsReadPast) {
  const std::string name = MakeJob();
  v1::SynchronizeRequest idle = Idle();
  AddUnknown(&idle);
  AddUnknown(idle.mutable_capabilities());
  const auto given = Synchronize(idle);
  ASSERT_TRUE(given.ok()) << given.status();
  ASSERT_EQ(given->desired(), Desired::RUN);

  v1::SynchronizeRequest report =
      Report(given->assignment(), static_cast<v1::TaskReport::State>(77));
  AddUnknown(report.mutable_task());
  AddUnknown(AddEvent(report, 1));  // an event of a kind that is not known
  v1::LayerReport* layer = AddEvent(report, 2)->mutable_layer();
  layer->set_module("m");
  layer->set_granularity(static_cast<v1::Granularity>(77));
  AddUnknown(layer);
  AddEvent(report, 3)->mutable_progress()->set_stage(static_cast<v1::Stage>(77));
  const auto going_on = Synchronize(report);
  ASSERT_TRUE(going_on.ok()) << going_on.status();
  EXPECT_EQ(going_on->desired(), Desired::RUN);
  EXPECT_EQ(going_on->acknowledged_event(), 3);
  EXPECT_EQ(Get(name)->state(), v1::Job::RUNNING);
  EXPECT_EQ(static_cast<int>(Get(name)->progress().stage()), 77);

  ASSERT_TRUE(Finish(given->assignment(), "weights", nullptr).ok());
  EXPECT_EQ(Get(name)->state(), v1::Job::SUCCEEDED);
}

TEST_F(WorkerApiTest, WhatUsersSayIsNotReadPast) {
  v1::CreateJobRequest request = NewJob();
  AddUnknown(request.mutable_job()->mutable_spec()->mutable_evaluation());
  EXPECT_EQ(ReasonOf(Create(request).status()), Reason::kUnknownField);
  v1::ListWorkersRequest list;
  AddUnknown(&list);
  EXPECT_EQ(ReasonOf(User(&v1::QuantizationService::Stub::ListWorkers, list).status()),
            Reason::kUnknownField);
}

TEST_F(WorkerApiTest, RefusesWhatBreaksTheProtocol) {
  v1::SynchronizeRequest bad = Idle("Not A Name", "s");
  EXPECT_EQ(ReasonOf(Synchronize(bad).status()), Reason::kInvalidField);
  bad = Idle("w1", "");
  EXPECT_EQ(ReasonOf(Synchronize(bad).status()), Reason::kInvalidField);
  bad = Idle();
  bad.mutable_task()->set_task("tasks/none");
  EXPECT_EQ(ReasonOf(Synchronize(bad).status()), Reason::kInvalidField);
  bad.mutable_task()->set_state(v1::TaskReport::RUNNING);
  EXPECT_EQ(ReasonOf(Synchronize(bad).status()), Reason::kLeaseLost);
}

}  // namespace
}  // namespace quantd
