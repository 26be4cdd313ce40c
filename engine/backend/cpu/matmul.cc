#include "engine/backend/cpu/matmul.h"

#include <algorithm>
#include <numeric>
#include <optional>
#include <utility>

#include "base/error.h"
#include "engine/backend/cpu/row_ops.h"
#include "engine/backend/cpu/workspace.h"
#include "engine/backend/kernels.h"
#include "engine/backend/number_kernels.h"

namespace quantd {
namespace {

using DnnlType = dnnl::memory::data_type;

GemmType TypeOf(ComputeType compute) {
  return compute == ComputeType::kBF16 ? GemmType::kBF16 : GemmType::kF32;
}

class DenseWeight : public CpuWeight {
 public:
  DenseWeight(int64_t n, int64_t k, GemmType type, PackedRight packed)
      : CpuWeight(n, k), type_(type), packed_(std::move(packed)) {}

  absl::Status Multiply(const float* x, int64_t tokens, const float* bias,
                        float* y) const override {
    const void* left = x;
    if (type_ == GemmType::kBF16) {
      auto* narrow = Workspace<uint16_t>(Scratch::kInput, tokens * k_);
      CpuRowOps().to_bf16(x, tokens * k_, narrow);
      left = narrow;
    }
    const GemmShape shape{.type = type_,
                          .right = GemmRight::kPacked,
                          .m = tokens,
                          .n = n_,
                          .k = k_,
                          .lda = k_,
                          .ldc = n_,
                          .has_bias = bias != nullptr};
    return Gemm(shape, left, packed_.data(), bias, y);
  }

 private:
  GemmType type_;
  PackedRight packed_;
};

// Integer products per group of inputs, and the scales after. Where oneDNN's s8 products are not
// exact the codes are multiplied as f32 in slices short enough for every partial sum to be an
// integer of at most 2^24, which is exact too. Slices as short serve zero points: oneDNN rounds
// larger sums of s8 products to f32 on some machines, which the scales do anyway, but not before
// something is subtracted.
class Int8Weight : public CpuWeight {
 public:
  static absl::StatusOr<std::unique_ptr<PreparedWeight>> Make(const QuantizedRows& weight) {
    auto made = std::unique_ptr<Int8Weight>(new Int8Weight(weight));
    const int64_t width = weight.columns / weight.groups;
    for (int64_t group = 0; group < weight.groups; ++group) {
      for (int64_t begin = 0; begin < width; begin += made->LongestSlice()) {
        const int64_t count = std::min(width - begin, made->LongestSlice());
        QD_RETURN_IF_ERROR(made->AddSlice(weight, group, group * width + begin, count));
      }
    }
    return made;
  }

  absl::Status Multiply(const float* x, int64_t tokens, const float* bias,
                        float* y) const override {
    const auto [codes, token_scales] = QuantizeInput(x, tokens);
    for (int64_t t = 0; t < tokens; ++t) {
      if (bias != nullptr) std::copy_n(bias, n_, y + t * n_);
      if (bias == nullptr) std::fill_n(y + t * n_, n_, 0.0F);
    }
    auto* sums = Workspace<int32_t>(Scratch::kSums, tokens * n_);
    for (size_t first = 0; first < slices_.size();) {
      const size_t last = EndOfGroup(first);
      QD_RETURN_IF_ERROR(SumGroup(first, last, codes, tokens, sums));
      SubtractZeros(first, last, codes, tokens, sums);
      const float* scales = scales_.data() + slices_[first].group * n_;
      for (int64_t t = 0; t < tokens; ++t) {
        CpuRowOps().add_scaled(sums + t * n_, token_scales[t], scales, n_, y + t * n_);
      }
      first = last;
    }
    return absl::OkStatus();
  }

 private:
  struct Slice {
    int64_t group, begin, count;
    PackedRight packed;
  };
  struct Tokens {
    const int8_t* codes;
    const float* scales;
  };

  explicit Int8Weight(const QuantizedRows& weight)
      : CpuWeight(weight.rows, weight.columns), exact_(HasExactInt8()), input_(weight.input) {
    const int64_t width = weight.columns / weight.groups;
    for (int64_t group = 0; group < weight.groups; ++group) {
      for (int64_t row = 0; row < n_; ++row) {
        const auto at = static_cast<size_t>(row * weight.groups + group);
        scales_.push_back(weight.scales[at]);
        if (!weight.zeros.empty()) zeros_.push_back(weight.zeros[at]);
        if (input_zero() == 0) continue;
        const int8_t* codes = weight.codes.data() + row * k_ + group * width;
        code_sums_.push_back(std::accumulate(codes, codes + width, int32_t{0}));
      }
    }
  }

  // Of static inputs; the zero of a token's own codes is 0.
  int32_t input_zero() const { return input_.has_value() ? input_->zero : 0; }

  // 128 * 128 * 1024 = 2^24.
  int64_t LongestSlice() const { return exact_ && zeros_.empty() && input_zero() == 0 ? k_ : 1024; }

  absl::Status AddSlice(const QuantizedRows& weight, int64_t group, int64_t begin, int64_t count) {
    const GemmType type = exact_ ? GemmType::kS8 : GemmType::kF32;
    // A contiguous copy: oneDNN reorders int8 only from rows that follow each other.
    std::vector<int8_t> codes(static_cast<size_t>(n_ * count));
    std::vector<float> wide(exact_ ? 0 : codes.size());
    for (int64_t row = 0; row < n_; ++row) {
      const int8_t* from = weight.codes.data() + row * k_ + begin;
      std::copy_n(from, count, codes.begin() + row * count);
      if (!exact_) std::copy_n(from, count, wide.begin() + row * count);
    }
    const void* data = exact_ ? static_cast<const void*>(codes.data()) : wide.data();
    const DnnlType from = exact_ ? DnnlType::s8 : DnnlType::f32;
    QD_ASSIGN_OR_RETURN(PackedRight packed, PackedRight::Make(type, data, from, n_, count, count));
    slices_.push_back({group, begin, count, std::move(packed)});
    return absl::OkStatus();
  }

  // By each token's own scale, or by the one found in calibration.
  Tokens QuantizeInput(const float* x, int64_t tokens) const {
    // The scales stand behind the codes, aligned.
    const int64_t code_bytes = (tokens * k_ + 63) / 64 * 64;
    auto* bytes = Workspace<std::byte>(Scratch::kInput,
                                       code_bytes + tokens * static_cast<int64_t>(sizeof(float)));
    auto* codes = reinterpret_cast<int8_t*>(bytes);
    auto* scales = reinterpret_cast<float*>(bytes + code_bytes);
    if (input_.has_value()) {
      CpuRowOps().to_codes(x, tokens * k_, input_->scale, input_->zero, codes);
      std::fill_n(scales, tokens, input_->scale);
      return {codes, scales};
    }
    for (int64_t t = 0; t < tokens; ++t) {
      CpuKernels().quantize_token(x + t * k_, k_, codes + t * k_, scales + t);
    }
    return {codes, scales};
  }

  size_t EndOfGroup(size_t first) const {
    size_t last = first;
    while (last < slices_.size() && slices_[last].group == slices_[first].group) ++last;
    return last;
  }

  absl::Status SumGroup(size_t first, size_t last, const int8_t* codes, int64_t tokens,
                        int32_t* sums) const {
    QD_RETURN_IF_ERROR(SumSlice(slices_[first], codes, tokens, sums));
    for (size_t i = first + 1; i < last; ++i) {
      auto* part = Workspace<int32_t>(Scratch::kSumsPart, tokens * n_);
      QD_RETURN_IF_ERROR(SumSlice(slices_[i], codes, tokens, part));
      for (int64_t j = 0; j < tokens * n_; ++j) sums[j] += part[j];
    }
    return absl::OkStatus();
  }

  absl::Status SumSlice(const Slice& slice, const int8_t* codes, int64_t tokens,
                        int32_t* sums) const {
    GemmShape shape{.type = GemmType::kS8,
                    .right = GemmRight::kPacked,
                    .m = tokens,
                    .n = n_,
                    .k = slice.count,
                    .lda = k_,
                    .ldc = n_};
    if (exact_) return Gemm(shape, codes + slice.begin, slice.packed.data(), nullptr, sums);
    shape.type = GemmType::kF32;
    shape.lda = slice.count;
    auto* wide = Workspace<float>(Scratch::kWeights, tokens * slice.count);
    for (int64_t t = 0; t < tokens; ++t) {
      std::copy_n(codes + t * k_ + slice.begin, slice.count, wide + t * slice.count);
    }
    auto* products = Workspace<float>(Scratch::kScores, tokens * n_);
    QD_RETURN_IF_ERROR(Gemm(shape, wide, slice.packed.data(), nullptr, products));
    for (int64_t j = 0; j < tokens * n_; ++j) sums[j] = static_cast<int32_t>(products[j]);
    return absl::OkStatus();
  }

  // With the zeros a of the inputs and b of the weights, over the K channels of a group:
  // sum (x - a)(w - b) = sum x w - a sum w - b (sum x - K a).
  void SubtractZeros(size_t first, size_t last, const int8_t* codes, int64_t tokens,
                     int32_t* sums) const {
    const int64_t group = slices_[first].group;
    if (input_zero() != 0) {
      const int32_t* code_sums = code_sums_.data() + group * n_;
      for (int64_t t = 0; t < tokens; ++t) {
        for (int64_t n = 0; n < n_; ++n) sums[t * n_ + n] -= input_zero() * code_sums[n];
      }
    }
    if (zeros_.empty()) return;
    const int64_t begin = slices_[first].begin;
    const int64_t end = slices_[last - 1].begin + slices_[last - 1].count;
    const int8_t* zeros = zeros_.data() + group * n_;
    for (int64_t t = 0; t < tokens; ++t) {
      int32_t total = 0;
      for (int64_t k = begin; k < end; ++k) total += codes[t * k_ + k] - input_zero();
      for (int64_t n = 0; n < n_; ++n) sums[t * n_ + n] -= zeros[n] * total;
    }
  }

  bool exact_;
  std::vector<Slice> slices_;  // in the order of groups
  std::vector<float> scales_;  // [groups, N]
  std::vector<int8_t> zeros_;  // [groups, N]; empty when symmetric
  std::optional<StaticInput> input_;
  std::vector<int32_t> code_sums_;  // [groups, N], of a row's codes; where inputs have a zero
};

// Inputs rounded to the scheme's floating format, then a dense product: codes of both sides times
// their scales are exact in f32, so only the order of sums is the library's.
class FloatingWeight : public CpuWeight {
 public:
  FloatingWeight(const QuantizedRows& weight, const Scheme& scheme,
                 std::unique_ptr<PreparedWeight> dense)
      : CpuWeight(weight.rows, weight.columns),
        scheme_(scheme),
        input_(weight.input),
        dense_(std::move(dense)) {}

  absl::Status Multiply(const float* x, int64_t tokens, const float* bias,
                        float* y) const override {
    auto* rounded = Workspace<float>(Scratch::kWeights, tokens * k_);
    for (int64_t t = 0; t < tokens; ++t) {
      RoundInputs(x + t * k_, k_, scheme_, input_.has_value() ? &*input_ : nullptr,
                  rounded + t * k_);
    }
    return static_cast<const CpuWeight&>(*dense_).Multiply(rounded, tokens, bias, y);
  }

 private:
  Scheme scheme_;
  std::optional<StaticInput> input_;
  std::unique_ptr<PreparedWeight> dense_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<PreparedWeight>> PrepareDense(const WeightRows& weight,
                                                             ComputeType compute) {
  const void* data = weight.data;
  AlignedBuffer<float> wide;
  if (weight.dtype == DType::kF16) {  // oneDNN does not read f16 on every machine
    wide = AlignedBuffer<float>(weight.rows * weight.columns);
    WidenToF32(weight.data, weight.dtype, wide.size(), wide.data());
    data = wide.data();
  }
  const DnnlType from = weight.dtype == DType::kBF16 ? DnnlType::bf16 : DnnlType::f32;
  const GemmType type = TypeOf(compute);
  QD_ASSIGN_OR_RETURN(PackedRight packed, PackedRight::Make(type, data, from, weight.rows,
                                                            weight.columns, weight.columns));
  return std::make_unique<DenseWeight>(weight.rows, weight.columns, type, std::move(packed));
}

absl::StatusOr<std::unique_ptr<PreparedWeight>> PrepareDequantized(const QuantizedRows& weight,
                                                                   ComputeType compute) {
  AlignedBuffer<float> dense(weight.rows * weight.columns);
  for (int64_t row = 0; row < weight.rows; ++row) {
    weight.Dequantize(row, dense.data() + row * weight.columns);
  }
  return PrepareDense({dense.data(), DType::kF32, weight.rows, weight.columns}, compute);
}

absl::StatusOr<std::unique_ptr<PreparedWeight>> PrepareInt8(const QuantizedRows& weight) {
  return Int8Weight::Make(weight);
}

absl::StatusOr<std::unique_ptr<PreparedWeight>> PrepareFloating(const QuantizedRows& weight,
                                                                const Scheme& scheme,
                                                                ComputeType compute) {
  QD_ASSIGN_OR_RETURN(auto dense, PrepareDequantized(weight, compute));
  return std::make_unique<FloatingWeight>(weight, scheme, std::move(dense));
}

}  // namespace quantd
