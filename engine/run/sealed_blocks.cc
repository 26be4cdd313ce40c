#include "engine/run/sealed_blocks.h"

#include <algorithm>
#include <string>
#include <utility>

#include "base/error.h"

namespace quantd {
namespace {

using Clock = std::chrono::steady_clock;

// So many times what saving the activations takes must be lost without them: 2 % of the time.
constexpr double kWorthSaving = 50;
// What a memory copy, a digest and the page cache do in a second, from below.
constexpr double kSavedBytesPerSecond = 5e8;

double SecondsSince(Clock::time_point since) {
  return std::chrono::duration<double>(Clock::now() - since).count();
}

int64_t BytesOf(const Activations& stream) {
  return stream.empty() ? 0 : stream.size() * static_cast<int64_t>(stream.values(0).size_bytes());
}

// Rows are kept where a run that goes on computes with them.
KeepRows KeptBy(const PlannedQuantization& planned, const Journal* journal) {
  const bool computes = planned.request.evaluation.enabled ||
                        planned.request.recipe.propagate == Propagate::kQuantized;
  return journal != nullptr && planned.plan.needs_forward && computes ? KeepRows::kYes
                                                                      : KeepRows::kNo;
}

}  // namespace

SealedBlocks::SealedBlocks(const PlannedQuantization& planned, Pass& pass, OpenedStreams& opened,
                           Journal* journal, PackedTensors* artifact, ProgressSink& sink)
    : planned_(planned),
      pass_(pass),
      opened_(opened),
      journal_(journal),
      artifact_(artifact),
      sink_(sink),
      quantizer_({.planned = planned,
                  .context = pass.context(),
                  .forward = pass.forward(),
                  .streams = opened.streams,
                  .saved = opened.saved,
                  .progress = pass.progress(),
                  .sink = sink,
                  .keep = KeptBy(planned, journal)}) {}

absl::Status SealedBlocks::Run(BlockRange range, const Take& take) {
  QD_RETURN_IF_ERROR(GoToBoundary(range));
  const bool runs = pass_.forward().has_value();
  const BlockRange walked = {.first = runs && artifact_ == nullptr ? streams_at_ : range.first,
                             .last = range.last};
  saved_at_ = Clock::now();
  return pass_.Walk(walked, [&](Block& block) -> absl::Status {
    if (block.index < range.first) {
      ++streams_at_;
      return quantizer_.Replay(block, nullptr);
    }
    const bool sealed = journal_ != nullptr && journal_->Has(block.index);
    QD_ASSIGN_OR_RETURN(BlockResult result, sealed ? Restore(block) : Quantize(block));
    take(std::move(result));
    return SaveBoundaryIfWorth(block.index + 1, range);
  });
}

absl::Status SealedBlocks::Relay(const std::vector<int64_t>& cuts) {
  const auto save = [&](int64_t block) -> absl::Status {
    const bool wanted = std::find(cuts.begin(), cuts.end(), block) != cuts.end();
    if (!wanted || journal_->LastBoundary(block, block, opened_.streams)) return absl::OkStatus();
    return journal_->SaveBoundary(block, opened_.streams, pass_.pool());
  };
  QD_RETURN_IF_ERROR(save(0));
  const int64_t last = cuts.empty() ? 0 : cuts.back();
  return pass_.Walk({.first = 0, .last = last}, [&](Block& block) -> absl::Status {
    QD_RETURN_IF_ERROR(quantizer_.Replay(block, nullptr));
    return save(block.index + 1);
  });
}

// To the last boundary before the first block that is not sealed. Where all are, nobody is
// calibrated any more.
absl::Status SealedBlocks::GoToBoundary(BlockRange range) {
  if (journal_ == nullptr || !pass_.forward().has_value()) return absl::OkStatus();
  Streams& streams = opened_.streams;
  const int64_t missing = journal_->FirstMissing(range.first, range.last);
  if (const auto boundary = journal_->LastBoundary(0, missing, streams)) {
    streams_at_ = *boundary;
    QD_RETURN_IF_ERROR(journal_->ReadBoundary(*boundary, streams, pass_.pool()));
  }
  if (missing == range.last) streams.calibration = {};
  return absl::OkStatus();
}

// A block that is sealed: its tensors are copied, and told as if it had just been quantized.
absl::StatusOr<BlockResult> SealedBlocks::Restore(Block& block) {
  QD_ASSIGN_OR_RETURN(BlockResult result, journal_->Read(block.index, planned_, pass_.pool()));
  if (artifact_ != nullptr) QD_RETURN_IF_ERROR(journal_->CopyTensors(block.index, *artifact_));
  for (const std::string& warning : result.warnings) sink_.OnWarning(warning);
  for (const LayerReport& layer : result.layers) sink_.OnLayer(layer);
  const Streams& streams = opened_.streams;
  const bool runs = !streams.calibration.empty() || !streams.original.empty();
  if (!runs || block.index < streams_at_) return result;
  ++streams_at_;
  QD_RETURN_IF_ERROR(quantizer_.Replay(block, &result));
  return result;
}

absl::StatusOr<BlockResult> SealedBlocks::Quantize(Block& block) {
  ++streams_at_;
  if (journal_ == nullptr) return quantizer_.Run(block, *artifact_);
  QD_ASSIGN_OR_RETURN(
      const auto file,
      journal_->Begin(block.index, BlockTensors(planned_, block.index), artifact_, pass_.pool()));
  QD_ASSIGN_OR_RETURN(BlockResult result, quantizer_.Run(block, *file));
  QD_RETURN_IF_ERROR(journal_->Seal(result, *file, pass_.pool()));
  return result;
}

absl::Status SealedBlocks::SaveBoundaryIfWorth(int64_t next, BlockRange range) {
  if (journal_ == nullptr || !pass_.forward().has_value() || next != streams_at_) {
    return absl::OkStatus();
  }
  const Streams& streams = opened_.streams;
  const int64_t bytes =
      BytesOf(streams.calibration) + BytesOf(streams.original) + BytesOf(streams.evaluated);
  const double cost = static_cast<double>(bytes) / kSavedBytesPerSecond;
  if (next >= range.last || SecondsSince(saved_at_) < kWorthSaving * cost) return absl::OkStatus();
  QD_RETURN_IF_ERROR(journal_->SaveBoundary(next, streams, pass_.pool()));
  // Other ranges may begin at those that a relay has left.
  if (artifact_ != nullptr) QD_RETURN_IF_ERROR(journal_->DropBoundariesBefore(next));
  saved_at_ = Clock::now();
  return absl::OkStatus();
}

}  // namespace quantd
