// Everything that can be known, and refused, before any work is done. Cheap: reads config.json, the
// headers of the shards and the first bytes of the texts; no weight is read.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/json.h"
#include "engine/calibrate/statistics.h"
#include "engine/format/registry.h"
#include "engine/tensor/checkpoint.h"
#include "engine/tensor/model_files.h"
#include "engine/text/windows.h"
#include "engine/types/request.h"

namespace quantd {

struct PlannedShard {
  std::string file;                 // "model.safetensors" or "model-00001-of-00003.safetensors"
  std::vector<TensorInfo> tensors;  // in file order
};

struct Plan {
  ModelSpec model;
  std::vector<ResolvedLinear> linears;  // points into `model`
  const Format* format = nullptr;
  // The embedding, where the method stores it in a type of its own; points to `embedding_table`.
  std::optional<ResolvedLinear> embedding;
  LinearSpec embedding_table;
  std::vector<PlannedShard> shards;
  // With a format that is a container: its file for each shard, whose first places are the shard's
  // tensors.
  std::vector<LaidOutFile> files;
  bool needs_forward = false;       // calibration statistics or evaluation are wanted
  bool hold_weights = false;        // a block's weights stay in memory from the forward pass to the
                                    // rounding, and are read once
  StatisticsNeeds statistics;       // the union of what the methods ask for
  bool calibrates = false;          // for those, or for the scales of a cache
  int64_t calibration_windows = 0;  // at most; 0: none
  int64_t text_memory_bytes = 0;    // of tokenizing the texts, the tokenizer's own included
  int64_t bytes_original = 0;       // of the checkpoint's tensors
  int64_t bytes_quantized = 0;      // of the tensors that will be written
  double bits_per_weight = 0;       // over the linears of the blocks (codes, scales, zeros)
  int64_t peak_memory_bytes = 0;    // estimate
  // Where whole Gram matrices and their factors lie, and the most that is there at a time: the
  // output folder, where they would not fit into the memory limit; empty: in memory.
  std::string scratch_folder;
  int64_t scratch_bytes = 0;
  // What a journal of the run takes on the disk at most, until the run ends; 0 without a forward
  // pass, where none is kept unless asked for.
  int64_t journal_bytes = 0;
  double estimated_seconds = 0;  // estimate, on a machine like docs/numerics.md's
  std::vector<std::string> warnings;
};

// A plan, and the model that it was made from. Not movable once made: the plan points into itself.
struct PlannedQuantization {
  QuantizeRequest request;  // as asked, but calibration.samples is what the methods need where it
                            // was left to them
  std::shared_ptr<const ModelFiles> files;
  Checkpoint checkpoint;
  Plan plan;
};

// Checks the request in full: model readable, family known, every tensor there with the right
// shape, recipe fits every linear, format can hold it, loader's shape rules, texts readable, memory
// limit. Every error a job could meet that can be known now is met here, with field, got and
// wanted.
absl::StatusOr<std::unique_ptr<PlannedQuantization>> MakePlan(const QuantizeRequest& request);
// The same for a model that is open, wherever it lies: request.model_folder is only a name then.
absl::StatusOr<std::unique_ptr<PlannedQuantization>> MakePlan(
    const QuantizeRequest& request, std::shared_ptr<const ModelFiles> files);

// The linears of block number `block`: a part of plan.linears.
std::span<const ResolvedLinear> LinearsOf(const Plan& plan, int64_t block);

// The tensors of the artifact that block number `block` makes, in the order of the file.
std::vector<TensorInfo> BlockTensors(const PlannedQuantization& planned, int64_t block);

// Which windows of which texts the request of a plan means: planning and running cut the same ones.
WindowOptions CalibrationWindows(const PlannedQuantization& planned);
WindowOptions EvaluationWindows(const PlannedQuantization& planned);
absl::StatusOr<Text> CalibrationText(const PlannedQuantization& planned);
absl::StatusOr<Text> EvaluationText(const PlannedQuantization& planned);

// For people and `--json`: one object, tensors and bits per linear, sizes, memory, seconds.
Json ToJson(const Plan& plan);

}  // namespace quantd
