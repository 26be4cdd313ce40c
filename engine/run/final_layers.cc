#include "engine/run/final_layers.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "engine/block/prepared_cache.h"
#include "engine/block/tensor_scale.h"
#include "engine/evaluate/evaluation.h"
#include "engine/model/forward.h"
#include "engine/run/logits_file.h"

namespace quantd {
namespace {

class FinalLayers {
 public:
  FinalLayers(const PlannedQuantization& planned, Pass& pass, ArtifactWriter& artifact,
              ProgressSink& sink, Report& report)
      : planned_(planned),
        plan_(planned.plan),
        pass_(pass),
        artifact_(artifact),
        sink_(sink),
        report_(report) {}

  // No statistics are gathered for the output projection; resolving refuses schemes that need them.
  absl::StatusOr<std::optional<QuantizedRows>> QuantizeLinear(KeepRows keep);
  absl::StatusOr<Head> QuantizeHead(const Head& original,
                                    const std::shared_ptr<const QuantizedRows>& embedding);
  absl::Status Evaluate(const Streams& streams, const Head& original, const Head& quantized);

 private:
  const PlannedQuantization& planned_;
  const Plan& plan_;
  Pass& pass_;
  ArtifactWriter& artifact_;
  ProgressSink& sink_;
  Report& report_;
};

absl::StatusOr<std::optional<QuantizedRows>> FinalLayers::QuantizeLinear(KeepRows keep) {
  const ResolvedLinear& entry = ResolvedHead(plan_);
  PreparedCache prepared;
  QD_ASSIGN_OR_RETURN(const auto shared, prepared.Get(entry, nullptr, pass_.context()));
  const WeightSource source(planned_.checkpoint, *entry.linear, plan_.model.head_tensor);
  const LinearQuantizer quantizer(*plan_.format, pass_.context(),
                                  [this] { return sink_.Cancelled(); });
  QD_ASSIGN_OR_RETURN(
      const std::vector<float> scales,
      TensorScales(std::span(&entry, 1), std::span(&source, 1), {}, pass_.context().pool));
  QD_ASSIGN_OR_RETURN(
      QuantizedLinear result,
      quantizer.Run(entry,
                    {.source = source, .prepared = shared.get(), .tensor_scale = scales.front()},
                    keep, &artifact_));
  sink_.OnLayer(result.report);
  report_.layers.push_back(std::move(result.report));
  return std::move(result.rows);
}

absl::StatusOr<Head> FinalLayers::QuantizeHead(
    const Head& original, const std::shared_ptr<const QuantizedRows>& embedding) {
  const auto with = [&](const QuantizedRows& rows, const Scheme& scheme) -> absl::StatusOr<Head> {
    QD_ASSIGN_OR_RETURN(auto weight,
                        pass_.backend().PrepareQuantized(rows, scheme, pass_.compute()));
    return original.WithLinear({.weight = std::move(weight), .bias = nullptr});
  };
  if (plan_.model.tied_embeddings && embedding != nullptr) {
    return with(*embedding, *plan_.embedding->scheme);
  }
  const ResolvedLinear& entry = ResolvedHead(plan_);
  if (!entry.scheme.has_value()) return original.Share();
  QD_ASSIGN_OR_RETURN(const auto rows, QuantizeLinear(KeepRows::kYes));
  return with(*rows, *entry.scheme);
}

absl::Status FinalLayers::Evaluate(const Streams& streams, const Head& original,
                                   const Head& quantized) {
  const Activations& before = streams.original;
  Evaluation evaluation(before.size());
  QD_RETURN_IF_ERROR(pass_.pool().ForEach(before.size(), [&](int64_t window) -> absl::Status {
    if (sink_.Cancelled()) return MakeError(Reason::kCancelled, "cancelled");
    return evaluation.Record(window, before.windows().ids[static_cast<size_t>(window)],
                             before.window(window), streams.evaluated.window(window), original,
                             quantized, pass_.backend(), plan_.model.vocabulary);
  }));
  report_.evaluation = evaluation.Finish();
  const int64_t windows = std::min(planned_.request.evaluation.logits_windows, before.size());
  if (windows == 0) return absl::OkStatus();
  return WriteLogits({original, before}, {quantized, streams.evaluated}, windows,
                     plan_.model.vocabulary, artifact_);
}

}  // namespace

absl::Status RunFinalLayers(const PlannedQuantization& planned,
                            const std::shared_ptr<const QuantizedRows>& embedding,
                            const Streams& streams, Pass& pass, ArtifactWriter& artifact,
                            ProgressSink& sink, Report& report) {
  const ModelSpec& model = planned.plan.model;
  FinalLayers layers(planned, pass, artifact, sink, report);
  pass.progress().Enter(Stage::kWrite);
  QD_RETURN_IF_ERROR(artifact.Copy(planned.checkpoint, model.final_norm.gain));
  QD_RETURN_IF_ERROR(artifact.Copy(planned.checkpoint, model.final_norm.bias));
  const bool head_is_quantized = ResolvedHead(planned.plan).scheme.has_value();
  if (!streams.original.empty()) {
    pass.progress().Enter(Stage::kEvaluate);
    QD_ASSIGN_OR_RETURN(const Head original,
                        Head::Load(model, planned.checkpoint, pass.backend(), pass.compute()));
    QD_ASSIGN_OR_RETURN(const Head quantized, layers.QuantizeHead(original, embedding));
    QD_RETURN_IF_ERROR(layers.Evaluate(streams, original, quantized));
  } else if (head_is_quantized) {
    pass.progress().Enter(Stage::kQuantize);
    QD_RETURN_IF_ERROR(layers.QuantizeLinear(KeepRows::kNo).status());
  }
  pass.progress().Enter(Stage::kWrite);
  if (head_is_quantized || model.tied_embeddings) return absl::OkStatus();
  return artifact.Copy(planned.checkpoint, model.head_tensor);
}

const ResolvedLinear& ResolvedHead(const Plan& plan) { return plan.linears.back(); }

}  // namespace quantd
