// Where the arithmetic of a forward pass runs. A backend is a folder; its absence is another
// (no_<name>/).
//
// Activations are f32, [T, width], row-major, T the tokens of one window. Weights are prepared once
// per block. A backend is called from several threads at once, each on its own window; every
// operation runs in the calling thread (CPU) or on the calling thread's stream, so results do not
// depend on the number of threads.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/tensor/tensor.h"
#include "engine/types/activation.h"
#include "engine/types/request.h"
#include "engine/types/scheme.h"

namespace quantd {

// A weight matrix [N, K] as the backend wants it (reordered, narrowed, on the device).
class PreparedWeight {
 public:
  virtual ~PreparedWeight() = default;
  virtual int64_t out_features() const = 0;
  virtual int64_t in_features() const = 0;
};

// C[m, n] = alpha op(A)[m, k] op(B)[k, n] + beta C, row-major with row strides in elements. op
// transposes where it is asked to: A is then [k, m], B [n, k].
struct ProductShape {
  int64_t m = 0, n = 0, k = 0;
  int64_t lda = 0, ldb = 0, ldc = 0;
  bool transpose_a = false, transpose_b = false;
  float alpha = 1, beta = 0;
};

struct AttentionShape {
  int64_t tokens, heads, kv_heads, head_dim;
  int64_t window;     // positions each token sees, itself included; 0: all before it
  float scale;        // of the dot products, 1/sqrt(head_dim)
  float softcap = 0;  // scores become cap tanh(score / cap); 0: as they are
};

// Per-token comparison of two logit rows; see engine/evaluate.
struct TokenScores {
  double nll_original, nll_quantized;  // nats, of the next token
  double kl;                           // KL(original || quantized), nats
  bool same_top1;
};

// Thread-safe.
class Backend {
 public:
  virtual ~Backend() = default;
  virtual std::string_view name() const = 0;
  // The precision that kAuto means here for a model of this dtype.
  virtual ComputeType Resolve(ComputeType compute, DType model_dtype) const = 0;

  // A dense weight, multiplied in `compute` precision (kF32 or kBF16) with f32 accumulation.
  virtual absl::StatusOr<std::unique_ptr<PreparedWeight>> Prepare(const WeightRows& weight,
                                                                  ComputeType compute) = 0;
  // A weight quantized by the scheme, for evaluation of what a server will compute: weight-only
  // schemes multiply the dequantized weight; with dynamic activations, tokens are quantized to int8
  // and multiplied in integers.
  virtual absl::StatusOr<std::unique_ptr<PreparedWeight>> PrepareQuantized(
      const QuantizedRows& weight, const Scheme& scheme, ComputeType compute) = 0;
  // y[T, N] = x[T, K] W^T + bias (bias: N, or null).
  virtual absl::Status MatMul(const float* x, int64_t tokens, const PreparedWeight& weight,
                              const float* bias, float* y) = 0;
  // A plain product of f32 matrices, for the sums and searches of methods. INTERNAL when the
  // library fails.
  virtual absl::Status Product(const ProductShape& shape, const float* a, const float* b,
                               float* c) = 0;
  // y = x / rms(x) * gain over the last `width` values of each of `rows` rows. y may be x.
  virtual void RmsNorm(const float* x, const float* gain, int64_t rows, int64_t width,
                       float epsilon, float* y) = 0;
  // y = (x - mean(x)) / sqrt(variance(x) + epsilon) * gain + bias, row by row. bias may be null, y
  // may be x.
  virtual void LayerNorm(const float* x, const float* gain, const float* bias, int64_t rows,
                         int64_t width, float epsilon, float* y) = 0;
  // Rotates the first 2 * half_dims of each head in place: x[T, heads, head_dim]; cos, sin: [T,
  // half_dims].
  virtual void Rope(float* x, int64_t tokens, int64_t heads, int64_t head_dim, int64_t half_dims,
                    const float* cos, const float* sin) = 0;
  // Causal attention. q[T, H*d], k, v[T, Hkv*d] -> out[T, H*d]. `compute` as in Prepare.
  virtual absl::Status Attention(const float* q, const float* k, const float* v,
                                 const AttentionShape& shape, ComputeType compute, float* out) = 0;
  // x = E4M3(x / scale) * scale, elementwise: nearest, ties to even, saturating at 448 * scale.
  virtual void RoundToFp8(float* x, float scale, int64_t count) = 0;
  // x = f(x), elementwise.
  virtual void Activate(Activation activation, float* x, int64_t count) = 0;
  // gate = f(gate) * up, elementwise.
  virtual void ActivateMultiply(Activation activation, float* gate, const float* up,
                                int64_t count) = 0;
  // x = cap tanh(x / cap), elementwise.
  virtual void SoftCap(float* x, float cap, int64_t count) = 0;
  // x += y.
  virtual void Add(float* x, const float* y, int64_t count) = 0;
  // y[i] = x[rows[i]], rows of `width` values.
  virtual void GatherRows(const float* x, std::span<const int32_t> rows, int64_t width,
                          float* y) = 0;
  // x[rows[i]] += factors[i] y[i], in the order of i.
  virtual void ScatterAddRows(const float* y, std::span<const int32_t> rows, const float* factors,
                              int64_t width, float* x) = 0;
  // Scores `tokens` rows of logits [T, V] against the next tokens' ids.
  virtual void Score(const float* original, const float* quantized, const int32_t* next,
                     int64_t tokens, int64_t vocabulary, TokenScores* out) = 0;
};

// "cpu"; "any" is the best there is. UNAVAILABLE for a backend that this build or machine does not
// have.
absl::StatusOr<Backend*> FindBackend(std::string_view name);
// Names of those that work here.
std::vector<std::string_view> AvailableBackends();

}  // namespace quantd
