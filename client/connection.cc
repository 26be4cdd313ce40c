#include "client/connection.h"

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <random>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/address.h"
#include "base/error.h"
#include "proto/grpc_status.h"

namespace quantd {
namespace {

// Larger than any message that the server sends (limits.message_bytes is 4 MiB by default).
constexpr int kMaxMessageBytes = 64 << 20;
constexpr int kReconnectFirstMs = 100, kReconnectLongestMs = 2000;
// The server accepts a ping every 10 s.
constexpr int kPingMs = 30'000, kPongMs = 10'000;

std::shared_ptr<grpc::Channel> MakeChannel(const ConnectionOptions& options) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(kMaxMessageBytes);
  // A server that restarts is found again in seconds; gRPC's own default waits up to two minutes.
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, kReconnectFirstMs);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, kReconnectLongestMs);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, kReconnectLongestMs);
  // A watch of a long job is silent for minutes; without pings a machine that is gone looks the
  // same.
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, kPingMs);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kPongMs);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  // A proxy of the environment is for other machines.
  if (IsThisMachine(options.server)) arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  const auto credentials =
      options.credentials != nullptr ? options.credentials : grpc::InsecureChannelCredentials();
  return grpc::CreateCustomChannel(options.server, credentials, arguments);
}

void SetDeadline(grpc::ClientContext& context, absl::Duration deadline) {
  context.set_deadline(std::chrono::system_clock::now() + absl::ToChronoMilliseconds(deadline));
}

absl::Status Interrupted() { return MakeError(Reason::kCancelled, "interrupted"); }

// A stream whose connection breaks ends with UNAVAILABLE, but also, depending on where it broke,
// with CANCELLED or INTERNAL, then without the details that every error of the server carries.
absl::Status StreamStatus(const grpc::Status& status) {
  const bool of_transport = status.error_details().empty();
  if (of_transport && (status.error_code() == grpc::StatusCode::CANCELLED ||
                       status.error_code() == grpc::StatusCode::INTERNAL)) {
    return MakeError(Reason::kUnavailable,
                     absl::StrCat("the connection broke: ", status.error_message()));
  }
  return FromGrpc(status);
}

}  // namespace

uint64_t RandomSeed() {
  std::random_device device;
  return (uint64_t{device()} << 32) | device();
}

Connection::Connection(ConnectionOptions options, Cancellation& cancellation)
    : options_(std::move(options)),
      cancellation_(cancellation),
      stub_(v1::QuantizationService::NewStub(MakeChannel(options_))) {}

template <typename Request, typename Reply>
absl::StatusOr<Reply> Connection::Call(Method<Request, Reply> method, const Request& request) {
  Backoff backoff(options_.unary_retry, RandomSeed());
  while (true) {
    Reply reply;
    grpc::ClientContext context;
    SetDeadline(context, options_.deadline);
    SayWhoCalls(options_.security, context);
    Cancellation::Scope scope(cancellation_, context);
    absl::Status status = FromGrpc((stub_.get()->*method)(&context, request, &reply));
    if (status.ok()) return reply;
    if (cancellation_.cancelled()) return Interrupted();
    if (!IsTransient(status)) return status;
    const auto wait = backoff.Next();
    if (!wait.has_value()) return status;
    if (!cancellation_.Sleep(*wait)) return Interrupted();
  }
}

template <typename Message, typename Start>
absl::Status Connection::Stream(const Start& start,
                                const std::function<absl::Status(const Message&)>& on_message) {
  grpc::ClientContext context;
  SayWhoCalls(options_.security, context);
  Cancellation::Scope scope(cancellation_, context);
  auto reader = start(&context);
  Message message;
  absl::Status refused;
  while (refused.ok() && reader->Read(&message)) refused = on_message(message);
  if (!refused.ok()) context.TryCancel();
  const grpc::Status status = reader->Finish();
  if (cancellation_.cancelled()) return Interrupted();
  return refused.ok() ? StreamStatus(status) : refused;
}

absl::StatusOr<v1::Capabilities> Connection::GetCapabilities() {
  return Call(&v1::QuantizationService::Stub::GetCapabilities, v1::GetCapabilitiesRequest());
}

absl::StatusOr<v1::Job> Connection::CreateJob(const v1::CreateJobRequest& request) {
  return Call(&v1::QuantizationService::Stub::CreateJob, request);
}

absl::StatusOr<v1::Job> Connection::GetJob(const std::string& name, v1::JobView view) {
  v1::GetJobRequest request;
  request.set_name(name);
  request.set_view(view);
  return Call(&v1::QuantizationService::Stub::GetJob, request);
}

absl::StatusOr<v1::ListJobsResponse> Connection::ListJobs(const v1::ListJobsRequest& request) {
  return Call(&v1::QuantizationService::Stub::ListJobs, request);
}

absl::StatusOr<v1::Job> Connection::CancelJob(const std::string& name) {
  v1::CancelJobRequest request;
  request.set_name(name);
  return Call(&v1::QuantizationService::Stub::CancelJob, request);
}

absl::Status Connection::DeleteJob(const std::string& name) {
  v1::DeleteJobRequest request;
  request.set_name(name);
  return Call(&v1::QuantizationService::Stub::DeleteJob, request).status();
}

absl::StatusOr<std::vector<v1::ArtifactFile>> Connection::ListArtifactFiles(
    const std::string& job) {
  std::vector<v1::ArtifactFile> files;
  v1::ListArtifactFilesRequest request;
  request.set_job(job);
  while (true) {
    QD_ASSIGN_OR_RETURN(v1::ListArtifactFilesResponse page,
                        Call(&v1::QuantizationService::Stub::ListArtifactFiles, request));
    for (v1::ArtifactFile& file : *page.mutable_files()) files.push_back(std::move(file));
    if (page.next_page_token().empty()) return files;
    request.set_page_token(page.next_page_token());
  }
}

absl::StatusOr<v1::Upload> Connection::CreateUpload(const v1::Upload& upload) {
  v1::CreateUploadRequest request;
  *request.mutable_upload() = upload;
  return Call(&v1::QuantizationService::Stub::CreateUpload, request);
}

absl::StatusOr<v1::Upload> Connection::GetUpload(const std::string& name) {
  v1::GetUploadRequest request;
  request.set_name(name);
  return Call(&v1::QuantizationService::Stub::GetUpload, request);
}

absl::StatusOr<v1::Upload> Connection::CommitUpload(const std::string& name) {
  v1::CommitUploadRequest request;
  request.set_name(name);
  return Call(&v1::QuantizationService::Stub::CommitUpload, request);
}

absl::StatusOr<std::vector<v1::Upload>> Connection::ListUploads(const std::string& collection) {
  std::vector<v1::Upload> uploads;
  v1::ListUploadsRequest request;
  request.set_collection(collection);
  while (true) {
    QD_ASSIGN_OR_RETURN(v1::ListUploadsResponse page,
                        Call(&v1::QuantizationService::Stub::ListUploads, request));
    for (v1::Upload& upload : *page.mutable_uploads()) uploads.push_back(std::move(upload));
    if (page.next_page_token().empty()) return uploads;
    request.set_page_token(page.next_page_token());
  }
}

absl::StatusOr<std::vector<v1::WebhookDelivery>> Connection::ListWebhookDeliveries(
    const std::string& job) {
  std::vector<v1::WebhookDelivery> deliveries;
  v1::ListWebhookDeliveriesRequest request;
  request.set_job(job);
  request.set_page_size(1000);
  while (true) {
    QD_ASSIGN_OR_RETURN(v1::ListWebhookDeliveriesResponse page,
                        Call(&v1::QuantizationService::Stub::ListWebhookDeliveries, request));
    for (v1::WebhookDelivery& one : *page.mutable_deliveries()) {
      deliveries.push_back(std::move(one));
    }
    if (page.next_page_token().empty()) return deliveries;
    request.set_page_token(page.next_page_token());
  }
}

absl::Status Connection::DeleteUpload(const std::string& name) {
  v1::DeleteUploadRequest request;
  request.set_name(name);
  return Call(&v1::QuantizationService::Stub::DeleteUpload, request).status();
}

absl::StatusOr<v1::UploadFile> Connection::StreamUpload(
    const std::function<absl::StatusOr<bool>(v1::WriteUploadFileRequest&)>& next) {
  grpc::ClientContext context;
  SayWhoCalls(options_.security, context);
  Cancellation::Scope scope(cancellation_, context);
  v1::WriteUploadFileResponse response;
  const auto writer = stub_->WriteUploadFile(&context, &response);
  v1::WriteUploadFileRequest message;
  absl::StatusOr<bool> more = true;
  while (true) {
    message.Clear();
    more = next(message);
    if (!more.ok() || !*more) break;
    // The server has ended the call: Finish says why.
    if (!writer->Write(message)) break;
  }
  if (more.ok()) {
    writer->WritesDone();
  } else {
    context.TryCancel();
  }
  const grpc::Status status = writer->Finish();
  if (cancellation_.cancelled()) return Interrupted();
  if (!more.ok()) return more.status();
  QD_RETURN_IF_ERROR(StreamStatus(status));
  return std::move(*response.mutable_file());
}

absl::StatusOr<std::vector<v1::Worker>> Connection::ListWorkers() {
  std::vector<v1::Worker> workers;
  v1::ListWorkersRequest request;
  while (true) {
    QD_ASSIGN_OR_RETURN(v1::ListWorkersResponse page,
                        Call(&v1::QuantizationService::Stub::ListWorkers, request));
    for (v1::Worker& worker : *page.mutable_workers()) workers.push_back(std::move(worker));
    if (page.next_page_token().empty()) return workers;
    request.set_page_token(page.next_page_token());
  }
}

absl::StatusOr<v1::Worker> Connection::DrainWorker(const std::string& name) {
  v1::DrainWorkerRequest request;
  request.set_name(name);
  return Call(&v1::QuantizationService::Stub::DrainWorker, request);
}

absl::Status Connection::StreamEvents(
    const v1::WatchJobRequest& request,
    const std::function<absl::Status(const v1::JobEvent&)>& on_event) {
  return Stream<v1::JobEvent>(
      [&](grpc::ClientContext* context) { return stub_->WatchJob(context, request); }, on_event);
}

absl::Status Connection::StreamFile(
    const v1::ReadArtifactFileRequest& request,
    const std::function<absl::Status(const v1::ArtifactChunk&)>& on_chunk) {
  return Stream<v1::ArtifactChunk>(
      [&](grpc::ClientContext* context) { return stub_->ReadArtifactFile(context, request); },
      on_chunk);
}

}  // namespace quantd
