// One linear of method and format as they are, and what else could have been done with it.
#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/threads.h"
#include "engine/backend/backend.h"
#include "engine/types/layer_analysis.h"
#include "engine/types/scheme.h"

namespace quantd {

// A quantized linear [N, K] and samples of its inputs. All is as folded: `read` gives w s, `x` is
// divided by s.
struct AnalysedLinear {
  const Scheme& scheme;
  const QuantizedRows& quantized;  // all N rows
  // Row `row` in f32 to[K]. Thread-safe.
  std::function<absl::Status(int64_t row, float* to)> read;
  std::span<const float> x;  // [tokens, K], tokens >= 1
  int64_t tokens = 0;
  std::span<const float> mean_squares;  // [K], of the calibration; empty: those of x
  // What the outputs are multiplied by, [N]; empty: nothing.
  std::span<const float> factors;
};

// Looks at 512 rows at most, evenly spaced. Salient are the channels with the largest mean x^2
// times squared error of their column. Codebooks (2 to 4 bits, groups or channels) are those of the
// same groups, k-means weighted by mean x^2, levels and scales rounded to scheme.scale_dtype.
// Memory: three copies of the rows looked at. Runs on the pool; deterministic for any number of
// threads.
absl::StatusOr<LayerAnalysis> AnalyzeLinear(const AnalysedLinear& linear, Backend& backend,
                                            ThreadPool& pool);

}  // namespace quantd
