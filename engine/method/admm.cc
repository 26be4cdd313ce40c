#include "engine/method/admm.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "engine/backend/rules.h"

namespace quantd {

// With r = w - (q - z) / inverse the residual, e its split and u the multiplier over beta:
//   q = clamp(round(w inverse + z)),  e = shrink(r + u),
//   z = mean(q - (w - e + u) inverse),  u = u + r - e.
void UpdateZeroByAdmm(const GroupWeights& group, int most, const HalfQuadratic& options,
                      ZeroLine* line) {
  const float high = static_cast<float>(most);
  const double inverse = double{line->inverse};
  std::vector<float> codes(static_cast<size_t>(group.count));
  std::vector<double> multiplier(static_cast<size_t>(group.count), 0.0);
  std::vector<double> split(static_cast<size_t>(group.count), 0.0);
  double beta = options.beta, least = 0;
  float zero = line->zero, best = zero;
  for (int at = 0; at <= options.updates.count; ++at) {
    double squares = 0, weight_sum = 0, zero_sum = 0;
    for (int64_t i = 0; i < group.count; ++i) {
      const size_t k = static_cast<size_t>(i);
      const double h = group.importance == nullptr ? 1.0 : double{group.importance[i]};
      const double weight = double{group.weights[i]};
      const float position = group.weights[i] * line->inverse + zero;
      codes[k] = rules::RoundToInteger(rules::Clamp(position, 0, high));
      const double residual = weight - (double{codes[k]} - double{zero}) / inverse;
      const double moved = residual + multiplier[k], size = std::fabs(moved);
      const double shrunk =
          size == 0 ? 0 : std::max(0.0, size - std::pow(size, options.norm - 1) / beta);
      split[k] = std::copysign(shrunk, moved);
      squares += h * residual * residual;
      weight_sum += h;
      zero_sum += h * (double{codes[k]} - (weight - split[k] + multiplier[k]) * inverse);
    }
    if (at == 0 || squares < least) {
      least = squares;
      best = zero;
    }
    if (!(weight_sum > 0)) break;
    zero = static_cast<float>(zero_sum / weight_sum);
    for (int64_t i = 0; i < group.count; ++i) {
      const size_t k = static_cast<size_t>(i);
      const double residual =
          double{group.weights[i]} - (double{codes[k]} - double{zero}) / inverse;
      multiplier[k] += residual - split[k];
    }
    beta *= options.kappa;
  }
  line->zero = best;
}

}  // namespace quantd
