// Matrix products through oneDNN: C[m, n] = A[m, k] B[k, n], on the calling thread alone.
//
// oneDNN builds a primitive per shape; each thread keeps those it has used. Products run on one
// thread whatever the machine, so their bits do not depend on how many threads the caller has.
#pragma once

#include <compare>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/backend/backend.h"
#include "oneapi/dnnl/dnnl.hpp"

namespace quantd {

enum class GemmType {
  kF32,   // f32 x f32 -> f32
  kBF16,  // bf16 x bf16 -> f32
  kS8,    // s8 x s8 -> s32
};

// How B lies in memory.
enum class GemmRight {
  kPlain,       // [k, n], row-major with row stride ldb
  kTransposed,  // [n, k], row-major with row stride ldb
  kPacked,      // as PackRight left it
};

struct GemmShape {
  GemmType type = GemmType::kF32;
  GemmRight right = GemmRight::kPlain;
  int64_t m = 0, n = 0, k = 0;
  int64_t lda = 0, ldb = 0, ldc = 0;  // row strides in elements; ldb is not used when packed
  bool has_bias = false;              // C += bias[n], f32

  auto operator<=>(const GemmShape&) const = default;
};

// Runs one product. `bias` is null unless shape.has_bias. INTERNAL when oneDNN fails.
absl::Status Gemm(const GemmShape& shape, const void* a, const void* b, const float* bias, void* c);

// C = alpha op(A) op(B) + beta C in f32; see ProductShape. INTERNAL when oneDNN fails.
absl::Status Product(const ProductShape& shape, const float* a, const float* b, float* c);

// B in the layout that oneDNN multiplies fastest.
class PackedRight {
 public:
  // From `weight` [n, k], row-major with row stride `stride`, of type `from` (f32, bf16 or s8),
  // narrowed or widened to what `type` multiplies. UNAVAILABLE when this machine cannot multiply
  // that type.
  static absl::StatusOr<PackedRight> Make(GemmType type, const void* weight,
                                          dnnl::memory::data_type from, int64_t n, int64_t k,
                                          int64_t stride);
  const void* data() const { return memory_.get_data_handle(); }

 private:
  dnnl::memory memory_;
};

// Whether oneDNN's s8 products are exact here. Without VNNI they add pairs of products in 16 bits,
// which saturates (or halve the weights to avoid it, which rounds).
bool HasExactInt8();
// Whether bf16 products are faster than f32 ones: with AMX. The bf16 instructions of AVX-512 alone
// are not.
bool HasFastBf16();

}  // namespace quantd
