#include "engine/model/scaling_groups.h"

#include <initializer_list>
#include <utility>

namespace quantd {
namespace {

int PositionOf(const BlockSpec& block, LinearRole role) {
  for (size_t i = 0; i < block.linears.size(); ++i) {
    if (block.linears[i].role == role) return static_cast<int>(i);
  }
  return -1;
}

// The group of those linears that the block has; without linears when it has none.
ScalingGroup GroupOf(const BlockSpec& block, std::initializer_list<LinearRole> roles) {
  ScalingGroup group;
  for (const LinearRole role : roles) {
    const int position = PositionOf(block, role);
    if (position < 0) continue;
    group.linears.push_back(position);
    group.input = block.linears[static_cast<size_t>(position)].input;
  }
  return group;
}

ScalingGroup AfterNorm(const BlockSpec& block, const std::string& norm,
                       std::initializer_list<LinearRole> roles) {
  ScalingGroup group = GroupOf(block, roles);
  group.norm = norm;
  return group;
}

// Channel c of the attention's output is dimension c % d of query head c / d, which attends to
// value head (c / d) / (heads / kv_heads).
ScalingGroup AfterValues(const ModelSpec& model, const BlockSpec& block) {
  ScalingGroup group = GroupOf(block, {LinearRole::kO});
  group.source = PositionOf(block, LinearRole::kV);
  const int64_t d = model.head_dim, shared = model.heads / model.kv_heads;
  for (int64_t channel = 0; channel < model.heads * d; ++channel) {
    const int64_t head = channel / d / shared;
    group.source_rows.push_back(static_cast<int32_t>(head * d + channel % d));
  }
  return group;
}

ScalingGroup AfterUp(const ModelSpec& model, const BlockSpec& block) {
  ScalingGroup group = GroupOf(block, {LinearRole::kDown});
  group.source = PositionOf(block, LinearRole::kUp);
  for (int64_t channel = 0; channel < model.intermediate; ++channel) {
    group.source_rows.push_back(static_cast<int32_t>(channel));
  }
  return group;
}

}  // namespace

std::vector<ScalingGroup> ScalingGroupsOf(const ModelSpec& model, const BlockSpec& block) {
  std::vector<ScalingGroup> groups;
  const auto add = [&](ScalingGroup group) {
    const bool has_source = !group.norm.empty() || group.source >= 0;
    if (!group.linears.empty() && has_source) groups.push_back(std::move(group));
  };
  add(AfterNorm(block, block.input_norm, {LinearRole::kQ, LinearRole::kK, LinearRole::kV}));
  add(AfterValues(model, block));
  add(AfterNorm(block, block.post_attention_norm, {LinearRole::kGate, LinearRole::kUp}));
  add(AfterUp(model, block));
  return groups;
}

}  // namespace quantd
