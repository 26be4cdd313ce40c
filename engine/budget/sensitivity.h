// How much a model minds each of its linears in each candidate width, from one pass over a few
// windows.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/plan/plan.h"
#include "engine/types/progress.h"

namespace quantd {

// Linears that read the same input: engines fuse them, so they take the same bits. With loaders
// vllm and sglang all experts of a block too.
struct Unit {
  std::vector<std::string> names;
  int64_t weights = 0;
  // By candidate. The squared relative error that this unit alone, quantized, adds to the residual
  // stream after its block: ||x' - x||^2 / ||x||^2 over all tokens. Errors of different units add,
  // and KL grows in proportion, as long as they are small.
  std::vector<double> damage;
  std::vector<int64_t> storage_bits;  // codes, scales and zeros
};

struct Sensitivity {
  std::vector<int> bits;    // of the candidates, rising
  std::vector<Unit> units;  // in the order of the model
};

// The candidates' plans are of the same model and recipe but for the bits; linears that have the
// same bits in all of them are not measured and are no units. Each block is run once per unit and
// candidate, on `windows` windows of the calibration text, quantized by round to nearest with the
// scale rule weighted-mse: rankings between widths and linears carry over to other methods.
// Deterministic for any number of threads. Errors: those of a run.
absl::StatusOr<Sensitivity> MeasureSensitivity(std::span<const PlannedQuantization* const> plans,
                                               int64_t windows, ProgressSink& sink);

}  // namespace quantd
