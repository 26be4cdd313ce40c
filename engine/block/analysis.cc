#include "engine/block/analysis.h"

#include <vector>

#include "base/error.h"
#include "engine/analysis/linear_analysis.h"

namespace quantd {

absl::StatusOr<std::optional<LayerAnalysis>> AnalyzeResolved(const ResolvedLinear& entry,
                                                             const QuantizedRows& rows,
                                                             const AnalyzedInputs& inputs,
                                                             const MethodContext& context) {
  if (entry.scheme->activations != ActivationScheme::kNone) return std::nullopt;
  if (inputs.samples.tokens == 0) return std::nullopt;  // an expert that no sampled token chose
  const int64_t channels = entry.linear->in_features;
  const auto read = [&](int64_t row, float* to) -> absl::Status {
    QD_RETURN_IF_ERROR(inputs.source.ReadF32(row, 1, to));
    if (!inputs.transform.empty()) inputs.transform.Apply(row, 1, channels, to);
    return absl::OkStatus();
  };
  std::vector<float> x = inputs.samples.x;
  const std::vector<float>& columns = inputs.transform.columns;
  for (size_t i = 0; !columns.empty() && i < x.size(); ++i) x[i] /= columns[i % columns.size()];
  std::vector<float> mean_squares;
  if (inputs.statistics != nullptr && inputs.statistics->channels() == channels) {
    mean_squares = inputs.statistics->MeanSquares();
  }
  QD_ASSIGN_OR_RETURN(LayerAnalysis analysis, AnalyzeLinear({.scheme = *entry.scheme,
                                                             .quantized = rows,
                                                             .read = read,
                                                             .x = x,
                                                             .tokens = inputs.samples.tokens,
                                                             .mean_squares = mean_squares,
                                                             .factors = inputs.transform.rows},
                                                            context.backend, context.pool));
  return analysis;
}

}  // namespace quantd
