// Where a value lies on a plot, and the ticks beside it.
#pragma once

#include <span>
#include <string>
#include <vector>

namespace quantd {

enum class AxisScale { kLinear, kLog };

class Axis {
 public:
  // Covers every finite value (every positive one on a logarithmic axis), widened to round numbers,
  // from pixel `begin` to pixel `end`; `end` may be the smaller one. Without values: 0..1 or
  // 0.1..1.
  static Axis Covering(std::span<const double> values, AxisScale scale, double begin, double end);

  // The pixel; values that the axis does not show lie at its nearer end.
  double At(double value) const;
  bool Shows(double value) const;
  // Round numbers within the axis, ascending.
  const std::vector<double>& ticks() const { return ticks_; }
  // With as many digits as its neighbours need to differ.
  std::string TickText(double tick) const;

 private:
  AxisScale scale_ = AxisScale::kLinear;
  double low_ = 0, high_ = 1, begin_ = 0, end_ = 1;
  std::vector<double> ticks_;
};

}  // namespace quantd
