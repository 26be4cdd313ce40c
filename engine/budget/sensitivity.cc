#include "engine/budget/sensitivity.h"

#include <algorithm>
#include <limits>
#include <map>
#include <utility>

#include "base/checked.h"
#include "base/error.h"
#include "engine/backend/backend.h"
#include "engine/format/serving_rules.h"
#include "engine/method/registry.h"
#include "engine/model/registry.h"
#include "engine/run/pass.h"
#include "engine/text/windows.h"

namespace quantd {
namespace {

constexpr int64_t kPanelRows = 256;
// In the place of an input: after all of them.
constexpr int kExperts = std::numeric_limits<int>::max();

// The scheme of one linear in each of the plans; empty where it is no choice.
struct Choice {
  std::vector<Scheme> schemes;
};

Choice ChoiceOf(std::span<const PlannedQuantization* const> plans, size_t linear) {
  Choice choice;
  for (const PlannedQuantization* planned : plans) {
    const auto& scheme = planned->plan.linears[linear].scheme;
    if (!scheme.has_value()) return {};
    choice.schemes.push_back(*scheme);
  }
  const int first = choice.schemes.front().bits;
  const bool differ = std::any_of(choice.schemes.begin(), choice.schemes.end(),
                                  [&](const Scheme& scheme) { return scheme.bits != first; });
  return differ ? choice : Choice{};
}

// What stands for `scheme` while measuring: the same widths and groups, rounded to nearest.
Scheme Stand(const Scheme& scheme) {
  Scheme stand = scheme;
  stand.method = "rtn";
  stand.scale_rule = ScaleRule::kWeightedMse;
  stand.real_zero = false;
  stand.options = {};
  return stand;
}

class Measurement {
 public:
  Measurement(std::span<const PlannedQuantization* const> plans, int64_t windows)
      : plans_(plans),
        planned_(*plans.front()),
        model_(planned_.plan.model),
        windows_(windows),
        experts_alike_(IsServingEngine({.name = planned_.request.output.loader})) {}

  absl::Status Open(ProgressSink& sink);
  absl::StatusOr<Sensitivity> Run();

 private:
  // A block with the windows as they enter it.
  struct Measured {
    Block& block;
    BlockWeights original;
    std::vector<AlignedBuffer<float>> before;
  };
  absl::Status Measure(Block& block);
  absl::StatusOr<std::shared_ptr<PreparedWeight>> Quantized(const WeightSource& source,
                                                            const Scheme& scheme,
                                                            const InputStatistics& statistics);
  absl::StatusOr<double> Damage(const Measured& measured, const std::vector<size_t>& positions,
                                const std::vector<Choice>& choices, size_t candidate);

  std::span<const PlannedQuantization* const> plans_;
  const PlannedQuantization& planned_;
  const ModelSpec& model_;
  int64_t windows_;
  bool experts_alike_;  // whoever loads the result runs all experts of a block in one kernel
  std::unique_ptr<Pass> pass_;
  Activations stream_;
  size_t next_linear_ = 0;
  Sensitivity sensitivity_;
};

absl::Status Measurement::Open(ProgressSink& sink) {
  QD_RETURN_IF_ERROR(CheckRunnable(model_));
  for (const PlannedQuantization* planned : plans_) {
    sensitivity_.bits.push_back(planned->request.recipe.default_scheme.bits.value_or(0));
  }
  QD_ASSIGN_OR_RETURN(pass_, Pass::Open(planned_, sink));
  pass_->OpenForward(planned_.request.calibration.tokens_per_sample);
  QD_ASSIGN_OR_RETURN(const Text text, CalibrationText(planned_));
  WindowOptions options = CalibrationWindows(planned_);
  options.windows = std::min(options.windows, windows_);
  QD_ASSIGN_OR_RETURN(stream_, pass_->Embed(text, options));
  QD_RETURN_IF_ERROR(text.Digest().status());  // UTF-8 to its end, known before hours of measuring
  return absl::OkStatus();
}

absl::StatusOr<Sensitivity> Measurement::Run() {
  pass_->progress().Enter(Stage::kCalibrate);
  QD_RETURN_IF_ERROR(pass_->Walk(pass_->all(), [this](Block& block) { return Measure(block); }));
  return std::move(sensitivity_);
}

absl::StatusOr<std::shared_ptr<PreparedWeight>> Measurement::Quantized(
    const WeightSource& source, const Scheme& scheme, const InputStatistics& statistics) {
  const Method& method = *FindMethod(scheme.method);
  const MethodContext& context = pass_->context();
  QD_ASSIGN_OR_RETURN(const auto prepared, method.prepare(scheme, &statistics, context));
  const DType dtype = source.dtype();
  const int64_t n = source.linear().out_features, k = source.linear().in_features;
  AlignedBuffer<float> weights(n * k);
  const int64_t rows =
      scheme.granularity == Granularity::kTensor ? n : std::min<int64_t>(kPanelRows, n);
  const int64_t panels = DivideRoundingUp(n, rows);
  QD_RETURN_IF_ERROR(pass_->pool().ForEach(panels, [&](int64_t panel) -> absl::Status {
    const int64_t row = panel * rows, count = std::min(rows, n - row);
    AlignedBuffer<std::byte> bytes(count * k * SizeOf(dtype));
    QD_RETURN_IF_ERROR(source.Read(row, count, bytes.span()));
    const WeightRows panel_rows = {
        .data = bytes.data(), .dtype = dtype, .rows = count, .columns = k};
    QuantizedRows quantized;
    QD_RETURN_IF_ERROR(method.quantize(panel_rows, scheme, prepared.get(), context, &quantized));
    for (int64_t i = 0; i < count; ++i) quantized.Dequantize(i, weights.data() + (row + i) * k);
    return absl::OkStatus();
  }));
  QD_ASSIGN_OR_RETURN(auto weight,
                      pass_->backend().Prepare(
                          {.data = weights.data(), .dtype = DType::kF32, .rows = n, .columns = k},
                          pass_->compute()));
  return std::shared_ptr<PreparedWeight>(std::move(weight));
}

// The block with the linears at `positions` in one candidate, against the block as it was.
absl::StatusOr<double> Measurement::Damage(const Measured& measured,
                                           const std::vector<size_t>& positions,
                                           const std::vector<Choice>& choices, size_t candidate) {
  BlockWeights weights = measured.original;
  const Block& block = measured.block;
  for (const size_t position : positions) {
    const auto input = static_cast<size_t>(block.spec.linears[position].input);
    QD_ASSIGN_OR_RETURN(
        weights.linears[position].weight,
        Quantized(block.sources[position], Stand(choices[position].schemes[candidate]),
                  block.statistics[input]));
  }
  std::vector<std::pair<double, double>> energies(measured.before.size());
  QD_RETURN_IF_ERROR(pass_->pool().ForEach(stream_.size(), [&](int64_t window) -> absl::Status {
    const auto at = static_cast<size_t>(window);
    const AlignedBuffer<float>& before = measured.before[at];
    AlignedBuffer<float> x(before.size());
    std::copy_n(before.data(), before.size(), x.data());
    QD_RETURN_IF_ERROR(ForwardBlock(model_, block.spec, weights, pass_->forward()->ropes,
                                    pass_->backend(), pass_->compute(),
                                    stream_.windows().tokens_per_window, x.data(), nullptr));
    const float* wanted = stream_.window(window);
    for (int64_t i = 0; i < x.size(); ++i) {
      const double value = static_cast<double>(wanted[i]);
      const double error = static_cast<double>(x.data()[i]) - value;
      energies[at].first += error * error;
      energies[at].second += value * value;
    }
    return absl::OkStatus();
  }));
  double error = 0, energy = 0;
  for (const auto& [of_error, of_value] : energies) {
    error += of_error;
    energy += of_value;
  }
  return energy > 0 ? error / energy : 0.0;
}

absl::Status Measurement::Measure(Block& block) {
  const ForwardContext& forward = *pass_->forward();
  Measured measured{.block = block, .original = {}, .before = {}};
  for (WeightSource& source : block.sources) QD_RETURN_IF_ERROR(source.Hold());
  QD_ASSIGN_OR_RETURN(measured.original,
                      LoadBlock(model_, block.spec, block.sources, planned_.checkpoint,
                                pass_->backend(), pass_->compute()));
  std::vector<Choice> choices;
  std::map<int, std::vector<size_t>> units;  // by input; experts that must be alike by kExperts
  std::vector<StatisticsNeeds> needs;
  for (size_t i = 0; i < block.spec.linears.size(); ++i) {
    choices.push_back(ChoiceOf(plans_, next_linear_++));
    const int input = block.spec.linears[i].input;
    const bool joins = experts_alike_ && block.spec.linears[i].expert >= 0;
    needs.resize(std::max(needs.size(), static_cast<size_t>(input) + 1));
    needs[static_cast<size_t>(input)].moments = true;
    if (!choices.back().schemes.empty()) units[joins ? kExperts : input].push_back(i);
  }
  for (int64_t window = 0; window < stream_.size(); ++window) {
    AlignedBuffer<float> copy(stream_.windows().tokens_per_window * model_.hidden);
    std::copy_n(stream_.window(window), copy.size(), copy.data());
    measured.before.push_back(std::move(copy));
  }
  QD_ASSIGN_OR_RETURN(
      Gathered gathered,
      stream_.ForwardGathering(forward, block.spec, measured.original, {.needs = needs}));
  block.statistics = std::move(gathered.inputs);
  for (const auto& [key, positions] : units) {
    Unit unit;
    for (const size_t position : positions) {
      unit.names.push_back(block.spec.linears[position].name);
      unit.weights += block.spec.linears[position].parameters();
    }
    for (size_t candidate = 0; candidate < plans_.size(); ++candidate) {
      int64_t bits = 0;
      for (const size_t position : positions) {
        const LinearSpec& linear = block.spec.linears[position];
        bits += StorageBits(choices[position].schemes[candidate], linear.out_features,
                            linear.in_features);
      }
      QD_ASSIGN_OR_RETURN(const double damage, Damage(measured, positions, choices, candidate));
      unit.storage_bits.push_back(bits);
      unit.damage.push_back(damage);
    }
    sensitivity_.units.push_back(std::move(unit));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Sensitivity> MeasureSensitivity(std::span<const PlannedQuantization* const> plans,
                                               int64_t windows, ProgressSink& sink) {
  Measurement measurement(plans, windows);
  QD_RETURN_IF_ERROR(measurement.Open(sink));
  return measurement.Run();
}

}  // namespace quantd
