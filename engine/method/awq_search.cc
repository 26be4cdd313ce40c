#include "engine/method/awq_search.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/checked.h"
#include "base/error.h"

namespace quantd {
namespace {

constexpr int64_t kAllRows = int64_t{1} << 40;

// Rows of one linear that one thread looks at.
struct Panel {
  size_t linear = 0;
  int64_t row = 0, rows = 0;
};

// The rows of all linears, cut the same way for any number of threads; of a linear with more than
// `most_rows` evenly spread panels with about so many.
std::vector<Panel> PanelsOf(const TransformRequest& request, int64_t rows_per_panel,
                            int64_t most_rows) {
  std::vector<Panel> panels;
  for (size_t i = 0; i < request.linears.size(); ++i) {
    const int64_t rows = request.linears[i].linear->out_features;
    const int64_t stride = rows_per_panel * std::max<int64_t>(1, rows / most_rows);
    for (int64_t row = 0; row < rows; row += stride) {
      panels.push_back({i, row, std::min(rows_per_panel, rows - row)});
    }
  }
  return panels;
}

// Calls add(panel, weights, sums) for every panel, on all threads, and adds the sums [width] of the
// panels in their order.
template <typename Add>
absl::StatusOr<std::vector<double>> SumOverPanels(const TransformRequest& request,
                                                  const MethodContext& context,
                                                  int64_t rows_per_panel, int64_t most_rows,
                                                  size_t width, const Add& add) {
  const std::vector<Panel> panels = PanelsOf(request, rows_per_panel, most_rows);
  std::vector<std::vector<double>> sums(panels.size());
  QD_RETURN_IF_ERROR(
      context.pool.ForEach(static_cast<int64_t>(panels.size()), [&](int64_t at) -> absl::Status {
        const Panel& panel = panels[static_cast<size_t>(at)];
        const TransformLinear& linear = request.linears[panel.linear];
        AlignedBuffer<float> weights(panel.rows * linear.linear->in_features);
        QD_RETURN_IF_ERROR(linear.read(panel.row, panel.rows, weights.data()));
        std::vector<double>& own = sums[static_cast<size_t>(at)];
        own.resize(width);
        return add(panel, weights.data(), own.data());
      }));
  std::vector<double> total(width);
  for (const std::vector<double>& own : sums) {
    for (size_t i = 0; i < width; ++i) total[i] += own[i];
  }
  return total;
}

// Channels that share a scale take the mean of theirs.
void Share(std::span<const int32_t> shared, std::vector<double>& scales) {
  if (shared.empty()) return;
  const auto last = static_cast<size_t>(*std::max_element(shared.begin(), shared.end()));
  std::vector<double> sums(last + 1), counts(last + 1);
  for (size_t k = 0; k < scales.size(); ++k) {
    sums[static_cast<size_t>(shared[k])] += scales[k];
    counts[static_cast<size_t>(shared[k])] += 1;
  }
  for (size_t k = 0; k < scales.size(); ++k) {
    scales[k] = sums[static_cast<size_t>(shared[k])] / counts[static_cast<size_t>(shared[k])];
  }
}

// The scales of one candidate, [K]: the middle of each segment is 1.
AwqCandidate CandidateOf(const TransformRequest& request, double alpha, double beta,
                         int64_t segment, const std::vector<float>& input_means,
                         const std::vector<double>& weight_means) {
  constexpr double kLeastScale = 1e-4;
  std::vector<double> scales(input_means.size());
  for (size_t k = 0; k < scales.size(); ++k) {
    double scale = std::pow(static_cast<double>(input_means[k]), alpha);
    if (beta > 0) scale /= std::pow(weight_means[k], beta) + 1e-4;
    scales[k] = std::max(scale, kLeastScale);
  }
  for (auto begin = scales.begin(); begin != scales.end(); begin += segment) {
    const auto end = begin + segment;
    const auto [least, most] = std::minmax_element(begin, end);
    const double middle = std::sqrt(*least * *most);
    for (auto scale = begin; scale != end; ++scale) {
      *scale = std::isfinite(*scale / middle) ? *scale / middle : 1;
    }
  }
  Share(request.shared, scales);
  return {alpha, beta, std::vector<float>(scales.begin(), scales.end())};
}

}  // namespace

std::vector<AwqCandidate> AwqCandidates(const TransformRequest& request,
                                        const AwqSearchSettings& settings,
                                        const std::vector<double>& weight_means) {
  constexpr int kBetas = 4;
  const int64_t segment = AwqSegment(request, settings);
  std::vector<float> means = request.statistics->MeanAbs();
  std::vector<AwqCandidate> candidates = {{0, 0, std::vector<float>(means.size(), 1.0F)}};
  const auto add = [&](double alpha, double beta) {
    candidates.push_back(CandidateOf(request, alpha, beta, segment, means, weight_means));
  };
  const double grid = static_cast<double>(settings.grid);
  if (settings.reference) {  // never tries alpha = 1
    for (int64_t i = 0; i < settings.grid; ++i) {
      const double alpha = static_cast<double>(i) / grid;
      add(alpha, settings.duo ? 1 - alpha : 0);
    }
    return candidates;
  }
  // Channels that calibration never woke may wake later.
  const float most = *std::max_element(means.begin(), means.end());
  for (float& mean : means) mean = std::max(mean, 1e-4F * most);
  for (int b = 0; b <= (settings.duo ? kBetas : 0); ++b) {
    for (int64_t i = b == 0 ? 1 : 0; i <= settings.grid; ++i) {
      add(static_cast<double>(i) / grid, static_cast<double>(b) / kBetas);
    }
  }
  return candidates;
}

absl::StatusOr<std::vector<double>> AwqWeightMeans(const TransformRequest& request,
                                                   const MethodContext& context) {
  const auto columns = request.statistics->channels();
  const auto add = [&](const Panel& panel, const float* weights, double* sums) {
    const Scheme& scheme = *request.linears[panel.linear].scheme;
    const int64_t count = columns / scheme.GroupsPerRow(columns);
    for (int64_t at = 0; at < panel.rows * columns; at += count) {
      float absmax = 0;
      for (int64_t k = 0; k < count; ++k) absmax = std::max(absmax, std::fabs(weights[at + k]));
      const float inverse = 1.0F / (absmax + 1e-6F);
      double* group = sums + at % columns;
      for (int64_t k = 0; k < count; ++k) {
        group[k] += static_cast<double>(std::fabs(weights[at + k]) * inverse);
      }
    }
    return absl::OkStatus();
  };
  QD_ASSIGN_OR_RETURN(std::vector<double> means, SumOverPanels(request, context, 64, kAllRows,
                                                               static_cast<size_t>(columns), add));
  double rows = 0;
  for (const TransformLinear& linear : request.linears) {
    rows += static_cast<double>(linear.linear->out_features);
  }
  for (double& mean : means) mean /= rows;
  return means;
}

namespace {

// The best candidate of each segment, by losses[segments, candidates]. A loss that is not a number
// is never the least: weights that are not finite are named when they are rounded.
TransformChoice Best(const std::vector<AwqCandidate>& candidates, const std::vector<double>& losses,
                     int64_t segment, size_t first) {
  const size_t count = candidates.size();
  const auto width = static_cast<size_t>(segment);
  const auto segments = static_cast<double>(losses.size() / count);
  TransformChoice choice;
  choice.scales.resize(candidates.front().scales.size());
  double alpha = 0, beta = 0, loss = 0, plain = 0;
  bool scaled = false;
  for (size_t at = 0; at * count < losses.size(); ++at) {
    const double* own = losses.data() + at * count;
    size_t best = first;
    for (size_t c = first + 1; c < count; ++c) {
      if (own[c] < own[best]) best = c;
    }
    scaled = scaled || best > 0;
    alpha += candidates[best].alpha / segments;
    beta += candidates[best].beta / segments;
    loss += own[best];
    plain += own[0];
    std::copy_n(candidates[best].scales.begin() + static_cast<int64_t>(at * width), width,
                choice.scales.begin() + static_cast<int64_t>(at * width));
  }
  if (!scaled) choice.scales.clear();
  choice.figures = {
      {"alpha", alpha}, {"beta", beta}, {"loss_ratio", plain > 0 ? loss / plain : 1.0}};
  return choice;
}

}  // namespace

absl::StatusOr<TransformChoice> ChooseAwqScales(const TransformRequest& request,
                                                const MethodContext& context) {
  const AwqSearchSettings settings = AwqSearchSettingsOf(*request.linears.front().scheme);
  // AutoAWQ leaves o alone where one row of v makes several of its channels.
  if (settings.reference && SharesScales(request)) return TransformChoice{};
  std::vector<double> weight_means;
  if (settings.duo) {
    QD_ASSIGN_OR_RETURN(weight_means, AwqWeightMeans(request, context));
  }
  const std::vector<AwqCandidate> candidates = AwqCandidates(request, settings, weight_means);
  const AwqLossMeter meter(request, settings, candidates, context);
  // Searching for the scale of every group of every candidate costs ten times a look at its range.
  const int64_t most_rows = settings.search_by_rule ? 1024 : kAllRows;
  QD_ASSIGN_OR_RETURN(
      const std::vector<double> losses,
      SumOverPanels(request, context, meter.rows_per_panel(), most_rows, meter.sums(),
                    [&](const Panel& panel, const float* weights, double* sums) {
                      return meter.Add(*request.linears[panel.linear].scheme, weights, panel.rows,
                                       sums);
                    }));
  return Best(candidates, losses, meter.segment(), settings.reference ? 1 : 0);
}

}  // namespace quantd
