// A thin, typed connection to quantd: one function per rpc, absl::StatusOr out, deadlines and
// retries inside. What needs several calls is in watch.h, download.h and upload.h.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/cancellation.h"
#include "client/retry.h"
#include "proto/secure_channel.h"
#include "quantd/v1/quantization_service.grpc.pb.h"

namespace quantd {

struct ConnectionOptions {
  std::string server = "127.0.0.1:8470";        // host:port, or any other gRPC target
  absl::Duration deadline = absl::Seconds(30);  // of one try of a unary call
  RetryOptions unary_retry = {};
  ChannelSecurity security = {};                               // what the headers of a call say
  std::shared_ptr<grpc::ChannelCredentials> credentials = {};  // for `server`; none: plain text
};

// Errors carry the reason and the violations that the server gave. UNAVAILABLE means that the
// server could not be reached for as long as unary_retry.patience; CANCELLED, with a cancellation
// that is on, that the user stopped it. Thread-safe.
class Connection {
 public:
  // Does not connect yet: the first call does. `cancellation` must outlive the connection.
  Connection(ConnectionOptions options, Cancellation& cancellation);

  absl::StatusOr<v1::Capabilities> GetCapabilities();
  // Sends the request as it is. With a request_id, a retry makes no second job.
  absl::StatusOr<v1::Job> CreateJob(const v1::CreateJobRequest& request);
  // JOB_VIEW_UNSPECIFIED: everything.
  absl::StatusOr<v1::Job> GetJob(const std::string& name,
                                 v1::JobView view = v1::JOB_VIEW_UNSPECIFIED);
  absl::StatusOr<v1::ListJobsResponse> ListJobs(const v1::ListJobsRequest& request);
  absl::StatusOr<v1::Job> CancelJob(const std::string& name);
  absl::Status DeleteJob(const std::string& name);
  // All pages. The files that are finished so far, in order of path.
  absl::StatusOr<std::vector<v1::ArtifactFile>> ListArtifactFiles(const std::string& job);
  // All pages, in the order in which they came to be.
  absl::StatusOr<std::vector<v1::WebhookDelivery>> ListWebhookDeliveries(const std::string& job);
  absl::StatusOr<v1::Upload> CreateUpload(const v1::Upload& upload);
  absl::StatusOr<v1::Upload> GetUpload(const std::string& name);
  absl::StatusOr<v1::Upload> CommitUpload(const std::string& name);
  // All pages, in order of name. `collection`: "models" or "datasets".
  absl::StatusOr<std::vector<v1::Upload>> ListUploads(const std::string& collection);
  absl::Status DeleteUpload(const std::string& name);
  // All pages, in order of name.
  absl::StatusOr<std::vector<v1::Worker>> ListWorkers();
  absl::StatusOr<v1::Worker> DrainWorker(const std::string& name);

  // One try of a stream, without retries. Each returns OK when the server ended the stream,
  // UNAVAILABLE when the connection broke, or the first error of the function, which ends the call.
  absl::Status StreamEvents(const v1::WatchJobRequest& request,
                            const std::function<absl::Status(const v1::JobEvent&)>& on_event);
  absl::Status StreamFile(const v1::ReadArtifactFileRequest& request,
                          const std::function<absl::Status(const v1::ArtifactChunk&)>& on_chunk);

  // The other way: sends what `next` fills in until it says that there is no more (false). Returns
  // what the server has then.
  absl::StatusOr<v1::UploadFile> StreamUpload(
      const std::function<absl::StatusOr<bool>(v1::WriteUploadFileRequest&)>& next);

  const std::string& server() const { return options_.server; }
  Cancellation& cancellation() { return cancellation_; }

 private:
  template <typename Request, typename Reply>
  using Method = grpc::Status (v1::QuantizationService::Stub::*)(grpc::ClientContext*,
                                                                 const Request&, Reply*);
  template <typename Request, typename Reply>
  absl::StatusOr<Reply> Call(Method<Request, Reply> method, const Request& request);
  template <typename Message, typename Start>
  absl::Status Stream(const Start& start,
                      const std::function<absl::Status(const Message&)>& on_message);

  const ConnectionOptions options_;
  Cancellation& cancellation_;
  std::unique_ptr<v1::QuantizationService::Stub> stub_;
};

// A seed for a Backoff, different in each process and call.
uint64_t RandomSeed();

}  // namespace quantd
