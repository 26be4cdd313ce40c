#include "engine/block/cache_scales.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "engine/model/scaling_groups.h"
#include "engine/tensor/float_conversion.h"
#include "engine/tensor/small_float.h"

namespace quantd {
namespace {

// The distance from 1 to the next larger number of the type.
float EpsilonOf(DType dtype) {
  const int mantissa_bits = dtype == DType::kBF16 ? 7 : dtype == DType::kF16 ? 10 : 23;
  return std::ldexp(1.0F, -mantissa_bits);
}

float ScaleOf(const std::vector<float>& range, DType dtype) {
  float scale = *std::max_element(range.begin(), range.end()) / rules::kE4M3.largest;
  std::array<std::byte, sizeof(float)> stored = {};
  NarrowFromF32(&scale, 1, dtype, stored.data());
  WidenToF32(stored.data(), dtype, 1, &scale);
  return scale == 0 ? EpsilonOf(dtype) : scale;
}

// 1 where the median is 0.
double SpreadOf(std::vector<float> range) {
  const auto middle = range.begin() + static_cast<std::ptrdiff_t>(range.size() / 2);
  std::nth_element(range.begin(), middle, range.end());
  const double median = static_cast<double>(*middle);
  const double largest = static_cast<double>(*std::max_element(middle, range.end()));
  return median > 0 ? largest / median : 1;
}

std::vector<float> TransformedValueRange(const ModelSpec& model, const Block& block,
                                         std::vector<float> range) {
  for (size_t i = 0; i < block.spec.linears.size(); ++i) {
    const LinearRole role = block.spec.linears[i].role;
    const std::vector<float>& rows = block.transform.linears[i].rows;
    if ((role != LinearRole::kV && role != LinearRole::kQkv) || rows.empty()) continue;
    for (size_t c = 0; c < range.size(); ++c) {
      const auto channel = static_cast<int64_t>(c);
      const int64_t row =
          ValueRow(model, block.spec, channel / model.head_dim, channel % model.head_dim);
      range[c] *= std::fabs(rows[static_cast<size_t>(row)]);
    }
  }
  return range;
}

}  // namespace

CacheReport CacheScalesOf(const ModelSpec& model, const Block& block, const CacheRange& range) {
  const std::vector<float> values = TransformedValueRange(model, block, range.values);
  return {
      .name = block.spec.AttentionModule(),
      .scales = {.key = ScaleOf(range.keys, model.dtype), .value = ScaleOf(values, model.dtype)},
      .key_spread = SpreadOf(range.keys),
      .value_spread = SpreadOf(values)};
}

absl::Status WriteCacheScales(const CacheReport& report, PackedTensors& tensors) {
  const CacheScales& scales = report.scales;
  QD_RETURN_IF_ERROR(tensors.WriteValues(report.name + ".k_scale", std::span(&scales.key, 1)));
  return tensors.WriteValues(report.name + ".v_scale", std::span(&scales.value, 1));
}

}  // namespace quantd
