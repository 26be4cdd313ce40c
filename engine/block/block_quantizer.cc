#include "engine/block/block_quantizer.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "engine/block/analysis.h"
#include "engine/block/block_statistics.h"
#include "engine/block/cache_scales.h"
#include "engine/block/choose_transforms.h"
#include "engine/block/output_error.h"
#include "engine/block/tensor_scale.h"
#include "engine/block/transformed_block.h"
#include "engine/block/tune_block.h"

namespace quantd {

BlockQuantizer::BlockQuantizer(const BlockSurroundings& run)
    : run_(run), quantizer_(*run.planned.plan.format, run.context, [&sink = run.sink] {
        return sink.Cancelled();
      }) {}

absl::StatusOr<BlockResult> BlockQuantizer::Run(Block& block, PackedTensors& tensors) {
  const auto& [request, files, checkpoint, plan] = run_.planned;
  BlockResult result{
      .block = block.index, .layers = {}, .warnings = {}, .cache = {}, .transform = {}, .rows = {}};
  QD_ASSIGN_OR_RETURN(BlockWeights original, Load(block));
  BlockStatistics gathering(run_.streams.calibration, request.recipe, block, run_.saved,
                            plan.scratch_folder);
  const bool tunes = std::any_of(block.linears.begin(), block.linears.end(), Tunes);
  const Activations tuned_on = tunes ? run_.streams.calibration.First(kTuneWindows) : Activations();
  if (plan.calibrates) {
    run_.progress.Enter(Stage::kCalibrate);
    if (run_.saved.GoesOnAfter(block.index - 1)) {
      run_.progress.AddTokens(run_.streams.calibration.windows().total_tokens());
    }
    QD_RETURN_IF_ERROR(gathering.Gather(run_.forward, original));
    QD_ASSIGN_OR_RETURN(block.experts, ReplaceUnderfed(block.spec, block.linears,
                                                       plan.scratch_folder, block.statistics));
    Warn(block.experts.warnings, result);
  }
  if (!run_.streams.original.empty()) {
    run_.progress.Enter(Stage::kEvaluate);
    QD_ASSIGN_OR_RETURN(block.samples,
                        run_.streams.original.ForwardSampling(*run_.forward, block.spec, original));
  }
  run_.progress.Enter(Stage::kQuantize);
  if (plan.calibrates) {
    QD_ASSIGN_OR_RETURN(const auto warnings, ChooseTransforms(run_.planned, run_.context, block));
    Warn(warnings, result);
    QD_RETURN_IF_ERROR(gathering.GatherTransformed(run_.forward, original));
  }
  if (!NeedsQuantized() && !tunes) original = {};  // a third of the memory of calibrated methods
  QD_RETURN_IF_ERROR(WriteNorms(block, checkpoint, tensors));
  if (request.recipe.kv_cache != KvCache::kNone) {
    result.cache = CacheScalesOf(plan.model, block, block.cache);
    QD_RETURN_IF_ERROR(WriteCacheScales(*result.cache, tensors));
  }
  QD_ASSIGN_OR_RETURN(std::vector<QuantizedLinear> linears,
                      QuantizeLinears(block, original, tuned_on, tensors));
  if (NeedsQuantized()) {
    if (request.evaluation.analyze) QD_RETURN_IF_ERROR(Analyze(block, linears));
    QD_ASSIGN_OR_RETURN(BlockWeights quantized, QuantizedWeights(block, original, linears));
    if (result.cache.has_value()) quantized.cache = result.cache->scales;
    QD_RETURN_IF_ERROR(RunQuantized(block, quantized));
  }
  const bool sampled = !block.samples.inputs.empty();
  for (size_t i = 0; i < linears.size(); ++i) {
    if (run_.keep == KeepRows::kYes) result.rows.push_back(std::move(linears[i].rows));
    if (!block.linears[i].scheme.has_value()) continue;
    if (sampled) run_.sink.OnLayer(linears[i].report);
    result.layers.push_back(std::move(linears[i].report));
  }
  if (run_.keep == KeepRows::kYes) result.transform = std::move(block.transform);
  return result;
}

absl::Status BlockQuantizer::Replay(Block& block, BlockResult* result) {
  QD_ASSIGN_OR_RETURN(const BlockWeights original, Load(block));
  if (!run_.streams.calibration.empty() && !PropagatesQuantized()) {
    run_.progress.Enter(Stage::kCalibrate);
    QD_RETURN_IF_ERROR(run_.streams.calibration.Forward(*run_.forward, block.spec, original));
  }
  if (!run_.streams.original.empty()) {
    run_.progress.Enter(Stage::kEvaluate);
    QD_RETURN_IF_ERROR(run_.streams.original.Forward(*run_.forward, block.spec, original));
  }
  if (run_.streams.evaluated.empty() && !PropagatesQuantized()) return absl::OkStatus();
  if (result == nullptr || result->rows.size() != block.linears.size()) {
    return MakeError(Reason::kInternal, "a block that nothing runs again",
                     Violation{.where = block.spec.prefix, .got = "no rows", .wanted = "its rows"});
  }
  block.transform = std::move(result->transform);
  std::vector<QuantizedLinear> linears(block.linears.size());
  for (size_t i = 0; i < linears.size(); ++i) linears[i].rows = std::move(result->rows[i]);
  QD_ASSIGN_OR_RETURN(BlockWeights quantized, QuantizedWeights(block, original, linears));
  if (result->cache.has_value()) quantized.cache = result->cache->scales;
  return RunQuantized(block, quantized);
}

bool BlockQuantizer::PropagatesQuantized() const {
  return !run_.streams.calibration.empty() &&
         run_.planned.request.recipe.propagate == Propagate::kQuantized;
}

bool BlockQuantizer::NeedsQuantized() const {
  return !run_.streams.original.empty() || PropagatesQuantized();
}

// Where there is a forward pass, the weights stay in memory until the last who reads them: read
// once, they serve it, the search of transforms and the rounding.
absl::StatusOr<BlockWeights> BlockQuantizer::Load(Block& block) {
  block.transform.linears.resize(block.linears.size());
  if (!run_.forward.has_value()) return BlockWeights{};
  const auto& [request, files, checkpoint, plan] = run_.planned;
  if (plan.hold_weights) {
    for (WeightSource& source : block.sources) QD_RETURN_IF_ERROR(source.Hold());
  }
  return LoadBlock(plan.model, block.spec, block.sources, checkpoint, run_.context.backend,
                   run_.forward->compute);
}

// A block that is tuned, on `tuned_on`, is packed when all of it is quantized.
absl::StatusOr<std::vector<QuantizedLinear>> BlockQuantizer::QuantizeLinears(
    Block& block, const BlockWeights& original, const Activations& tuned_on,
    PackedTensors& tensors) {
  const bool tunes = !tuned_on.empty();
  std::vector<QuantizedLinear> linears;
  PreparedCache prepared;
  QD_ASSIGN_OR_RETURN(
      const std::vector<float> scales,
      TensorScales(block.linears, block.sources, block.transform.linears, run_.context.pool));
  // With samples the report is not complete before the block's weights are prepared.
  const bool sampled = !block.samples.inputs.empty();
  const auto packed = [&](size_t i) {
    if (!sampled && block.linears[i].scheme.has_value()) run_.sink.OnLayer(linears[i].report);
    if (!run_.planned.request.evaluation.analyze) block.sources[i].Release();
  };
  for (size_t i = 0; i < block.linears.size(); ++i) {
    QD_ASSIGN_OR_RETURN(QuantizedLinear result,
                        QuantizeLinear(block, i, scales[i], prepared, !tunes, tensors));
    linears.push_back(std::move(result));
    if (!tunes) packed(i);
  }
  if (!tunes) return linears;
  QD_RETURN_IF_ERROR(TuneAndPack(block, original, tuned_on, scales, linears, tensors));
  for (size_t i = 0; i < linears.size(); ++i) packed(i);
  return linears;
}

absl::Status BlockQuantizer::TuneAndPack(const Block& block, const BlockWeights& original,
                                         const Activations& tuned_on,
                                         const std::vector<float>& tensor_scales,
                                         std::vector<QuantizedLinear>& linears,
                                         PackedTensors& tensors) {
  QD_ASSIGN_OR_RETURN(const BlockWeights transformed,
                      TransformedWeights(run_.planned.checkpoint, block, original, *run_.forward));
  const TuneInputs inputs = {.windows = tuned_on,
                             .original = original,
                             .quantized = transformed,
                             .forward = *run_.forward};
  QD_RETURN_IF_ERROR(TuneBlock(block, inputs, run_.context, linears));
  for (size_t i = 0; i < linears.size(); ++i) {
    if (!linears[i].rows.has_value()) continue;
    const LinearInputs packed = {.source = block.sources[i],
                                 .transform = &block.transform.linears[i],
                                 .tensor_scale = tensor_scales[i]};
    QD_RETURN_IF_ERROR(quantizer_.Pack(block.linears[i], packed, linears[i], tensors));
    if (run_.keep == KeepRows::kNo && !NeedsQuantized()) linears[i].rows.reset();
  }
  return absl::OkStatus();
}

// One linear, quantized or as it was, and its bias after it: tensors are written in the order of
// the file wherever that is free; then the digest keeps up with the writing, on whichever thread
// has time, and nothing is read back. Without `packs` the rows are kept instead. The result is
// empty for a linear that stays as it was.
absl::StatusOr<QuantizedLinear> BlockQuantizer::QuantizeLinear(Block& block, size_t index,
                                                               float tensor_scale,
                                                               PreparedCache& prepared, bool packs,
                                                               PackedTensors& tensors) {
  const ResolvedLinear& entry = block.linears[index];
  const LinearSpec& linear = *entry.linear;
  run_.progress.AddBytesRead(block.sources[index].bytes());
  QuantizedLinear result;
  if (entry.scheme.has_value()) {
    const bool needs = FindMethod(entry.scheme->method)->needs(*entry.scheme).any();
    const InputStatistics* statistics =
        needs ? &block.statistics[static_cast<size_t>(linear.input)] : nullptr;
    QD_ASSIGN_OR_RETURN(const auto shared, prepared.Get(entry, statistics, run_.context));
    const bool keep = run_.keep == KeepRows::kYes || NeedsQuantized() || !packs;
    const LinearInputs inputs = {.source = block.sources[index],
                                 .prepared = shared.get(),
                                 .transform = &block.transform.linears[index],
                                 .tensor_scale = tensor_scale};
    QD_ASSIGN_OR_RETURN(result, quantizer_.Run(entry, inputs, keep ? KeepRows::kYes : KeepRows::kNo,
                                               packs ? &tensors : nullptr));
    if (linear.expert >= 0 && needs) {
      const int64_t tokens = block.experts.of_input[static_cast<size_t>(linear.input)];
      result.report.figures.push_back({"tokens", static_cast<double>(tokens)});
    }
  } else {
    QD_RETURN_IF_ERROR(WriteUnquantized(block, index, run_.planned.checkpoint, tensors));
  }
  QD_RETURN_IF_ERROR(WriteBias(block, index, run_.planned.checkpoint, tensors));
  return result;
}

absl::Status BlockQuantizer::Analyze(const Block& block, std::vector<QuantizedLinear>& results) {
  for (size_t i = 0; i < results.size(); ++i) {
    if (!results[i].rows.has_value()) continue;
    if (run_.sink.Cancelled()) return MakeError(Reason::kCancelled, "cancelled");
    const auto input = static_cast<size_t>(block.linears[i].linear->input);
    const InputStatistics* statistics =
        block.statistics.empty() ? nullptr : &block.statistics[input];
    QD_ASSIGN_OR_RETURN(results[i].report.analysis,
                        AnalyzeResolved(block.linears[i], *results[i].rows,
                                        {.source = block.sources[i],
                                         .transform = block.transform.linears[i],
                                         .samples = block.samples.inputs[input],
                                         .statistics = statistics},
                                        run_.context));
  }
  return absl::OkStatus();
}

// The block as an engine computes it, with the error of each linear's output where there are
// samples. Rows go as soon as they are prepared, unless they are kept.
absl::StatusOr<BlockWeights> BlockQuantizer::QuantizedWeights(
    const Block& block, const BlockWeights& original, std::vector<QuantizedLinear>& results) {
  Backend& backend = run_.context.backend;
  QD_ASSIGN_OR_RETURN(BlockWeights quantized,
                      TransformedWeights(run_.planned.checkpoint, block, original, *run_.forward));
  const auto prepare = [&](int64_t index) -> absl::Status {
    const auto i = static_cast<size_t>(index);
    QuantizedLinear& result = results[i];
    if (!result.rows.has_value()) return absl::OkStatus();
    QD_ASSIGN_OR_RETURN(
        quantized.linears[i].weight,
        backend.PrepareQuantized(*result.rows, *block.linears[i].scheme, run_.forward->compute));
    if (run_.keep == KeepRows::kNo) result.rows.reset();
    if (block.samples.inputs.empty()) return absl::OkStatus();
    const auto input = static_cast<size_t>(block.linears[i].linear->input);
    const InputSamples::Rows& rows = block.samples.inputs[input];
    if (rows.tokens == 0) return absl::OkStatus();  // an expert that no sampled token chose
    QD_ASSIGN_OR_RETURN(
        result.report.relative_output_error,
        RelativeOutputError(rows, *original.linears[i].weight, *quantized.linears[i].weight,
                            block.transform.linears[i], backend));
    return absl::OkStatus();
  };
  QD_RETURN_IF_ERROR(run_.context.pool.ForEach(static_cast<int64_t>(results.size()), prepare));
  return quantized;
}

absl::Status BlockQuantizer::RunQuantized(const Block& block, const BlockWeights& quantized) {
  Streams& streams = run_.streams;
  if (!streams.evaluated.empty()) {
    run_.progress.Enter(Stage::kEvaluate);
    QD_RETURN_IF_ERROR(streams.evaluated.Forward(*run_.forward, block.spec, quantized));
    run_.progress.AddTokens(2 * streams.evaluated.windows().total_tokens());
  }
  if (PropagatesQuantized()) {
    run_.progress.Enter(Stage::kCalibrate);
    QD_RETURN_IF_ERROR(streams.calibration.Forward(*run_.forward, block.spec, quantized));
  }
  return absl::OkStatus();
}

void BlockQuantizer::Warn(const std::vector<std::string>& warnings, BlockResult& result) {
  for (const std::string& warning : warnings) {
    result.warnings.push_back(warning);
    run_.sink.OnWarning(warning);
  }
}

}  // namespace quantd
