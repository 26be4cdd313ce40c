// The scales of an FP8 cache of keys and values, of one block.
#pragma once

#include "absl/status/status.h"
#include "engine/artifact/packed_tensors.h"
#include "engine/block/block.h"
#include "engine/calibrate/cache_range.h"
#include "engine/types/kv_cache.h"
#include "engine/types/model_spec.h"

namespace quantd {

// absmax / 448 of what was seen, rounded to the model's type; where that is 0, the type's epsilon.
// As compressed-tensors 0.20 has it (calculate_qparams; strategy tensor, symmetric). `range` is of
// the original block; values whose rows block.transform scales are scaled with them.
CacheReport CacheScalesOf(const ModelSpec& model, const Block& block, const CacheRange& range);
// As the tensors of the plan (CacheTensors).
absl::Status WriteCacheScales(const CacheReport& report, PackedTensors& tensors);

}  // namespace quantd
