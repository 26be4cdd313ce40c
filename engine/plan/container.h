// What a plan asks of formats that are one file of their own kind.
#pragma once

#include <vector>

#include "absl/status/status.h"
#include "engine/plan/plan.h"

namespace quantd {

// plan.embedding, if the method stores the embedding in a type of its own.
absl::Status PlanEmbedding(const Recipe& recipe, Plan& plan);
// A tensor of the model as the format stores it when it is not quantized.
TensorInfo AsStored(const TensorInfo& tensor, const Format& format, const ModelSpec& model);
// Whether the format has a place for a tensor that the family does not name.
bool HasPlace(const TensorInfo& tensor, const Format& format, const ModelSpec& model);
// Sets plan.files, and plan.shards to their tensors. Adds to plan.warnings.
absl::Status LayOutContainer(const PlannedQuantization& planned, std::vector<TensorInfo> tensors,
                             Plan& plan);

}  // namespace quantd
