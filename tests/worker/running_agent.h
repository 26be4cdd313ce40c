// The agent in a thread of its own against a scripted server.
#pragma once

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <atomic>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/digest.h"
#include "base/files.h"
#include "engine/types/request.h"
#include "proto/convert.h"
#include "tests/paths.h"
#include "tests/worker/scripted_server.h"
#include "worker/agent/agent.h"

namespace quantd {

inline bool Idle(const v1::SynchronizeRequest& request) { return !request.has_task(); }
inline bool Reports(const v1::SynchronizeRequest& request, v1::TaskReport::State state) {
  return request.has_task() && request.task().state() == state;
}

inline grpc::Status Say(v1::SynchronizeResponse& response,
                        v1::SynchronizeResponse::Desired desired) {
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
    synchronizer_ = std::make_unique<Synchronizer>(wrap_stub_(server_->NewStub()));
    agent_ = std::make_unique<Agent>(options_, *synchronizer_, *clock_);
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
  const Clock* clock_ = &Clock::System();
  using Stub = std::unique_ptr<v1::WorkerService::StubInterface>;
  std::function<Stub(Stub)> wrap_stub_ = [](Stub stub) { return stub; };
  // Used by the answers, which outlive a test's body.
  std::atomic<int> given_{0}, calls_{0};
  std::atomic<bool> cut_{false};
  std::unique_ptr<ScriptedServer> server_;
  std::unique_ptr<Synchronizer> synchronizer_;
  std::unique_ptr<Agent> agent_;
  std::thread thread_;
};

}  // namespace quantd
