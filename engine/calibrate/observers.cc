#include "engine/calibrate/observers.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <span>
#include <vector>

#include "engine/backend/rules.h"

namespace quantd {
namespace {

constexpr int kBits = 8;
constexpr int kHalf = Histogram::kBins / 2;
constexpr int64_t kLevels = 128;  // of one sign
constexpr int kPointsPerBin = 8;
constexpr int kShrinks = 128;  // candidates of one end of the range

constexpr std::array<std::string_view, 4> kRuleNames = {"minmax", "percentile", "mse", "kl"};

struct Range {
  double low = 0, high = 0;
};

Range Extrema(const InputStatistics& statistics) {
  Range range;
  for (const float value : statistics.min) range.low = std::min(range.low, double{value});
  for (const float value : statistics.max) range.high = std::max(range.high, double{value});
  return range;
}

double Magnitude(const Range& range) { return std::max(-range.low, range.high); }

// The rules of weights (absmax, min-max) on a range instead of a group.
StaticInput InputOf(const Range& range, const ObserverOptions& options) {
  if (Magnitude(range) == 0) return {};
  const auto low = static_cast<float>(range.low), high = static_cast<float>(range.high);
  const rules::ScaleZero chosen =
      options.symmetric ? rules::AbsmaxSymmetric(std::max(-low, high), kBits, options.scale_dtype)
                        : rules::MinMaxAsymmetric(low, high, kBits, options.scale_dtype);
  return {.scale = chosen.scale, .zero = chosen.zero};
}

// Counts of |x|: bin i holds [i, i + 1) widths.
std::vector<int64_t> CountsOfMagnitudes(const Histogram& histogram) {
  const std::vector<int64_t>& counts = histogram.counts();
  std::vector<int64_t> magnitudes(kHalf);
  for (int i = 0; i < kHalf; ++i) {
    magnitudes[static_cast<size_t>(i)] =
        counts[static_cast<size_t>(kHalf + i)] + counts[static_cast<size_t>(kHalf - 1 - i)];
  }
  return magnitudes;
}

// How many bins from the start hold `target` values, the last one in part.
double BinsHolding(std::span<const int64_t> counts, double target) {
  double held = 0;
  for (size_t i = 0; i < counts.size(); ++i) {
    const auto count = static_cast<double>(counts[i]);
    if (count > 0 && held + count >= target) {
      return static_cast<double>(i) + std::max(0.0, target - held) / count;
    }
    held += count;
  }
  return static_cast<double>(counts.size());
}

Range PercentileRange(const Histogram& histogram, double percentile, bool symmetric) {
  const double inside = static_cast<double>(histogram.total()) * (percentile / 100);
  if (symmetric) {
    const double most = BinsHolding(CountsOfMagnitudes(histogram), inside) * histogram.width();
    return {-most, most};
  }
  const double each_side = (static_cast<double>(histogram.total()) + inside) / 2;
  const std::vector<int64_t>& counts = histogram.counts();
  const std::vector<int64_t> reversed(counts.rbegin(), counts.rend());
  return {(kHalf - BinsHolding(reversed, each_side)) * histogram.width(),
          (BinsHolding(counts, each_side) - kHalf) * histogram.width()};
}

// Values that stand for a histogram: kPointsPerBin in each bin, evenly.
struct Points {
  std::vector<double> x, weight;
  double total = 0;
};

Points PointsOf(const Histogram& histogram) {
  Points points;
  for (int i = 0; i < Histogram::kBins; ++i) {
    const auto count = static_cast<double>(histogram.counts()[static_cast<size_t>(i)]);
    if (count == 0) continue;
    for (int j = 0; j < kPointsPerBin; ++j) {
      const double inside = (j + 0.5) / kPointsPerBin;
      points.x.push_back((i - kHalf + inside) * histogram.width());
      points.weight.push_back(count / kPointsPerBin);
    }
    points.total += count;
  }
  return points;
}

double SquaredError(const Points& points, const StaticInput& input) {
  const double scale = static_cast<double>(input.scale);
  const double low = -128 - input.zero, high = 127 - input.zero;
  constexpr double kRounder = 6755399441055744.0;  // 1.5 * 2^52: leaves the nearest integer
  double sum = 0;
  for (size_t i = 0; i < points.x.size(); ++i) {
    const double step = std::clamp(points.x[i] / scale, low, high) + kRounder - kRounder;
    const double error = points.x[i] - step * scale;
    sum += points.weight[i] * (error * error);
  }
  return points.total > 0 ? sum / points.total : 0;
}

// The best of kShrinks shares of one end of the range, the widest on ties.
template <typename End>
void ShrinkEnd(const Points& points, const ObserverOptions& options, Range* range, End end) {
  const Range from = *range;
  double least = std::numeric_limits<double>::infinity();
  for (int i = kShrinks; i > 0; --i) {
    Range candidate = from;
    end(candidate, static_cast<double>(i) / kShrinks);
    const double error = SquaredError(points, InputOf(candidate, options));
    if (error >= least) continue;
    least = error;
    *range = candidate;
  }
}

Range LeastErrorRange(const Histogram& histogram, const Range& all,
                      const ObserverOptions& options) {
  const Points points = PointsOf(histogram);
  Range range = all;
  ShrinkEnd(points, options, &range,
            [&](Range& to, double share) { to = {all.low * share, all.high * share}; });
  if (options.symmetric) return range;
  for (int round = 0; round < 2; ++round) {
    ShrinkEnd(points, options, &range, [&](Range& to, double share) { to.low = all.low * share; });
    ShrinkEnd(points, options, &range,
              [&](Range& to, double share) { to.high = all.high * share; });
  }
  return range;
}

// KL(p || q) where p is the distribution with all outside [begin, end) moved into its end bins, and
// q what is left of those inside when `levels` runs of neighbouring bins can only be told apart as
// runs: a run's count is spread evenly over those of its bins that are not empty. Infinite when an
// end bin holds nothing but what was moved there.
double Divergence(std::span<const int64_t> counts, int64_t begin, int64_t end, int64_t levels) {
  const int64_t bins = end - begin;
  double total = 0, inside = 0, below = 0, above = 0;
  for (int64_t i = 0; i < static_cast<int64_t>(counts.size()); ++i) {
    const auto count = static_cast<double>(counts[static_cast<size_t>(i)]);
    total += count;
    (i < begin ? below : i >= end ? above : inside) += count;
  }
  double divergence = 0;
  for (int64_t level = 0; level < levels; ++level) {
    const int64_t first = begin + level * bins / levels;
    const int64_t last = begin + (level + 1) * bins / levels;
    double run = 0, filled = 0;
    for (int64_t i = first; i < last; ++i) {
      const auto count = static_cast<double>(counts[static_cast<size_t>(i)]);
      run += count;
      filled += count > 0 ? 1 : 0;
    }
    for (int64_t i = first; i < last; ++i) {
      const auto own = static_cast<double>(counts[static_cast<size_t>(i)]);
      const double moved = (i == begin ? below : 0) + (i == end - 1 ? above : 0);
      if (own + moved == 0) continue;
      if (own == 0) return std::numeric_limits<double>::infinity();
      const double p = (own + moved) / total, q = run / filled / inside;
      divergence += p * std::log(p / q);
    }
  }
  return divergence;
}

int64_t BinsIn(double length, double width, int64_t most) {
  return std::min(most, static_cast<int64_t>(std::ceil(length / width)));
}

// Of thresholds of |x|, one bin apart: an end of the range that lies inside stays.
Range LeastDivergenceRange(const Histogram& histogram, const Range& all, bool symmetric) {
  const double width = histogram.width(), absmax = Magnitude(all);
  const std::vector<int64_t> magnitudes = CountsOfMagnitudes(histogram);
  Range best = all;
  double least = std::numeric_limits<double>::infinity();
  for (int64_t bins = BinsIn(absmax, width, kHalf); bins >= kLevels; --bins) {
    const double threshold = static_cast<double>(bins) * width;
    const Range candidate = {std::max(all.low, -threshold), std::min(all.high, threshold)};
    double divergence = 0;
    if (symmetric) {
      divergence = Divergence(magnitudes, 0, bins, kLevels);
    } else {
      const int64_t begin = kHalf - BinsIn(-candidate.low, width, kHalf);
      const int64_t end = kHalf + BinsIn(candidate.high, width, kHalf);
      if (end - begin < 2 * kLevels) break;
      divergence = Divergence(histogram.counts(), begin, end, 2 * kLevels);
    }
    if (divergence >= least) continue;
    least = divergence;
    best = candidate;
  }
  return best;
}

// Values beyond half a step outside the first and the last code.
double ClippedShare(const Histogram& histogram, const StaticInput& input) {
  const double scale = static_cast<double>(input.scale), width = histogram.width();
  const double low = (-128.5 - input.zero) * scale / width + kHalf;
  const double high = (127.5 - input.zero) * scale / width + kHalf;
  double clipped = 0;
  for (int i = 0; i < Histogram::kBins; ++i) {
    const auto count = static_cast<double>(histogram.counts()[static_cast<size_t>(i)]);
    const double inside = std::clamp(high - i, 0.0, 1.0) - std::clamp(low - i, 0.0, 1.0);
    clipped += count * (1 - inside);
  }
  return clipped / static_cast<double>(std::max<int64_t>(1, histogram.total()));
}

}  // namespace

std::string_view NameOf(ObserverRule rule) { return kRuleNames[static_cast<size_t>(rule)]; }

std::optional<ObserverRule> ObserverRuleOf(std::string_view name) {
  for (size_t i = 0; i < kRuleNames.size(); ++i) {
    if (kRuleNames[i] == name) return static_cast<ObserverRule>(i);
  }
  return std::nullopt;
}

StatisticsNeeds ObserverNeeds(const ObserverOptions& options) {
  return {.moments = true, .gram_block = 0, .histogram = options.rule != ObserverRule::kMinMax};
}

ObservedInput Observe(const InputStatistics& statistics, const ObserverOptions& options) {
  const Range all = Extrema(statistics);
  const Histogram& histogram = statistics.histogram;
  if (histogram.empty() || Magnitude(all) == 0) return {InputOf(all, options), std::nullopt};
  Range range = all;
  switch (options.rule) {
    case ObserverRule::kMinMax:
      break;
    case ObserverRule::kPercentile:
      range = PercentileRange(histogram, options.percentile, options.symmetric);
      // A bin reaches beyond the values in it, and zero is always inside.
      range = {std::clamp(range.low, all.low, 0.0), std::clamp(range.high, 0.0, all.high)};
      break;
    case ObserverRule::kMse:
      range = LeastErrorRange(histogram, all, options);
      break;
    case ObserverRule::kKl:
      range = LeastDivergenceRange(histogram, all, options.symmetric);
      break;
  }
  const StaticInput input = InputOf(range, options);
  return {input, ClippedShare(histogram, input)};
}

double SquaredErrorOf(const Histogram& histogram, const StaticInput& input) {
  return SquaredError(PointsOf(histogram), input);
}

}  // namespace quantd
