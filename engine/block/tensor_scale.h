// The second level of scales: one f32 of a whole linear, known once all its weights are.
#pragma once

#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "base/threads.h"
#include "engine/block/transform.h"
#include "engine/model/weight_source.h"
#include "engine/types/recipe.h"

namespace quantd {

// Scheme::tensor_scale of each linear, 0 where its number format has none. Linears that servers
// fuse (the same input and parent module: q, k, v; gate, up) get one, by the largest weight of all,
// as llm-compressor saves them. `transforms` as `linears`, or empty. Errors: those of the sources.
// Cost: one pass over the weights of such linears.
absl::StatusOr<std::vector<float>> TensorScales(std::span<const ResolvedLinear> linears,
                                                std::span<const WeightSource> sources,
                                                std::span<const Transform> transforms,
                                                ThreadPool& pool);

}  // namespace quantd
