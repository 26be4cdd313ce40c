// JSON from outside: bounded depth and size, absl::Status instead of exceptions.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/error.h"
#include "nlohmann/json.hpp"

namespace quantd {

// Keys keep their order: files that we write read like the ones people know.
using Json = nlohmann::ordered_json;

// Parses `text`. `what` names it in errors ("config.json"). Errors: MODEL_CORRUPT for bad syntax,
// nesting deeper than 64, or duplicate keys.
absl::StatusOr<Json> ParseJson(std::string_view text, std::string_view what);

// One line, never throws: bytes that are not UTF-8 are replaced.
std::string DumpJson(const Json& value);
// Indented by one space, ending in a newline: for files that people open.
std::string DumpJsonPretty(const Json& value);

// Reads typed fields of one object and remembers what was wrong and which keys nobody asked for, so
// that all problems are reported at once.
//
//   JsonFields fields(json, "recipe.default");
//   scheme.bits = fields.Integer("bits", scheme.bits, 1, 8);
//   QD_RETURN_IF_ERROR(fields.Finish());
class JsonFields {
 public:
  JsonFields(const Json& object, std::string_view path);

  bool Has(std::string_view key) const;
  int64_t Integer(std::string_view key, int64_t fallback, int64_t low, int64_t high);
  double Number(std::string_view key, double fallback, double low, double high);
  bool Bool(std::string_view key, bool fallback);
  std::string String(std::string_view key, std::string_view fallback);
  std::vector<std::string> Strings(std::string_view key);
  // The value itself, or nullptr. Marks the key as known.
  const Json* Value(std::string_view key);
  // Records a problem found by the caller.
  void Wrong(std::string_view key, std::string_view got, std::string_view wanted);

  // OK, or INVALID_FIELD with every problem. Unknown keys are problems.
  absl::Status Finish();
  // As Finish, but unknown keys are fine: for files that others write, such as config.json.
  absl::Status FinishIgnoringUnknown();

 private:
  absl::Status Result(bool refuse_unknown);

  const Json& object_;
  std::string path_;
  std::vector<std::string> known_;
  std::vector<Violation> violations_;
};

}  // namespace quantd
