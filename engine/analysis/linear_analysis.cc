#include "engine/analysis/linear_analysis.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "base/checked.h"
#include "base/error.h"
#include "engine/analysis/codebook.h"
#include "engine/tensor/tensor.h"

namespace quantd {
namespace {

constexpr int64_t kMostRows = 512;
constexpr int64_t kRowsTogether = 32;  // of one product
constexpr std::array<double, 2> kShares = {0.001, 0.01};

// Sums of squares of some matrix over the rows looked at.
struct Energy {
  double weights = 0, outputs = 0;
  Energy& operator+=(const Energy& other) {
    weights += other.weights;
    outputs += other.outputs;
    return *this;
  }
};

double Ratio(double error, double energy) { return energy > 0 ? std::sqrt(error / energy) : 0.0; }

class Analyzer {
 public:
  Analyzer(const AnalysedLinear& linear, Backend& backend, ThreadPool& pool)
      : linear_(linear),
        backend_(backend),
        pool_(pool),
        columns_(linear.quantized.columns),
        stride_(DivideRoundingUp(linear.quantized.rows, kMostRows)),
        rows_(DivideRoundingUp(linear.quantized.rows, stride_)),
        weights_(rows_ * columns_),
        errors_(rows_ * columns_),
        other_(rows_ * columns_) {}

  absl::StatusOr<LayerAnalysis> Run() {
    QD_RETURN_IF_ERROR(Load());
    QD_ASSIGN_OR_RETURN(energy_, EnergyOf(weights_.data()));
    QD_ASSIGN_OR_RETURN(const Energy error, EnergyOf(errors_.data()));
    LayerAnalysis analysis{.rows = rows_,
                           .output_error = Ratio(error.outputs, energy_.outputs),
                           .salient = {},
                           .codebooks = {}};
    QD_RETURN_IF_ERROR(Protect(analysis));
    const Scheme& scheme = linear_.scheme;
    const bool fits = scheme.bits >= 2 && scheme.bits <= 4 &&
                      scheme.granularity != Granularity::kTensor && !scheme.options.Flag("ternary");
    if (!fits) return analysis;
    const int64_t rows = linear_.quantized.rows;
    const double uniform = static_cast<double>(StorageBits(scheme, rows, columns_)) /
                           static_cast<double>(rows * columns_);
    analysis.codebooks.push_back({.name = "uniform",
                                  .bits_per_weight = uniform,
                                  .weight_error = Ratio(error.weights, energy_.weights),
                                  .output_error = analysis.output_error});
    QD_RETURN_IF_ERROR(TryCodebooks(analysis));
    return analysis;
  }

 private:
  using RoundGroup = std::function<void(std::span<const float> weights,
                                        std::span<const float> importance, float* to)>;

  // Weights, what rounding changed in them, and what the channels carry.
  absl::Status Load() {
    mean_squares_.assign(linear_.mean_squares.begin(), linear_.mean_squares.end());
    if (mean_squares_.empty()) {
      std::vector<double> sums(static_cast<size_t>(columns_));
      for (size_t i = 0; i < linear_.x.size(); ++i) {
        const double value = static_cast<double>(linear_.x[i]);
        sums[i % sums.size()] += value * value / static_cast<double>(linear_.tokens);
      }
      mean_squares_.assign(sums.begin(), sums.end());
    }
    return pool_.ForEach(rows_, [&](int64_t index) -> absl::Status {
      float* weights = weights_.data() + index * columns_;
      float* errors = errors_.data() + index * columns_;
      QD_RETURN_IF_ERROR(linear_.read(index * stride_, weights));
      linear_.quantized.Dequantize(index * stride_, errors);
      for (int64_t k = 0; k < columns_; ++k) errors[k] -= weights[k];
      return absl::OkStatus();
    });
  }

  double FactorOf(int64_t index) const {
    if (linear_.factors.empty()) return 1.0;
    return static_cast<double>(linear_.factors[static_cast<size_t>(index * stride_)]);
  }

  // Of matrix[rows, K], and of its outputs on the samples.
  absl::StatusOr<Energy> EnergyOf(const float* matrix) const {
    std::vector<Energy> panels(static_cast<size_t>(DivideRoundingUp(rows_, kRowsTogether)));
    QD_RETURN_IF_ERROR(
        pool_.ForEach(static_cast<int64_t>(panels.size()), [&](int64_t panel) -> absl::Status {
          const int64_t begin = panel * kRowsTogether;
          const int64_t count = std::min(kRowsTogether, rows_ - begin);
          AlignedBuffer<float> outputs(count * linear_.tokens);
          const float* from = matrix + begin * columns_;
          QD_RETURN_IF_ERROR(backend_.Product({.m = count,
                                               .n = linear_.tokens,
                                               .k = columns_,
                                               .lda = columns_,
                                               .ldb = columns_,
                                               .ldc = linear_.tokens,
                                               .transpose_a = false,
                                               .transpose_b = true},
                                              from, linear_.x.data(), outputs.data()));
          Energy& sum = panels[static_cast<size_t>(panel)];
          for (int64_t n = 0; n < count; ++n) {
            const double factor = FactorOf(begin + n);
            sum += {.weights = SquaresOf(from + n * columns_, columns_),
                    .outputs = SquaresOf(outputs.data() + n * linear_.tokens, linear_.tokens) /
                               (factor * factor)};
          }
          return absl::OkStatus();
        }));
    return std::accumulate(panels.begin(), panels.end(), Energy{},
                           [](Energy sum, const Energy& panel) { return sum += panel; });
  }

  static double SquaresOf(const float* values, int64_t count) {
    double sum = 0;
    for (int64_t i = 0; i < count; ++i) {
      sum += static_cast<double>(values[i]) * static_cast<double>(values[i]);
    }
    return sum;
  }

  // Channels by falling mean x^2 x squared error.
  std::vector<int64_t> BySalience() const {
    std::vector<double> salience(static_cast<size_t>(columns_));
    for (int64_t n = 0; n < rows_; ++n) {
      const double factor = FactorOf(n);
      for (int64_t k = 0; k < columns_; ++k) {
        const double error = static_cast<double>(errors_.data()[n * columns_ + k]) / factor;
        salience[static_cast<size_t>(k)] += error * error;
      }
    }
    for (size_t k = 0; k < salience.size(); ++k) {
      salience[k] *= static_cast<double>(mean_squares_[k]);
    }
    std::vector<int64_t> channels(salience.size());
    std::iota(channels.begin(), channels.end(), 0);
    std::stable_sort(channels.begin(), channels.end(), [&](int64_t a, int64_t b) {
      return salience[static_cast<size_t>(a)] > salience[static_cast<size_t>(b)];
    });
    return channels;
  }

  absl::Status Protect(LayerAnalysis& analysis) {
    const std::vector<int64_t> channels = BySalience();
    for (const double share : kShares) {
      const auto kept = static_cast<int64_t>(std::ceil(share * static_cast<double>(columns_)));
      std::copy_n(errors_.data(), errors_.size(), other_.data());
      for (int64_t i = 0; i < kept; ++i) {
        for (int64_t n = 0; n < rows_; ++n) {
          other_.data()[n * columns_ + channels[static_cast<size_t>(i)]] = 0;
        }
      }
      QD_ASSIGN_OR_RETURN(const Energy error, EnergyOf(other_.data()));
      analysis.salient.push_back({.share = share,
                                  .channels = kept,
                                  .output_error = Ratio(error.outputs, energy_.outputs)});
    }
    return absl::OkStatus();
  }

  absl::Status TryCodebooks(LayerAnalysis& analysis) {
    const Scheme& scheme = linear_.scheme;
    const double group = static_cast<double>(columns_ / scheme.GroupsPerRow(columns_));
    const double bits = scheme.bits, stored = 8.0 * static_cast<double>(SizeOf(scheme.scale_dtype));
    if (scheme.bits == 4) {
      QD_RETURN_IF_ERROR(Try("nf4", bits + stored / group, analysis,
                             [&](std::span<const float> weights, std::span<const float>,
                                 float* to) { RoundToNf4(weights, to); }));
    }
    const int64_t levels = int64_t{1} << scheme.bits;
    return Try("k-means", bits + stored * static_cast<double>(levels) / group, analysis,
               [&](std::span<const float> weights, std::span<const float> importance, float* to) {
                 std::vector<float> chosen = KMeansLevels(weights, importance, levels);
                 RoundToStored(chosen);
                 std::sort(chosen.begin(), chosen.end());
                 RoundToLevels(weights, chosen, to);
               });
  }

  // As the model's type holds them.
  void RoundToStored(std::span<float> values) const {
    const DType dtype = linear_.scheme.scale_dtype;
    const auto count = static_cast<int64_t>(values.size());
    std::vector<std::byte> stored(values.size() * static_cast<size_t>(SizeOf(dtype)));
    NarrowFromF32(values.data(), count, dtype, stored.data());
    WidenToF32(stored.data(), dtype, count, values.data());
  }

  void RoundToNf4(std::span<const float> weights, float* to) const {
    float absmax = 0;
    for (const float weight : weights) absmax = std::max(absmax, std::fabs(weight));
    RoundToStored(std::span(&absmax, 1));
    std::array<float, 16> levels = kNf4Levels;
    for (float& level : levels) level *= absmax;
    RoundToLevels(weights, levels, to);
  }

  absl::Status Try(std::string name, double bits_per_weight, LayerAnalysis& analysis,
                   const RoundGroup& round) {
    const int64_t count = columns_ / linear_.scheme.GroupsPerRow(columns_);
    QD_RETURN_IF_ERROR(pool_.ForEach(rows_, [&](int64_t row) -> absl::Status {
      for (int64_t k = 0; k < columns_; k += count) {
        const float* weights = weights_.data() + row * columns_ + k;
        float* to = other_.data() + row * columns_ + k;
        round(std::span(weights, static_cast<size_t>(count)),
              std::span(mean_squares_).subspan(static_cast<size_t>(k), static_cast<size_t>(count)),
              to);
        for (int64_t i = 0; i < count; ++i) to[i] -= weights[i];
      }
      return absl::OkStatus();
    }));
    QD_ASSIGN_OR_RETURN(const Energy error, EnergyOf(other_.data()));
    analysis.codebooks.push_back({.name = std::move(name),
                                  .bits_per_weight = bits_per_weight,
                                  .weight_error = Ratio(error.weights, energy_.weights),
                                  .output_error = Ratio(error.outputs, energy_.outputs)});
    return absl::OkStatus();
  }

  const AnalysedLinear& linear_;
  Backend& backend_;
  ThreadPool& pool_;
  int64_t columns_, stride_, rows_;
  AlignedBuffer<float> weights_, errors_, other_;  // [rows, K]
  std::vector<float> mean_squares_;
  Energy energy_;
};

}  // namespace

absl::StatusOr<LayerAnalysis> AnalyzeLinear(const AnalysedLinear& linear, Backend& backend,
                                            ThreadPool& pool) {
  return Analyzer(linear, backend, pool).Run();
}

}  // namespace quantd
