// From the state of a run to what engine/analysis looks at.
#pragma once

#include <optional>

#include "absl/status/statusor.h"
#include "engine/block/activations.h"
#include "engine/block/transform.h"
#include "engine/method/registry.h"
#include "engine/types/layer_analysis.h"

namespace quantd {

// What is known of a linear's inputs.
struct AnalyzedInputs {
  const WeightSource& source;
  const Transform& transform;
  const InputSamples::Rows& samples;            // of the original model
  const InputStatistics* statistics = nullptr;  // as transformed; null or empty: the samples serve
};

// Nothing for a scheme that rounds activations too: an analysis of its weights alone would mislead.
absl::StatusOr<std::optional<LayerAnalysis>> AnalyzeResolved(const ResolvedLinear& entry,
                                                             const QuantizedRows& rows,
                                                             const AnalyzedInputs& inputs,
                                                             const MethodContext& context);

}  // namespace quantd
