#include "engine/budget/sensitivity.h"

#include <algorithm>
#include <limits>
#include <map>
#include <utility>

#include "base/checked.h"
#include "base/error.h"
#include "base/threads.h"
#include "engine/backend/backend.h"
#include "engine/block/activations.h"
#include "engine/format/serving_rules.h"
#include "engine/method/registry.h"
#include "engine/model/linear_weight.h"
#include "engine/model/registry.h"

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
  Measurement(std::span<const PlannedQuantization* const> plans, int64_t windows,
              ProgressSink& sink)
      : plans_(plans),
        planned_(*plans.front()),
        model_(planned_.plan.model),
        windows_(windows),
        sink_(sink),
        experts_alike_(IsServingEngine({.name = planned_.request.output.loader})),
        pool_(planned_.request.resources.threads > 0 ? planned_.request.resources.threads
                                                     : AvailableCpus()) {}

  absl::Status Open();
  absl::Status Block(const BlockSpec& block);
  Sensitivity Finish() { return std::move(sensitivity_); }

 private:
  struct BlockRun {
    const BlockSpec& block;
    BlockWeights original;
    std::vector<AlignedBuffer<float>> before;  // windows, as they enter the block
    std::vector<InputStatistics> statistics;
  };
  absl::StatusOr<std::shared_ptr<PreparedWeight>> Quantized(const LinearSpec& linear,
                                                            const Scheme& scheme,
                                                            const InputStatistics& statistics);
  absl::StatusOr<double> Damage(const BlockRun& run, const std::vector<size_t>& positions,
                                const std::vector<Choice>& choices, size_t candidate);

  std::span<const PlannedQuantization* const> plans_;
  const PlannedQuantization& planned_;
  const ModelSpec& model_;
  int64_t windows_;
  ProgressSink& sink_;
  bool experts_alike_;  // whoever loads the result runs all experts of a block in one kernel
  ThreadPool pool_;
  Backend* backend_ = nullptr;
  std::optional<RopeTables> ropes_;
  std::optional<ForwardContext> forward_;
  Activations stream_;
  size_t next_linear_ = 0;
  Sensitivity sensitivity_;
};

absl::Status Measurement::Open() {
  QD_RETURN_IF_ERROR(CheckRunnable(model_));
  for (const PlannedQuantization* planned : plans_) {
    sensitivity_.bits.push_back(planned->request.recipe.default_scheme.bits.value_or(0));
  }
  QD_ASSIGN_OR_RETURN(backend_, FindBackend(planned_.request.resources.backend));
  ropes_ = RopeTables::Make(model_, planned_.request.calibration.tokens_per_sample);
  const ComputeType compute = backend_->Resolve(planned_.request.resources.compute, model_.dtype);
  forward_.emplace(ForwardContext{model_, *ropes_, *backend_, compute, pool_});
  QD_ASSIGN_OR_RETURN(const auto tokenizer, Tokenizer::Open(*planned_.files));
  QD_ASSIGN_OR_RETURN(const Embedding embedding, Embedding::Load(model_, planned_.checkpoint));
  QD_ASSIGN_OR_RETURN(const std::string text, ReadText(planned_.request.calibration.text));
  WindowOptions options = CalibrationWindows(planned_.request);
  options.windows = std::min(options.windows, windows_);
  QD_ASSIGN_OR_RETURN(Windows windows, CutWindows(text, *tokenizer, options));
  QD_ASSIGN_OR_RETURN(stream_,
                      Activations::Embed(std::move(windows), embedding, model_.hidden, pool_));
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<PreparedWeight>> Measurement::Quantized(
    const LinearSpec& linear, const Scheme& scheme, const InputStatistics& statistics) {
  const Method& method = *FindMethod(scheme.method);
  const MethodContext context = {pool_, *backend_, CpuKernels()};
  QD_ASSIGN_OR_RETURN(const auto prepared, method.prepare(scheme, &statistics, context));
  const std::string tensor = linear.name + ".weight";
  const DType dtype = planned_.checkpoint.Find(tensor)->dtype;
  const int64_t n = linear.out_features, k = linear.in_features;
  AlignedBuffer<float> weights(n * k);
  const int64_t rows =
      scheme.granularity == Granularity::kTensor ? n : std::min<int64_t>(kPanelRows, n);
  QD_RETURN_IF_ERROR(pool_.ForEach(DivideRoundingUp(n, rows), [&](int64_t panel) -> absl::Status {
    const int64_t row = panel * rows, count = std::min(rows, n - row);
    AlignedBuffer<std::byte> bytes(count * k * SizeOf(dtype));
    QD_RETURN_IF_ERROR(ReadLinearRows(planned_.checkpoint, linear, row, count, bytes.span()));
    const WeightRows panel_rows = {
        .data = bytes.data(), .dtype = dtype, .rows = count, .columns = k};
    QuantizedRows quantized;
    QD_RETURN_IF_ERROR(method.quantize(panel_rows, scheme, prepared.get(), context, &quantized));
    for (int64_t i = 0; i < count; ++i) quantized.Dequantize(i, weights.data() + (row + i) * k);
    return absl::OkStatus();
  }));
  QD_ASSIGN_OR_RETURN(
      auto weight,
      backend_->Prepare({.data = weights.data(), .dtype = DType::kF32, .rows = n, .columns = k},
                        forward_->compute));
  return std::shared_ptr<PreparedWeight>(std::move(weight));
}

// The block with the linears at `positions` in one candidate, against the block as it was.
absl::StatusOr<double> Measurement::Damage(const BlockRun& run,
                                           const std::vector<size_t>& positions,
                                           const std::vector<Choice>& choices, size_t candidate) {
  BlockWeights weights = run.original;
  for (const size_t position : positions) {
    const LinearSpec& linear = run.block.linears[position];
    QD_ASSIGN_OR_RETURN(weights.linears[position].weight,
                        Quantized(linear, Stand(choices[position].schemes[candidate]),
                                  run.statistics[static_cast<size_t>(linear.input)]));
  }
  std::vector<std::pair<double, double>> energies(run.before.size());
  QD_RETURN_IF_ERROR(pool_.ForEach(stream_.size(), [&](int64_t window) -> absl::Status {
    const auto at = static_cast<size_t>(window);
    const AlignedBuffer<float>& before = run.before[at];
    AlignedBuffer<float> x(before.size());
    std::copy_n(before.data(), before.size(), x.data());
    QD_RETURN_IF_ERROR(ForwardBlock(model_, run.block, weights, *ropes_, *backend_,
                                    forward_->compute, stream_.windows().tokens_per_window,
                                    x.data(), nullptr));
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

absl::Status Measurement::Block(const BlockSpec& block) {
  if (sink_.Cancelled()) return MakeError(Reason::kCancelled, "cancelled");
  BlockRun run{.block = block, .original = {}, .before = {}, .statistics = {}};
  QD_ASSIGN_OR_RETURN(run.original,
                      LoadBlock(model_, block, planned_.checkpoint, *backend_, forward_->compute));
  std::vector<Choice> choices;
  std::map<int, std::vector<size_t>> units;  // by input; experts that must be alike by kExperts
  std::vector<StatisticsNeeds> needs;
  for (size_t i = 0; i < block.linears.size(); ++i) {
    choices.push_back(ChoiceOf(plans_, next_linear_++));
    const int input = block.linears[i].input;
    const bool joins = experts_alike_ && block.linears[i].expert >= 0;
    needs.resize(std::max(needs.size(), static_cast<size_t>(input) + 1));
    needs[static_cast<size_t>(input)].moments = true;
    if (!choices.back().schemes.empty()) units[joins ? kExperts : input].push_back(i);
  }
  for (int64_t window = 0; window < stream_.size(); ++window) {
    AlignedBuffer<float> copy(stream_.windows().tokens_per_window * model_.hidden);
    std::copy_n(stream_.window(window), copy.size(), copy.data());
    run.before.push_back(std::move(copy));
  }
  QD_ASSIGN_OR_RETURN(run.statistics,
                      stream_.ForwardGathering(*forward_, block, run.original, {.needs = needs}));
  for (const auto& [key, positions] : units) {
    Unit unit;
    for (const size_t position : positions) {
      unit.names.push_back(block.linears[position].name);
      unit.weights += block.linears[position].parameters();
    }
    for (size_t candidate = 0; candidate < plans_.size(); ++candidate) {
      int64_t bits = 0;
      for (const size_t position : positions) {
        const LinearSpec& linear = block.linears[position];
        bits += StorageBits(choices[position].schemes[candidate], linear.out_features,
                            linear.in_features);
      }
      QD_ASSIGN_OR_RETURN(const double damage, Damage(run, positions, choices, candidate));
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
  Measurement measurement(plans, windows, sink);
  QD_RETURN_IF_ERROR(measurement.Open());
  const auto& blocks = plans.front()->plan.model.blocks;
  ProgressReport progress{.stage = Stage::kCalibrate,
                          .blocks_done = 0,
                          .blocks_total = static_cast<int64_t>(blocks.size()),
                          .tokens = 0,
                          .bytes_read = 0,
                          .bytes_written = 0,
                          .eta_seconds = 0};
  for (const BlockSpec& block : blocks) {
    sink.OnProgress(progress);
    QD_RETURN_IF_ERROR(measurement.Block(block));
    ++progress.blocks_done;
  }
  return measurement.Finish();
}

}  // namespace quantd
