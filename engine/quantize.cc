// The whole story: open, then for each block {load, forward, calibrate, quantize, pack, write,
// report}, then the head, evaluation and the report. docs/numerics.md says why it is one pass.

#include "engine/quantize.h"

#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <optional>
#include <utility>

#include "base/error.h"
#include "base/threads.h"
#include "engine/artifact.h"
#include "engine/backend/backend.h"
#include "engine/evaluate/evaluation.h"
#include "engine/linear_quantizer.h"
#include "engine/method/registry.h"
#include "engine/stream.h"
#include "engine/tensor/finite.h"

namespace quantd {
namespace {

int64_t PeakRssBytes() {
  struct rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<int64_t>(usage.ru_maxrss) * 1024;
}

// Which stage the time goes to.
class StageClock {
 public:
  void Enter(Stage stage) {
    const auto now = std::chrono::steady_clock::now();
    seconds_[static_cast<size_t>(stage_)] += std::chrono::duration<double>(now - since_).count();
    stage_ = stage;
    since_ = now;
  }
  Stage stage() const { return stage_; }
  double Elapsed() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }
  std::vector<std::pair<Stage, double>> Seconds() const {
    std::vector<std::pair<Stage, double>> all;
    for (const Stage stage :
         {Stage::kOpen, Stage::kCalibrate, Stage::kQuantize, Stage::kEvaluate, Stage::kWrite}) {
      all.emplace_back(stage, seconds_[static_cast<size_t>(stage)]);
    }
    return all;
  }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  std::chrono::steady_clock::time_point since_ = start_;
  Stage stage_ = Stage::kOpen;
  std::array<double, 6> seconds_{};
};

// ||X dW^T|| / ||X W^T|| on the sampled rows, by running both weights.
absl::StatusOr<double> RelativeOutputError(const InputSamples::Rows& rows,
                                           const PreparedWeight& original,
                                           const PreparedWeight& quantized, Backend& backend) {
  const int64_t outputs = rows.tokens * original.out_features();
  AlignedBuffer<float> y(outputs), y_quantized(outputs);
  QD_RETURN_IF_ERROR(backend.MatMul(rows.x.data(), rows.tokens, original, nullptr, y.data()));
  QD_RETURN_IF_ERROR(
      backend.MatMul(rows.x.data(), rows.tokens, quantized, nullptr, y_quantized.data()));
  double energy = 0, error = 0;
  for (int64_t i = 0; i < outputs; ++i) {
    const double value = static_cast<double>(y.data()[i]);
    const double difference = static_cast<double>(y_quantized.data()[i]) - value;
    energy += value * value;
    error += difference * difference;
  }
  return energy > 0 ? std::sqrt(error / energy) : 0.0;
}

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
  // Puts the tensor that holds NaN or infinity in the place of what came of it.
  absl::Status NameNotFinite(const BlockSpec& block, const absl::Status& status) const;
  absl::Status HeadAndRest();
  absl::StatusOr<Report> Finish();

 private:
  absl::Status OpenStreams();
  absl::Status CopyNorms(const BlockSpec& block);
  absl::StatusOr<std::vector<InputStatistics>> Calibrate(const BlockSpec& block,
                                                         const BlockWeights& original);
  absl::StatusOr<QuantizedLinear> WriteLinear(const LinearSpec& linear,
                                              const std::vector<InputStatistics>& statistics);
  absl::StatusOr<BlockWeights> QuantizeBlock(const BlockSpec& block, const BlockWeights& original,
                                             const std::vector<InputStatistics>& statistics,
                                             const InputSamples& samples);
  absl::Status PrepareForEvaluation(const BlockSpec& block, const InputSamples& samples,
                                    const BlockWeights& original,
                                    std::vector<QuantizedLinear>& results, BlockWeights& quantized);
  absl::StatusOr<Head> QuantizeHead(const Head& original);
  absl::Status Evaluate(const Head& original, const Head& quantized);
  absl::Status WriteLogits(const Head& original, const Head& quantized);
  void Tell(Stage stage);
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
  std::optional<RopeTable> rope_;
  std::optional<ForwardContext> forward_;  // set when the plan needs a forward pass
  Stream calibration_, original_, evaluated_;
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
  }
  sink_.OnProgress(progress);
}

absl::Status Run::Open() {
  Tell(Stage::kOpen);
  QD_ASSIGN_OR_RETURN(backend_, FindBackend(planned_.request.resources.backend));
  const ComputeType compute = backend_->Resolve(planned_.request.resources.compute, model_.dtype);
  report_.engine_version = QUANTD_VERSION;
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
  for (const std::string& warning : plan_.warnings) {
    report_.warnings.push_back(warning);
    sink_.OnWarning(warning);
  }
  QD_ASSIGN_OR_RETURN(report_.model_fingerprint, planned_.checkpoint.Fingerprint());
  QD_ASSIGN_OR_RETURN(artifact_, ArtifactWriter::Create(planned_, pool_, sink_));
  quantizer_.emplace(planned_, *artifact_, pool_, [this] { return sink_.Cancelled(); });
  if (plan_.needs_forward) {
    const int64_t tokens = std::max(planned_.request.calibration.tokens_per_sample,
                                    planned_.request.evaluation.tokens_per_window);
    rope_ = RopeTable::Make(model_.rope, tokens);
    forward_.emplace(ForwardContext{model_, *rope_, *backend_, compute, pool_});
    QD_RETURN_IF_ERROR(OpenStreams());
  }
  return artifact_->CopyTensor(planned_.checkpoint, model_.embedding);
}

absl::Status Run::OpenStreams() {
  const QuantizeRequest& request = planned_.request;
  QD_ASSIGN_OR_RETURN(const auto tokenizer, Tokenizer::Open(request.model_folder));
  QD_ASSIGN_OR_RETURN(const Embedding embedding, Embedding::Load(model_, planned_.checkpoint));
  if (plan_.statistics.any()) {
    QD_ASSIGN_OR_RETURN(const std::string text, ReadText(request.calibration.text));
    QD_ASSIGN_OR_RETURN(Windows windows, CutWindows(text, *tokenizer, CalibrationWindows(request)));
    report_.calibration_digest = windows.digest;
    report_.calibration_tokens = windows.total_tokens();
    report_.calibration_seed = request.calibration.seed;
    QD_ASSIGN_OR_RETURN(calibration_,
                        Stream::Embed(std::move(windows), embedding, model_.hidden, pool_));
  }
  if (request.evaluation.enabled) {
    QD_ASSIGN_OR_RETURN(const std::string text, ReadText(request.evaluation.text));
    QD_ASSIGN_OR_RETURN(Windows windows, CutWindows(text, *tokenizer, EvaluationWindows(request)));
    report_.evaluation_digest = windows.digest;
    QD_ASSIGN_OR_RETURN(original_, Stream::Embed(windows, embedding, model_.hidden, pool_));
    QD_ASSIGN_OR_RETURN(evaluated_,
                        Stream::Embed(std::move(windows), embedding, model_.hidden, pool_));
  }
  return absl::OkStatus();
}

absl::Status Run::NameNotFinite(const BlockSpec& block, const absl::Status& status) const {
  if (ReasonOf(status) != Reason::kModelNotFinite) return status;
  for (const std::string& norm :
       {block.input_norm, block.q_norm, block.k_norm, block.post_attention_norm}) {
    QD_RETURN_IF_ERROR(CheckFinite(planned_.checkpoint, norm));
  }
  for (const LinearSpec& linear : block.linears) {
    QD_RETURN_IF_ERROR(CheckFinite(planned_.checkpoint, linear.name + ".weight"));
    QD_RETURN_IF_ERROR(CheckFinite(planned_.checkpoint, linear.name + ".bias"));
  }
  return status;
}

absl::Status Run::Block(const BlockSpec& block) {
  if (sink_.Cancelled()) return MakeError(Reason::kCancelled, "cancelled");
  BlockWeights original;
  std::vector<InputStatistics> statistics;
  InputSamples samples;
  if (forward_.has_value()) {
    QD_ASSIGN_OR_RETURN(
        original, LoadBlock(model_, block, planned_.checkpoint, *backend_, forward_->compute));
  }
  QD_RETURN_IF_ERROR(CopyNorms(block));
  if (!calibration_.empty()) {
    Tell(Stage::kCalibrate);
    QD_ASSIGN_OR_RETURN(statistics, Calibrate(block, original));
  }
  if (!original_.empty()) {
    Tell(Stage::kEvaluate);
    QD_ASSIGN_OR_RETURN(samples, original_.ForwardSampling(*forward_, block, original));
  }
  Tell(Stage::kQuantize);
  QD_ASSIGN_OR_RETURN(const BlockWeights quantized,
                      QuantizeBlock(block, original, statistics, samples));
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

// Tensors are written in the order of the file wherever that is free: then the digest keeps up with
// the writing, on whichever thread has time, and nothing is read back.
absl::Status Run::CopyNorms(const BlockSpec& block) {
  for (const std::string& norm :
       {block.input_norm, block.q_norm, block.k_norm, block.post_attention_norm}) {
    if (!norm.empty()) QD_RETURN_IF_ERROR(artifact_->CopyTensor(planned_.checkpoint, norm));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<InputStatistics>> Run::Calibrate(const BlockSpec& block,
                                                            const BlockWeights& original) {
  tokens_done_ += calibration_.windows().total_tokens();
  if (planned_.request.recipe.propagate == Propagate::kQuantized) {
    return calibration_.Gather(*forward_, block, original);
  }
  return calibration_.ForwardGathering(*forward_, block, original);
}

// One linear into the artifact, quantized or as it was, and its bias after it. The result is empty
// for a linear that stays as it was.
absl::StatusOr<QuantizedLinear> Run::WriteLinear(const LinearSpec& linear,
                                                 const std::vector<InputStatistics>& statistics) {
  const ResolvedLinear& entry = Resolved(linear);
  const std::string tensor = linear.name + ".weight";
  bytes_read_ += planned_.checkpoint.Find(tensor)->bytes();
  QuantizedLinear result;
  if (entry.scheme.has_value()) {
    const bool needs = FindMethod(entry.scheme->method)->needs(*entry.scheme).any();
    const InputStatistics* inputs =
        needs ? &statistics[static_cast<size_t>(linear.input)] : nullptr;
    const KeepRows keep = forward_.has_value() ? KeepRows::kYes : KeepRows::kNo;
    QD_ASSIGN_OR_RETURN(result, quantizer_->Run(entry, inputs, keep));
  } else {
    QD_RETURN_IF_ERROR(artifact_->CopyTensor(planned_.checkpoint, tensor));
  }
  if (linear.has_bias) {
    QD_RETURN_IF_ERROR(artifact_->CopyTensor(planned_.checkpoint, linear.name + ".bias"));
  }
  return result;
}

absl::StatusOr<BlockWeights> Run::QuantizeBlock(const BlockSpec& block,
                                                const BlockWeights& original,
                                                const std::vector<InputStatistics>& statistics,
                                                const InputSamples& samples) {
  std::vector<QuantizedLinear> results(block.linears.size());
  for (size_t i = 0; i < block.linears.size(); ++i) {
    QD_ASSIGN_OR_RETURN(results[i], WriteLinear(block.linears[i], statistics));
    // With samples the report is not complete before the block's weights are prepared.
    const bool complete = samples.inputs.empty() && Resolved(block.linears[i]).scheme.has_value();
    if (complete) sink_.OnLayer(results[i].report);
  }
  BlockWeights quantized = original;
  if (forward_.has_value()) {
    QD_RETURN_IF_ERROR(PrepareForEvaluation(block, samples, original, results, quantized));
  }
  for (size_t i = 0; i < block.linears.size(); ++i) {
    if (!Resolved(block.linears[i]).scheme.has_value()) continue;
    if (!samples.inputs.empty()) sink_.OnLayer(results[i].report);
    report_.layers.push_back(std::move(results[i].report));
  }
  return quantized;
}

absl::Status Run::PrepareForEvaluation(const BlockSpec& block, const InputSamples& samples,
                                       const BlockWeights& original,
                                       std::vector<QuantizedLinear>& results,
                                       BlockWeights& quantized) {
  return pool_.ForEach(static_cast<int64_t>(results.size()), [&](int64_t index) -> absl::Status {
    const auto i = static_cast<size_t>(index);
    QuantizedLinear& result = results[i];
    if (!result.rows.has_value()) return absl::OkStatus();
    const Scheme& scheme = *Resolved(block.linears[i]).scheme;
    QD_ASSIGN_OR_RETURN(quantized.linears[i].weight,
                        backend_->PrepareQuantized(*result.rows, scheme, forward_->compute));
    result.rows.reset();
    if (samples.inputs.empty()) return absl::OkStatus();
    const auto& rows = samples.inputs[static_cast<size_t>(block.linears[i].input)];
    QD_ASSIGN_OR_RETURN(result.report.relative_output_error,
                        RelativeOutputError(rows, *original.linears[i].weight,
                                            *quantized.linears[i].weight, *backend_));
    return absl::OkStatus();
  });
}

absl::Status Run::HeadAndRest() {
  Tell(Stage::kWrite);
  QD_RETURN_IF_ERROR(artifact_->CopyTensor(planned_.checkpoint, model_.final_norm));
  const bool head_is_quantized = Resolved(model_.head).scheme.has_value();
  if (!original_.empty()) {
    Tell(Stage::kEvaluate);
    QD_ASSIGN_OR_RETURN(const Head original,
                        Head::Load(model_, planned_.checkpoint, *backend_, forward_->compute));
    QD_ASSIGN_OR_RETURN(const Head quantized, QuantizeHead(original));
    QD_RETURN_IF_ERROR(Evaluate(original, quantized));
  } else if (head_is_quantized) {
    Tell(Stage::kQuantize);
    QD_ASSIGN_OR_RETURN(QuantizedLinear result,
                        quantizer_->Run(Resolved(model_.head), nullptr, KeepRows::kNo));
    sink_.OnLayer(result.report);
    report_.layers.push_back(std::move(result.report));
  }
  Tell(Stage::kWrite);
  if (!head_is_quantized && !model_.tied_embeddings) {
    QD_RETURN_IF_ERROR(artifact_->CopyTensor(planned_.checkpoint, model_.head_tensor));
  }
  return artifact_->CopyRest(planned_.checkpoint);
}

absl::StatusOr<Head> Run::QuantizeHead(const Head& original) {
  const ResolvedLinear& entry = Resolved(model_.head);
  if (!entry.scheme.has_value()) return original.Share();
  QD_ASSIGN_OR_RETURN(QuantizedLinear result, quantizer_->Run(entry, nullptr, KeepRows::kYes));
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
  return WriteLogits(original, quantized);
}

absl::Status Run::WriteLogits(const Head& original, const Head& quantized) {
  const int64_t windows = std::min(planned_.request.evaluation.logits_windows, original_.size());
  if (windows == 0) return absl::OkStatus();
  const int64_t tokens = original_.windows().tokens_per_window;
  const std::vector<int64_t> shape = {windows, tokens, model_.vocabulary};
  const std::string path = "quantd/logits.safetensors";
  QD_ASSIGN_OR_RETURN(
      const auto writer,
      ShardWriter::Create(artifact_->PathOf(path), {{"ids", DType::kI32, {windows, tokens}},
                                                    {"original", DType::kF32, shape},
                                                    {"quantized", DType::kF32, shape}}));
  AlignedBuffer<float> logits(tokens * model_.vocabulary);
  const auto bytes = std::as_bytes(logits.span());
  for (int64_t window = 0; window < windows; ++window) {
    const auto& ids = original_.windows().ids[static_cast<size_t>(window)];
    QD_RETURN_IF_ERROR(writer->Write(0, window * tokens * 4, std::as_bytes(std::span(ids))));
    QD_RETURN_IF_ERROR(original.Logits(original_.window(window), tokens, logits.data()));
    QD_RETURN_IF_ERROR(writer->Write(1, window * static_cast<int64_t>(bytes.size()), bytes));
    QD_RETURN_IF_ERROR(quantized.Logits(evaluated_.window(window), tokens, logits.data()));
    QD_RETURN_IF_ERROR(writer->Write(2, window * static_cast<int64_t>(bytes.size()), bytes));
  }
  QD_ASSIGN_OR_RETURN(SealedFile sealed, writer->Seal());
  sealed.path = path;
  return artifact_->AddFile(std::move(sealed));
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
    QD_RETURN_IF_ERROR(run.NameNotFinite(block, run.Block(block)));
  }
  QD_RETURN_IF_ERROR(run.HeadAndRest());
  return run.Finish();
}

}  // namespace quantd
