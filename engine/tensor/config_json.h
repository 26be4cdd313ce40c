// config.json of a model, as Python writes it.
#pragma once

#include <string_view>

#include "absl/status/statusor.h"
#include "base/json.h"

namespace quantd {

// ParseJson of a text in which NaN, Infinity and -Infinity may stand for numbers, as Python's json
// module writes them and JSON does not know them. Each is read as {"__float__": "Infinity"}, which
// is how transformers 5 writes them. Errors: those of ParseJson.
absl::StatusOr<Json> ParseConfigJson(std::string_view text, std::string_view what);

}  // namespace quantd
