// How far the quantized model is from the original: perplexity of both on the same tokens by the
// same code, KL per token, top-1 agreement. Protocol: docs/numerics.md (non-overlapping windows;
// each position but the last of a window predicts the next token).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "engine/backend/backend.h"
#include "engine/model/forward.h"
#include "engine/types/report.h"

namespace quantd {

// Collects the scores of every window. Record may be called from several threads, once per window;
// the result does not depend on the order.
class Evaluation {
 public:
  explicit Evaluation(int64_t windows) : scores_(static_cast<size_t>(windows)) {}

  // Runs the head on both streams, x_*[T, D], and scores positions 0..T-2 against ids[1..T-1].
  // Logits are computed a tile of positions at a time: memory is tile x V, not T x V.
  // `quantized_head` may be the same head.
  absl::Status Record(int64_t window, std::span<const int32_t> ids, const float* x_original,
                      const float* x_quantized, const Head& original_head,
                      const Head& quantized_head, Backend& backend, int64_t vocabulary);
  // Sums in the order of windows.
  EvaluationResult Finish() const;

 private:
  std::vector<std::vector<TokenScores>> scores_;
};

}  // namespace quantd
