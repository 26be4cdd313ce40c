// The blocks of a run, each quantized, or taken from a journal where it was sealed before.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <vector>

#include "absl/status/status.h"
#include "engine/artifact/packed_tensors.h"
#include "engine/block/block_quantizer.h"
#include "engine/run/journal.h"
#include "engine/run/open_streams.h"
#include "engine/run/pass.h"

namespace quantd {

class SealedBlocks {
 public:
  // Takes the result of each block, in order.
  using Take = std::function<void(BlockResult)>;

  // `journal` null: none is kept. `artifact` null: the journal alone gets the tensors. All outlive
  // it.
  SealedBlocks(const PlannedQuantization& planned, Pass& pass, OpenedStreams& opened,
               Journal* journal, PackedTensors* artifact, ProgressSink& sink);

  // Blocks of `range`, in order. A sealed one is copied, and run again only if the activations
  // behind it are needed and no boundary has them. Blocks before the range are run as they were. A
  // boundary is saved when the work since the last is kWorthSaving times what saving takes, so a
  // journal costs little, and a run that dies loses little. Errors: those of BlockQuantizer and of
  // writing.
  absl::Status Run(BlockRange range, const Take& take);
  // Runs the original blocks and saves the boundary of each of `cuts`, which rise; those that are
  // there stay. For streams that only go through original blocks.
  absl::Status Relay(const std::vector<int64_t>& cuts);

 private:
  absl::Status GoToBoundary(BlockRange range);
  absl::StatusOr<BlockResult> Restore(Block& block);
  absl::StatusOr<BlockResult> Quantize(Block& block);
  absl::Status SaveBoundaryIfWorth(int64_t next, BlockRange range);

  const PlannedQuantization& planned_;
  Pass& pass_;
  OpenedStreams& opened_;
  Journal* journal_;
  PackedTensors* artifact_;
  ProgressSink& sink_;
  BlockQuantizer quantizer_;
  int64_t streams_at_ = 0;  // the block that the streams enter next
  std::chrono::steady_clock::time_point saved_at_;
};

}  // namespace quantd
