#include "engine/method/awq_search.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/checked.h"
#include "base/error.h"

namespace quantd {
namespace {

// Rows of one linear that one thread looks at.
struct Panel {
  size_t linear = 0;
  int64_t row = 0, rows = 0;
};

// The rows of all linears, cut the same way for any number of threads.
std::vector<Panel> PanelsOf(const FoldRequest& request, int64_t rows_per_panel) {
  std::vector<Panel> panels;
  for (size_t i = 0; i < request.linears.size(); ++i) {
    const int64_t rows = request.linears[i].linear->out_features;
    for (int64_t row = 0; row < rows; row += rows_per_panel) {
      panels.push_back({i, row, std::min(rows_per_panel, rows - row)});
    }
  }
  return panels;
}

// Calls add(panel, weights, sums) for every panel, on all threads, and adds the sums [width] of the
// panels in their order.
template <typename Add>
absl::StatusOr<std::vector<double>> SumOverPanels(const FoldRequest& request,
                                                  const MethodContext& context,
                                                  int64_t rows_per_panel, size_t width,
                                                  const Add& add) {
  const std::vector<Panel> panels = PanelsOf(request, rows_per_panel);
  std::vector<std::vector<double>> sums(panels.size());
  QD_RETURN_IF_ERROR(
      context.pool.ForEach(static_cast<int64_t>(panels.size()), [&](int64_t at) -> absl::Status {
        const Panel& panel = panels[static_cast<size_t>(at)];
        const FoldLinear& linear = request.linears[panel.linear];
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

AwqCandidate CandidateOf(const FoldRequest& request, double alpha, bool duo,
                         const std::vector<float>& input_means,
                         const std::vector<double>& weight_means) {
  constexpr double kLeastScale = 1e-4;
  std::vector<double> scales(input_means.size());
  for (size_t k = 0; k < scales.size(); ++k) {
    double scale = std::pow(static_cast<double>(input_means[k]), alpha);
    if (duo) scale /= std::pow(weight_means[k], 1 - alpha) + 1e-4;
    scales[k] = std::max(scale, kLeastScale);
  }
  const auto [least, most] = std::minmax_element(scales.begin(), scales.end());
  const double middle = std::sqrt(*least * *most);
  for (double& scale : scales) scale = std::isfinite(scale / middle) ? scale / middle : 1;
  Share(request.shared, scales);
  return {alpha, std::vector<float>(scales.begin(), scales.end())};
}

}  // namespace

std::vector<AwqCandidate> AwqCandidates(const FoldRequest& request,
                                        const AwqSearchSettings& settings,
                                        const std::vector<double>& weight_means) {
  std::vector<float> means = request.statistics->MeanAbs();
  std::vector<AwqCandidate> candidates = {{0, std::vector<float>(means.size(), 1.0F)}};
  // Channels that calibration never woke may wake later.
  const float most = *std::max_element(means.begin(), means.end());
  if (!settings.reference) {
    for (float& mean : means) mean = std::max(mean, 1e-4F * most);
  }
  // Without duo, exponent 0 is the identity again; the reference never tries 1.
  const int64_t first = settings.duo || settings.reference ? 0 : 1;
  const int64_t last = settings.reference ? settings.grid - 1 : settings.grid;
  for (int64_t i = first; i <= last; ++i) {
    const double alpha = static_cast<double>(i) / static_cast<double>(settings.grid);
    candidates.push_back(CandidateOf(request, alpha, settings.duo, means, weight_means));
  }
  return candidates;
}

absl::StatusOr<std::vector<double>> AwqWeightMeans(const FoldRequest& request,
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
  QD_ASSIGN_OR_RETURN(std::vector<double> means,
                      SumOverPanels(request, context, 64, static_cast<size_t>(columns), add));
  double rows = 0;
  for (const FoldLinear& linear : request.linears) {
    rows += static_cast<double>(linear.linear->out_features);
  }
  for (double& mean : means) mean /= rows;
  return means;
}

absl::StatusOr<FoldChoice> ChooseAwqScales(const FoldRequest& request,
                                           const MethodContext& context) {
  const AwqSearchSettings settings = AwqSearchSettingsOf(*request.linears.front().scheme);
  // AutoAWQ leaves o alone where one row of v makes several of its channels.
  if (settings.reference && !request.shared.empty()) {
    const auto last = std::max_element(request.shared.begin(), request.shared.end());
    if (*last + 1 < request.statistics->channels()) return FoldChoice{};
  }
  std::vector<double> weight_means;
  if (settings.duo) {
    QD_ASSIGN_OR_RETURN(weight_means, AwqWeightMeans(request, context));
  }
  std::vector<AwqCandidate> candidates = AwqCandidates(request, settings, weight_means);
  const AwqLossMeter meter(request, settings, candidates, context);
  QD_ASSIGN_OR_RETURN(const std::vector<double> losses,
                      SumOverPanels(request, context, meter.rows_per_panel(), candidates.size(),
                                    [&](const Panel& panel, const float* weights, double* sums) {
                                      return meter.Add(*request.linears[panel.linear].scheme,
                                                       weights, panel.rows, sums);
                                    }));
  // A loss that is not a number is never the least: weights that are not finite are named when they
  // are rounded.
  size_t best = settings.reference ? 1 : 0;
  for (size_t c = best + 1; c < losses.size(); ++c) {
    if (losses[c] < losses[best]) best = c;
  }
  FoldChoice choice;
  choice.figures = {{"alpha", candidates[best].alpha},
                    {"loss_ratio", losses[0] > 0 ? losses[best] / losses[0] : 1.0}};
  if (best > 0) choice.scales = std::move(candidates[best].scales);
  return choice;
}

}  // namespace quantd
