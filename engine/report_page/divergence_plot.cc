#include "engine/report_page/divergence_plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <vector>

#include "engine/report_page/axis.h"
#include "engine/report_page/page_text.h"

namespace quantd {
namespace {

constexpr double kWidth = 560, kHeight = 290, kLeft = 44, kRight = 12, kTop = 26, kBottom = 34;

// "10⁻³".
std::string PowerText(int exponent) {
  static constexpr std::array<std::string_view, 10> kDigits = {"⁰", "¹", "²", "³", "⁴",
                                                               "⁵", "⁶", "⁷", "⁸", "⁹"};
  std::string text = exponent < 0 ? "10⁻" : "10";
  for (const char digit : fmt::format("{}", std::abs(exponent))) {
    text += kDigits[static_cast<size_t>(digit - '0')];
  }
  return text;
}

class DivergenceDrawing {
 public:
  explicit DivergenceDrawing(const EvaluationResult& evaluation)
      : evaluation_(evaluation), histogram_(evaluation.kl_histogram) {
    const auto& counts = histogram_.counts;
    const auto filled = [](int64_t count) { return count > 0; };
    const auto first = std::find_if(counts.begin(), counts.end(), filled) - counts.begin();
    const auto last = std::find_if(counts.rbegin(), counts.rend(), filled).base() - counts.begin();
    // Whole decades around what is there.
    low_ = std::floor(std::log10(histogram_.Edge(static_cast<size_t>(first))) + 1e-6);
    high_ = std::ceil(std::log10(histogram_.Edge(static_cast<size_t>(last))) - 1e-6);
    total_ = std::accumulate(counts.begin(), counts.end(), int64_t{0});
    most_ = Share(*std::max_element(counts.begin(), counts.end()));
  }

  std::string Draw() {
    svg_ = fmt::format(
        "<svg class=\"plot\" viewBox=\"0 0 {:.0f} {:.0f}\" role=\"img\" aria-label=\"Histogram of "
        "KL per token\">",
        kWidth, kHeight);
    const std::vector<double> range = {0, most_};
    const Axis axis = Axis::Covering(range, AxisScale::kLinear, kHeight - kBottom, kTop);
    for (const double tick : axis.ticks()) {
      svg_ += fmt::format("<path class=\"grid\" d=\"M{:.0f} {:.1f}H{:.0f}\"/>", kLeft,
                          axis.At(tick), kWidth - kRight);
      svg_ += fmt::format("<text class=\"tick end\" x=\"{:.0f}\" y=\"{:.1f}\">{}%</text>",
                          kLeft - 6, axis.At(tick) + 3.5, axis.TickText(tick));
    }
    DrawBars(axis);
    for (double exponent = low_; exponent <= high_; ++exponent) {
      svg_ +=
          fmt::format("<text class=\"tick mid\" x=\"{:.1f}\" y=\"{:.0f}\">{}</text>", At(exponent),
                      kHeight - kBottom + 17, PowerText(static_cast<int>(exponent)));
    }
    svg_ +=
        fmt::format("<text class=\"tick mid\" x=\"{:.1f}\" y=\"{:.0f}\">KL of a token, nats</text>",
                    (kLeft + kWidth - kRight) / 2, kHeight - 3);
    DrawMark(evaluation_.kl_mean, "mean", "end", -5);
    DrawMark(evaluation_.kl_p99, "p99", "start", 5);
    return svg_ + "</svg>";
  }

 private:
  double Share(int64_t count) const {
    return total_ == 0 ? 0 : 100 * static_cast<double>(count) / static_cast<double>(total_);
  }
  std::string_view Beyond(size_t bin) const {
    if (bin == 0) return " or less";
    return bin + 1 == histogram_.counts.size() ? " or more" : "";
  }
  // The pixel of a power of ten.
  double At(double exponent) const {
    const double part = (exponent - low_) / std::max(high_ - low_, 1e-9);
    return kLeft + std::clamp(part, 0.0, 1.0) * (kWidth - kRight - kLeft);
  }

  void DrawBars(const Axis& axis) {
    const auto& counts = histogram_.counts;
    for (size_t i = 0; i < counts.size(); ++i) {
      if (counts[i] == 0) continue;
      const double from = At(std::log10(histogram_.Edge(i)));
      const double to = At(std::log10(histogram_.Edge(i + 1)));
      const double y = axis.At(Share(counts[i]));
      svg_ += fmt::format(
          "<rect class=\"bar\" x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\">"
          "<title>KL {:.1e} to {:.1e}{}\n{} of {} tokens, {:.2g} %</title></rect>",
          from + 0.5, y, std::max(to - from - 1, 0.5), axis.At(0) - y, histogram_.Edge(i),
          histogram_.Edge(i + 1), Beyond(i), GroupedText(counts[i]), GroupedText(total_),
          Share(counts[i]));
    }
  }

  void DrawMark(double value, std::string_view name, std::string_view anchor, double shift) {
    if (!(value > 0)) return;
    const double x = At(std::log10(value));
    svg_ += fmt::format(
        "<path class=\"rule\" d=\"M{:.1f} {:.0f}V{:.0f}\"/><text class=\"note {}\" x=\"{:.1f}\" "
        "y=\"{:.0f}\">{} {}</text>",
        x, kTop - 14, kHeight - kBottom, anchor, x + shift, kTop - 8, name, FigureText(value));
  }

  const EvaluationResult& evaluation_;
  const DivergenceHistogram& histogram_;
  double low_ = 0, high_ = 1, most_ = 0;
  int64_t total_ = 0;
  std::string svg_;
};

}  // namespace

Figure DivergencePlot(const EvaluationResult& evaluation) {
  const auto& counts = evaluation.kl_histogram.counts;
  const bool any =
      std::any_of(counts.begin(), counts.end(), [](int64_t count) { return count > 0; });
  return {.title = "KL of the tokens",
          .caption =
              "KL(original ‖ quantized) of every token that was predicted. A long tail to "
              "the right means that a few predictions changed much.",
          .content = any ? DivergenceDrawing(evaluation).Draw() : ""};
}

}  // namespace quantd
