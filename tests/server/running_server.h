// The real server in this process: free ports, a database of its own, the bundled model as its
// model root. The test is the client and the worker.
#pragma once

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/clock.h"
#include "base/digest.h"
#include "base/error.h"
#include "base/files.h"
#include "blob/blob_store.h"
#include "proto/grpc_status.h"
#include "quantd/v1/quantization_service.grpc.pb.h"
#include "quantd/v1/worker_service.grpc.pb.h"
#include "server/api/server.h"
#include "tests/paths.h"
#include "tests/server/retrying_store.h"

namespace quantd {

inline std::string ModelFolder() { return SourcePath("models/books-3m"); }

class RunningServerTest : public testing::Test {
 protected:
  void SetUp() override {
    auto folder = TemporaryFolder::Create("server");
    ASSERT_TRUE(folder.ok()) << folder.status();
    folder_ = std::make_unique<TemporaryFolder>(*std::move(folder));
    options_.data = folder_->path() + "/data";
    options_.model_roots = {SourcePath("models")};
    options_.reaper_period = absl::Milliseconds(20);
    options_.threads = 4;
    options_.result_cache = false;  // most tests make many jobs of one request
    options_.limits.retry_delay = absl::ZeroDuration();
    // What the server does in a transaction may be done again: every test is one of that.
    options_.wrap_store = [](std::unique_ptr<Store> store) -> std::unique_ptr<Store> {
      return std::make_unique<RetryingStore>(std::move(store));
    };
    StartServer();
  }
  void TearDown() override { server_.reset(); }

  void StartServer() {
    server_.reset();
    auto server = Server::Start(options_);
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    channel_ = grpc::CreateChannel(absl::StrCat("127.0.0.1:", server_->grpc_port()),
                                   grpc::InsecureChannelCredentials());
    users_ = v1::QuantizationService::NewStub(channel_);
    workers_ = v1::WorkerService::NewStub(channel_);
  }

  static void SetDeadline(grpc::ClientContext& context) {
    context.set_deadline(absl::ToChronoTime(absl::Now() + absl::Seconds(60)));
  }

  // One unary call. `method` is a member of the stub.
  template <typename Stub, typename Request, typename Response>
  static absl::Status Call(Stub& stub,
                           grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&,
                                                        Response*),
                           const Request& request, Response* response) {
    grpc::ClientContext context;
    SetDeadline(context);
    return FromGrpc((stub.*method)(&context, request, response));
  }
  template <typename Request, typename Response>
  absl::StatusOr<Response> User(grpc::Status (v1::QuantizationService::Stub::*method)(
                                    grpc::ClientContext*, const Request&, Response*),
                                const Request& request) {
    Response response;
    QD_RETURN_IF_ERROR(Call(*users_, method, request, &response));
    return response;
  }

  // A job that needs no text, so that planning is quick.
  static v1::CreateJobRequest NewJob() {
    v1::CreateJobRequest request;
    v1::JobSpec* spec = request.mutable_job()->mutable_spec();
    spec->mutable_model()->set_path(ModelFolder());
    spec->mutable_recipe()->mutable_default_scheme()->set_method("rtn");
    spec->mutable_recipe()->mutable_default_scheme()->set_bits(4);
    spec->mutable_recipe()->mutable_default_scheme()->set_group_size(32);
    spec->mutable_evaluation()->set_disabled(true);
    return request;
  }
  absl::StatusOr<v1::Job> Create(const v1::CreateJobRequest& request) {
    return User(&v1::QuantizationService::Stub::CreateJob, request);
  }
  absl::StatusOr<v1::Job> Get(const std::string& name) {
    v1::GetJobRequest request;
    request.set_name(name);
    return User(&v1::QuantizationService::Stub::GetJob, request);
  }
  absl::StatusOr<v1::Job> Cancel(const std::string& name) {
    v1::CancelJobRequest request;
    request.set_name(name);
    return User(&v1::QuantizationService::Stub::CancelJob, request);
  }
  absl::Status Delete(const std::string& name) {
    v1::DeleteJobRequest request;
    request.set_name(name);
    return User(&v1::QuantizationService::Stub::DeleteJob, request).status();
  }

  // What a worker says when it is idle.
  static v1::SynchronizeRequest Idle(const std::string& worker = "w1",
                                     const std::string& session = "s1") {
    v1::SynchronizeRequest request;
    request.set_worker(worker);
    request.set_session(session);
    request.mutable_capabilities()->add_backends("cpu");
    request.mutable_capabilities()->set_threads(2);
    request.set_free_memory_bytes(int64_t{1} << 40);
    return request;
  }
  static v1::SynchronizeRequest Report(const v1::TaskAssignment& task, v1::TaskReport::State state,
                                       const std::string& worker = "w1",
                                       const std::string& session = "s1") {
    v1::SynchronizeRequest request = Idle(worker, session);
    request.mutable_task()->set_task(task.task());
    request.mutable_task()->set_fencing_token(task.fencing_token());
    request.mutable_task()->set_state(state);
    return request;
  }
  absl::StatusOr<v1::SynchronizeResponse> Synchronize(const v1::SynchronizeRequest& request) {
    v1::SynchronizeResponse response;
    QD_RETURN_IF_ERROR(Call(*workers_, &v1::WorkerService::Stub::Synchronize, request, &response));
    return response;
  }
  // The assignment that an idle worker gets now.
  v1::TaskAssignment Take(const std::string& worker = "w1", const std::string& session = "s1") {
    const auto response = Synchronize(Idle(worker, session));
    EXPECT_TRUE(response.ok()) << response.status();
    if (!response.ok()) return {};
    EXPECT_EQ(response->desired(), v1::SynchronizeResponse::RUN);
    return response->assignment();
  }

  // Puts a file into the blob store as the worker of `task` would, and returns what it tells of it.
  v1::ArtifactFile Seal(const v1::TaskAssignment& task, const std::string& path,
                        const std::string& bytes) {
    const auto blobs = OpenBlobStore("file://" + *RealPath(options_.data) + "/blobs");
    EXPECT_TRUE(blobs.ok());
    const std::string scratch = folder_->path() + "/scratch-file";
    EXPECT_TRUE(WriteFileAtomic(scratch, bytes).ok());
    EXPECT_TRUE((*blobs)->PutFile(task.blob_prefix() + path, scratch).ok());
    v1::ArtifactFile file;
    file.set_path(path);
    file.set_bytes(static_cast<int64_t>(bytes.size()));
    file.set_sha256(Sha256Hex(bytes));
    return file;
  }
  static v1::TaskEvent* AddEvent(v1::SynchronizeRequest& request, int64_t number) {
    v1::TaskEvent* event = request.mutable_task()->add_events();
    event->set_number(number);
    return event;
  }
  // Reports the task done with one file, and a result that says whether the gate was reached.
  absl::StatusOr<v1::SynchronizeResponse> Finish(const v1::TaskAssignment& task,
                                                 const std::string& bytes, const char* missed) {
    v1::SynchronizeRequest request = Report(task, v1::TaskReport::SUCCEEDED);
    const v1::ArtifactFile file = Seal(task, "model.safetensors", bytes);
    *AddEvent(request, 100)->mutable_file_sealed() = file;
    v1::JobResult* result = request.mutable_task()->mutable_result();
    *result->add_files() = file;
    result->set_bits_per_weight(4.5);
    result->add_resolved_recipe()->set_name("model.layers.0.mlp.down_proj");
    result->mutable_gate()->set_passed(missed == nullptr);
    if (missed != nullptr) result->mutable_gate()->add_missed(missed);
    return Synchronize(request);
  }

  // Polls until `done`, at most a minute.
  static bool Eventually(const std::function<bool()>& done) {
    const absl::Time deadline = absl::Now() + absl::Seconds(60);
    while (absl::Now() < deadline) {
      if (done()) return true;
      absl::SleepFor(absl::Milliseconds(10));
    }
    return false;
  }
  bool EventuallyIn(const std::string& name, v1::Job::State state) {
    return Eventually([&] {
      const auto job = Get(name);
      return job.ok() && job->state() == state;
    });
  }

  // Starts the server anew on a clock that the test turns.
  void StartOnManualClock() {
    options_.clock = &clock_;
    StartServer();
  }

  ManualClock clock_{absl::Now()};
  ServerOptions options_;
  std::unique_ptr<TemporaryFolder> folder_;
  std::unique_ptr<Server> server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::QuantizationService::Stub> users_;
  std::unique_ptr<v1::WorkerService::Stub> workers_;
};

}  // namespace quantd
