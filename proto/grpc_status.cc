#include "proto/grpc_status.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace quantd {
namespace {

// Together these stay well under the 8 KiB that clients accept by default, after percent and base64
// encoding.
constexpr size_t kMaxMessage = 800;
constexpr size_t kMaxDetail = 160;
constexpr size_t kMaxDetailBytes = 2500;
constexpr size_t kMaxViolations = 16;
constexpr int kRetrySeconds = 1;
constexpr std::string_view kGot = "got ";
constexpr std::string_view kWanted = ", wanted ";

// Cuts at a character, not within one.
std::string Cut(std::string_view text, size_t limit) {
  if (text.size() <= limit) return std::string(text);
  size_t end = limit;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0U) == 0x80U) --end;
  return absl::StrCat(ToAbsl(text.substr(0, end)), "…");
}

void AddViolations(const std::vector<Violation>& violations, std::string_view reason,
                   google::rpc::Status& out) {
  google::rpc::BadRequest bad_request;
  size_t bytes = 0;
  for (size_t i = 0; i < std::min(violations.size(), kMaxViolations); ++i) {
    google::rpc::BadRequest::FieldViolation entry;
    entry.set_field(Cut(violations[i].where, kMaxDetail));
    entry.set_description(absl::StrCat(ToAbsl(kGot), Cut(violations[i].got, kMaxDetail),
                                       ToAbsl(kWanted), Cut(violations[i].wanted, kMaxDetail)));
    entry.set_reason(std::string(reason));
    bytes += entry.ByteSizeLong();
    if (i > 0 && bytes > kMaxDetailBytes) break;
    *bad_request.add_field_violations() = std::move(entry);
  }
  out.add_details()->PackFrom(bad_request);
}

Violation ParseViolation(const google::rpc::BadRequest::FieldViolation& entry) {
  Violation violation{.where = entry.field(), .got = "", .wanted = ""};
  std::string_view text = entry.description();
  if (text.starts_with(kGot)) text.remove_prefix(kGot.size());
  const size_t split = text.find(kWanted);
  violation.got = std::string(text.substr(0, split));
  if (split != std::string_view::npos) {
    violation.wanted = std::string(text.substr(split + kWanted.size()));
  }
  return violation;
}

// For errors that did not come from our code.
Reason ReasonOfCode(grpc::StatusCode code) {
  switch (code) {
    case grpc::StatusCode::UNAVAILABLE:
    case grpc::StatusCode::DEADLINE_EXCEEDED:
      return Reason::kUnavailable;
    case grpc::StatusCode::CANCELLED:
      return Reason::kCancelled;
    case grpc::StatusCode::UNIMPLEMENTED:
      return Reason::kUnimplemented;
    case grpc::StatusCode::INVALID_ARGUMENT:
      return Reason::kInvalidField;
    case grpc::StatusCode::UNAUTHENTICATED:
      return Reason::kUnauthenticated;
    case grpc::StatusCode::PERMISSION_DENIED:
      return Reason::kPermissionDenied;
    default:
      return Reason::kInternal;
  }
}

}  // namespace

grpc::Status ToGrpc(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  const ReasonRow& row = RowOf(ReasonOf(status).value_or(Reason::kInternal));
  const std::string message = Cut(ToStd(status.message()), kMaxMessage);
  google::rpc::Status details;
  details.set_code(static_cast<int>(row.code));
  details.set_message(message);
  google::rpc::ErrorInfo info;
  info.set_reason(std::string(row.name));
  info.set_domain(kErrorDomain);
  (*info.mutable_metadata())["fault"] = row.fault == Fault::kUser ? "user" : "system";
  (*info.mutable_metadata())["retryable"] = row.retryable ? "true" : "false";
  details.add_details()->PackFrom(info);
  const std::vector<Violation> violations = ViolationsOf(status);
  if (!violations.empty()) AddViolations(violations, row.name, details);
  if (row.reason == Reason::kQueueFull || row.reason == Reason::kQuotaExceeded ||
      row.code == absl::StatusCode::kUnavailable) {
    google::rpc::RetryInfo retry;
    retry.mutable_retry_delay()->set_seconds(kRetrySeconds);
    details.add_details()->PackFrom(retry);
  }
  return grpc::Status(static_cast<grpc::StatusCode>(row.code), message,
                      details.SerializeAsString());
}

absl::Status FromGrpc(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  google::rpc::Status details;
  std::string reason;
  std::vector<Violation> violations;
  if (!status.error_details().empty() && details.ParseFromString(status.error_details())) {
    for (const google::protobuf::Any& detail : details.details()) {
      google::rpc::ErrorInfo info;
      google::rpc::BadRequest bad_request;
      if (detail.Is<google::rpc::ErrorInfo>() && detail.UnpackTo(&info)) reason = info.reason();
      if (detail.Is<google::rpc::BadRequest>() && detail.UnpackTo(&bad_request)) {
        for (const auto& entry : bad_request.field_violations()) {
          violations.push_back(ParseViolation(entry));
        }
      }
    }
  }
  if (reason.empty()) reason = RowOf(ReasonOfCode(status.error_code())).name;
  return ErrorFromParts(reason, status.error_message(), std::move(violations));
}

}  // namespace quantd
