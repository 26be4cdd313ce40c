#include "engine/calibrate/statistics.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

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

Gram::Gram(int64_t channels_in, int64_t block_in)
    : channels(channels_in), block(block_in), values(channels_in * block_in) {
  std::fill_n(values.data(), values.size(), 0.0F);
}

void Gram::CopyBlock(int64_t begin, int64_t count, float* to) const {
  const int64_t home = begin / block, inside = begin - home * block;
  const float* from = values.data() + home * block * block + inside * block + inside;
  for (int64_t i = 0; i < count; ++i) std::copy_n(from + i * block, count, to + i * count);
}

Gram Gram::Copy() const {
  Gram copy;
  copy.channels = channels;
  copy.block = block;
  copy.values = AlignedBuffer<float>(values.size());
  std::copy_n(values.data(), values.size(), copy.values.data());
  return copy;
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
  for (int64_t i = 0; i < other.gram.values.size(); ++i) {
    gram.values.data()[i] += other.gram.values.data()[i];
  }
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

InputStatistics InputStatistics::DividedBy(std::span<const float> scales) const {
  InputStatistics divided(channels());
  divided.tokens = tokens;
  for (size_t k = 0; k < scales.size(); ++k) {
    const float scale = scales[k];
    const double wide = static_cast<double>(scale);
    divided.sum_abs[k] = sum_abs[k] / wide;
    divided.sum_squares[k] = sum_squares[k] / (wide * wide);
    divided.max_abs[k] = max_abs[k] / scale;
    divided.min[k] = min[k] / scale;
    divided.max[k] = max[k] / scale;
  }
  if (gram.empty()) return divided;
  divided.gram = gram.Copy();
  const int64_t block = gram.block;
  for (int64_t i = 0; i < gram.channels; ++i) {
    const int64_t first = i / block * block;
    float* row = divided.gram.values.data() + i * block;
    const double own = static_cast<double>(scales[static_cast<size_t>(i)]);
    for (int64_t j = 0; j < block; ++j) {
      const double other = static_cast<double>(scales[static_cast<size_t>(first + j)]);
      row[j] = static_cast<float>(static_cast<double>(row[j]) / (own * other));
    }
  }
  return divided;
}

}  // namespace quantd
