// The agent against a real gRPC server whose answers the test decides.

#include "worker/agent/agent.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/digest.h"
#include "base/error.h"
#include "base/files.h"
#include "engine/types/request.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "proto/convert.h"
#include "proto/grpc_status.h"
#include "tests/paths.h"
#include "worker/agent/scratch.h"

namespace quantd {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr absl::Duration kPatience = absl::Seconds(120);

// Keeps every request; the test's function answers. Functions run one at a time.
class ScriptedServer : public v1::WorkerService::Service {
 public:
  using Answer =
      std::function<grpc::Status(const v1::SynchronizeRequest&, v1::SynchronizeResponse&)>;

  explicit ScriptedServer(Answer answer) : answer_(std::move(answer)) {
    grpc::ServerBuilder builder;
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
  }
  ~ScriptedServer() override { server_->Shutdown(std::chrono::system_clock::now()); }

  std::unique_ptr<v1::WorkerService::Stub> NewStub() {
    return v1::WorkerService::NewStub(server_->InProcessChannel({}));
  }

  grpc::Status Synchronize(grpc::ServerContext* context, const v1::SynchronizeRequest* request,
                           v1::SynchronizeResponse* response) override {
    {
      const absl::MutexLock lock(&mutex_);
      requests_.push_back(*request);
      response->set_blob_store_uri(blob_store_uri);
      response->mutable_lease()->set_seconds(60);
      response->mutable_next_call_delay()->set_seconds(5);
      if (request->has_task() && request->task().events_size() > 0) {
        response->set_acknowledged_event(
            request->task().events(request->task().events_size() - 1).number());
      }
      const grpc::Status status = answer_(*request, *response);
      if (!status.ok() || !hold_idle || request->has_task() ||
          response->desired() != v1::SynchronizeResponse::IDLE) {
        return status;
      }
    }
    // A long poll: nothing comes, so it ends when the worker hangs up.
    const absl::Time end = absl::Now() + absl::Seconds(request->long_poll().seconds());
    while (absl::Now() < end && !context->IsCancelled()) absl::SleepFor(absl::Milliseconds(2));
    return grpc::Status::OK;
  }

  std::vector<v1::SynchronizeRequest> requests() const {
    const absl::MutexLock lock(&mutex_);
    return requests_;
  }
  // Waits until some request satisfies `wanted`.
  bool WaitFor(const std::function<bool(const v1::SynchronizeRequest&)>& wanted) const {
    const auto there = [&] { return std::any_of(requests_.begin(), requests_.end(), wanted); };
    const absl::MutexLock lock(&mutex_);
    return mutex_.AwaitWithTimeout(absl::Condition(&there), kPatience);
  }

  // Waits until the worker is idle again after it had a task.
  bool WaitForIdleAgain() const {
    const auto there = [&] {
      const auto first = std::find_if(requests_.begin(), requests_.end(),
                                      [](const auto& request) { return request.has_task(); });
      return first != requests_.end() && !requests_.back().has_task();
    };
    const absl::MutexLock lock(&mutex_);
    return mutex_.AwaitWithTimeout(absl::Condition(&there), kPatience);
  }

  std::string blob_store_uri;
  std::atomic<bool> hold_idle{true};

 private:
  mutable absl::Mutex mutex_;
  Answer answer_;
  std::vector<v1::SynchronizeRequest> requests_;
  std::unique_ptr<grpc::Server> server_;
};

bool Idle(const v1::SynchronizeRequest& request) { return !request.has_task(); }
bool Reports(const v1::SynchronizeRequest& request, v1::TaskReport::State state) {
  return request.has_task() && request.task().state() == state;
}

grpc::Status Say(v1::SynchronizeResponse& response, v1::SynchronizeResponse::Desired desired) {
  response.set_desired(desired);
  return grpc::Status::OK;
}

class AgentTest : public testing::Test {
 protected:
  AgentTest() : folder_(TemporaryFolder::Create("agent").value()) {
    options_.worker = "tester";
    options_.session = "session";
    options_.resources.program = BuiltPath("bin/quantd-worker");
    options_.resources.scratch_folder = folder_.path() + "/scratch";
    options_.resources.cancel_grace = absl::Milliseconds(200);
    options_.first_retry = absl::Milliseconds(5);
    options_.last_retry = absl::Milliseconds(20);
    EXPECT_TRUE(MakeFolders(options_.resources.scratch_folder).ok());
  }

  // The runner becomes a program that misbehaves in `mode`.
  void UseMisbehavingChild(const std::string& mode) {
    const std::string script = folder_.path() + "/runner";
    std::ofstream(script) << "#!/bin/sh\nexec " << BuiltPath("tests/misbehaving_child") << " "
                          << mode << "\n";
    chmod(script.c_str(), 0755);
    options_.resources.program = script;
  }

  void Begin(ScriptedServer::Answer answer) {
    server_ = std::make_unique<ScriptedServer>(std::move(answer));
    server_->blob_store_uri = "file://" + folder_.path() + "/blobs";
    synchronizer_ = std::make_unique<Synchronizer>(server_->NewStub());
    agent_ = std::make_unique<Agent>(options_, *synchronizer_);
    thread_ = std::thread([this] {
      while (agent_->Run()) {
      }
    });
  }
  void End() {
    if (!thread_.joinable()) return;
    agent_->Shutdown();
    thread_.join();
    agent_.reset();
  }
  ~AgentTest() override { End(); }

  // RUN with a weight-only job on the bundled model.
  static grpc::Status Assign(v1::SynchronizeResponse& response, int64_t token = 7) {
    QuantizeRequest request;
    request.model_folder = SourcePath("models/books-3m");
    request.evaluation.enabled = false;
    v1::TaskAssignment& assignment = *response.mutable_assignment();
    assignment.set_task("tasks/t1");
    assignment.set_job("jobs/j1");
    assignment.set_fencing_token(token);
    assignment.set_attempt(1);
    assignment.set_blob_prefix("jobs/j1/" + std::to_string(token) + "/");
    assignment.mutable_max_run_time()->set_seconds(600);
    *assignment.mutable_spec() = ToProto(request);
    return Say(response, v1::SynchronizeResponse::RUN);
  }
  static grpc::Status GoOn(const v1::SynchronizeRequest& request,
                           v1::SynchronizeResponse& response) {
    response.mutable_assignment()->set_task(request.task().task());
    response.mutable_assignment()->set_fencing_token(request.task().fencing_token());
    return Say(response, v1::SynchronizeResponse::RUN);
  }
  // Gives the task to the first idle call; what is final is taken; later idle calls get nothing.
  ScriptedServer::Answer OneTask(ScriptedServer::Answer while_running = &GoOn) {
    return [this, while_running](const v1::SynchronizeRequest& request,
                                 v1::SynchronizeResponse& response) {
      if (Idle(request)) {
        return given_++ == 0 ? Assign(response) : Say(response, v1::SynchronizeResponse::IDLE);
      }
      if (Reports(request, v1::TaskReport::RUNNING)) return while_running(request, response);
      return Say(response, v1::SynchronizeResponse::IDLE);
    };
  }

  bool WaitForIdleAgain() { return server_->WaitForIdleAgain(); }
  std::vector<v1::TaskReport> ReportsIn(v1::TaskReport::State state) const {
    std::vector<v1::TaskReport> reports;
    for (const auto& request : server_->requests()) {
      if (Reports(request, state)) reports.push_back(request.task());
    }
    return reports;
  }
  std::vector<std::string> Scratch() const {
    return ListFolder(options_.resources.scratch_folder).value();
  }

  // Every event by its number; a number that comes again must say the same, unless the server never
  // answered.
  std::map<int64_t, v1::TaskEvent> Events() const {
    std::map<int64_t, v1::TaskEvent> events;
    for (const auto& request : server_->requests()) {
      for (const v1::TaskEvent& event : request.task().events()) {
        const auto [at, is_new] = events.try_emplace(event.number(), event);
        if (!is_new) {
          EXPECT_EQ(at->second.SerializeAsString(), event.SerializeAsString());
        }
      }
    }
    return events;
  }
  void ExpectWholeArtifact() {
    const auto done = ReportsIn(v1::TaskReport::SUCCEEDED);
    ASSERT_FALSE(done.empty());
    EXPECT_GT(done[0].result().bits_per_weight(), 4);
    int64_t next = 1, layers = 0;
    std::map<std::string, v1::ArtifactFile> files;
    for (const auto& [number, event] : Events()) {
      EXPECT_EQ(number, next++) << "numbers have a gap";
      layers += event.has_layer() ? 1 : 0;
      if (!event.has_file_sealed()) continue;
      EXPECT_TRUE(files.emplace(event.file_sealed().path(), event.file_sealed()).second);
    }
    EXPECT_EQ(layers, 28);
    for (const char* path :
         {"config.json", "model.safetensors", "quantd/report.json", "quantd/manifest.json"}) {
      EXPECT_EQ(files.count(path), 1u) << path;
    }
    for (const auto& [path, file] : files) {
      const auto text = ReadFile(folder_.path() + "/blobs/jobs/j1/7/" + path, int64_t{1} << 30);
      ASSERT_TRUE(text.ok()) << text.status();
      EXPECT_EQ(static_cast<int64_t>(text->size()), file.bytes());
      EXPECT_EQ(Sha256Hex(*text), file.sha256()) << path;
    }
  }

  TemporaryFolder folder_;
  AgentOptions options_;
  // Used by the answers, which outlive a test's body.
  std::atomic<int> given_{0}, calls_{0};
  std::atomic<bool> cut_{false};
  std::unique_ptr<ScriptedServer> server_;
  std::unique_ptr<Synchronizer> synchronizer_;
  std::unique_ptr<Agent> agent_;
  std::thread thread_;
};

TEST_F(AgentTest, ATaskIsRunAndEveryFilePublished) {
  Begin(OneTask());
  ASSERT_TRUE(WaitForIdleAgain());
  ExpectWholeArtifact();
  EXPECT_THAT(Scratch(), IsEmpty());
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

TEST_F(AgentTest, AnIdleWorkerSaysWhoItIsAndPollsLong) {
  options_.capabilities.add_backends("cpu");
  Begin([](const auto&, auto& response) { return Say(response, v1::SynchronizeResponse::IDLE); });
  ASSERT_TRUE(server_->WaitFor(&Idle));
  const auto request = server_->requests()[0];
  EXPECT_EQ(request.worker(), "tester");
  EXPECT_EQ(request.session(), "session");
  EXPECT_THAT(request.capabilities().backends(), ElementsAre("cpu"));
  EXPECT_GT(request.free_memory_bytes(), 0);
  EXPECT_EQ(request.long_poll().seconds(), 30);
  EXPECT_EQ(server_->requests().size(), 1u) << "called again although the server held the call";
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

TEST_F(AgentTest, ASilentTaskStillRenewsItsLease) {
  UseMisbehavingChild("sleep");
  Begin(OneTask([this](const v1::SynchronizeRequest& request, v1::SynchronizeResponse& response) {
    response.mutable_next_call_delay()->set_seconds(0);
    response.mutable_next_call_delay()->set_nanos(20'000'000);
    if (++calls_ >= 5) return Say(response, v1::SynchronizeResponse::CANCEL);
    return GoOn(request, response);
  }));
  ASSERT_TRUE(WaitForIdleAgain());
  EXPECT_GE(calls_, 5);
  EXPECT_LE(Events().size(), 1u);
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

TEST_F(AgentTest, WithoutAServerTheTaskGoesOnUntilItsLeaseHasPassed) {
  UseMisbehavingChild("sleep");
  Begin([this](const v1::SynchronizeRequest& request, v1::SynchronizeResponse& response) {
    response.mutable_lease()->set_seconds(1);
    if (!request.has_task()) return OneTask()(request, response);
    ++calls_;
    return grpc::Status(grpc::StatusCode::UNAVAILABLE, "the network is cut");
  });
  const absl::Time begun = absl::Now();
  ASSERT_TRUE(WaitForIdleAgain());
  EXPECT_GE(absl::Now() - begun, absl::Milliseconds(900)) << "given up too early";
  EXPECT_GE(calls_, 3) << "it did not keep trying";
  EXPECT_THAT(Scratch(), IsEmpty());
}

TEST_F(AgentTest, AServerThatAnswersIdleAtOnceIsNotFlooded) {
  Begin([](const auto&, auto& response) { return Say(response, v1::SynchronizeResponse::IDLE); });
  server_->hold_idle = false;
  ASSERT_TRUE(server_->WaitFor(&Idle));
  const absl::Time until = absl::Now() + absl::Milliseconds(300);
  while (absl::Now() < until) ASSERT_LT(server_->requests().size(), 5u);
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

TEST_F(AgentTest, ShutdownEndsALongPollAtOnce) {
  Begin([](const auto&, auto& response) { return Say(response, v1::SynchronizeResponse::IDLE); });
  ASSERT_TRUE(server_->WaitFor(&Idle));
  const absl::Time before = absl::Now();
  End();
  EXPECT_LT(absl::Now() - before, absl::Seconds(10)) << "waited for the long poll";
  EXPECT_TRUE(server_->requests().back().draining()) << "left without a word";
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
