#include "engine/method/half_quadratic.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "engine/backend/rules.h"

namespace quantd {
namespace {

// sign(e) max(0, |e| - |e|^(p - 1) / beta).
double Shrunk(double residual, double norm, double beta) {
  const double size = std::fabs(residual);
  if (size == 0) return 0;
  const double left = std::max(0.0, size - std::pow(size, norm - 1) / beta);
  return std::copysign(left, residual);
}

}  // namespace

ZeroLine LineOfRange(const GroupWeights& group, int most, bool round_zero) {
  constexpr float kNoRange = 1e-4f, kLargestInverse = 2e4f;
  const auto [low, high] = std::minmax_element(group.weights, group.weights + group.count);
  const float range = *high - *low;
  ZeroLine line;
  line.inverse = range <= kNoRange ? 1.0f : static_cast<float>(most) / range;
  line.inverse = std::clamp(line.inverse, rules::kSmallestNormal, kLargestInverse);
  line.zero = -*low * line.inverse;
  if (round_zero) line.zero = std::nearbyint(line.zero);
  return line;
}

double ShrinkThreshold(const HalfQuadratic& options, double beta) {
  return std::pow(beta, -1.0 / (2.0 - options.norm));
}

void UpdateZeroLiterally(const GroupWeights& group, int most, const HalfQuadratic& options,
                         ZeroLine* line, double* errors) {
  const float high = static_cast<float>(most);
  double beta = options.beta, least = 0;
  float zero = line->zero, best = zero;
  for (int at = 0; at < options.updates.count; ++at) {
    double total = 0, squares = 0, weight_sum = 0, zero_sum = 0;
    for (int64_t i = 0; i < group.count; ++i) {
      const double h = group.importance == nullptr ? 1.0 : double{group.importance[i]};
      const float weight = group.weights[i];
      const float position = weight * line->inverse + zero;
      const float code = rules::RoundToInteger(rules::Clamp(position, 0, high));
      const double residual = double{weight} - double{(code - zero) / line->inverse};
      const double split = Shrunk(residual, options.norm, beta);
      total += h * std::fabs(residual);
      squares += h * residual * residual;
      weight_sum += h;
      zero_sum += h * (double{code} - (double{weight} - split) * double{line->inverse});
    }
    if (errors != nullptr) errors[at] += total;
    if (at == 0 || squares < least) {
      least = squares;
      best = zero;
    }
    if (weight_sum > 0) zero = static_cast<float>(zero_sum / weight_sum);
    beta *= options.kappa;
  }
  line->zero = options.updates.keep_best ? best : zero;
}

void UpdateZero(const GroupWeights& group, int most, const HalfQuadratic& options,
                const RealZeroKernels& kernels, ZeroLine* line, double* errors) {
  // The largest beta has the lowest threshold.
  const double growth = std::pow(options.kappa, std::max(0, options.updates.count - 1));
  const double threshold = ShrinkThreshold(options, options.beta * std::max(1.0, growth));
  std::vector<double> sums(static_cast<size_t>(options.updates.count), 0.0);
  float zero = line->zero;
  const float largest =
      kernels.update_zero(group.weights, group.importance, group.count, line->inverse, most,
                          options.updates, &zero, errors == nullptr ? nullptr : sums.data());
  // Not below: also where it is not a number.
  if (!(double{largest} < 0.999 * threshold)) {
    UpdateZeroLiterally(group, most, options, line, errors);
    return;
  }
  line->zero = zero;
  if (errors == nullptr) return;
  for (size_t i = 0; i < sums.size(); ++i) errors[i] += sums[i];
}

int UpdatesUntilWorse(std::span<const double> errors) {
  double best = std::numeric_limits<double>::infinity();
  for (size_t i = 0; i < errors.size(); ++i) {
    if (!(errors[i] < best)) return static_cast<int>(i) + 1;
    best = errors[i];
  }
  return static_cast<int>(errors.size());
}

}  // namespace quantd
