// Prepared weights of the CPU backend: dense ones, and int8 ones for linears whose inputs are
// quantized, per token or by one scale.
#pragma once

#include <memory>
#include <vector>

#include "engine/backend/backend.h"
#include "engine/backend/cpu/gemm.h"

namespace quantd {

class CpuWeight : public PreparedWeight {
 public:
  int64_t out_features() const override { return n_; }
  int64_t in_features() const override { return k_; }
  // y[tokens, N] = x[tokens, K] W^T + bias (or null).
  virtual absl::Status Multiply(const float* x, int64_t tokens, const float* bias,
                                float* y) const = 0;

 protected:
  CpuWeight(int64_t n, int64_t k) : n_(n), k_(k) {}
  int64_t n_, k_;
};

absl::StatusOr<std::unique_ptr<PreparedWeight>> PrepareDense(const WeightRows& weight,
                                                             ComputeType compute);
// (code - zero) * scale as a dense weight.
absl::StatusOr<std::unique_ptr<PreparedWeight>> PrepareDequantized(const QuantizedRows& weight,
                                                                   ComputeType compute);
// The same, with inputs rounded as RoundInputs does before they are multiplied: a floating scheme
// with activations.
absl::StatusOr<std::unique_ptr<PreparedWeight>> PrepareFloating(const QuantizedRows& weight,
                                                                const Scheme& scheme,
                                                                ComputeType compute);
// For integer products: inputs are quantized to int8 by weight.input, or without one per token.
absl::StatusOr<std::unique_ptr<PreparedWeight>> PrepareInt8(const QuantizedRows& weight);

}  // namespace quantd
