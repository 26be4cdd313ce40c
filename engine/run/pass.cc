#include "engine/run/pass.h"

#include <utility>

#include "base/error.h"
#include "engine/block/not_finite.h"

namespace quantd {

Pass::Pass(const PlannedQuantization& planned, ProgressSink& sink)
    : planned_(planned),
      sink_(sink),
      pool_(planned.request.resources.threads > 0 ? planned.request.resources.threads
                                                  : AvailableCpus()),
      progress_(sink, static_cast<int64_t>(planned.plan.model.blocks.size()),
                planned.plan.estimated_seconds) {}

absl::StatusOr<std::unique_ptr<Pass>> Pass::Open(const PlannedQuantization& planned,
                                                 ProgressSink& sink) {
  std::unique_ptr<Pass> pass(new Pass(planned, sink));
  const ResourceRequest& resources = planned.request.resources;
  QD_ASSIGN_OR_RETURN(pass->backend_, FindBackend(resources.backend));
  pass->compute_ = pass->backend_->Resolve(resources.compute, planned.plan.model.dtype);
  pass->context_.emplace(
      MethodContext{pass->pool_, *pass->backend_, CpuKernels(), planned.plan.scratch_folder});
  return pass;
}

void Pass::OpenForward(int64_t tokens) {
  ropes_ = RopeTables::Make(planned_.plan.model, tokens);
  forward_.emplace(ForwardContext{planned_.plan.model, *ropes_, *backend_, compute_, pool_});
}

absl::StatusOr<Activations> Pass::Embed(const Text& text, const WindowOptions& options,
                                        const std::shared_ptr<const QuantizedRows>& table) {
  if (tokenizer_ == nullptr) {
    QD_ASSIGN_OR_RETURN(tokenizer_, Tokenizer::Open(*planned_.files));
  }
  QD_ASSIGN_OR_RETURN(Windows windows, CutWindows(text, *tokenizer_, options));
  QD_ASSIGN_OR_RETURN(Embedding embedding,
                      Embedding::Load(planned_.plan.model, planned_.checkpoint));
  if (table != nullptr) embedding = embedding.WithRows(table);
  return Activations::Embed(std::move(windows), embedding, planned_.plan.model.hidden, pool_);
}

BlockRange Pass::all() const {
  return {.first = 0, .last = static_cast<int64_t>(planned_.plan.model.blocks.size())};
}

absl::Status Pass::Walk(BlockRange range, const std::function<absl::Status(Block&)>& visit) {
  for (int64_t index = range.first; index < range.last; ++index) {
    const BlockSpec& spec = planned_.plan.model.blocks[static_cast<size_t>(index)];
    if (sink_.Cancelled()) return MakeError(Reason::kCancelled, "cancelled");
    Block block{.spec = spec,
                .index = index,
                .linears = LinearsOf(planned_.plan, index),
                .sources = SourcesOf(planned_.checkpoint, spec),
                .transform = {}};
    QD_RETURN_IF_ERROR(NameNotFinite(planned_.checkpoint, spec, visit(block)));
    progress_.AddBlock();
    progress_.Enter(progress_.clock().stage());
  }
  return absl::OkStatus();
}

}  // namespace quantd
