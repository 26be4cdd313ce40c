// How the engine that serves a model keeps the keys and values of earlier tokens, and what it needs
// to know for that.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "base/json.h"

namespace quantd {

// kNone: as they are computed. kFp8: as E4M3 times one scale per block for all keys and one for all
// values, found in calibration.
enum class KvCache { kNone, kFp8 };
std::string_view NameOf(KvCache cache);  // "none", "fp8"

// Of one block: what its keys (after norms and rope) and its values are divided by before they are
// rounded to E4M3. Representable in the model's type.
struct CacheScales {
  float key = 1, value = 1;
  bool operator==(const CacheScales&) const = default;
};

// One per block, in the report.
struct CacheReport {
  std::string name;  // module: "model.layers.0.self_attn"
  CacheScales scales;
  // The greatest magnitude of all channels over the median of the channels' greatest: what one
  // scale for all of them costs. 1: all channels are alike.
  double key_spread = 1, value_spread = 1;
  bool operator==(const CacheReport&) const = default;
};

Json ToJson(const CacheReport& report);
absl::StatusOr<CacheReport> CacheReportFromJson(const Json& json);

}  // namespace quantd
