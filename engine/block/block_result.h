// What comes of one block, beside its packed tensors.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/json.h"
#include "engine/block/transform.h"
#include "engine/types/kv_cache.h"
#include "engine/types/progress.h"
#include "engine/types/scheme.h"

namespace quantd {

struct BlockResult {
  int64_t block = 0;                // index in the model
  std::vector<LayerReport> layers;  // of the linears that were quantized, in their order
  std::vector<std::string> warnings;
  // What no linear has, but the block: its tensors are packed beside those of the linears.
  std::optional<CacheReport> cache;  // where the recipe has kv_cache

  // With these the quantized block can run again: empty where nobody asked to keep them.
  BlockTransform transform;
  std::vector<std::optional<QuantizedRows>> rows;  // as BlockSpec::linears; none: stays as it was
};

// Block, layers, warnings and cache; what runs the block again is not JSON (run/journal.h stores
// it).
Json ToJson(const BlockResult& result);
absl::StatusOr<BlockResult> BlockResultFromJson(const Json& json);

}  // namespace quantd
