#include "engine/report_page/axis.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace quantd {
namespace {

constexpr int kWantedTicks = 5;

// 1, 2 or 5 times a power of ten, at least `step`.
double RoundStep(double step) {
  const double power = std::pow(10, std::floor(std::log10(step)));
  for (const double mantissa : {1.0, 2.0, 5.0}) {
    if (mantissa * power >= step * 0.999) return mantissa * power;
  }
  return 10 * power;
}

std::vector<double> LinearTicks(double low, double high) {
  const double step = RoundStep((high - low) / kWantedTicks);
  std::vector<double> ticks;
  const double first = std::floor(low / step), last = std::ceil(high / step);
  for (double at = first; at <= last; ++at) ticks.push_back(at * step);
  return ticks;
}

// 1, 2, 5 times powers of ten; fewer of them where many decades are to be shown.
std::vector<double> LogTicks(double low, double high) {
  const double decades = std::log10(high / low);
  std::vector<double> mantissas = {1, 2, 5};
  if (decades > 2.5) mantissas = {1};
  const double every = std::max(1.0, std::ceil(decades / 8));
  std::vector<double> all;
  const double first = std::floor(std::log10(low)) - every;
  const double last = std::ceil(std::log10(high)) + every;
  for (double exponent = first; exponent <= last; exponent += every) {
    for (const double mantissa : mantissas) all.push_back(mantissa * std::pow(10, exponent));
  }
  // The last tick at or below `low` to the first at or above `high`.
  auto begin = std::upper_bound(all.begin(), all.end(), low * 1.0001);
  auto end = std::lower_bound(all.begin(), all.end(), high * 0.9999);
  if (begin != all.begin()) --begin;
  if (end != all.end()) ++end;
  return {begin, end};
}

}  // namespace

Axis Axis::Covering(std::span<const double> values, AxisScale scale, double begin, double end) {
  double low = INFINITY, high = -INFINITY;
  for (const double value : values) {
    if (!std::isfinite(value) || (scale == AxisScale::kLog && value <= 0)) continue;
    low = std::min(low, value);
    high = std::max(high, value);
  }
  const bool log = scale == AxisScale::kLog;
  if (low > high) {
    low = log ? 0.1 : 0;
    high = 1;
  }
  // A flat line still needs an axis.
  if (!(high - low > 1e-9 * std::abs(high))) {
    const double room = std::max(std::abs(high) * 0.1, 1e-12);
    low = log ? low / 1.5 : low - room;
    high = log ? high * 1.5 : high + room;
  }
  Axis axis;
  axis.scale_ = scale;
  axis.ticks_ = log ? LogTicks(low, high) : LinearTicks(low, high);
  axis.low_ = axis.ticks_.front();
  axis.high_ = axis.ticks_.back();
  axis.begin_ = begin;
  axis.end_ = end;
  return axis;
}

bool Axis::Shows(double value) const {
  return std::isfinite(value) && (scale_ == AxisScale::kLinear || value > 0);
}

std::string Axis::TickText(double tick) const {
  if (scale_ == AxisScale::kLog || ticks_.size() < 2) return fmt::format("{:.3g}", tick);
  const double decimals = -std::floor(std::log10(ticks_[1] - ticks_[0]) + 1e-9);
  return fmt::format("{:.{}f}", tick, static_cast<int>(std::clamp(decimals, 0.0, 6.0)));
}

double Axis::At(double value) const {
  double part = 0;
  if (scale_ == AxisScale::kLinear) {
    part = (value - low_) / (high_ - low_);
  } else {
    part = std::log(std::max(value, low_) / low_) / std::log(high_ / low_);
  }
  return begin_ + std::clamp(part, 0.0, 1.0) * (end_ - begin_);
}

}  // namespace quantd
