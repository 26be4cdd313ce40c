// The whole story: open, each block, the head, evaluation, report. Why one pass: docs/numerics.md.

#include "engine/run/quantize.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "engine/artifact/artifact.h"
#include "engine/block/linear_quantizer.h"
#include "engine/run/final_layers.h"
#include "engine/run/journal.h"
#include "engine/run/open_streams.h"
#include "engine/run/sealed_blocks.h"
#include "engine/types/model_title.h"

namespace quantd {
namespace {

// One run of the engine. Its methods are called in the order of declaration.
class Run {
 public:
  Run(const PlannedQuantization& planned, ProgressSink& sink)
      : planned_(planned), plan_(planned.plan), sink_(sink) {}

  absl::Status Open();
  absl::Status OpenJournal(const RunOptions& options);
  absl::Status OpenArtifact();
  absl::Status Blocks();
  absl::Status HeadAndRest();
  absl::StatusOr<Report> Finish();

  // A run in parts: after Open and OpenJournal.
  absl::Status BlocksAlone(BlockRange range);
  absl::Status Relay(const std::vector<int64_t>& cuts);
  int64_t blocks() const { return pass_->all().last; }

 private:
  absl::Status WriteEmbedding();
  void Describe();

  const PlannedQuantization& planned_;
  const Plan& plan_;
  ProgressSink& sink_;
  std::unique_ptr<Pass> pass_;
  std::unique_ptr<Journal> journal_;  // null: none is kept
  Journaling journaling_ = Journaling::kNone;
  double journal_share_ = 0;
  std::unique_ptr<ArtifactWriter> artifact_;
  std::shared_ptr<const QuantizedRows> embedding_;  // where it has a scheme and is evaluated
  OpenedStreams opened_;
  Report report_;
};

absl::Status Run::Open() {
  QD_ASSIGN_OR_RETURN(pass_, Pass::Open(planned_, sink_));
  pass_->progress().Enter(Stage::kOpen);
  QD_ASSIGN_OR_RETURN(report_.model_fingerprint, planned_.checkpoint.Fingerprint());
  Describe();
  return absl::OkStatus();
}

// What the report says before anything is done.
void Run::Describe() {
  report_.engine_version = QUANTD_VERSION;
  report_.model_name = ModelTitle(planned_.files->location());
  report_.family = plan_.model.family;
  report_.parameters = plan_.model.parameters;
  report_.backend = pass_->backend().name();
  report_.isa = CpuKernels().isa;
  report_.compute = NameOf(pass_->compute());
  report_.recipe = planned_.request.recipe;
  for (const ResolvedLinear& entry : plan_.linears)
    report_.resolved_recipe.push_back(ToJson(entry));
  report_.format = plan_.format->name;
  report_.bytes_original = plan_.bytes_original;
  report_.bytes_quantized = plan_.bytes_quantized;
  report_.bits_per_weight = plan_.bits_per_weight;
  report_.warnings = plan_.warnings;
}

absl::Status Run::OpenJournal(const RunOptions& options) {
  journaling_ = options.journaling;
  journal_share_ = options.journal_share;
  if (journaling_ == Journaling::kNone) return absl::OkStatus();
  QD_ASSIGN_OR_RETURN(const Json fingerprint, JournalFingerprint(planned_, report_.engine_version,
                                                                 report_.isa, report_.compute));
  if (journaling_ == Journaling::kNew) {
    QD_ASSIGN_OR_RETURN(journal_, Journal::Create(options.journal_folders.front(), fingerprint));
    return absl::OkStatus();
  }
  auto opened = Journal::Open(options.journal_folders, fingerprint, pass_->pool());
  if (journaling_ == Journaling::kGoOn && ReasonOf(opened.status()) == Reason::kInvalidField) {
    opened = Journal::Create(options.journal_folders.front(), fingerprint);
  }
  QD_ASSIGN_OR_RETURN(journal_, std::move(opened));
  const int64_t missing = journal_->FirstMissing(0, blocks());
  if (missing > 0 && journaling_ != Journaling::kAssemble) {
    sink_.OnWarning(absl::StrCat("goes on with a run that did not end: ", missing, " of ", blocks(),
                                 " blocks are sealed"));
  }
  if (journaling_ != Journaling::kAssemble || missing == blocks()) return absl::OkStatus();
  return MakeError(Reason::kInvalidField, "cannot assemble",
                   Violation{.where = options.journal_folders.front(),
                             .got = absl::StrCat("no whole block ", missing),
                             .wanted = absl::StrCat("all ", blocks(), " blocks sealed")});
}

absl::Status Run::OpenArtifact() {
  for (const std::string& warning : report_.warnings) sink_.OnWarning(warning);
  const size_t told = report_.warnings.size();
  QD_ASSIGN_OR_RETURN(artifact_, ArtifactWriter::Create(planned_, pass_->pool(), sink_));
  pass_->progress().CountWrittenBy(
      [artifact = artifact_.get()] { return artifact->bytes_written(); });
  QD_RETURN_IF_ERROR(WriteEmbedding());
  if (plan_.needs_forward) {
    QD_ASSIGN_OR_RETURN(opened_,
                        OpenStreams(planned_, Evaluated::kYes, embedding_, *pass_, report_));
  }
  for (size_t i = told; i < report_.warnings.size(); ++i) sink_.OnWarning(report_.warnings[i]);
  return artifact_->Copy(planned_.checkpoint, plan_.model.positions);
}

absl::Status Run::WriteEmbedding() {
  if (!plan_.embedding) return artifact_->Copy(planned_.checkpoint, plan_.model.embedding);
  const bool evaluated = planned_.request.evaluation.enabled;
  const ResolvedLinear& entry = *plan_.embedding;
  const WeightSource source(planned_.checkpoint, *entry.linear, entry.linear->name + ".weight");
  const LinearQuantizer quantizer(*plan_.format, pass_->context(),
                                  [this] { return sink_.Cancelled(); });
  QD_ASSIGN_OR_RETURN(QuantizedLinear result,
                      quantizer.Run(entry, {.source = source},
                                    evaluated ? KeepRows::kYes : KeepRows::kNo, artifact_.get()));
  if (result.rows) embedding_ = std::make_shared<const QuantizedRows>(*std::move(result.rows));
  sink_.OnLayer(result.report);
  report_.layers.push_back(std::move(result.report));
  return absl::OkStatus();
}

absl::Status Run::Blocks() {
  SealedBlocks blocks(planned_, *pass_, opened_, journal_.get(), artifact_.get(), sink_,
                      journal_share_);
  return blocks.Run(pass_->all(), [this](BlockResult result) {
    std::move(result.layers.begin(), result.layers.end(), std::back_inserter(report_.layers));
    if (result.cache.has_value()) report_.cache.push_back(*std::move(result.cache));
    std::move(result.warnings.begin(), result.warnings.end(), std::back_inserter(report_.warnings));
  });
}

absl::Status Run::HeadAndRest() {
  QD_RETURN_IF_ERROR(
      RunFinalLayers(planned_, embedding_, opened_.streams, *pass_, *artifact_, sink_, report_));
  return artifact_->CopyRest(planned_.checkpoint);
}

absl::StatusOr<Report> Run::Finish() {
  QD_RETURN_IF_ERROR(artifact_->WriteModelFiles());
  report_.gate = CheckGate(planned_.request.gate, report_.evaluation);
  pass_->progress().Stop();
  report_.seconds = pass_->progress().clock().Seconds();
  report_.seconds_total = pass_->progress().clock().Elapsed();
  report_.peak_rss_bytes = PeakRssBytes();
  QD_RETURN_IF_ERROR(artifact_->WriteReport(report_));
  const bool used_up = journaling_ != Journaling::kNone && journaling_ != Journaling::kAssemble;
  if (used_up) QD_RETURN_IF_ERROR(journal_->Remove());
  pass_->progress().Enter(Stage::kDone);
  return std::move(report_);
}

absl::Status Run::BlocksAlone(BlockRange range) {
  if (plan_.needs_forward) {
    QD_ASSIGN_OR_RETURN(opened_, OpenStreams(planned_, Evaluated::kNo, nullptr, *pass_, report_));
  }
  SealedBlocks blocks(planned_, *pass_, opened_, journal_.get(), nullptr, sink_, journal_share_);
  return blocks.Run(range, [](const BlockResult& /*result*/) {});
}

absl::Status Run::Relay(const std::vector<int64_t>& cuts) {
  if (!plan_.needs_forward) return absl::OkStatus();
  QD_ASSIGN_OR_RETURN(opened_, OpenStreams(planned_, Evaluated::kNo, nullptr, *pass_, report_));
  SealedBlocks blocks(planned_, *pass_, opened_, journal_.get(), nullptr, sink_, journal_share_);
  return blocks.Relay(cuts);
}

// Whether blocks can be quantized apart: those before them must be known beforehand.
absl::Status CheckParts(const PlannedQuantization& planned, BlockRange range, int64_t blocks) {
  if (range.first < 0 || range.first > range.last || range.last > blocks) {
    return MakeError(
        Reason::kInvalidField, "refused",
        Violation{.where = "blocks",
                  .got = absl::StrCat(range.first, ":", range.last),
                  .wanted = absl::StrCat("a range within 0:", blocks, ", the end not included")});
  }
  if (planned.request.recipe.propagate != Propagate::kQuantized || !planned.plan.calibrates) {
    return absl::OkStatus();
  }
  return MakeError(Reason::kInvalidField, "refused",
                   Violation{.where = "recipe.propagate",
                             .got = "quantized: each block is calibrated by those before it",
                             .wanted = "original, to quantize blocks apart"});
}

}  // namespace

absl::StatusOr<Report> Quantize(const PlannedQuantization& planned, ProgressSink& sink,
                                const RunOptions& options) {
  Run run(planned, sink);
  QD_RETURN_IF_ERROR(run.Open());
  QD_RETURN_IF_ERROR(run.OpenJournal(options));
  QD_RETURN_IF_ERROR(run.OpenArtifact());
  QD_RETURN_IF_ERROR(run.Blocks());
  QD_RETURN_IF_ERROR(run.HeadAndRest());
  return run.Finish();
}

absl::Status QuantizeBlocks(const PlannedQuantization& planned, BlockRange range,
                            const std::string& folder, ProgressSink& sink) {
  Run run(planned, sink);
  QD_RETURN_IF_ERROR(run.Open());
  QD_RETURN_IF_ERROR(CheckParts(planned, range, run.blocks()));
  QD_RETURN_IF_ERROR(
      run.OpenJournal({.journaling = Journaling::kResume, .journal_folders = {folder}}));
  return run.BlocksAlone(range);
}

absl::Status RelayActivations(const PlannedQuantization& planned, std::vector<int64_t> cuts,
                              const std::string& folder, ProgressSink& sink) {
  Run run(planned, sink);
  QD_RETURN_IF_ERROR(run.Open());
  std::sort(cuts.begin(), cuts.end());
  for (const int64_t cut : cuts) {
    QD_RETURN_IF_ERROR(CheckParts(planned, {.first = cut, .last = run.blocks()}, run.blocks()));
  }
  QD_RETURN_IF_ERROR(
      run.OpenJournal({.journaling = Journaling::kResume, .journal_folders = {folder}}));
  return run.Relay(cuts);
}

}  // namespace quantd
