// What the agent does with its tasks, whatever server and runner do.

#include "worker/agent/agent.h"

#include <fstream>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/files.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "proto/grpc_status.h"
#include "tests/worker/running_agent.h"
#include "worker/agent/scratch.h"
#include "worker/runner/journal_files.h"

namespace quantd {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

TEST_F(AgentTest, ATaskIsRunAndEveryFilePublished) {
  Begin(OneTask());
  ASSERT_TRUE(WaitForIdleAgain());
  ExpectWholeArtifact();
  EXPECT_THAT(Scratch(), IsEmpty());
}

// A job with a forward pass is kept block by block, and each is told of; one without is not.
TEST_F(AgentTest, WhatIsSealedIsStoredAndTold) {
  const auto answer = OneTask();
  const auto begin = [&](bool evaluates) {
    given_ = 0;
    Begin([answer, evaluates](const auto& request, auto& response) {
      const grpc::Status status = answer(request, response);
      if (!response.has_assignment() || !Idle(request)) return status;
      v1::TaskAssignment& assignment = *response.mutable_assignment();
      assignment.set_checkpoint_prefix("jobs/j1/checkpoints/t1/");
      v1::Evaluation& evaluation = *assignment.mutable_spec()->mutable_evaluation();
      evaluation.set_disabled(!evaluates);
      evaluation.set_windows(2);
      evaluation.set_sequence_length(64);
      return status;
    });
    ASSERT_TRUE(WaitForIdleAgain());
  };
  const std::string folder = folder_.path() + "/blobs/jobs/j1/checkpoints/t1/7";
  begin(/*evaluates=*/false);
  EXPECT_FALSE(IsFolder(folder));
  EXPECT_EQ(ReportsIn(v1::TaskReport::SUCCEEDED).back().sealed_parts(), 0);
  End();
  begin(/*evaluates=*/true);
  EXPECT_EQ(ReportsIn(v1::TaskReport::SUCCEEDED).back().sealed_parts(), 4);
  const auto names = ListFolder(folder);
  ASSERT_TRUE(names.ok()) << names.status();
  int64_t blocks = 0;
  size_t files = 0;
  for (const JournalRecord& record : JournalRecordsAmong(*names)) {
    blocks += record.part == JournalPart::kBlock ? 1 : 0;
    files += 1 + record.files.size();
  }
  EXPECT_EQ(blocks, 4);
  EXPECT_EQ(files, names->size()) << "every file belongs to a record";
}

// Adds a field that no schema has.
void AddUnknown(google::protobuf::Message* message) {
  message->GetReflection()->MutableUnknownFields(message)->AddVarint(4711, 1);
}

TEST_F(AgentTest, WhatANewerServerSaysIsReadPast) {
  const auto answer = OneTask([](const auto& request, auto& response) {
    GoOn(request, response);
    return Say(response, static_cast<v1::SynchronizeResponse::Desired>(77));
  });
  Begin([answer](const v1::SynchronizeRequest& request, v1::SynchronizeResponse& response) {
    const grpc::Status status = answer(request, response);
    AddUnknown(&response);
    if (response.has_assignment()) AddUnknown(response.mutable_assignment());
    return status;
  });
  ASSERT_TRUE(WaitForIdleAgain());
  ExpectWholeArtifact();
}

TEST_F(AgentTest, AJobThatAsksForWhatIsNotKnownIsLeftToANewerWorker) {
  const auto answer = OneTask();
  Begin([answer](const v1::SynchronizeRequest& request, v1::SynchronizeResponse& response) {
    const grpc::Status status = answer(request, response);
    if (Idle(request)) AddUnknown(response.mutable_assignment()->mutable_spec()->mutable_recipe());
    return status;
  });
  ASSERT_TRUE(WaitForIdleAgain());
  const auto failed = ReportsIn(v1::TaskReport::FAILED);
  ASSERT_FALSE(failed.empty());
  EXPECT_EQ(failed[0].error().reason(), "UNAVAILABLE");
  EXPECT_EQ(failed[0].error().violations(0).where(), "job.spec.recipe");
}

TEST_F(AgentTest, AnswersThatAreLostNeitherLoseNorRepeatEvents) {
  const auto answer = OneTask();
  Begin([this, answer](const v1::SynchronizeRequest& request, v1::SynchronizeResponse& response) {
    // The server did its part, and the reply is lost: two times in three.
    const grpc::Status status = answer(request, response);
    return request.has_task() && calls_++ % 3 != 2
               ? grpc::Status(grpc::StatusCode::UNAVAILABLE, "lost")
               : status;
  });
  ASSERT_TRUE(WaitForIdleAgain());
  EXPECT_GE(ReportsIn(v1::TaskReport::SUCCEEDED).size(), 1u);
  ExpectWholeArtifact();
}

TEST_F(AgentTest, AFileIsReportedWhileTheWorkGoesOn) {
  UseMisbehavingChild("seal-and-wait");
  Begin(OneTask());
  ASSERT_TRUE(server_->WaitFor([](const auto& request) {
    return Reports(request, v1::TaskReport::RUNNING) && request.task().events_size() == 1 &&
           request.task().events(0).file_sealed().path() == "a.bin";
  }));
  EXPECT_EQ(ReadFile(folder_.path() + "/blobs/jobs/j1/7/a.bin", 100).value(), "abc")
      << "reported before it is durable";
}

TEST_F(AgentTest, CancelReachesTheRunner) {
  UseMisbehavingChild("stubborn");
  Begin(OneTask(
      [](const auto&, auto& response) { return Say(response, v1::SynchronizeResponse::CANCEL); }));
  ASSERT_TRUE(WaitForIdleAgain());
  EXPECT_EQ(ReportsIn(v1::TaskReport::CANCELLED).size(), 1u);
  EXPECT_THAT(Scratch(), IsEmpty());
}

TEST_F(AgentTest, ACrashIsAFailedAttemptWithAReason) {
  UseMisbehavingChild("abort");
  Begin(OneTask());
  ASSERT_TRUE(WaitForIdleAgain());
  const auto failed = ReportsIn(v1::TaskReport::FAILED);
  ASSERT_EQ(failed.size(), 1u);
  EXPECT_EQ(failed[0].error().reason(), "RUNNER_CRASHED");
  EXPECT_THAT(failed[0].error().message(), HasSubstr("about to fail"));
  EXPECT_THAT(Scratch(), IsEmpty());
}

TEST_F(AgentTest, ASpecThatCannotBeReadIsAFailedAttempt) {
  Begin([this](const v1::SynchronizeRequest& request, v1::SynchronizeResponse& response) {
    const grpc::Status status = OneTask()(request, response);
    if (response.has_assignment())
      response.mutable_assignment()->mutable_spec()->mutable_model()->clear_source();
    return status;
  });
  ASSERT_TRUE(WaitForIdleAgain());
  EXPECT_EQ(ReportsIn(v1::TaskReport::FAILED).size(), 1u);
}

TEST_F(AgentTest, ABlobStoreThatCannotBeOpenedIsAFailedAttempt) {
  Begin([this](const v1::SynchronizeRequest& request, v1::SynchronizeResponse& response) {
    response.set_blob_store_uri("gopher://nowhere");
    return OneTask()(request, response);
  });
  ASSERT_TRUE(WaitForIdleAgain());
  EXPECT_EQ(ReportsIn(v1::TaskReport::FAILED).size(), 1u);
}

TEST_F(AgentTest, ALostLeaseEndsTheRunnerAndItsFiles) {
  UseMisbehavingChild("stubborn");
  Begin(OneTask([](const auto&, auto&) {
    return ToGrpc(MakeError(Reason::kLeaseLost, "a newer token was given out"));
  }));
  ASSERT_TRUE(WaitForIdleAgain());
  EXPECT_THAT(Scratch(), IsEmpty());
  EXPECT_THAT(ReportsIn(v1::TaskReport::CANCELLED), IsEmpty());
}

TEST_F(AgentTest, ShutdownHandsTheTaskBack) {
  UseMisbehavingChild("sleep");
  Begin(OneTask());
  ASSERT_TRUE(server_->WaitFor(
      [](const auto& request) { return Reports(request, v1::TaskReport::RUNNING); }));
  End();
  const auto returned = ReportsIn(v1::TaskReport::RETURNED);
  ASSERT_EQ(returned.size(), 1u);
  EXPECT_THAT(Scratch(), IsEmpty());
  const auto requests = server_->requests();
  EXPECT_TRUE(requests.back().draining());
  EXPECT_FALSE(requests.back().has_task());
}

TEST_F(AgentTest, ShutdownEndsInTimeWithoutAServer) {
  options_.shutdown_grace = absl::Milliseconds(300);
  UseMisbehavingChild("stubborn");
  Begin(OneTask([this](const v1::SynchronizeRequest& request, v1::SynchronizeResponse& response) {
    if (cut_) return grpc::Status(grpc::StatusCode::UNAVAILABLE, "the network is cut");
    return GoOn(request, response);
  }));
  ASSERT_TRUE(server_->WaitFor(
      [](const auto& request) { return Reports(request, v1::TaskReport::RUNNING); }));
  cut_ = true;
  End();
  EXPECT_THAT(Scratch(), IsEmpty());
}

TEST_F(AgentTest, ADrainedWorkerFinishesItsTaskAndLeaves) {
  const auto answer = OneTask();
  Begin([this, answer](const v1::SynchronizeRequest& request, v1::SynchronizeResponse& response) {
    const grpc::Status status = answer(request, response);
    response.set_drain(given_ > 0);
    return status;
  });
  thread_.join();
  EXPECT_EQ(ReportsIn(v1::TaskReport::SUCCEEDED).size(), 1u);
  EXPECT_TRUE(server_->requests().back().draining());
}

TEST_F(AgentTest, AnotherSessionOfTheNameEndsThisOne) {
  Begin([](const auto&, auto&) {
    return ToGrpc(MakeError(Reason::kLeaseLost, "another session has the name"));
  });
  thread_.join();
  EXPECT_EQ(ReasonOf(agent_->exit_status()), Reason::kLeaseLost);
}

TEST(Scratch, IsClearedWhenAWorkerBegins) {
  const auto root = TemporaryFolder::Create("scratch").value();
  ASSERT_TRUE(MakeFolders(root.path() + "/w/task-3/out").ok());
  const auto scratch = Scratch::Open(root.path(), "w");
  ASSERT_TRUE(scratch.ok()) << scratch.status();
  EXPECT_THAT(ListFolder(scratch->path()).value(), IsEmpty());
}

TEST(Scratch, BelongsToOneLivingWorker) {
  const auto root = TemporaryFolder::Create("scratch").value();
  {
    const auto scratch = Scratch::Open(root.path(), "w");
    ASSERT_TRUE(scratch.ok());
    std::ofstream(scratch->path() + "/precious") << "x";
    EXPECT_EQ(ReasonOf(Scratch::Open(root.path(), "w").status()), Reason::kAlreadyExists);
    EXPECT_TRUE(PathExists(scratch->path() + "/precious"));
  }
  EXPECT_TRUE(Scratch::Open(root.path(), "w").ok());
}

}  // namespace
}  // namespace quantd
