// Gathers what is wrong with a message, so that a person can mend everything in one go.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/error.h"

namespace quantd {

// Thread-compatible.
class FieldChecks {
 public:
  explicit FieldChecks(std::string_view path) : path_(path) {}

  // Notes a problem of the field `name` below the path.
  void Wrong(std::string_view name, std::string_view got, std::string_view wanted) {
    violations_.push_back(
        {.where = Path(name), .got = std::string(got), .wanted = std::string(wanted)});
  }
  // `value`, noted as wrong unless it is in [low, high].
  int64_t InRange(std::string_view name, int64_t value, int64_t low, int64_t high) {
    if (value < low || value > high) {
      Wrong(name, absl::StrCat(value), absl::StrCat(low, " to ", high));
    }
    return value;
  }
  // Not finite or outside [low, high] is wrong.
  double NumberInRange(std::string_view name, double value, double low, double high) {
    if (!(value >= low && value <= high)) {
      Wrong(name, absl::StrCat(value), absl::StrCat(low, " to ", high));
    }
    return value;
  }
  // Takes over the problems of `status`, whose paths are complete.
  void Collect(const absl::Status& status) {
    for (Violation& violation : ViolationsOf(status)) violations_.push_back(std::move(violation));
  }
  std::string Path(std::string_view name) const {
    if (path_.empty()) return std::string(name);
    return name.empty() ? path_ : absl::StrCat(path_, ".", ToAbsl(name));
  }
  bool ok() const { return violations_.empty(); }
  // OK, or `reason` with all problems.
  absl::Status Finish(Reason reason = Reason::kInvalidField) {
    if (violations_.empty()) return absl::OkStatus();
    return MakeError(reason, "refused", std::move(violations_));
  }

 private:
  std::string path_;
  std::vector<Violation> violations_;
};

}  // namespace quantd
