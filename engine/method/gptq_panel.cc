#include "engine/method/gptq_panel.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "base/error.h"
#include "engine/backend/number_kernels.h"
#include "engine/backend/real_zero_rules.h"
#include "engine/backend/rules.h"
#include "engine/method/block_rounding.h"
#include "engine/method/code_descent.h"
#include "engine/method/real_zero_codes.h"
#include "engine/method/round_to_nearest.h"

namespace quantd {
namespace {

// Columns rounded one by one; beyond, errors are carried over by matrix products.
constexpr int64_t kLeaf = 32;
// Rows gathered at a time: what is written side by side fills cache lines.
constexpr int64_t kRowsTogether = 16;

// Of w^2 and of (w - dequantized)^2 over all rows.
absl::Status SumEnergies(const WeightRows& weight, const QuantizeKernels& kernels,
                         QuantizedRows* out) {
  std::vector<float> row(static_cast<size_t>(weight.columns)), rounded(row.size());
  for (int64_t n = 0; n < weight.rows; ++n) {
    QD_RETURN_IF_ERROR(WidenRow(weight, n, kernels, row.data()));
    out->Dequantize(n, rounded.data());
    AddEnergies(row, rounded, &out->weight_energy, &out->error_energy);
  }
  return absl::OkStatus();
}

// One column of all rows: w ~ step scale - min.
struct BlockColumn {
  const float* target;
  const float* scale;
  const float* min;
};

// A sub-block whose scale is 0 has one value, whatever its codes.
void RoundToBlockCodes(const BlockLayout& layout, const BlockColumn& column, int64_t rows,
                       float* step, float* error) {
  const rules::Steps codes = {static_cast<float>(layout.low), static_cast<float>(layout.high)};
  for (int64_t n = 0; n < rows; ++n) {
    const float scale = column.scale[n], min = column.min[n];
    step[n] = scale == 0 ? 0.0f : rules::StepOf(column.target[n] + min, scale, codes);
    error[n] -= step[n] * scale - min;
  }
}

}  // namespace

int64_t GptqPanel::ScaleAt(int64_t position) const {
  const int64_t at =
      scheme_.ordered_groups ? position : prepared_.channel_at[static_cast<size_t>(position)];
  return at / per_scale_;
}

absl::Status GptqPanel::Load(const WeightRows& weight) {
  rows_ = weight.rows;
  columns_ = weight.columns;
  target_ = AlignedBuffer<float>(rows_ * columns_);
  error_ = AlignedBuffer<float>(rows_ * columns_);
  steps_ = AlignedBuffer<float>(rows_ * columns_);
  const auto scales = static_cast<size_t>(columns_ / per_scale_ * rows_);
  scales_.assign(scales, 1.0f);
  zeros_.assign(scales, 0.0f);
  if (scheme_.block != nullptr) {
    blocks_ = BlockPanel::Of(*scheme_.block, rows_, columns_);
    mins_.assign(scales, 0.0f);
  }
  std::vector<float> rows(static_cast<size_t>(kRowsTogether * columns_));
  for (int64_t first = 0; first < rows_; first += kRowsTogether) {
    const int64_t count = std::min(kRowsTogether, rows_ - first);
    for (int64_t n = 0; n < count; ++n) {
      QD_RETURN_IF_ERROR(WidenRow(weight, first + n, context_.kernels, rows.data() + n * columns_));
    }
    for (int64_t p = 0; p < columns_; ++p) {
      const float* from = rows.data() + prepared_.channel_at[static_cast<size_t>(p)];
      float* to = target_.data() + p * rows_ + first;
      for (int64_t n = 0; n < count; ++n) to[n] = from[n * columns_];
    }
  }
  std::copy_n(target_.data(), rows_ * columns_, error_.data());
  return absl::OkStatus();
}

// Scales of a group from its weights as they have become; `positions`: where its channels are.
// `block` counts groups in the order of those.
absl::Status GptqPanel::ChooseScales(std::span<const int32_t> positions, int64_t block) {
  const int64_t group = ScaleAt(positions[0]);
  std::vector<float> weights(static_cast<size_t>(group_size_ * rows_)), importance;
  for (int64_t k = 0; k < group_size_; ++k) {
    const int64_t position = positions[static_cast<size_t>(k)];
    std::copy_n(error_.data() + position * rows_, rows_, weights.data() + k * rows_);
    if (prepared_.importance_at.empty()) continue;
    importance.push_back(prepared_.importance_at[static_cast<size_t>(position)]);
  }
  if (prepared_.inverses.size() > 0) QD_RETURN_IF_ERROR(Settle(positions[0], weights.data()));
  if (!blocks_.empty()) {
    ChooseBlocks(positions, weights.data());
    return absl::OkStatus();
  }
  float* scales = scales_.data() + group * rows_;
  float* zeros = zeros_.data() + group * rows_;
  // Rows that share their scales, one after the other.
  const int64_t height = std::min(rows_, scheme_.RowsPerScale());
  std::vector<float> together(static_cast<size_t>(height * group_size_));
  for (int64_t n = 1; n < height && !importance.empty(); ++n) {
    importance.insert(importance.end(), importance.begin(), importance.begin() + group_size_);
  }
  const float* weighting = importance.empty() ? nullptr : importance.data();
  for (int64_t first = 0; first < rows_; first += height) {
    const int64_t count = std::min(height, rows_ - first), values = count * group_size_;
    for (int64_t n = 0; n < count; ++n) {
      for (int64_t k = 0; k < group_size_; ++k) {
        together[static_cast<size_t>(n * group_size_ + k)] =
            weights[static_cast<size_t>(k * rows_ + first + n)];
      }
    }
    float scale = 1, zero = 0;
    if (scheme_.real_zero) {
      context_.kernels.real_zero.search(together.data(), weighting, values,
                                        RealZeroCodesOf(scheme_), &scale, &zero);
    } else {
      int8_t whole = 0;
      ChooseScale(context_.kernels, together.data(), weighting, values, scheme_, &scale, &whole);
      zero = static_cast<float>(whole);
    }
    std::fill_n(scales + first, count, scale);
    std::fill_n(zeros + first, count, zero);
  }
  if (prepared_.local.empty()) return absl::OkStatus();
  return ImproveScales({.weights = weights.data(), .size = group_size_, .rows = rows_},
                       prepared_.local.Block(block), scheme_, context_, scales, zeros);
}

// The parts of a block, of whose columns weights[size, rows] are in the order of `positions`.
void GptqPanel::ChooseBlocks(std::span<const int32_t> positions, const float* weights) {
  const auto channel_of = [&](int64_t k) {
    return prepared_.channel_at[static_cast<size_t>(positions[static_cast<size_t>(k)])];
  };
  const int64_t block = channel_of(0) / group_size_, first = block * group_size_;
  std::vector<float> lying(static_cast<size_t>(group_size_ * rows_));
  for (int64_t k = 0; k < group_size_; ++k) {
    std::copy_n(weights + k * rows_, rows_, lying.data() + (channel_of(k) - first) * rows_);
  }
  const float* importance =
      prepared_.importance.empty() ? nullptr : prepared_.importance.data() + first;
  blocks_.Choose(block, lying.data(), importance, SearchOf(scheme_.scale_rule));
  blocks_.Spread(block, scales_.data(), mins_.data());
}

// Turns the weights of the group at `begin`, not yet rounded, into what they would become if all
// that is left made up for the errors so far without rounding: w - L^-T (w - target), L of the
// group.
absl::Status GptqPanel::Settle(int64_t begin, float* weights) {
  const int64_t values = group_size_ * rows_;
  std::vector<float> missing(static_cast<size_t>(values));
  const float* target = target_.data() + begin * rows_;
  for (int64_t i = 0; i < values; ++i) missing[static_cast<size_t>(i)] = weights[i] - target[i];
  return context_.backend.Product({.m = group_size_,
                                   .n = rows_,
                                   .k = group_size_,
                                   .lda = group_size_,
                                   .ldb = rows_,
                                   .ldc = rows_,
                                   .transpose_a = true,
                                   .alpha = -1,
                                   .beta = 1},
                                  prepared_.inverses.data() + begin * group_size_, missing.data(),
                                  weights);
}

// Scales of all groups, before anything is rounded.
absl::Status GptqPanel::ChooseAllScales() {
  std::vector<int32_t> position_of(static_cast<size_t>(columns_));
  for (size_t p = 0; p < position_of.size(); ++p) {
    position_of[static_cast<size_t>(prepared_.channel_at[p])] = static_cast<int32_t>(p);
  }
  for (int64_t g = 0; g < groups_; ++g) {
    QD_RETURN_IF_ERROR(ChooseScales(
        std::span(position_of)
            .subspan(static_cast<size_t>(g * group_size_), static_cast<size_t>(group_size_)),
        g));
  }
  return absl::OkStatus();
}

// Positions [begin, end), the last first; everything after them is rounded, and its errors are in
// the targets.
absl::Status GptqPanel::Round(int64_t begin, int64_t end) {
  const int64_t count = end - begin;
  const bool whole_groups = prepared_.order != ActOrder::kStatic;
  if (whole_groups && count == group_size_) {
    std::vector<int32_t> positions(static_cast<size_t>(count));
    std::iota(positions.begin(), positions.end(), static_cast<int32_t>(begin));
    QD_RETURN_IF_ERROR(ChooseScales(positions, begin / group_size_));
  }
  if (count <= kLeaf && (!whole_groups || count <= group_size_)) {
    RoundColumns(begin, end);
    return absl::OkStatus();
  }
  int64_t middle = begin + (count / 2 + kLeaf - 1) / kLeaf * kLeaf;
  if (whole_groups && count > group_size_) {
    middle = begin + (count / group_size_ + 1) / 2 * group_size_;
  }
  QD_RETURN_IF_ERROR(Round(middle, end));
  QD_RETURN_IF_ERROR(CarryOver(begin, middle, end));
  return Round(begin, middle);
}

// Adds the errors of positions [middle, end) to the targets of [begin, middle), panel by panel of
// the factor.
absl::Status GptqPanel::CarryOver(int64_t begin, int64_t middle, int64_t end) {
  const LowerPanels& lower = prepared_.lower;
  for (int64_t row = middle; row < end; row = lower.PanelEnd(row)) {
    QD_RETURN_IF_ERROR(context_.backend.Product({.m = middle - begin,
                                                 .n = rows_,
                                                 .k = std::min(end, lower.PanelEnd(row)) - row,
                                                 .lda = lower.Stride(row),
                                                 .ldb = rows_,
                                                 .ldc = rows_,
                                                 .transpose_a = true,
                                                 .beta = 1},
                                                lower.Row(row) + begin, error_.data() + row * rows_,
                                                target_.data() + begin * rows_));
    lower.Release(row);
  }
  return absl::OkStatus();
}

// One column after the other, last to first.
void GptqPanel::RoundColumns(int64_t begin, int64_t end) {
  for (int64_t p = end - 1; p >= begin; --p) {
    const int64_t group = ScaleAt(p);
    const float* scale = scales_.data() + group * rows_;
    const float* zero = zeros_.data() + group * rows_;
    const float* target = target_.data() + p * rows_;
    float* step = steps_.data() + p * rows_;
    float* error = error_.data() + p * rows_;
    const rules::Steps steps = rules::StepsOf(scheme_.bits, 0);
    if (!blocks_.empty()) {
      RoundToBlockCodes(blocks_.layout(), {target, scale, mins_.data() + group * rows_}, rows_,
                        step, error);
    } else if (scheme_.floating()) {
      RoundToLevels(target, scale, rows_, scheme_, step);
      for (int64_t n = 0; n < rows_; ++n) error[n] -= step[n] * scale[n];
    } else if (scheme_.real_zero) {
      for (int64_t n = 0; n < rows_; ++n) {
        step[n] = rules::RealStepOf(target[n], scale[n], zero[n], steps.low, steps.high);
        error[n] -= step[n] * scale[n];
      }
    } else {
      for (int64_t n = 0; n < rows_; ++n) {
        step[n] = rules::StepOf(target[n], scale[n], {steps.low - zero[n], steps.high - zero[n]});
        error[n] -= step[n] * scale[n];
      }
    }
    const float* factors = prepared_.lower.Row(p);
    for (int64_t q = begin; q < p; ++q) {
      float* to = target_.data() + q * rows_;
      const float factor = factors[q];
      for (int64_t n = 0; n < rows_; ++n) to[n] += factor * error[n];
    }
  }
}

// Puts errors and steps in the order of channels.
void GptqPanel::ByChannel() {
  for (AlignedBuffer<float>* values : {&error_, &steps_}) {
    for (int64_t p = 0; p < columns_; ++p) {
      std::copy_n(values->data() + p * rows_, rows_,
                  target_.data() + prepared_.channel_at[static_cast<size_t>(p)] * rows_);
    }
    std::swap(*values, target_);
  }
  by_channel_ = true;
}

void GptqPanel::Store(QuantizedRows* out) {
  if (!blocks_.empty()) {
    if (!by_channel_) ByChannel();
    blocks_.Store(steps_.data(), out);
    return;
  }
  for (int64_t p = 0; p < columns_; ++p) {
    const int64_t channel = by_channel_ ? p : prepared_.channel_at[static_cast<size_t>(p)];
    const int64_t group = by_channel_ ? p / group_size_ : ScaleAt(p);
    const float* zero = zeros_.data() + group * rows_;
    const float* step = steps_.data() + p * rows_;
    int8_t* to = out->codes.data() + channel;
    for (int64_t n = 0; n < rows_ && scheme_.floating(); ++n) {
      to[n * columns_] =
          static_cast<int8_t>(rules::SmallFloatCode(TypeOf(*scheme_.number), step[n]));
    }
    if (scheme_.floating()) continue;
    for (int64_t n = 0; n < rows_; ++n) {
      // With a real zero, near an integer.
      to[n * columns_] = static_cast<int8_t>(rules::RoundToInteger(step[n] + zero[n]));
    }
  }
  for (int64_t g = 0; g < groups_; ++g) {
    // The last position is rounded first, and its group is number 0.
    const int64_t stored = scheme_.ordered_groups ? groups_ - 1 - g : g;
    for (int64_t n = 0; n < rows_; ++n) {
      const size_t from = static_cast<size_t>(g * rows_ + n),
                   to = static_cast<size_t>(n * groups_ + stored);
      out->scales[to] = scales_[from];
      if (scheme_.real_zero) {
        out->real_zeros[to] = zeros_[from];
      } else if (!scheme_.symmetric) {
        out->zeros[to] = static_cast<int8_t>(zeros_[from]);
      }
    }
  }
}

absl::Status GptqPanel::Run(const WeightRows& weight, QuantizedRows* out) {
  *out = RoomFor(scheme_, weight.rows, weight.columns);
  out->group_of = prepared_.group_of;
  groups_ = scheme_.GroupsPerRow(weight.columns);
  group_size_ = weight.columns / groups_;
  per_scale_ = scheme_.block == nullptr ? group_size_ : scheme_.block->layout->size();
  QD_RETURN_IF_ERROR(Load(weight));
  if (prepared_.order == ActOrder::kStatic) QD_RETURN_IF_ERROR(ChooseAllScales());
  QD_RETURN_IF_ERROR(Round(0, columns_));
  if (prepared_.refit > 0) {
    if (!scheme_.ordered_groups) ByChannel();
    QD_RETURN_IF_ERROR(DescendOnCodes(scheme_, prepared_.hessian, prepared_.refit, context_,
                                      {.rows = rows_,
                                       .columns = columns_,
                                       .group_size = per_scale_,
                                       .error = error_.data(),
                                       .steps = steps_.data(),
                                       .scales = scales_.data(),
                                       .zeros = zeros_.data(),
                                       .mins = mins_.data(),
                                       .blocks = blocks_.empty() ? nullptr : &blocks_}));
  }
  Store(out);
  return SumEnergies(weight, context_.kernels, out);
}

}  // namespace quantd
