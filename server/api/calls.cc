#include "server/api/calls.h"

#include <array>
#include <iterator>
#include <string>

#include "base/error.h"

namespace quantd {
namespace {

constexpr size_t kMostWaiting = 2000;

constexpr std::array<std::string_view, 17> kCodeNames = {
    "OK",        "CANCELLED",      "UNKNOWN",           "INVALID_ARGUMENT",   "DEADLINE_EXCEEDED",
    "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION",
    "ABORTED",   "OUT_OF_RANGE",   "UNIMPLEMENTED",     "INTERNAL",           "UNAVAILABLE",
    "DATA_LOSS", "UNAUTHENTICATED"};

}  // namespace

std::string_view NameOfCode(grpc::StatusCode code) {
  const auto index = static_cast<size_t>(code);
  return index < kCodeNames.size() ? kCodeNames[index] : "UNKNOWN";
}

grpc::Status CallTimer::End(const absl::Status& status) const {
  grpc::Status result = ToGrpc(status);
  api_->metrics.RpcDone(method_, NameOfCode(result.error_code()), api_->clock.Now() - start_);
  return result;
}

Credentials CredentialsOf(const grpc::CallbackServerContext& context) {
  const auto value = [&](const char* name) -> std::string {
    const auto [first, last] = context.client_metadata().equal_range(name);
    if (first == last) return "";
    // Of two, one might be checked here and the other meant.
    if (std::next(first) != last) return "given twice";
    return std::string(first->second.data(), first->second.size());
  };
  return {.authorization = value("authorization"), .tenant = value("quantd-tenant")};
}

absl::Status CheckLoad(const Executor& executor) {
  if (executor.waiting() < kMostWaiting) return absl::OkStatus();
  return MakeError(Reason::kUnavailable, "the server has too many calls waiting; try again");
}

absl::Status ShuttingDown() {
  return MakeError(Reason::kShuttingDown, "the server is shutting down; call again");
}

}  // namespace quantd
