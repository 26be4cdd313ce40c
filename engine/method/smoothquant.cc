#include "engine/method/smoothquant.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>
#include <vector>

#include "base/checked.h"
#include "base/error.h"
#include "engine/method/int8.h"
#include "engine/method/round_to_nearest.h"

namespace quantd {
namespace {

constexpr int kBits[] = {8};
constexpr float kLeastScale = 1e-5F;  // of equation 4
constexpr int kGrid = 20;             // alpha = i / kGrid
constexpr int64_t kPanelWeights = 256 << 10;

constexpr std::array<OptionRow, 3> kOwnOptions = {{
    {"alpha", "float", "0.8", "0..1",
     "how much of an input channel's range moves into the weights: 0 none but what evens out the "
     "weights, 1 all"},
    {"alpha_search", "bool", "false", "true, false",
     "chooses alpha per group of linears with one input by the expected error of the product"},
    {"smooth_all", "bool", "true", "true, false",
     "smooths the inputs of o_proj and down_proj too, into v_proj and up_proj"},
}};

constexpr auto kOptions = JoinRows(kInt8Options, kOwnOptions);

absl::StatusOr<Scheme> Resolve(const SchemeRequest& request, const LinearSpec& linear,
                               DType model_dtype) {
  return ResolveInt8("smoothquant", kOptions, request, linear, model_dtype);
}

StatisticsNeeds Needs(const Scheme& scheme) {
  return Int8Needs(scheme) | StatisticsNeeds{.moments = true};
}

// Rows of one linear of the request that one thread looks at.
struct Panel {
  const TransformLinear* linear = nullptr;
  int64_t row = 0, rows = 0;
};

std::vector<Panel> PanelsOf(const TransformRequest& request) {
  std::vector<Panel> panels;
  for (const TransformLinear& linear : request.linears) {
    const int64_t height = std::max<int64_t>(1, kPanelWeights / linear.linear->in_features);
    for (int64_t row = 0; row < linear.linear->out_features; row += height) {
      panels.push_back({&linear, row, std::min(height, linear.linear->out_features - row)});
    }
  }
  return panels;
}

// Calls visit(panel index, weights [rows, K]) for every panel, on all threads.
template <typename Visit>
absl::Status ForEachPanel(const std::vector<Panel>& panels, const MethodContext& context,
                          const Visit& visit) {
  return context.pool.ForEach(
      static_cast<int64_t>(panels.size()), [&](int64_t index) -> absl::Status {
        const Panel& panel = panels[static_cast<size_t>(index)];
        std::vector<float> weights(
            static_cast<size_t>(panel.rows * panel.linear->linear->in_features));
        QD_RETURN_IF_ERROR(panel.linear->read(panel.row, panel.rows, weights.data()));
        visit(static_cast<size_t>(index), weights.data());
        return absl::OkStatus();
      });
}

// Per input channel, over all rows of the group.
struct ColumnFigures {
  std::vector<float> max_abs;
  std::vector<double> squares;  // sum of w^2
};

absl::StatusOr<ColumnFigures> FiguresOf(const std::vector<Panel>& panels, int64_t channels,
                                        const MethodContext& context) {
  const auto width = static_cast<size_t>(channels);
  std::vector<ColumnFigures> parts(panels.size());
  QD_RETURN_IF_ERROR(ForEachPanel(panels, context, [&](size_t index, const float* weights) {
    ColumnFigures& part = parts[index];
    part.max_abs.resize(width);
    part.squares.resize(width);
    for (int64_t n = 0; n < panels[index].rows; ++n) {
      const float* row = weights + n * channels;
      for (size_t k = 0; k < width; ++k) {
        part.max_abs[k] = std::max(part.max_abs[k], std::fabs(row[k]));
        part.squares[k] += static_cast<double>(row[k]) * static_cast<double>(row[k]);
      }
    }
  }));
  ColumnFigures all{std::vector<float>(width), std::vector<double>(width)};
  for (const ColumnFigures& part : parts) {
    for (size_t k = 0; k < width; ++k) {
      all.max_abs[k] = std::max(all.max_abs[k], part.max_abs[k]);
      all.squares[k] += part.squares[k];
    }
  }
  return all;
}

// Equation 4. A channel that calibration never woke, or that no weight reads, stays as it is.
std::vector<float> ScalesFor(double alpha, const InputStatistics& input,
                             const ColumnFigures& weights) {
  std::vector<float> scales(weights.max_abs.size());
  for (size_t k = 0; k < scales.size(); ++k) {
    const auto x = static_cast<double>(input.max_abs[k]);
    const auto w = static_cast<double>(weights.max_abs[k]);
    const double scale = x > 0 && w > 0 ? std::pow(x, alpha) / std::pow(w, 1 - alpha) : 1;
    scales[k] = std::max(static_cast<float>(scale), kLeastScale);
  }
  return scales;
}

// Sums over rows n of (max_j |w_nj| s_j)^2, for each candidate.
absl::StatusOr<std::vector<double>> RowRanges(const std::vector<Panel>& panels,
                                              const std::vector<std::vector<float>>& candidates,
                                              const MethodContext& context) {
  std::vector<std::vector<double>> parts(panels.size());
  QD_RETURN_IF_ERROR(ForEachPanel(panels, context, [&](size_t index, const float* weights) {
    const size_t width = candidates.front().size();
    parts[index].resize(candidates.size());
    for (int64_t n = 0; n < panels[index].rows; ++n) {
      const float* row = weights + static_cast<size_t>(n) * width;
      for (size_t c = 0; c < candidates.size(); ++c) {
        float most = 0;
        for (size_t k = 0; k < width; ++k) {
          most = std::max(most, std::fabs(row[k]) * candidates[c][k]);
        }
        parts[index][c] += static_cast<double>(most) * static_cast<double>(most);
      }
    }
  }));
  std::vector<double> sums(candidates.size());
  for (const std::vector<double>& part : parts) {
    for (size_t c = 0; c < sums.size(); ++c) sums[c] += part[c];
  }
  return sums;
}

// What a token's inputs x / s span, squared: with one scale for all tokens, what all of them do.
// Otherwise of the token at hand, whose largest value is guessed from the mean squares v as that of
// n independent normal ones would be, n = sum v / max v being how many channels are as large as the
// largest.
double SquaredRange(const std::vector<float>& scales, const InputStatistics& input,
                    const std::vector<float>& mean_squares, ActivationScheme activations) {
  if (activations == ActivationScheme::kNone) return 0;
  double largest = 0, sum = 0, range = 0;
  for (size_t k = 0; k < scales.size(); ++k) {
    const auto scale = static_cast<double>(scales[k]);
    const double energy = static_cast<double>(mean_squares[k]) / (scale * scale);
    largest = std::max(largest, energy);
    sum += energy;
    range = std::max(range, static_cast<double>(input.max_abs[k]) / scale);
  }
  if (activations == ActivationScheme::kStatic || largest == 0) return range * range;
  return std::min(range * range, largest * (1 + 2 * std::log(sum / largest)));
}

// The expected squared error of a token's outputs, in units of 1 / (12 * 127.5^2), when codes round
// evenly: every weight of row n is off by a step of its row, weighted by x^2; every input by a step
// of its token, weighted by w^2.
double ExpectedError(const std::vector<float>& scales, double row_ranges, double squared_range,
                     const std::vector<float>& mean_squares, const ColumnFigures& weights) {
  double x_energy = 0, w_energy = 0;
  for (size_t k = 0; k < scales.size(); ++k) {
    const auto scale = static_cast<double>(scales[k]);
    x_energy += static_cast<double>(mean_squares[k]) / (scale * scale);
    w_energy += weights.squares[k] * scale * scale;
  }
  return row_ranges * x_energy + squared_range * w_energy;
}

// "As it is" first: it wins ties.
absl::StatusOr<TransformChoice> SearchAlpha(const std::vector<Panel>& panels,
                                            const InputStatistics& input,
                                            const ColumnFigures& weights,
                                            ActivationScheme activations,
                                            const MethodContext& context) {
  std::vector<std::vector<float>> candidates = {std::vector<float>(weights.max_abs.size(), 1.0F)};
  for (int i = 0; i <= kGrid; ++i) {
    candidates.push_back(ScalesFor(static_cast<double>(i) / kGrid, input, weights));
  }
  QD_ASSIGN_OR_RETURN(const std::vector<double> ranges, RowRanges(panels, candidates, context));
  const std::vector<float> mean_squares = input.MeanSquares();
  size_t best = 0;
  double least = 0;
  for (size_t c = 0; c < candidates.size(); ++c) {
    const double range = SquaredRange(candidates[c], input, mean_squares, activations);
    const double error = ExpectedError(candidates[c], ranges[c], range, mean_squares, weights);
    if (c > 0 && error >= least) continue;
    best = c;
    least = error;
  }
  if (best == 0) return TransformChoice{};
  return TransformChoice{std::move(candidates[best]),
                         {{"alpha", static_cast<double>(best - 1) / kGrid}}};
}

bool FollowsNorm(LinearRole role) { return role != LinearRole::kO && role != LinearRole::kDown; }

}  // namespace

absl::StatusOr<TransformChoice> ChooseSmoothing(const TransformRequest& request,
                                                const MethodContext& context) {
  const TransformLinear& first = request.linears.front();
  const Options& options = first.scheme->options;
  if (!FollowsNorm(first.linear->role) && !options.Flag("smooth_all")) return TransformChoice{};
  const std::vector<Panel> panels = PanelsOf(request);
  QD_ASSIGN_OR_RETURN(const ColumnFigures weights,
                      FiguresOf(panels, first.linear->in_features, context));
  const InputStatistics& input = *request.statistics;
  if (options.Flag("alpha_search"))
    return SearchAlpha(panels, input, weights, first.scheme->activations, context);
  const double alpha = options.Number("alpha");
  return TransformChoice{ScalesFor(alpha, input, weights), {{"alpha", alpha}}};
}

const Method kSmoothQuant = {
    .name = "smoothquant",
    .summary =
        "int8 after the range of the inputs is moved into the weights, channel by channel (W8A8 of "
        "models with activation outliers)",
    .source =
        "SmoothQuant (arXiv 2211.10438), equation 4; the search for alpha is quantd's "
        "(docs/numerics.md)",
    .bits = kBits,
    .needs_calibration = true,
    .options = kOptions,
    .resolve = Resolve,
    .needs = Needs,
    .transform = ChooseSmoothing,
    .prepare = PrepareInt8Inputs,
    .quantize = RoundToNearest,
};

}  // namespace quantd
