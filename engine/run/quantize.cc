// The whole story: open, each block, the head, evaluation, report. Why one pass: docs/numerics.md.

#include "engine/run/quantize.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/digest.h"
#include "base/error.h"
#include "base/threads.h"
#include "engine/artifact/artifact.h"
#include "engine/backend/backend.h"
#include "engine/block/activations.h"
#include "engine/block/analysis.h"
#include "engine/block/block_statistics.h"
#include "engine/block/expert_statistics.h"
#include "engine/block/fold.h"
#include "engine/block/folded_block.h"
#include "engine/block/linear_quantizer.h"
#include "engine/block/not_finite.h"
#include "engine/block/output_error.h"
#include "engine/block/prepared_cache.h"
#include "engine/evaluate/evaluation.h"
#include "engine/method/registry.h"
#include "engine/run/logits_file.h"
#include "engine/run/stage_clock.h"

namespace quantd {
namespace {

// What one block goes through.
struct BlockState {
  const BlockSpec& block;
  std::span<const ResolvedLinear> linears;  // as block.linears
  BlockWeights original;                    // when there is a forward pass
  std::vector<InputStatistics> statistics;  // by LinearSpec::input, when calibrated; as folded
  InputSamples samples;                     // when evaluated
  ExpertTokens experts;                     // when calibrated
  BlockFold fold;
};

// One run of the engine. Its methods are called in the order of declaration.
class Run {
 public:
  Run(const PlannedQuantization& planned, ProgressSink& sink)
      : planned_(planned),
        plan_(planned.plan),
        model_(planned.plan.model),
        sink_(sink),
        pool_(planned.request.resources.threads > 0 ? planned.request.resources.threads
                                                    : AvailableCpus()) {}

  absl::Status Open();
  absl::Status Block(const BlockSpec& block);
  absl::Status HeadAndRest();
  absl::StatusOr<Report> Finish();

 private:
  absl::Status WriteEmbedding();
  absl::Status OpenStreams(ComputeType compute);
  absl::Status OpenCalibration(ComputeType compute, const Tokenizer& tokenizer,
                               const Embedding& embedding);
  absl::Status Fold(BlockState& state);
  absl::Status WriteNorms(const BlockState& state);
  absl::Status WriteBias(const LinearSpec& linear, const LinearFold& fold);
  absl::StatusOr<QuantizedLinear> WriteLinear(const BlockState& state, size_t index,
                                              PreparedCache& prepared);
  absl::StatusOr<BlockWeights> QuantizeBlock(const BlockState& state);
  absl::Status Analyze(const BlockState& state, std::vector<QuantizedLinear>& results);
  absl::Status PrepareForEvaluation(const BlockState& state, std::vector<QuantizedLinear>& results,
                                    BlockWeights& quantized);
  absl::StatusOr<QuantizedLinear> RunHead(KeepRows keep);
  absl::StatusOr<Head> QuantizeHead(const Head& original);
  absl::Status Evaluate(const Head& original, const Head& quantized);
  void Tell(Stage stage);
  // Whether somebody reads what the quantized block computes.
  bool RunsQuantized() const {
    return !evaluated_.empty() ||
           (!calibration_.empty() && planned_.request.recipe.propagate == Propagate::kQuantized);
  }
  void Warn(const std::vector<std::string>& warnings);
  // The resolved linear of the plan; blocks hold theirs in order, the head's is last.
  const ResolvedLinear& Resolved(const LinearSpec& linear) const;

  const PlannedQuantization& planned_;
  const Plan& plan_;
  const ModelSpec& model_;
  ProgressSink& sink_;
  ThreadPool pool_;
  StageClock clock_;
  Report report_;
  std::unique_ptr<ArtifactWriter> artifact_;
  std::optional<LinearQuantizer> quantizer_;

  Backend* backend_ = nullptr;
  std::optional<MethodContext> context_;
  std::optional<RopeTables> ropes_;
  std::optional<ForwardContext> forward_;  // set when the plan needs a forward pass
  SavedStatistics saved_;
  Activations calibration_, original_, evaluated_;
  std::shared_ptr<const QuantizedRows> embedding_;  // where it has a scheme and is evaluated
  int64_t blocks_done_ = 0, tokens_done_ = 0, bytes_read_ = 0;
};

const ResolvedLinear& Run::Resolved(const LinearSpec& linear) const {
  const auto found =
      std::find_if(plan_.linears.begin(), plan_.linears.end(),
                   [&](const ResolvedLinear& entry) { return entry.linear == &linear; });
  return *found;
}

void Run::Tell(Stage stage) {
  clock_.Enter(stage);
  ProgressReport progress{.stage = stage,
                          .blocks_done = blocks_done_,
                          .blocks_total = static_cast<int64_t>(model_.blocks.size()),
                          .tokens = tokens_done_,
                          .bytes_read = bytes_read_,
                          .bytes_written = artifact_ == nullptr ? 0 : artifact_->bytes_written(),
                          .eta_seconds = 0};
  if (blocks_done_ > 0) {
    const auto left = static_cast<double>(progress.blocks_total - blocks_done_);
    progress.eta_seconds = clock_.Elapsed() / static_cast<double>(blocks_done_) * left;
  } else {
    progress.eta_seconds = std::max(plan_.estimated_seconds - clock_.Elapsed(), 0.0);
  }
  sink_.OnProgress(progress);
}

absl::Status Run::Open() {
  Tell(Stage::kOpen);
  QD_ASSIGN_OR_RETURN(backend_, FindBackend(planned_.request.resources.backend));
  const ComputeType compute = backend_->Resolve(planned_.request.resources.compute, model_.dtype);
  report_.engine_version = QUANTD_VERSION;
  report_.model_name = planned_.files->title();
  report_.family = model_.family;
  report_.parameters = model_.parameters;
  report_.backend = backend_->name();
  report_.isa = CpuKernels().isa;
  report_.compute = NameOf(compute);
  report_.recipe = planned_.request.recipe;
  for (const ResolvedLinear& entry : plan_.linears)
    report_.resolved_recipe.push_back(ToJson(entry));
  report_.format = plan_.format->name;
  report_.bytes_original = plan_.bytes_original;
  report_.bytes_quantized = plan_.bytes_quantized;
  report_.bits_per_weight = plan_.bits_per_weight;
  Warn(plan_.warnings);
  QD_ASSIGN_OR_RETURN(report_.model_fingerprint, planned_.checkpoint.Fingerprint());
  QD_ASSIGN_OR_RETURN(artifact_, ArtifactWriter::Create(planned_, pool_, sink_));
  context_.emplace(MethodContext{pool_, *backend_, CpuKernels(), plan_.scratch_folder});
  quantizer_.emplace(planned_, *artifact_, *context_, [this] { return sink_.Cancelled(); });
  QD_RETURN_IF_ERROR(WriteEmbedding());
  if (plan_.needs_forward) QD_RETURN_IF_ERROR(OpenStreams(compute));
  if (!calibration_.empty() || !original_.empty()) {
    const int64_t tokens = std::max(planned_.request.calibration.tokens_per_sample,
                                    planned_.request.evaluation.tokens_per_window);
    ropes_ = RopeTables::Make(model_, tokens);
    forward_.emplace(ForwardContext{model_, *ropes_, *backend_, compute, pool_});
  }
  return artifact_->CopyTensor(planned_.checkpoint, model_.positions);
}

absl::Status Run::WriteEmbedding() {
  if (!plan_.embedding) return artifact_->CopyTensor(planned_.checkpoint, model_.embedding);
  const KeepRows keep = planned_.request.evaluation.enabled ? KeepRows::kYes : KeepRows::kNo;
  QD_ASSIGN_OR_RETURN(QuantizedLinear result, quantizer_->Run(*plan_.embedding, {}, keep));
  if (result.rows) embedding_ = std::make_shared<const QuantizedRows>(*std::move(result.rows));
  sink_.OnLayer(result.report);
  report_.layers.push_back(std::move(result.report));
  return absl::OkStatus();
}

absl::Status Run::OpenStreams(ComputeType compute) {
  const QuantizeRequest& request = planned_.request;
  QD_ASSIGN_OR_RETURN(const auto tokenizer, Tokenizer::Open(*planned_.files));
  QD_ASSIGN_OR_RETURN(const Embedding embedding, Embedding::Load(model_, planned_.checkpoint));
  if (plan_.statistics.any()) {
    QD_RETURN_IF_ERROR(OpenCalibration(compute, *tokenizer, embedding));
  }
  if (request.evaluation.enabled) {
    QD_ASSIGN_OR_RETURN(const std::string text, ReadText(request.evaluation.text));
    QD_ASSIGN_OR_RETURN(Windows windows, CutWindows(text, *tokenizer, EvaluationWindows(request)));
    report_.evaluation_digest = windows.digest;
    QD_ASSIGN_OR_RETURN(original_, Activations::Embed(windows, embedding, model_.hidden, pool_));
    const Embedding table = embedding_ == nullptr ? embedding : embedding.WithRows(embedding_);
    QD_ASSIGN_OR_RETURN(evaluated_,
                        Activations::Embed(std::move(windows), table, model_.hidden, pool_));
  }
  return absl::OkStatus();
}

// The windows are run only as far as there are blocks whose statistics are not on file.
absl::Status Run::OpenCalibration(ComputeType compute, const Tokenizer& tokenizer,
                                  const Embedding& embedding) {
  const CalibrationRequest& request = planned_.request.calibration;
  QD_ASSIGN_OR_RETURN(const std::string text, ReadText(request.text));
  QD_ASSIGN_OR_RETURN(
      saved_,
      SavedStatistics::Open(planned_, {.engine_version = report_.engine_version,
                                       .model_fingerprint = report_.model_fingerprint,
                                       .compute = std::string(NameOf(compute)),
                                       .sources = {{.digest = Sha256Hex(text),
                                                    .samples = request.samples,
                                                    .tokens_per_sample = request.tokens_per_sample,
                                                    .seed = request.seed}}}));
  int64_t tokens = saved_.key().tokens();
  if (saved_.GoesOnAfter(-1)) {
    QD_ASSIGN_OR_RETURN(Windows windows,
                        CutWindows(text, tokenizer, CalibrationWindows(planned_.request)));
    tokens = windows.total_tokens();
    QD_ASSIGN_OR_RETURN(calibration_,
                        Activations::Embed(std::move(windows), embedding, model_.hidden, pool_));
  }
  QD_RETURN_IF_ERROR(saved_.Begin(tokens));
  report_.calibration_digest = saved_.key().digest();
  report_.calibration_tokens = tokens;
  report_.calibration_seed = saved_.key().sources.front().seed;
  if (saved_.reads() && saved_.missing() > 0) {
    Warn({absl::StrCat("statistics of ", saved_.missing(), " of ", model_.blocks.size(),
                       " blocks are not in the folder; they are gathered")});
  }
  return absl::OkStatus();
}

absl::Status Run::Block(const BlockSpec& block) {
  if (sink_.Cancelled()) return MakeError(Reason::kCancelled, "cancelled");
  const size_t first = static_cast<size_t>(&Resolved(block.linears.front()) - plan_.linears.data());
  BlockState state{.block = block,
                   .linears = std::span(plan_.linears).subspan(first, block.linears.size()),
                   .original = {},
                   .statistics = {},
                   .samples = {},
                   .experts = {},
                   .fold = {}};
  BlockStatistics gathering(calibration_, planned_.request.recipe.propagate, blocks_done_,
                            state.linears, saved_, plan_.scratch_folder);
  const bool calibrates = plan_.statistics.any();
  if (forward_.has_value()) {
    QD_ASSIGN_OR_RETURN(state.original, LoadBlock(model_, block, planned_.checkpoint, *backend_,
                                                  forward_->compute));
  }
  if (calibrates) {
    Tell(Stage::kCalibrate);
    if (saved_.GoesOnAfter(blocks_done_ - 1)) tokens_done_ += report_.calibration_tokens;
    QD_ASSIGN_OR_RETURN(state.statistics, gathering.Gather(forward_, block, state.original));
    QD_ASSIGN_OR_RETURN(state.experts, ReplaceUnderfed(block, state.linears, plan_.scratch_folder,
                                                       state.statistics));
    Warn(state.experts.warnings);
  }
  if (!original_.empty()) {
    Tell(Stage::kEvaluate);
    QD_ASSIGN_OR_RETURN(state.samples, original_.ForwardSampling(*forward_, block, state.original));
  }
  Tell(Stage::kQuantize);
  QD_RETURN_IF_ERROR(Fold(state));
  if (calibrates) {
    QD_RETURN_IF_ERROR(
        gathering.GatherFolded(forward_, block, state.original, state.fold, state.statistics));
  }
  if (!RunsQuantized()) state.original = {};  // a third of the memory of calibrated methods
  QD_RETURN_IF_ERROR(WriteNorms(state));
  QD_ASSIGN_OR_RETURN(const BlockWeights quantized, QuantizeBlock(state));
  if (!evaluated_.empty()) {
    Tell(Stage::kEvaluate);
    QD_RETURN_IF_ERROR(evaluated_.Forward(*forward_, block, quantized));
    tokens_done_ += 2 * evaluated_.windows().total_tokens();
  }
  if (!calibration_.empty() && planned_.request.recipe.propagate == Propagate::kQuantized) {
    Tell(Stage::kCalibrate);
    QD_RETURN_IF_ERROR(calibration_.Forward(*forward_, block, quantized));
  }
  ++blocks_done_;
  Tell(Stage::kQuantize);
  return absl::OkStatus();
}

absl::Status Run::Fold(BlockState& state) {
  state.fold.linears.resize(state.linears.size());
  if (state.statistics.empty()) return absl::OkStatus();
  QD_ASSIGN_OR_RETURN(
      state.fold, ChooseFolds(planned_, state.block, state.linears, *context_, state.statistics));
  Warn(state.fold.warnings);
  return absl::OkStatus();
}

void Run::Warn(const std::vector<std::string>& warnings) {
  for (const std::string& warning : warnings) {
    report_.warnings.push_back(warning);
    sink_.OnWarning(warning);
  }
}

// Tensors are written in the order of the file wherever that is free: then the digest keeps up with
// the writing, on whichever thread has time, and nothing is read back.
absl::Status Run::WriteNorms(const BlockState& state) {
  for (const std::string& norm : state.block.NormTensors()) {
    const auto folded = state.fold.norms.find(norm);
    if (folded == state.fold.norms.end()) {
      QD_RETURN_IF_ERROR(artifact_->CopyTensor(planned_.checkpoint, norm));
    } else {
      QD_RETURN_IF_ERROR(artifact_->WriteValues(norm, folded->second));
    }
  }
  return absl::OkStatus();
}

absl::Status Run::WriteBias(const LinearSpec& linear, const LinearFold& fold) {
  if (!linear.has_bias) return absl::OkStatus();
  const std::string tensor = linear.name + ".bias";
  if (fold.rows.empty()) return artifact_->CopyTensor(planned_.checkpoint, tensor);
  QD_ASSIGN_OR_RETURN(AlignedBuffer<float> bias, planned_.checkpoint.ReadF32(tensor));
  for (int64_t n = 0; n < bias.size(); ++n) bias.data()[n] *= fold.rows[static_cast<size_t>(n)];
  return artifact_->WriteValues(tensor, bias.span());
}

// One linear into the artifact, quantized or as it was, and its bias after it. The result is empty
// for a linear that stays as it was.
absl::StatusOr<QuantizedLinear> Run::WriteLinear(const BlockState& state, size_t index,
                                                 PreparedCache& prepared) {
  const ResolvedLinear& entry = state.linears[index];
  const LinearSpec& linear = *entry.linear;
  const std::string tensor = linear.name + ".weight";
  bytes_read_ += planned_.checkpoint.Find(tensor)->bytes();
  QuantizedLinear result;
  if (entry.scheme.has_value()) {
    const bool needs = FindMethod(entry.scheme->method)->needs(*entry.scheme).any();
    const InputStatistics* statistics =
        needs ? &state.statistics[static_cast<size_t>(linear.input)] : nullptr;
    QD_ASSIGN_OR_RETURN(const auto shared, prepared.Get(entry, statistics, *context_));
    const KeepRows keep = RunsQuantized() ? KeepRows::kYes : KeepRows::kNo;
    const LinearInputs inputs = {.prepared = shared.get(), .fold = &state.fold.linears[index]};
    QD_ASSIGN_OR_RETURN(result, quantizer_->Run(entry, inputs, keep));
    if (linear.expert >= 0 && needs) {
      const int64_t tokens = state.experts.of_input[static_cast<size_t>(linear.input)];
      result.report.figures.push_back({"tokens", static_cast<double>(tokens)});
    }
  } else {
    QD_RETURN_IF_ERROR(WriteUnquantized(planned_, linear, state.fold.linears[index], *artifact_));
  }
  QD_RETURN_IF_ERROR(WriteBias(linear, state.fold.linears[index]));
  return result;
}

absl::StatusOr<BlockWeights> Run::QuantizeBlock(const BlockState& state) {
  std::vector<QuantizedLinear> results(state.linears.size());
  PreparedCache prepared;
  const bool sampled = !state.samples.inputs.empty();
  for (size_t i = 0; i < state.linears.size(); ++i) {
    QD_ASSIGN_OR_RETURN(results[i], WriteLinear(state, i, prepared));
    // With samples the report is not complete before the block's weights are prepared.
    const bool complete = !sampled && state.linears[i].scheme.has_value();
    if (complete) sink_.OnLayer(results[i].report);
  }
  BlockWeights quantized;
  if (RunsQuantized()) {
    QD_ASSIGN_OR_RETURN(
        quantized, FoldedWeights(planned_, state.block, state.original, state.fold, *forward_));
    if (planned_.request.evaluation.analyze) QD_RETURN_IF_ERROR(Analyze(state, results));
    QD_RETURN_IF_ERROR(PrepareForEvaluation(state, results, quantized));
  }
  for (size_t i = 0; i < state.linears.size(); ++i) {
    if (!state.linears[i].scheme.has_value()) continue;
    if (sampled) sink_.OnLayer(results[i].report);
    report_.layers.push_back(std::move(results[i].report));
  }
  return quantized;
}

absl::Status Run::Analyze(const BlockState& state, std::vector<QuantizedLinear>& results) {
  for (size_t i = 0; i < results.size(); ++i) {
    if (!results[i].rows.has_value()) continue;
    if (sink_.Cancelled()) return MakeError(Reason::kCancelled, "cancelled");
    const auto input = static_cast<size_t>(state.linears[i].linear->input);
    const InputStatistics* statistics =
        state.statistics.empty() ? nullptr : &state.statistics[input];
    QD_ASSIGN_OR_RETURN(results[i].report.analysis,
                        AnalyzeResolved(planned_.checkpoint, state.linears[i], *results[i].rows,
                                        {.fold = state.fold.linears[i],
                                         .samples = state.samples.inputs[input],
                                         .statistics = statistics},
                                        *context_));
  }
  return absl::OkStatus();
}

absl::Status Run::PrepareForEvaluation(const BlockState& state,
                                       std::vector<QuantizedLinear>& results,
                                       BlockWeights& quantized) {
  return pool_.ForEach(static_cast<int64_t>(results.size()), [&](int64_t index) -> absl::Status {
    const auto i = static_cast<size_t>(index);
    QuantizedLinear& result = results[i];
    if (!result.rows.has_value()) return absl::OkStatus();
    QD_ASSIGN_OR_RETURN(
        quantized.linears[i].weight,
        backend_->PrepareQuantized(*result.rows, *state.linears[i].scheme, forward_->compute));
    result.rows.reset();
    if (state.samples.inputs.empty()) return absl::OkStatus();
    const auto& rows = state.samples.inputs[static_cast<size_t>(state.linears[i].linear->input)];
    if (rows.tokens == 0) return absl::OkStatus();  // an expert that no sampled token chose
    QD_ASSIGN_OR_RETURN(
        result.report.relative_output_error,
        RelativeOutputError(rows, *state.original.linears[i].weight, *quantized.linears[i].weight,
                            state.fold.linears[i], *backend_));
    return absl::OkStatus();
  });
}

absl::Status Run::HeadAndRest() {
  Tell(Stage::kWrite);
  QD_RETURN_IF_ERROR(artifact_->CopyTensor(planned_.checkpoint, model_.final_norm.gain));
  QD_RETURN_IF_ERROR(artifact_->CopyTensor(planned_.checkpoint, model_.final_norm.bias));
  const bool head_is_quantized = Resolved(model_.head).scheme.has_value();
  if (!original_.empty()) {
    Tell(Stage::kEvaluate);
    QD_ASSIGN_OR_RETURN(const Head original,
                        Head::Load(model_, planned_.checkpoint, *backend_, forward_->compute));
    QD_ASSIGN_OR_RETURN(const Head quantized, QuantizeHead(original));
    QD_RETURN_IF_ERROR(Evaluate(original, quantized));
  } else if (head_is_quantized) {
    Tell(Stage::kQuantize);
    QD_ASSIGN_OR_RETURN(QuantizedLinear result, RunHead(KeepRows::kNo));
    sink_.OnLayer(result.report);
    report_.layers.push_back(std::move(result.report));
  }
  Tell(Stage::kWrite);
  if (!head_is_quantized && !model_.tied_embeddings) {
    QD_RETURN_IF_ERROR(artifact_->CopyTensor(planned_.checkpoint, model_.head_tensor));
  }
  return artifact_->CopyRest(planned_.checkpoint);
}

// No statistics are gathered for the output projection; resolving refuses schemes that need them.
absl::StatusOr<QuantizedLinear> Run::RunHead(KeepRows keep) {
  const ResolvedLinear& entry = Resolved(model_.head);
  PreparedCache prepared;
  QD_ASSIGN_OR_RETURN(const auto shared, prepared.Get(entry, nullptr, *context_));
  return quantizer_->Run(entry, {.prepared = shared.get(), .fold = nullptr}, keep);
}

absl::StatusOr<Head> Run::QuantizeHead(const Head& original) {
  const ResolvedLinear& entry = Resolved(model_.head);
  if (model_.tied_embeddings && embedding_ != nullptr) {
    QD_ASSIGN_OR_RETURN(auto weight, backend_->PrepareQuantized(
                                         *embedding_, *plan_.embedding->scheme, forward_->compute));
    return original.WithLinear({.weight = std::move(weight), .bias = nullptr});
  }
  if (!entry.scheme.has_value()) return original.Share();
  QD_ASSIGN_OR_RETURN(QuantizedLinear result, RunHead(KeepRows::kYes));
  sink_.OnLayer(result.report);
  report_.layers.push_back(std::move(result.report));
  QD_ASSIGN_OR_RETURN(auto weight,
                      backend_->PrepareQuantized(*result.rows, *entry.scheme, forward_->compute));
  return original.WithLinear({.weight = std::move(weight), .bias = nullptr});
}

absl::Status Run::Evaluate(const Head& original, const Head& quantized) {
  Evaluation evaluation(original_.size());
  QD_RETURN_IF_ERROR(pool_.ForEach(original_.size(), [&](int64_t window) -> absl::Status {
    if (sink_.Cancelled()) return MakeError(Reason::kCancelled, "cancelled");
    return evaluation.Record(window, original_.windows().ids[static_cast<size_t>(window)],
                             original_.window(window), evaluated_.window(window), original,
                             quantized, *backend_, model_.vocabulary);
  }));
  report_.evaluation = evaluation.Finish();
  const int64_t windows = std::min(planned_.request.evaluation.logits_windows, original_.size());
  if (windows == 0) return absl::OkStatus();
  return WriteLogits({original, original_}, {quantized, evaluated_}, windows, model_.vocabulary,
                     *artifact_);
}

absl::StatusOr<Report> Run::Finish() {
  QD_RETURN_IF_ERROR(artifact_->WriteModelFiles());
  report_.gate = CheckGate(planned_.request.gate, report_.evaluation);
  clock_.Enter(Stage::kDone);
  report_.seconds = clock_.Seconds();
  report_.seconds_total = clock_.Elapsed();
  report_.peak_rss_bytes = PeakRssBytes();
  QD_RETURN_IF_ERROR(artifact_->WriteReport(report_));
  Tell(Stage::kDone);
  return std::move(report_);
}

}  // namespace

absl::StatusOr<Report> Quantize(const PlannedQuantization& planned, ProgressSink& sink) {
  Run run(planned, sink);
  QD_RETURN_IF_ERROR(run.Open());
  for (const BlockSpec& block : planned.plan.model.blocks) {
    QD_RETURN_IF_ERROR(NameNotFinite(planned.checkpoint, block, run.Block(block)));
  }
  QD_RETURN_IF_ERROR(run.HeadAndRest());
  return run.Finish();
}

}  // namespace quantd
