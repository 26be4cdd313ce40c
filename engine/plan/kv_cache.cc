#include "engine/plan/kv_cache.h"

#include <string>

#include "base/error.h"

namespace quantd {
namespace {

// By these names compressed-tensors finds the attention that has a cache, and vLLM what its scales
// belong to.
bool HasKnownCache(const BlockSpec& block) {
  const LinearSpec* keys = block.Find(LinearRole::kK);
  const LinearSpec* fused = block.Find(LinearRole::kQkv);
  return (keys != nullptr && keys->name.ends_with(".k_proj")) ||
         (fused != nullptr && fused->name.ends_with(".qkv_proj"));
}

std::string CachingFormats() {
  std::string names;
  for (const Format& format : Formats()) {
    if (format.cache_scheme == nullptr) continue;
    names += (names.empty() ? "" : ", ") + std::string(format.name);
  }
  return names;
}

}  // namespace

absl::Status PlanCache(const Recipe& recipe, Plan& plan) {
  plan.calibrates = plan.statistics.any();
  if (recipe.kv_cache == KvCache::kNone) return absl::OkStatus();
  const auto refuse = [](std::string got, std::string wanted) {
    return MakeError(Reason::kFormatCannotHold, "refused",
                     Violation{.where = "recipe.kv_cache",
                               .got = "fp8 with " + std::move(got),
                               .wanted = std::move(wanted)});
  };
  if (plan.format->cache_scheme == nullptr) {
    return refuse("format " + std::string(plan.format->name),
                  "none, or a format that has scales of a cache: " + CachingFormats());
  }
  for (const BlockSpec& block : plan.model.blocks) {
    if (HasKnownCache(block)) continue;
    return refuse("the attention of family " + plan.model.family,
                  "none: loaders look for scales beside k_proj and v_proj, or qkv_proj");
  }
  if (!plan.calibrates) {
    plan.warnings.emplace_back(
        "kv_cache fp8: its scales are calibrated, so the model runs over the calibration windows "
        "although no method of the recipe needs that");
  }
  plan.calibrates = true;
  return absl::OkStatus();
}

std::vector<TensorInfo> CacheTensors(const BlockSpec& block, const ModelSpec& model) {
  const std::string module = block.AttentionModule();
  return {{module + ".k_scale", model.dtype, {1}}, {module + ".v_scale", model.dtype, {1}}};
}

}  // namespace quantd
