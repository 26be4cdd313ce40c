#include "engine/calibrate/statistics.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "base/error.h"

namespace quantd {

StatisticsNeeds StatisticsNeeds::operator|(StatisticsNeeds other) const {
  StatisticsNeeds all{.moments = moments || other.moments,
                      .gram_block = std::max(gram_block, other.gram_block),
                      .histogram = histogram || other.histogram};
  if (gram_block == kWholeGram || other.gram_block == kWholeGram) {
    all.gram_block = kWholeGram;
  } else if (gram_block != 0 && other.gram_block != 0) {
    all.gram_block = std::lcm(gram_block, other.gram_block);
  }
  return all;
}

absl::StatusOr<Gram> Gram::Make(int64_t channels, int64_t block,
                                const std::string& scratch_folder) {
  Gram gram;
  gram.channels = channels;
  gram.block = block;
  if (gram.whole()) {
    QD_ASSIGN_OR_RETURN(gram.lower, LowerPanels::Make(channels, scratch_folder));
  } else {
    gram.blocks = AlignedBuffer<float>(ElementsOf(channels, block));
    std::fill_n(gram.blocks.data(), gram.blocks.size(), 0.0F);
  }
  return gram;
}

int64_t Gram::ElementsOf(int64_t channels, int64_t block) {
  return block == channels ? LowerPanels::ElementsOf(channels) : channels * block;
}

void Gram::Set(int64_t i, int64_t j, float value) {
  if (!whole()) {
    const int64_t first = i / block * block;
    blocks.data()[i * block + (j - first)] = value;
    blocks.data()[j * block + (i - first)] = value;
    return;
  }
  if (j < lower.Stride(i)) lower.Row(i)[j] = value;
  if (i < lower.Stride(j)) lower.Row(j)[i] = value;
}

void Gram::CopyBlock(int64_t begin, int64_t count, float* to) const {
  if (whole()) {
    for (int64_t i = 0; i < count; ++i) {
      const int64_t row = begin + i, there = std::min(count, lower.Stride(row) - begin);
      std::copy_n(lower.Row(row) + begin, there, to + i * count);
      for (int64_t j = there; j < count; ++j) to[i * count + j] = lower.At(begin + j, row);
    }
    return;
  }
  const int64_t home = begin / block, inside = begin - home * block;
  const float* from = blocks.data() + home * block * block + inside * block + inside;
  for (int64_t i = 0; i < count; ++i) std::copy_n(from + i * block, count, to + i * count);
}

InputStatistics::InputStatistics(int64_t channels)
    : sum_abs(static_cast<size_t>(channels)),
      sum_squares(static_cast<size_t>(channels)),
      max_abs(static_cast<size_t>(channels)),
      min(static_cast<size_t>(channels), std::numeric_limits<float>::infinity()),
      max(static_cast<size_t>(channels), -std::numeric_limits<float>::infinity()) {}

void InputStatistics::Add(const float* x, int64_t rows) {
  const size_t width = sum_abs.size();
  for (int64_t row = 0; row < rows; ++row) {
    const float* values = x + static_cast<size_t>(row) * width;
    for (size_t k = 0; k < width; ++k) {
      const float value = values[k];
      const float magnitude = std::fabs(value);
      sum_abs[k] += static_cast<double>(magnitude);
      sum_squares[k] += static_cast<double>(value) * static_cast<double>(value);
      max_abs[k] = std::max(max_abs[k], magnitude);
      min[k] = std::min(min[k], value);
      max[k] = std::max(max[k], value);
    }
  }
  tokens += rows;
}

void InputStatistics::Merge(const InputStatistics& other) {
  for (size_t k = 0; k < sum_abs.size(); ++k) {
    sum_abs[k] += other.sum_abs[k];
    sum_squares[k] += other.sum_squares[k];
    max_abs[k] = std::max(max_abs[k], other.max_abs[k]);
    min[k] = std::min(min[k], other.min[k]);
    max[k] = std::max(max[k], other.max[k]);
  }
  tokens += other.tokens;
  const std::span<const float> more = other.gram.values();
  const std::span<float> sums = gram.values();
  for (size_t i = 0; i < more.size(); ++i) sums[i] += more[i];
  histogram.Merge(other.histogram);
}

std::vector<float> InputStatistics::MeanSquares() const {
  std::vector<float> means(sum_squares.size(), 1.0F);
  if (tokens == 0) return means;
  for (size_t k = 0; k < means.size(); ++k) {
    means[k] = static_cast<float>(sum_squares[k] / static_cast<double>(tokens));
  }
  return means;
}

std::vector<float> InputStatistics::MeanAbs() const {
  std::vector<float> means(sum_abs.size(), 1.0F);
  if (tokens == 0) return means;
  for (size_t k = 0; k < means.size(); ++k) {
    means[k] = static_cast<float>(sum_abs[k] / static_cast<double>(tokens));
  }
  return means;
}

void InputStatistics::DivideBy(std::span<const float> scales) {
  for (size_t k = 0; k < scales.size(); ++k) {
    const float scale = scales[k];
    const double wide = static_cast<double>(scale);
    sum_abs[k] /= wide;
    sum_squares[k] /= wide * wide;
    max_abs[k] /= scale;
    min[k] /= scale;
    max[k] /= scale;
  }
  histogram = Histogram();
  for (int64_t i = 0; i < gram.channels; ++i) {
    const int64_t first = gram.whole() ? 0 : i / gram.block * gram.block;
    const std::span<float> row = gram.Row(i);
    const double own = static_cast<double>(scales[static_cast<size_t>(i)]);
    for (size_t j = 0; j < row.size(); ++j) {
      const double other = static_cast<double>(scales[static_cast<size_t>(first) + j]);
      row[j] = static_cast<float>(static_cast<double>(row[j]) / (own * other));
    }
  }
}

absl::StatusOr<InputStatistics> InputStatistics::Copy(const std::string& scratch_folder) const {
  InputStatistics copy(channels());
  if (!gram.empty()) {
    QD_ASSIGN_OR_RETURN(copy.gram, Gram::Make(gram.channels, gram.block, scratch_folder));
  }
  copy.Merge(*this);
  return copy;
}

}  // namespace quantd
