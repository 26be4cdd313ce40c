// The walk over the blocks of a model: what it needs, and the only loop over them. Quantizing, the
// relay of activations and the measurements of a budget are visits of its blocks.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/threads.h"
#include "engine/block/activations.h"
#include "engine/block/block.h"
#include "engine/block/run_progress.h"
#include "engine/method/registry.h"
#include "engine/plan/plan.h"
#include "engine/text/text.h"
#include "engine/text/tokenizer.h"

namespace quantd {

// Blocks [first, last).
struct BlockRange {
  int64_t first = 0, last = 0;
  bool operator==(const BlockRange&) const = default;
};

class Pass {
 public:
  // Finds backend and precision, makes the threads; no weight is read. Both arguments outlive it.
  static absl::StatusOr<std::unique_ptr<Pass>> Open(const PlannedQuantization& planned,
                                                    ProgressSink& sink);

  ThreadPool& pool() { return pool_; }
  Backend& backend() { return *backend_; }
  ComputeType compute() const { return compute_; }
  const MethodContext& context() const { return *context_; }
  RunProgress& progress() { return progress_; }
  // Empty until OpenForward.
  const std::optional<ForwardContext>& forward() const { return forward_; }

  // Makes what a forward pass needs, for windows of at most `tokens` tokens.
  void OpenForward(int64_t tokens);
  // The windows of `text`, embedded; with the quantized table where one is given. Errors: those of
  // the tokenizer, of cutting and of the embedding.
  absl::StatusOr<Activations> Embed(const Text& text, const WindowOptions& options,
                                    const std::shared_ptr<const QuantizedRows>& table = nullptr);

  // Gives the memory of the tokenizer back, once all windows are embedded.
  void CloseTokenizer() { tokenizer_.reset(); }

  // Visits the blocks of `range` in order, telling progress after each. CANCELLED between blocks; a
  // block whose numbers are not finite is searched for the tensor to blame.
  absl::Status Walk(BlockRange range, const std::function<absl::Status(Block&)>& visit);
  // All blocks of the model.
  BlockRange all() const;

 private:
  Pass(const PlannedQuantization& planned, ProgressSink& sink);

  const PlannedQuantization& planned_;
  ProgressSink& sink_;
  ThreadPool pool_;
  RunProgress progress_;
  Backend* backend_ = nullptr;
  ComputeType compute_ = ComputeType::kF32;
  std::optional<MethodContext> context_;
  std::optional<RopeTables> ropes_;
  std::optional<ForwardContext> forward_;
  std::shared_ptr<const Tokenizer> tokenizer_;
};

}  // namespace quantd
