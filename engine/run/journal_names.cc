#include "engine/run/journal_names.h"

#include "absl/strings/numbers.h"
#include "absl/strings/strip.h"
#include "base/error.h"

namespace quantd {

std::optional<int64_t> NumberInRecord(std::string_view name, std::string_view kind) {
  absl::string_view text = ToAbsl(name);
  int64_t number = 0;
  if (!absl::ConsumePrefix(&text, ToAbsl(kind)) || !absl::ConsumePrefix(&text, "-") ||
      !absl::ConsumeSuffix(&text, ToAbsl(kRecordEnding)) || !absl::SimpleAtoi(text, &number)) {
    return std::nullopt;
  }
  return number;
}

}  // namespace quantd
