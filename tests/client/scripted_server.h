// A real gRPC server on a free port of the loopback, with one scripted job: its streams break where
// the test says. For tests of what the client does about that; the real server has its own tests.
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "base/digest.h"
#include "base/error.h"
#include "proto/grpc_status.h"
#include "quantd/v1/quantization_service.grpc.pb.h"

namespace quantd {

// How a stream ends before its time.
enum class Break { kUnavailable, kCancel, kQuietEnd, kBadChecksum, kWrongOffset };

class ScriptedServer : public v1::QuantizationService::Service {
 public:
  explicit ScriptedServer(uint64_t seed) : random_(seed) {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
  }
  ~ScriptedServer() override { Stop(); }
  void Stop() {
    if (server_ != nullptr) server_->Shutdown(std::chrono::system_clock::now());
  }
  std::string address() const { return absl::StrCat("127.0.0.1:", port_); }

  // What the test fills before the first call.
  v1::Job job;
  std::vector<v1::JobEvent> events;
  struct File {
    v1::ArtifactFile listed;
    std::string bytes;
  };
  std::vector<File> files;
  int64_t chunk_bytes = 1000;
  // Of so many messages of a stream, one breaks it; 0: none does.
  int break_one_in = 0;
  // CreateJob answers with this, if it is an error.
  absl::Status create_error;
  // After the events the stream stays open instead of ending, as for a job that runs.
  bool hold_watch = false;

  void AddFile(const std::string& path, std::string bytes) {
    v1::ArtifactFile listed;
    listed.set_path(path);
    listed.set_bytes(static_cast<int64_t>(bytes.size()));
    listed.set_sha256(Sha256Hex(bytes));
    files.push_back({.listed = std::move(listed), .bytes = std::move(bytes)});
  }
  v1::JobEvent& AddEvent() {
    events.emplace_back().set_sequence(static_cast<int64_t>(events.size()));
    return events.back();
  }
  void AddState(v1::Job::State state) {
    AddEvent().mutable_state_change()->set_state(state);
    job.set_state(state);
    job.set_last_sequence(static_cast<int64_t>(events.size()));
  }

  // What the client did.
  int breaks() const { return Locked(breaks_); }
  int reads() const { return Locked(reads_); }
  int creates() const { return Locked(creates_); }
  int watches() const { return Locked(watches_); }

  grpc::Status CreateJob(grpc::ServerContext*, const v1::CreateJobRequest* request,
                         v1::Job* reply) override {
    absl::MutexLock lock(&mutex_);
    if (!request->validate_only()) ++creates_;
    last_create_ = *request;
    if (!create_error.ok()) return ToGrpc(create_error);
    *reply = job;
    return grpc::Status::OK;
  }
  grpc::Status GetJob(grpc::ServerContext*, const v1::GetJobRequest* request,
                      v1::Job* reply) override {
    if (request->name() != job.name())
      return ToGrpc(MakeError(Reason::kJobNotFound, "no such job"));
    *reply = job;
    return grpc::Status::OK;
  }
  grpc::Status ListJobs(grpc::ServerContext*, const v1::ListJobsRequest* request,
                        v1::ListJobsResponse* reply) override {
    absl::MutexLock lock(&mutex_);
    last_filter_ = request->filter();
    last_list_ = *request;
    *reply->add_jobs() = job;
    return grpc::Status::OK;
  }
  std::string last_filter() const { return Locked(last_filter_); }
  v1::ListJobsRequest last_list() const { return Locked(last_list_); }
  v1::CreateJobRequest last_create() const { return Locked(last_create_); }

  // One worker a page: the token is the number of the next.
  std::vector<v1::Worker> workers;
  grpc::Status ListWorkers(grpc::ServerContext*, const v1::ListWorkersRequest* request,
                           v1::ListWorkersResponse* reply) override {
    const size_t at = request->page_token().empty() ? 0 : std::stoul(request->page_token());
    if (at < workers.size()) *reply->add_workers() = workers[at];
    if (at + 1 < workers.size()) reply->set_next_page_token(std::to_string(at + 1));
    return grpc::Status::OK;
  }

  // Every worker is known, and busy with the job.
  grpc::Status DrainWorker(grpc::ServerContext*, const v1::DrainWorkerRequest* request,
                           v1::Worker* reply) override {
    reply->set_name(request->name());
    reply->set_state(v1::Worker::DRAINING);
    reply->set_job("jobs/j1");
    return grpc::Status::OK;
  }

  grpc::Status WatchJob(grpc::ServerContext* context, const v1::WatchJobRequest* request,
                        grpc::ServerWriter<v1::JobEvent>* writer) override {
    {
      absl::MutexLock lock(&mutex_);
      ++watches_;
    }
    for (const v1::JobEvent& event : events) {
      if (event.sequence() <= request->after_sequence()) continue;
      if (const auto how = Breaks(); how.has_value()) return End(*how, context);
      writer->Write(event);
    }
    while (hold_watch && !context->IsCancelled()) absl::SleepFor(absl::Milliseconds(5));
    return grpc::Status::OK;
  }

  grpc::Status ListArtifactFiles(grpc::ServerContext*, const v1::ListArtifactFilesRequest*,
                                 v1::ListArtifactFilesResponse* reply) override {
    for (const File& file : files) *reply->add_files() = file.listed;
    return grpc::Status::OK;
  }

  grpc::Status ReadArtifactFile(grpc::ServerContext* context,
                                const v1::ReadArtifactFileRequest* request,
                                grpc::ServerWriter<v1::ArtifactChunk>* writer) override {
    {
      absl::MutexLock lock(&mutex_);
      ++reads_;
    }
    for (const File& file : files) {
      if (file.listed.path() == request->path()) {
        return Send(file, request->offset(), context, writer);
      }
    }
    return ToGrpc(MakeError(Reason::kArtifactNotFound, "no such file"));
  }

 private:
  template <typename T>
  T Locked(const T& value) const {
    absl::MutexLock lock(&mutex_);
    return value;
  }

  grpc::Status Send(const File& file, int64_t offset, grpc::ServerContext* context,
                    grpc::ServerWriter<v1::ArtifactChunk>* writer) {
    bool first = true;
    do {
      v1::ArtifactChunk chunk;
      chunk.set_offset(offset);
      chunk.set_data(
          file.bytes.substr(static_cast<size_t>(offset), static_cast<size_t>(chunk_bytes)));
      chunk.set_crc32c(Crc32c(chunk.data()));
      if (first) *chunk.mutable_file() = file.listed;
      first = false;
      if (const auto how = Breaks(); how.has_value()) {
        if (*how == Break::kBadChecksum) chunk.set_crc32c(chunk.crc32c() ^ 1);
        if (*how == Break::kWrongOffset) chunk.set_offset(offset + 7);
        if (*how != Break::kBadChecksum && *how != Break::kWrongOffset) return End(*how, context);
      }
      writer->Write(chunk);
      offset += static_cast<int64_t>(chunk.data().size());
    } while (offset < file.listed.bytes());
    return grpc::Status::OK;
  }

  std::optional<Break> Breaks() {
    absl::MutexLock lock(&mutex_);
    if (break_one_in == 0 || random_() % static_cast<uint64_t>(break_one_in) != 0) {
      return std::nullopt;
    }
    ++breaks_;
    return static_cast<Break>(random_() % 5);
  }

  static grpc::Status End(Break how, grpc::ServerContext* context) {
    if (how == Break::kUnavailable) return {grpc::StatusCode::UNAVAILABLE, "going away"};
    if (how == Break::kCancel) context->TryCancel();
    return grpc::Status::OK;
  }

  mutable absl::Mutex mutex_;
  std::mt19937_64 random_;
  int breaks_ = 0, reads_ = 0, creates_ = 0, watches_ = 0;
  std::string last_filter_;
  v1::ListJobsRequest last_list_;
  v1::CreateJobRequest last_create_;
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace quantd
