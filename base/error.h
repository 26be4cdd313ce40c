// Errors of quantd: an absl::Status that also says which rule was broken, where, what was got and
// what was wanted.
//
// Every reason a request or a job can fail for is one row of the table in error.cc: its name, its
// status code, whether the user or the system is at fault, and whether trying again can help. The
// same table feeds google.rpc.ErrorInfo on the wire, the scheduler's retry rule and docs/errors.md.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace quantd {

enum class Fault { kUser, kSystem };

// What can go wrong. The order is free; the names are part of the API (ErrorInfo.reason).
enum class Reason {
  kInvalidField,       // a value is out of its range or of the wrong type
  kUnknownField,       // a key that the schema does not have
  kModelNotFound,      // no model at that place
  kModelOutsideRoots,  // a path that the operator did not allow
  kModelUnsupported,   // a model family that we do not know, or a feature of it
  kModelCorrupt,       // files that contradict themselves: lying headers, wrong shapes, truncation
  kModelNotFinite,     // NaN or infinity in weights or activations
  kDatasetInvalid,     // calibration or evaluation text that cannot be read or is too short
  kRecipeInvalid,      // a scheme that the method or the linear cannot have
  kFormatCannotHold,   // an output format that cannot express the recipe
  kLoaderRefuses,      // shape rules of the engine that is to load the result
  kMemoryBudget,       // does not fit into the memory allowed
  kDiskFull,           // no space, or a file-size limit
  kIo,                 // any other failure of the file system
  kJobNotFound,
  kArtifactNotFound,
  kAlreadyExists,
  kWrongState,  // the operation does not fit the state of the job
  kQueueFull,
  kQuotaExceeded,
  kLeaseLost,          // a worker whose lease has passed to another
  kRunnerCrashed,      // the child process died
  kRunnerTimeLimit,    // max_run_time reached
  kRunnerMemoryLimit,  // the child was stopped by its memory limit
  kQueueTimeLimit,     // max_queue_time reached
  kAttemptsExhausted,
  kQualityGate,  // the result missed the gate
  kCancelled,
  kShuttingDown,
  kUnavailable,
  kUnimplemented,
  kInternal,
  kUnauthenticated,   // who calls is not known
  kPermissionDenied,  // who calls is known, and may not
  kWorkerNotFound,
  kUploadNotFound,
  kUploadCorrupt,  // bytes that are not those of the digest that was told for them
};

struct ReasonRow {
  Reason reason;
  std::string_view name;  // UPPER_SNAKE, as on the wire
  absl::StatusCode code;
  Fault fault;
  bool retryable;         // whether the scheduler may try the job again
  std::string_view text;  // one line for people
};

// All rows, one per Reason, in the order of the enum.
std::span<const ReasonRow> Reasons();
const ReasonRow& RowOf(Reason reason);
std::optional<Reason> ReasonByName(std::string_view name);

// One thing that is wrong. `where` is a field path of the request ("recipe.default.bits"), a file,
// or file:tensor.
struct Violation {
  std::string where;
  std::string got;
  std::string wanted;
};

// An error with its reason. The message reads "<what>: <where>: got <got>, wanted <wanted>".
absl::Status MakeError(Reason reason, std::string_view what, Violation violation);
absl::Status MakeError(Reason reason, std::string_view what);

// Several violations at once: a person mends all of them in one go.
absl::Status MakeError(Reason reason, std::string_view what, std::vector<Violation> violations);

// The error of a failed system call: kDiskFull for ENOSPC, EDQUOT and EFBIG, else kIo.
// `error_number` is errno.
absl::Status ErrnoError(std::string_view what, std::string_view path, int error_number);

// The reason of an error made here; kInternal for any other error. OK has none.
std::optional<Reason> ReasonOf(const absl::Status& status);
std::vector<Violation> ViolationsOf(const absl::Status& status);

// Rebuilds an error that was carried as text (over a pipe or the wire).
absl::Status ErrorFromParts(std::string_view reason_name, std::string_view message,
                            std::vector<Violation> violations);

// absl::string_view is not std::string_view with Debian's build of absl: convert at the call.
inline absl::string_view ToAbsl(std::string_view text) { return {text.data(), text.size()}; }
inline std::string_view ToStd(absl::string_view text) { return {text.data(), text.size()}; }

}  // namespace quantd

#define QD_CONCAT_INNER(a, b) a##b
#define QD_CONCAT(a, b) QD_CONCAT_INNER(a, b)

#define QD_RETURN_IF_ERROR(expression)                            \
  do {                                                            \
    if (absl::Status qd_status = (expression); !qd_status.ok()) { \
      return qd_status;                                           \
    }                                                             \
  } while (false)

#define QD_ASSIGN_OR_RETURN(left, expression) \
  QD_ASSIGN_OR_RETURN_INNER(QD_CONCAT(qd_result_, __LINE__), left, expression)
#define QD_ASSIGN_OR_RETURN_INNER(result, left, expression) \
  auto result = (expression);                               \
  if (!result.ok()) return result.status();                 \
  left = std::move(result).value()
