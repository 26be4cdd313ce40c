// Static scales against straightforward searches over the values themselves.
#include "engine/calibrate/observers.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace quantd {
namespace {

using Values = std::vector<float>;

constexpr int64_t kChannels = 16, kTokens = 2500;

// Distributions that inputs of linears look like: of norms, with outlier channels, after an
// activation that cuts off one side.
std::map<std::string, Values> Distributions() {
  std::mt19937 generator(7);
  std::normal_distribution<float> normal;
  std::exponential_distribution<float> exponential;
  Values gaussian, laplace, outliers, one_sided;
  for (int64_t i = 0; i < kTokens * kChannels; ++i) {
    const float value = normal(generator);
    gaussian.push_back(value);
    laplace.push_back(exponential(generator) * (value < 0 ? -1.0F : 1.0F));
    outliers.push_back(i % kChannels == 3 ? 40 * value : value);
    one_sided.push_back(value > 0 ? value * value : -0.1F * std::fabs(normal(generator)));
  }
  return {{"gaussian", gaussian},
          {"laplace", laplace},
          {"outliers", outliers},
          {"one-sided", one_sided}};
}

InputStatistics StatisticsOf(const Values& values) {
  InputStatistics statistics(kChannels);
  statistics.Add(values.data(), kTokens);
  statistics.histogram.Add(values.data(), kTokens * kChannels);
  return statistics;
}

float Dequantized(float x, const StaticInput& input) {
  const float code = std::nearbyint(x / input.scale) + static_cast<float>(input.zero);
  return (std::clamp(code, -128.0F, 127.0F) - static_cast<float>(input.zero)) * input.scale;
}

double ErrorOf(const Values& values, const StaticInput& input) {
  double sum = 0;
  for (const float x : values) {
    const double error = static_cast<double>(x) - static_cast<double>(Dequantized(x, input));
    sum += error * error;
  }
  return sum / static_cast<double>(values.size());
}

StaticInput Symmetric(double absmax) {
  return {.scale = static_cast<float>(absmax / 127.5), .zero = 0};
}

StaticInput Asymmetric(double low, double high) {
  const auto scale = static_cast<float>((high - low) / 255);
  return {.scale = scale,
          .zero = static_cast<int>(std::nearbyint(-128 - low / static_cast<double>(scale)))};
}

double AbsmaxOf(const Values& values) {
  double most = 0;
  for (const float x : values) most = std::max(most, std::fabs(static_cast<double>(x)));
  return most;
}

TEST(ObserversTest, NamesReadBack) {
  for (const ObserverRule rule :
       {ObserverRule::kMinMax, ObserverRule::kPercentile, ObserverRule::kMse, ObserverRule::kKl}) {
    EXPECT_EQ(ObserverRuleOf(NameOf(rule)), rule);
  }
  EXPECT_EQ(ObserverRuleOf("entropy"), std::nullopt);
}

TEST(ObserversTest, MinMaxCoversAll) {
  for (const auto& [name, values] : Distributions()) {
    InputStatistics statistics(kChannels);
    statistics.Add(values.data(), kTokens);
    const auto [low, high] = std::minmax_element(values.begin(), values.end());
    const ObservedInput symmetric = Observe(statistics, {});
    EXPECT_FLOAT_EQ(symmetric.input.scale, static_cast<float>(AbsmaxOf(values) / 127.5)) << name;
    EXPECT_EQ(symmetric.input.zero, 0);
    EXPECT_FALSE(symmetric.clipped_share.has_value()) << "nothing is known of the shares";
    const StaticInput asymmetric = Observe(statistics, {.symmetric = false}).input;
    const StaticInput wanted = Asymmetric(*low, *high);
    EXPECT_FLOAT_EQ(asymmetric.scale, wanted.scale) << name;
    EXPECT_EQ(asymmetric.zero, wanted.zero) << name;
  }
}

TEST(ObserversTest, ScalesAreAsStored) {
  const InputStatistics statistics = StatisticsOf(Distributions()["gaussian"]);
  const float scale = Observe(statistics, {.scale_dtype = DType::kBF16}).input.scale;
  uint32_t bits = 0;
  std::memcpy(&bits, &scale, sizeof(bits));
  EXPECT_EQ(bits & 0xffffU, 0U);
}

TEST(ObserversTest, PercentileIsTheQuantile) {
  for (const auto& [name, values] : Distributions()) {
    const InputStatistics statistics = StatisticsOf(values);
    Values magnitudes;
    for (const float x : values) magnitudes.push_back(std::fabs(x));
    std::sort(magnitudes.begin(), magnitudes.end());
    for (const double percentile : {90.0, 99.0, 99.9, 100.0}) {
      const ObservedInput observed =
          Observe(statistics, {.rule = ObserverRule::kPercentile, .percentile = percentile});
      const auto at = static_cast<size_t>(
          std::lround(percentile / 100 * static_cast<double>(magnitudes.size())) - 1);
      EXPECT_NEAR(static_cast<double>(observed.input.scale) * 127.5,
                  static_cast<double>(magnitudes[at]), 2 * statistics.histogram.width())
          << name << " " << percentile;
    }
    Values sorted = values;
    std::sort(sorted.begin(), sorted.end());
    const StaticInput input =
        Observe(statistics,
                {.rule = ObserverRule::kPercentile, .percentile = 99, .symmetric = false})
            .input;
    const double low = static_cast<double>(input.scale) * (-128 - input.zero);
    const double high = static_cast<double>(input.scale) * (127 - input.zero);
    const size_t cut = sorted.size() / 200;
    const double slack = statistics.histogram.width() + static_cast<double>(input.scale);
    EXPECT_NEAR(low, static_cast<double>(sorted[cut]), slack) << name;
    EXPECT_NEAR(high, static_cast<double>(sorted[sorted.size() - 1 - cut]), slack) << name;
  }
}

TEST(ObserversTest, SymmetricMseIsThatOfASearchOverTheValues) {
  for (const auto& [name, values] : Distributions()) {
    const ObservedInput observed = Observe(StatisticsOf(values), {.rule = ObserverRule::kMse});
    double least = std::numeric_limits<double>::infinity();
    for (int i = 1; i <= 400; ++i) {
      least = std::min(least, ErrorOf(values, Symmetric(AbsmaxOf(values) * i / 400)));
    }
    EXPECT_LE(ErrorOf(values, observed.input), 1.02 * least) << name;
    EXPECT_LE(ErrorOf(values, observed.input), ErrorOf(values, Symmetric(AbsmaxOf(values))));
  }
}

TEST(ObserversTest, AsymmetricMseIsThatOfASearchOverTheValues) {
  for (const auto& [name, values] : Distributions()) {
    const ObservedInput observed =
        Observe(StatisticsOf(values), {.rule = ObserverRule::kMse, .symmetric = false});
    const auto [low, high] = std::minmax_element(values.begin(), values.end());
    double least = std::numeric_limits<double>::infinity();
    for (int i = 1; i <= 30; ++i) {
      for (int j = 1; j <= 30; ++j) {
        least = std::min(least, ErrorOf(values, Asymmetric(static_cast<double>(*low) * i / 30,
                                                           static_cast<double>(*high) * j / 30)));
      }
    }
    EXPECT_LE(ErrorOf(values, observed.input), 1.02 * least) << name;
  }
}

TEST(ObserversTest, AZeroPointPaysWhereValuesLieOnOneSide) {
  const Values values = Distributions()["one-sided"];
  for (const ObserverRule rule : {ObserverRule::kMinMax, ObserverRule::kMse}) {
    const double symmetric = ErrorOf(values, Observe(StatisticsOf(values), {.rule = rule}).input);
    const double asymmetric =
        ErrorOf(values, Observe(StatisticsOf(values), {.rule = rule, .symmetric = false}).input);
    EXPECT_LT(asymmetric, 0.5 * symmetric) << NameOf(rule);
  }
}

// The divergence as it is described, over whole arrays: clip into the last bin, join the bins of a
// level, spread them over the bins that held something, compare.
double PlainDivergence(const std::vector<double>& counts, size_t bins) {
  std::vector<double> p(counts.begin(), counts.begin() + static_cast<std::ptrdiff_t>(bins));
  std::vector<double> q(bins, 0);
  for (size_t i = bins; i < counts.size(); ++i) p.back() += counts[i];
  std::vector<std::vector<size_t>> members(128);
  for (size_t level = 0; level < 128; ++level) {
    for (size_t i = level * bins / 128; i < (level + 1) * bins / 128; ++i) {
      members[level].push_back(i);
    }
  }
  for (const std::vector<size_t>& level : members) {
    double sum = 0, filled = 0;
    for (const size_t i : level) {
      sum += counts[i];
      if (counts[i] > 0) filled += 1;
    }
    for (const size_t i : level) {
      if (counts[i] > 0) q[i] = sum / filled;
    }
  }
  double p_sum = 0, q_sum = 0, divergence = 0;
  for (size_t i = 0; i < bins; ++i) {
    p_sum += p[i];
    q_sum += q[i];
  }
  for (size_t i = 0; i < bins; ++i) {
    if (p[i] == 0) continue;
    if (q[i] == 0) return std::numeric_limits<double>::infinity();
    divergence += p[i] / p_sum * std::log(p[i] / p_sum / (q[i] / q_sum));
  }
  return divergence;
}

TEST(ObserversTest, KlIsThatOfTheDefinition) {
  for (const auto& [name, values] : Distributions()) {
    const InputStatistics statistics = StatisticsOf(values);
    const double width = statistics.histogram.width();
    std::vector<double> counts(Histogram::kBins / 2);
    for (const float x : values) {
      // A negative value on the edge of a bin belongs to the bin above it.
      const double bin = static_cast<double>(x) / width;
      counts[static_cast<size_t>(x >= 0 ? std::floor(bin) : std::ceil(-bin) - 1)] += 1;
    }
    const double absmax = AbsmaxOf(values);
    size_t best = 0;
    double least = std::numeric_limits<double>::infinity();
    for (auto bins = static_cast<size_t>(std::ceil(absmax / width)); bins >= 128; --bins) {
      const double divergence = PlainDivergence(counts, bins);
      if (divergence < least * (1 - 1e-9)) {
        least = divergence;
        best = bins;
      }
    }
    const ObservedInput observed = Observe(statistics, {.rule = ObserverRule::kKl});
    const double threshold = std::min(absmax, static_cast<double>(best) * width);
    EXPECT_NEAR(static_cast<double>(observed.input.scale) * 127.5 / threshold, 1, 1e-5) << name;
  }
}

TEST(ObserversTest, KlClipsATailAndKeepsABulk) {
  Values values = Distributions()["gaussian"];
  const ObservedInput plain = Observe(StatisticsOf(values), {.rule = ObserverRule::kKl});
  values[5] = 30;  // one value far out
  const ObservedInput tail = Observe(StatisticsOf(values), {.rule = ObserverRule::kKl});
  EXPECT_LT(static_cast<double>(tail.input.scale) * 127.5, 10);
  EXPECT_GT(static_cast<double>(tail.input.scale) * 127.5, 3);
  EXPECT_LT(static_cast<double>(plain.input.scale) * 127.5, AbsmaxOf(values));
  const ObservedInput asymmetric =
      Observe(StatisticsOf(values), {.rule = ObserverRule::kKl, .symmetric = false});
  EXPECT_LT(static_cast<double>(asymmetric.input.scale) * 255, 20);
}

TEST(ObserversTest, ClippedShareIsCounted) {
  for (const auto& [name, values] : Distributions()) {
    for (const bool symmetric : {true, false}) {
      const ObservedInput observed =
          Observe(StatisticsOf(values),
                  {.rule = ObserverRule::kPercentile, .percentile = 95, .symmetric = symmetric});
      const double low = (-128.5 - observed.input.zero) * static_cast<double>(observed.input.scale);
      const double high = (127.5 - observed.input.zero) * static_cast<double>(observed.input.scale);
      const auto outside = std::count_if(values.begin(), values.end(), [&](float x) {
        return static_cast<double>(x) < low || static_cast<double>(x) > high;
      });
      const double share = static_cast<double>(outside) / static_cast<double>(values.size());
      EXPECT_NEAR(observed.clipped_share.value_or(-1), share, 0.003) << name;
      EXPECT_GT(share, 0.03) << name;
    }
  }
}

TEST(ObserversTest, HistogramErrorIsThatOfTheValues) {
  for (const auto& [name, values] : Distributions()) {
    const StaticInput input = Symmetric(AbsmaxOf(values) / 2);
    EXPECT_NEAR(SquaredErrorOf(StatisticsOf(values).histogram, input) / ErrorOf(values, input), 1,
                0.02)
        << name;
  }
}

TEST(ObserversTest, NothingSeen) {
  for (const ObserverRule rule :
       {ObserverRule::kMinMax, ObserverRule::kPercentile, ObserverRule::kMse, ObserverRule::kKl}) {
    const StaticInput none = Observe(InputStatistics(3), {.rule = rule}).input;
    EXPECT_EQ(none.scale, 1.0F);
    EXPECT_EQ(none.zero, 0);
    const StaticInput zeros =
        Observe(StatisticsOf(Values(kTokens * kChannels)), {.rule = rule}).input;
    EXPECT_EQ(zeros.scale, 1.0F);
  }
}

}  // namespace
}  // namespace quantd
