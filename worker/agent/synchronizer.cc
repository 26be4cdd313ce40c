#include "worker/agent/synchronizer.h"

#include <utility>

#include "absl/cleanup/cleanup.h"
#include "base/error.h"
#include "base/secret_file.h"
#include "proto/grpc_status.h"

namespace quantd {

Synchronizer::Synchronizer(std::unique_ptr<v1::WorkerService::StubInterface> stub,
                           ChannelSecurity security, std::string token_file)
    : stub_(std::move(stub)), security_(std::move(security)), token_file_(std::move(token_file)) {}

absl::StatusOr<std::unique_ptr<Synchronizer>> Synchronizer::Connect(const std::string& server,
                                                                    ChannelSecurity security,
                                                                    const std::string& token_file) {
  if (!token_file.empty()) {
    QD_ASSIGN_OR_RETURN(security.token, ReadSecretFile("--token-file", token_file));
  }
  QD_ASSIGN_OR_RETURN(const auto credentials, ChannelCredentialsFor(server, security));
  grpc::ChannelArguments arguments;
  // A server that comes back is found within a second; gRPC's own back-off grows to two minutes.
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 1000);
  // A peer that is cut off without a word is noticed during a long poll.
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 20000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10000);
  const auto channel = grpc::CreateCustomChannel(server, credentials, arguments);
  return std::make_unique<Synchronizer>(v1::WorkerService::NewStub(channel), std::move(security),
                                        token_file);
}

absl::StatusOr<v1::SynchronizeResponse> Synchronizer::Call(const v1::SynchronizeRequest& request,
                                                           absl::Duration timeout) {
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(absl::Now() + timeout));
  SayWhoCalls(security_, context);
  {
    const absl::MutexLock lock(&mutex_);
    if (std::exchange(interrupted_, false)) {
      return MakeError(Reason::kCancelled, "the call was interrupted");
    }
    context_ = &context;
  }
  const absl::Cleanup done = [this] {
    const absl::MutexLock lock(&mutex_);
    context_ = nullptr;
  };
  v1::SynchronizeResponse response;
  const grpc::Status status = stub_->Synchronize(&context, request, &response);
  if (status.error_code() == grpc::StatusCode::UNAUTHENTICATED) ReadTokenAgain();
  if (!status.ok()) return FromGrpc(status);
  return response;
}

void Synchronizer::ReadTokenAgain() {
  if (token_file_.empty()) return;
  auto token = ReadSecretFile("--token-file", token_file_);
  if (token.ok()) security_.token = *std::move(token);
}

void Synchronizer::Interrupt() {
  const absl::MutexLock lock(&mutex_);
  if (context_ != nullptr) {
    context_->TryCancel();
  } else {
    interrupted_ = true;
  }
}

}  // namespace quantd
