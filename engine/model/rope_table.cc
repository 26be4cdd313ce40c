// Frequencies after transformers' modeling_rope_utils, step by step in f32 as it computes them.
#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

#include "engine/model/forward.h"

namespace quantd {
namespace {

using Frequencies = std::vector<float>;

float F32(double value) { return static_cast<float>(value); }

// theta^(2i / dims).
Frequencies Periods(const RopeSpec& rope) {
  Frequencies periods;
  for (int64_t i = 0; i < rope.dims; i += 2) {
    const float exponent = static_cast<float>(i) / static_cast<float>(rope.dims);
    periods.push_back(
        F32(std::pow(static_cast<double>(F32(rope.theta)), static_cast<double>(exponent))));
  }
  return periods;
}

Frequencies Unscaled(const RopeSpec& rope) {
  Frequencies frequencies = Periods(rope);
  for (float& f : frequencies) f = 1.0F / f;
  return frequencies;
}

// Long waves are stretched by `factor`, short ones kept, those between interpolated.
Frequencies Llama3(const RopeSpec& rope) {
  const double context = static_cast<double>(rope.original_max_positions);
  const double low = rope.low_freq_factor, high = rope.high_freq_factor;
  const auto factor = F32(rope.factor);
  Frequencies frequencies = Unscaled(rope);
  for (float& f : frequencies) {
    const float wave = F32(2 * std::numbers::pi) / f;
    const bool is_long = wave > F32(context / low), is_short = wave < F32(context / high);
    if (is_long) f = f / factor;
    if (!is_long && !is_short) {
      const float smooth = (F32(context) / wave - F32(low)) / F32(high - low);
      f = (1.0F - smooth) * f / factor + smooth * f;
    }
  }
  return frequencies;
}

// The dimension whose wave turns `rotations` times in the original context.
double CorrectionDimension(const RopeSpec& rope, double rotations) {
  const double context = static_cast<double>(rope.original_max_positions);
  return static_cast<double>(rope.dims) * std::log(context / (rotations * 2 * std::numbers::pi)) /
         (2 * std::log(rope.theta));
}

// A ramp over the dimensions from the unscaled to the stretched frequencies.
Frequencies Yarn(const RopeSpec& rope) {
  double low = CorrectionDimension(rope, rope.beta_fast),
         high = CorrectionDimension(rope, rope.beta_slow);
  if (rope.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, static_cast<double>(rope.dims - 1));
  if (low == high) high += 0.001;
  Frequencies frequencies = Periods(rope);
  for (size_t i = 0; i < frequencies.size(); ++i) {
    const float period = frequencies[i];
    const float extrapolated = 1.0F / period, interpolated = 1.0F / (F32(rope.factor) * period);
    const float ramp = std::clamp((static_cast<float>(i) - F32(low)) / F32(high - low), 0.0F, 1.0F);
    const float keep = 1.0F - ramp;
    frequencies[i] = interpolated * (1.0F - keep) + extrapolated * keep;
  }
  return frequencies;
}

// Each period stretched by a factor of its own; there are two sets of them.
Frequencies LongRope(const RopeSpec& rope, int64_t tokens) {
  const bool is_long = tokens > rope.original_max_positions;
  const std::vector<double>& factors = is_long ? rope.long_factors : rope.short_factors;
  Frequencies frequencies = Periods(rope);
  for (size_t i = 0; i < frequencies.size(); ++i) {
    frequencies[i] = 1.0F / (F32(factors[i]) * frequencies[i]);
  }
  return frequencies;
}

Frequencies FrequenciesOf(const RopeSpec& rope, int64_t tokens) {
  switch (rope.scaling) {
    case RopeSpec::Scaling::kLongRope:
      return LongRope(rope, tokens);
    case RopeSpec::Scaling::kNone:
      return Unscaled(rope);
    case RopeSpec::Scaling::kLlama3:
      return Llama3(rope);
    case RopeSpec::Scaling::kYarn:
      return Yarn(rope);
    case RopeSpec::Scaling::kLinear:
      break;
  }
  Frequencies frequencies = Unscaled(rope);
  for (float& f : frequencies) f /= F32(rope.factor);
  return frequencies;
}

// What cos and sin are multiplied by.
double AttentionFactor(const RopeSpec& rope) {
  if (rope.attention_factor.has_value()) return *rope.attention_factor;
  if (rope.scaling == RopeSpec::Scaling::kLongRope) {
    const auto context = static_cast<double>(rope.original_max_positions);
    return rope.factor <= 1 ? 1.0 : std::sqrt(1 + std::log(rope.factor) / std::log(context));
  }
  if (rope.scaling != RopeSpec::Scaling::kYarn) return 1.0;
  const auto scale = [&rope](double mscale) {
    return rope.factor <= 1 ? 1.0 : 0.1 * mscale * std::log(rope.factor) + 1.0;
  };
  if (rope.mscale.has_value() && rope.mscale_all_dim.has_value()) {
    return scale(*rope.mscale) / scale(*rope.mscale_all_dim);
  }
  return scale(1.0);
}

}  // namespace

RopeTable RopeTable::Make(const RopeSpec& rope, int64_t tokens) {
  const Frequencies frequencies = FrequenciesOf(rope, tokens);
  const float factor = F32(AttentionFactor(rope));
  RopeTable table;
  table.half_dims = rope.dims / 2;
  table.interleaved = rope.interleaved;
  table.cos = AlignedBuffer<float>(tokens * table.half_dims);
  table.sin = AlignedBuffer<float>(tokens * table.half_dims);
  for (int64_t t = 0; t < tokens; ++t) {
    for (int64_t i = 0; i < table.half_dims; ++i) {
      const float angle = static_cast<float>(t) * frequencies[static_cast<size_t>(i)];
      table.cos.data()[t * table.half_dims + i] =
          F32(std::cos(static_cast<double>(angle))) * factor;
      table.sin.data()[t * table.half_dims + i] =
          F32(std::sin(static_cast<double>(angle))) * factor;
    }
  }
  return table;
}

RopeTables RopeTables::Make(const ModelSpec& model, int64_t tokens) {
  RopeTables tables;
  tables.global = RopeTable::Make(model.rope, tokens);
  if (model.local_rope.has_value()) tables.local = RopeTable::Make(*model.local_rope, tokens);
  return tables;
}

}  // namespace quantd
