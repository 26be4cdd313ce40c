#include "engine/plan/container.h"

#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/error.h"
#include "engine/plan/resolve.h"

namespace quantd {
absl::Status PlanEmbedding(const Recipe& recipe, Plan& plan) {
  const ModelSpec& model = plan.model;
  constexpr std::string_view kEnd = ".weight";
  if (!model.embedding.ends_with(kEnd)) return absl::OkStatus();
  plan.embedding_table = {.name = model.embedding.substr(0, model.embedding.size() - kEnd.size()),
                          .role = LinearRole::kEmbedding,
                          .out_features = model.vocabulary,
                          .in_features = model.hidden};
  QD_ASSIGN_OR_RETURN(std::optional<Scheme> scheme,
                      ResolveEmbedding(recipe, model, plan.embedding_table));
  if (scheme.has_value()) {
    plan.embedding = ResolvedLinear{.linear = &plan.embedding_table, .scheme = std::move(scheme)};
  }
  return absl::OkStatus();
}

namespace {

// Such a file is one, whatever its size, unless smaller ones are asked for: not every reader takes
// several.
int64_t SplitBytes(const OutputRequest& output) {
  return output.shard_bytes == OutputRequest().shard_bytes ? 0 : output.shard_bytes;
}

}  // namespace

absl::Status LayOutContainer(const PlannedQuantization& planned, std::vector<TensorInfo> tensors,
                             Plan& plan) {
  const QuantizeRequest& request = planned.request;
  std::vector<ResolvedLinear> linears = plan.linears;
  if (plan.embedding.has_value()) linears.push_back(*plan.embedding);
  ContainerRequest layout = {.model = plan.model,
                             .files = *planned.files,
                             .linears = linears,
                             .tensors = tensors,
                             .calibration = std::nullopt,
                             .split_bytes = SplitBytes(request.output)};
  if (plan.statistics.any()) {
    layout.calibration =
        WeightingSource{.text = request.calibration.text, .windows = request.calibration.samples};
  }
  QD_ASSIGN_OR_RETURN(LaidOutContainer container, plan.format->container->lay_out(layout));
  for (std::string& warning : container.warnings) plan.warnings.push_back(std::move(warning));
  plan.files = std::move(container.files);
  plan.shards.clear();
  auto next = tensors.begin();
  for (const LaidOutFile& file : plan.files) {
    const auto end = next + std::ssize(file.places) - std::ssize(file.constants);
    plan.shards.push_back(
        {.file = file.name,
         .tensors = {std::make_move_iterator(next), std::make_move_iterator(end)}});
    next = end;
  }
  return absl::OkStatus();
}

TensorInfo AsStored(const TensorInfo& tensor, const Format& format, const ModelSpec& model) {
  if (format.container == nullptr) return tensor;
  return format.container->stored(tensor, model).value_or(tensor);
}

bool HasPlace(const TensorInfo& tensor, const Format& format, const ModelSpec& model) {
  return format.container == nullptr || format.container->stored(tensor, model).has_value();
}

}  // namespace quantd
