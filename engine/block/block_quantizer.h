// One block in, a block result out.
#pragma once

#include <optional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/artifact/packed_tensors.h"
#include "engine/block/block.h"
#include "engine/block/block_result.h"
#include "engine/block/linear_quantizer.h"
#include "engine/block/prepared_cache.h"
#include "engine/block/run_progress.h"
#include "engine/block/saved_statistics.h"
#include "engine/method/registry.h"
#include "engine/plan/plan.h"

namespace quantd {

// The run around the block; all of it outlives the quantizer.
struct BlockSurroundings {
  const PlannedQuantization& planned;
  const MethodContext& context;
  const std::optional<ForwardContext>& forward;  // set when the plan needs a forward pass
  Streams& streams;
  SavedStatistics& saved;
  RunProgress& progress;
  ProgressSink& sink;
  KeepRows keep = KeepRows::kNo;  // whether the result has what runs the quantized block again
};

class BlockQuantizer {
 public:
  explicit BlockQuantizer(const BlockSurroundings& run);

  // Reads the block, calibrates it, transforms, quantizes and packs it into `tensors`, and lets the
  // streams go through it; layers are reported as soon as they are complete. Weights are read once
  // where the plan holds them. Deterministic for any number of threads. Errors: MODEL_NOT_FINITE
  // naming tensor or block, DISK_FULL, CANCELLED. Memory: docs/numerics.md.
  absl::StatusOr<BlockResult> Run(Block& block, PackedTensors& tensors);
  // Lets the streams go through a block that was quantized before: `result` has what runs it again,
  // and gives it up. Null where no stream needs the quantized block: then it is as it was.
  absl::Status Replay(Block& block, BlockResult* result);

 private:
  absl::StatusOr<BlockWeights> Load(Block& block);
  absl::StatusOr<std::vector<QuantizedLinear>> QuantizeLinears(Block& block,
                                                               const BlockWeights& original,
                                                               const Activations& tuned_on,
                                                               PackedTensors& tensors);
  absl::StatusOr<QuantizedLinear> QuantizeLinear(Block& block, size_t index, float tensor_scale,
                                                 PreparedCache& prepared, bool packs,
                                                 PackedTensors& tensors);
  absl::Status TuneAndPack(const Block& block, const BlockWeights& original,
                           const Activations& tuned_on, const std::vector<float>& tensor_scales,
                           std::vector<QuantizedLinear>& linears, PackedTensors& tensors);
  absl::StatusOr<BlockWeights> QuantizedWeights(const Block& block, const BlockWeights& original,
                                                std::vector<QuantizedLinear>& results);
  absl::Status Analyze(const Block& block, std::vector<QuantizedLinear>& results);
  absl::Status RunQuantized(const Block& block, const BlockWeights& quantized);
  void Warn(const std::vector<std::string>& warnings, BlockResult& result);
  // Whether the calibration stream goes through quantized blocks.
  bool PropagatesQuantized() const;
  // Whether somebody computes with the quantized block.
  bool NeedsQuantized() const;

  const BlockSurroundings run_;
  LinearQuantizer quantizer_;
};

}  // namespace quantd
