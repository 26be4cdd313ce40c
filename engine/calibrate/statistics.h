// What is remembered of the inputs of a linear. Every field is a sum or an extremum, so statistics
// of two sets of tokens merge by addition, and can be saved and resumed.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/calibrate/histogram.h"
#include "engine/tensor/lower_panels.h"
#include "engine/tensor/tensor.h"

namespace quantd {

// Which statistics somebody asks for. A union of needs is their `|`.
struct StatisticsNeeds {
  bool moments = false;  // mean |x|, mean x^2, max |x|, min, max per input channel
  int64_t gram_block =
      0;  // the Gram matrix in diagonal blocks of so many channels; kWholeGram: all
  bool histogram = false;  // of all values
  bool any() const { return moments || gram_block != 0 || histogram; }
  StatisticsNeeds operator|(StatisticsNeeds other) const;
};
inline constexpr int64_t kWholeGram = -1;

// sum over tokens of x x^T, [K, K], in its diagonal blocks [b, b], or all of it in one block of K.
// f32: each element is a sum of blocked products of the backend.
struct Gram {
  int64_t channels = 0, block = 0;
  AlignedBuffer<float> blocks;  // [channels / block][block, block], both triangles; unless whole
  LowerPanels lower;            // of the whole, the squares on the diagonal in both triangles

  // All zero. The whole matrix in a file in `scratch_folder` if one is named: ScratchMemory's
  // errors.
  static absl::StatusOr<Gram> Make(int64_t channels, int64_t block,
                                   const std::string& scratch_folder);
  // The elements that are kept.
  static int64_t ElementsOf(int64_t channels, int64_t block);
  bool empty() const { return block == 0; }
  bool whole() const { return block != 0 && block == channels; }
  // i and j in one block.
  float At(int64_t i, int64_t j) const {
    if (whole()) return lower.At(i, j);
    const int64_t at = i / block;
    return blocks.data()[at * block * block + (i - at * block) * block + (j - at * block)];
  }
  // What is kept of row i: of its block, or of the whole from column 0 on.
  std::span<float> Row(int64_t i) {
    return whole() ? std::span(lower.Row(i), static_cast<size_t>(lower.Stride(i)))
                   : std::span(blocks.data() + i * block, static_cast<size_t>(block));
  }
  // Of (i, j) and of its mirror image.
  void Set(int64_t i, int64_t j, float value);
  // Everything that is kept: the order is that of blocks, or of LowerPanels.
  std::span<float> values() { return whole() ? lower.values() : blocks.span(); }
  std::span<const float> values() const { return whole() ? lower.values() : blocks.span(); }
  // The block of channels [begin, begin + count), inside one block of this, to[count, count].
  void CopyBlock(int64_t begin, int64_t count, float* to) const;
};

// Per input channel of one linear, K entries each.
struct InputStatistics {
  int64_t tokens = 0;
  std::vector<double> sum_abs, sum_squares;  // f64: sums over many tokens
  std::vector<float> max_abs, min, max;
  Gram gram;
  Histogram histogram;

  explicit InputStatistics(int64_t channels = 0);
  int64_t channels() const { return static_cast<int64_t>(sum_abs.size()); }
  // Adds the moments of `tokens` rows x[tokens, K]. Cost: one pass.
  void Add(const float* x, int64_t tokens);
  // Adds what another collected. Merging in a fixed order gives the same bits.
  void Merge(const InputStatistics& other);
  // sum_squares / tokens, the diagonal of X^T X / T; all ones when there are no tokens.
  std::vector<float> MeanSquares() const;
  std::vector<float> MeanAbs() const;
  // Becomes the statistics of x / scales, scales[K] > 0. The histogram cannot be had from them: it
  // is emptied.
  void DivideBy(std::span<const float> scales);
  // The Gram matrix in `scratch_folder`, as Gram::Make says.
  absl::StatusOr<InputStatistics> Copy(const std::string& scratch_folder) const;
};

}  // namespace quantd
