// What a linear would gain from schemes that no format here holds: engine/analysis measures it,
// report.json has it as layers[].analysis.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/json.h"

namespace quantd {

// The most salient input channels kept in 16 bit.
struct SalientProtection {
  double share = 0;      // of the channels, 0.01
  int64_t channels = 0;  // so many
  double output_error = 0;
  bool operator==(const SalientProtection&) const = default;
};

// Weights of a group rounded to one set of levels.
struct CodebookError {
  std::string name;            // "uniform" (the codes of the artifact), "nf4", "k-means"
  double bits_per_weight = 0;  // codes, scales and levels
  double weight_error = 0;     // ||dW|| / ||W||
  double output_error = 0;
  bool operator==(const CodebookError&) const = default;
};

// Output errors are ||X dW^T|| / ||X W^T|| on the sampled tokens.
struct LayerAnalysis {
  int64_t rows = 0;         // of the weight, that were looked at
  double output_error = 0;  // of those rows as they are quantized
  std::vector<SalientProtection> salient;
  std::vector<CodebookError> codebooks;  // empty above 4 bits; else "uniform" first
  bool operator==(const LayerAnalysis&) const = default;
};

Json ToJson(const LayerAnalysis& analysis);
absl::StatusOr<LayerAnalysis> LayerAnalysisFromJson(const Json& json);

// "analysis: output error 5.21 %; 1 % of channels in 16 bit 3.90 %; …": means over the linears
// analysed. Empty without any.
std::string DescribeAnalyses(const std::vector<const LayerAnalysis*>& analyses);

}  // namespace quantd
