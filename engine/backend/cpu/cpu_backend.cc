#include "engine/backend/cpu/cpu_backend.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "engine/backend/cpu/attention.h"
#include "engine/backend/cpu/gemm.h"
#include "engine/backend/cpu/matmul.h"
#include "engine/backend/cpu/row_ops.h"
#include "engine/backend/cpu/score.h"
#include "engine/tensor/small_float.h"

namespace quantd {
namespace {

class Cpu final : public Backend {
 public:
  std::string_view name() const override { return "cpu"; }

  ComputeType Resolve(ComputeType compute, DType model_dtype) const override {
    if (compute != ComputeType::kAuto) return compute;
    return model_dtype == DType::kBF16 && HasFastBf16() ? ComputeType::kBF16 : ComputeType::kF32;
  }

  absl::StatusOr<std::unique_ptr<PreparedWeight>> Prepare(const WeightRows& weight,
                                                          ComputeType compute) override {
    return PrepareDense(weight, Resolve(compute, weight.dtype));
  }

  absl::StatusOr<std::unique_ptr<PreparedWeight>> PrepareQuantized(const QuantizedRows& weight,
                                                                   const Scheme& scheme,
                                                                   ComputeType compute) override {
    if (scheme.activations != ActivationScheme::kNone) {
      if (!scheme.floating()) return PrepareInt8(weight);
      return PrepareFloating(weight, scheme, Resolve(compute, DType::kF32));
    }
    return PrepareDequantized(weight, Resolve(compute, DType::kF32));
  }

  absl::Status MatMul(const float* x, int64_t tokens, const PreparedWeight& weight,
                      const float* bias, float* y) override {
    if (tokens == 0) return absl::OkStatus();
    return static_cast<const CpuWeight&>(weight).Multiply(x, tokens, bias, y);
  }

  absl::Status Product(const ProductShape& shape, const float* a, const float* b,
                       float* c) override {
    if (shape.m == 0 || shape.n == 0) return absl::OkStatus();
    return quantd::Product(shape, a, b, c);
  }

  void RmsNorm(const float* x, const float* gain, int64_t rows, int64_t width, float epsilon,
               float* y) override {
    for (int64_t row = 0; row < rows; ++row) {
      CpuRowOps().rms_norm(x + row * width, gain, width, epsilon, y + row * width);
    }
  }

  void LayerNorm(const float* x, const float* gain, const float* bias, int64_t rows, int64_t width,
                 float epsilon, float* y) override {
    for (int64_t row = 0; row < rows; ++row) {
      CpuRowOps().layer_norm(x + row * width, gain, bias, width, epsilon, y + row * width);
    }
  }

  void Rope(float* x, int64_t tokens, int64_t heads, int64_t head_dim, int64_t half_dims,
            const float* cos, const float* sin) override {
    for (int64_t t = 0; t < tokens; ++t) {
      for (int64_t head = 0; head < heads; ++head) {
        CpuRowOps().rope(x + (t * heads + head) * head_dim, half_dims, cos + t * half_dims,
                         sin + t * half_dims);
      }
    }
  }

  absl::Status Attention(const float* q, const float* k, const float* v,
                         const AttentionShape& shape, ComputeType compute, float* out) override {
    if (shape.tokens == 0) return absl::OkStatus();
    if (shape.kv_heads <= 0 || shape.heads % shape.kv_heads != 0) {
      return MakeError(Reason::kInternal, absl::StrCat(shape.heads, " heads cannot share ",
                                                       shape.kv_heads, " key heads"));
    }
    return CpuAttention(q, k, v, shape, compute, out);
  }

  void RoundToFp8(float* x, float scale, int64_t count) override {
    for (int64_t i = 0; i < count; ++i) {
      x[i] = rules::RoundToSmallFloat(rules::kE4M3, x[i] / scale) * scale;
    }
  }

  void Activate(Activation activation, float* x, int64_t count) override {
    CpuRowOps().activate(activation, x, count);
  }

  void ActivateMultiply(Activation activation, float* gate, const float* up,
                        int64_t count) override {
    CpuRowOps().activate_multiply(activation, gate, up, count);
  }

  void SoftCap(float* x, float cap, int64_t count) override { CpuRowOps().soft_cap(x, cap, count); }

  void Add(float* x, const float* y, int64_t count) override { CpuRowOps().add(x, y, count); }

  void GatherRows(const float* x, std::span<const int32_t> rows, int64_t width, float* y) override {
    for (const int32_t row : rows) {
      std::copy_n(x + row * width, width, y);
      y += width;
    }
  }

  void ScatterAddRows(const float* y, std::span<const int32_t> rows, const float* factors,
                      int64_t width, float* x) override {
    for (size_t i = 0; i < rows.size(); ++i) {
      CpuRowOps().add_times(x + rows[i] * width, y + static_cast<int64_t>(i) * width, factors[i],
                            width);
    }
  }

  void Score(const float* original, const float* quantized, const int32_t* next, int64_t tokens,
             int64_t vocabulary, TokenScores* out) override {
    for (int64_t t = 0; t < tokens; ++t) {
      out[t] = ScoreRow(original + t * vocabulary, quantized + t * vocabulary, next[t], vocabulary);
    }
  }
};

}  // namespace

Backend& CpuBackend() {
  static auto* const backend = new Cpu;
  return *backend;
}

}  // namespace quantd
