#include "base/error.h"

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/cord.h"
#include "base/json.h"

namespace quantd {
namespace {

using absl::StatusCode;

constexpr std::string_view kPayloadUrl = "quantd/error";

constexpr std::array kRows = std::to_array<ReasonRow>({
    {Reason::kInvalidField, "INVALID_FIELD", StatusCode::kInvalidArgument, Fault::kUser, false,
     "a value is out of its range or of the wrong type"},
    {Reason::kUnknownField, "UNKNOWN_FIELD", StatusCode::kInvalidArgument, Fault::kUser, false,
     "a key that the schema does not have"},
    {Reason::kModelNotFound, "MODEL_NOT_FOUND", StatusCode::kNotFound, Fault::kUser, false,
     "there is no model at that place"},
    {Reason::kModelOutsideRoots, "MODEL_OUTSIDE_ROOTS", StatusCode::kPermissionDenied, Fault::kUser,
     false, "the path is not under a folder that the operator allowed"},
    {Reason::kModelUnsupported, "MODEL_UNSUPPORTED", StatusCode::kInvalidArgument, Fault::kUser,
     false, "the model family, or a feature of it, is not known"},
    {Reason::kModelCorrupt, "MODEL_CORRUPT", StatusCode::kDataLoss, Fault::kUser, false,
     "the model's files contradict themselves or are cut short"},
    {Reason::kModelNotFinite, "MODEL_NOT_FINITE", StatusCode::kDataLoss, Fault::kUser, false,
     "NaN or infinity in weights or activations"},
    {Reason::kDatasetInvalid, "DATASET_INVALID", StatusCode::kInvalidArgument, Fault::kUser, false,
     "the calibration or evaluation text cannot be used"},
    {Reason::kRecipeInvalid, "RECIPE_INVALID", StatusCode::kInvalidArgument, Fault::kUser, false,
     "the recipe asks for something that the method or the linear cannot have"},
    {Reason::kFormatCannotHold, "FORMAT_CANNOT_HOLD", StatusCode::kInvalidArgument, Fault::kUser,
     false, "the output format cannot express the recipe"},
    {Reason::kLoaderRefuses, "LOADER_REFUSES", StatusCode::kInvalidArgument, Fault::kUser, false,
     "the target loader would refuse the result"},
    {Reason::kMemoryBudget, "MEMORY_BUDGET", StatusCode::kInvalidArgument, Fault::kUser, false,
     "the job does not fit into the memory allowed"},
    {Reason::kDiskFull, "DISK_FULL", StatusCode::kResourceExhausted, Fault::kSystem, false,
     "no space is left on the disk, or a file grew past its limit"},
    {Reason::kIo, "IO_ERROR", StatusCode::kInternal, Fault::kSystem, true,
     "the file system failed"},
    {Reason::kJobNotFound, "JOB_NOT_FOUND", StatusCode::kNotFound, Fault::kUser, false,
     "there is no such job"},
    {Reason::kArtifactNotFound, "ARTIFACT_NOT_FOUND", StatusCode::kNotFound, Fault::kUser, false,
     "the job has no such file"},
    {Reason::kAlreadyExists, "ALREADY_EXISTS", StatusCode::kAlreadyExists, Fault::kUser, false,
     "the name or request id is taken by something else"},
    {Reason::kWrongState, "WRONG_STATE", StatusCode::kFailedPrecondition, Fault::kUser, false,
     "the operation does not fit the present state"},
    {Reason::kQueueFull, "QUEUE_FULL", StatusCode::kResourceExhausted, Fault::kSystem, true,
     "the queue is full; try again later"},
    {Reason::kQuotaExceeded, "QUOTA_EXCEEDED", StatusCode::kResourceExhausted, Fault::kUser, false,
     "a quota is used up"},
    {Reason::kLeaseLost, "LEASE_LOST", StatusCode::kAborted, Fault::kSystem, true,
     "the lease has passed to another worker"},
    {Reason::kRunnerCrashed, "RUNNER_CRASHED", StatusCode::kInternal, Fault::kSystem, true,
     "the process that ran the job died"},
    {Reason::kRunnerTimeLimit, "RUNNER_TIME_LIMIT", StatusCode::kDeadlineExceeded, Fault::kUser,
     false, "the job ran longer than its max_run_time"},
    {Reason::kRunnerMemoryLimit, "RUNNER_MEMORY_LIMIT", StatusCode::kResourceExhausted,
     Fault::kUser, false, "the job needed more memory than its limit"},
    {Reason::kQueueTimeLimit, "QUEUE_TIME_LIMIT", StatusCode::kDeadlineExceeded, Fault::kSystem,
     false, "the job waited longer than its max_queue_time"},
    {Reason::kAttemptsExhausted, "ATTEMPTS_EXHAUSTED", StatusCode::kInternal, Fault::kSystem, false,
     "the job failed as often as it may be tried"},
    {Reason::kQualityGate, "QUALITY_GATE", StatusCode::kFailedPrecondition, Fault::kUser, false,
     "the result missed the quality gate of the job"},
    {Reason::kCancelled, "CANCELLED", StatusCode::kCancelled, Fault::kUser, false,
     "the job was cancelled"},
    {Reason::kShuttingDown, "SHUTTING_DOWN", StatusCode::kUnavailable, Fault::kSystem, true,
     "the server or worker is shutting down"},
    {Reason::kUnavailable, "UNAVAILABLE", StatusCode::kUnavailable, Fault::kSystem, true,
     "something that is needed is not there at the moment"},
    {Reason::kUnimplemented, "UNIMPLEMENTED", StatusCode::kUnimplemented, Fault::kUser, false,
     "this is not built yet"},
    {Reason::kInternal, "INTERNAL", StatusCode::kInternal, Fault::kSystem, true, "a bug of quantd"},
    {Reason::kUnauthenticated, "UNAUTHENTICATED", StatusCode::kUnauthenticated, Fault::kUser, false,
     "the call carries no token, or none that is good"},
    {Reason::kPermissionDenied, "PERMISSION_DENIED", StatusCode::kPermissionDenied, Fault::kUser,
     false, "the caller's roles do not allow this"},
    {Reason::kWorkerNotFound, "WORKER_NOT_FOUND", StatusCode::kNotFound, Fault::kUser, false,
     "there is no such worker"},
    {Reason::kUploadNotFound, "UPLOAD_NOT_FOUND", StatusCode::kNotFound, Fault::kUser, false,
     "nothing was uploaded under that name"},
    {Reason::kUploadCorrupt, "UPLOAD_CORRUPT", StatusCode::kDataLoss, Fault::kUser, false,
     "what was uploaded is not what its digest says"},
});

static_assert(kRows.size() == static_cast<size_t>(Reason::kUploadCorrupt) + 1,
              "one row per reason");
static_assert(
    [] {
      for (size_t i = 0; i < kRows.size(); ++i) {
        if (kRows[i].reason != static_cast<Reason>(i)) return false;
      }
      return true;
    }(),
    "rows are in the order of the enum");

void Attach(absl::Status& status, std::string_view reason,
            const std::vector<Violation>& violations) {
  Json payload = {{"reason", reason}, {"violations", Json::array()}};
  for (const Violation& violation : violations) {
    payload["violations"].push_back(
        {{"where", violation.where}, {"got", violation.got}, {"wanted", violation.wanted}});
  }
  status.SetPayload(ToAbsl(kPayloadUrl), absl::Cord(DumpJson(payload)));
}

std::optional<Json> PayloadOf(const absl::Status& status) {
  const auto payload = status.GetPayload(ToAbsl(kPayloadUrl));
  if (!payload.has_value()) return std::nullopt;
  auto parsed = ParseJson(std::string(*payload), "error payload");
  if (!parsed.ok() || !parsed->is_object()) return std::nullopt;
  return *std::move(parsed);
}

std::string Describe(const Violation& violation) {
  std::string text = violation.where;
  if (!violation.got.empty()) text += (text.empty() ? "got " : ": got ") + violation.got;
  if (!violation.wanted.empty())
    text += (text.empty() ? "wanted " : ", wanted ") + violation.wanted;
  return text;
}

}  // namespace

std::span<const ReasonRow> Reasons() { return kRows; }

const ReasonRow& RowOf(Reason reason) { return kRows[static_cast<size_t>(reason)]; }

std::optional<Reason> ReasonByName(std::string_view name) {
  for (const ReasonRow& row : kRows) {
    if (row.name == name) return row.reason;
  }
  return std::nullopt;
}

absl::Status MakeError(Reason reason, std::string_view what, std::vector<Violation> violations) {
  std::string message(what);
  for (size_t i = 0; i < violations.size(); ++i) {
    message += (i == 0 ? ": " : "; ") + Describe(violations[i]);
  }
  const ReasonRow& row = RowOf(reason);
  absl::Status status(row.code, message);
  Attach(status, row.name, violations);
  return status;
}

absl::Status MakeError(Reason reason, std::string_view what, Violation violation) {
  return MakeError(reason, what, std::vector<Violation>{std::move(violation)});
}

absl::Status MakeError(Reason reason, std::string_view what) {
  return MakeError(reason, what, std::vector<Violation>{});
}

absl::Status ErrnoError(std::string_view what, std::string_view path, int error_number) {
  const bool full = error_number == ENOSPC || error_number == EDQUOT || error_number == EFBIG;
  return MakeError(
      full ? Reason::kDiskFull : Reason::kIo, what,
      Violation{.where = std::string(path), .got = std::strerror(error_number), .wanted = ""});
}

std::optional<Reason> ReasonOf(const absl::Status& status) {
  if (status.ok()) return std::nullopt;
  const auto payload = PayloadOf(status);
  if (!payload.has_value()) return Reason::kInternal;
  return ReasonByName(payload->value("reason", "")).value_or(Reason::kInternal);
}

std::vector<Violation> ViolationsOf(const absl::Status& status) {
  std::vector<Violation> violations;
  const auto payload = PayloadOf(status);
  if (!payload.has_value()) return violations;
  for (const Json& entry : payload->value("violations", Json::array())) {
    violations.push_back({.where = entry.value("where", ""),
                          .got = entry.value("got", ""),
                          .wanted = entry.value("wanted", "")});
  }
  return violations;
}

absl::Status ErrorFromParts(std::string_view reason_name, std::string_view message,
                            std::vector<Violation> violations) {
  const ReasonRow& row = RowOf(ReasonByName(reason_name).value_or(Reason::kInternal));
  absl::Status status(row.code, ToAbsl(message));
  Attach(status, row.name, violations);
  return status;
}

}  // namespace quantd
