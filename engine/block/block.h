// One decoder block on its way through a run.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/block/activations.h"
#include "engine/block/expert_statistics.h"
#include "engine/block/transform.h"
#include "engine/calibrate/cache_range.h"
#include "engine/calibrate/statistics.h"
#include "engine/model/weight_source.h"
#include "engine/types/model_spec.h"
#include "engine/types/recipe.h"

namespace quantd {

// What it is, where its weights come from and what is done to them before they are quantized, and
// what is known of its inputs. Filled step by step: block_quantizer.h.
struct Block {
  const BlockSpec& spec;
  int64_t index = 0;                        // in the model
  std::span<const ResolvedLinear> linears;  // as spec.linears
  std::vector<WeightSource> sources;        // as spec.linears
  BlockTransform transform;                 // nothing until chosen

  std::vector<InputStatistics> statistics = {};  // by LinearSpec::input, when calibrated; of the
                                                 // inputs as transformed
  InputSamples samples = {};                     // of the original's inputs, when evaluated
  ExpertTokens experts = {};                     // when calibrated
  CacheRange cache = {};  // of the original's keys and values, when the recipe has kv_cache
};

}  // namespace quantd
