#include "engine/model/scaling_groups.h"

#include <initializer_list>
#include <utility>

namespace quantd {
namespace {

// The first of `roles` that the block has, of that expert; -1 if none.
int PositionOf(const BlockSpec& block, std::initializer_list<LinearRole> roles, int expert = -1) {
  for (const LinearRole role : roles) {
    const LinearSpec* found = block.Find(role, expert);
    if (found != nullptr) return static_cast<int>(found - block.linears.data());
  }
  return -1;
}

// What reads the input of the linear at `first`. The experts of a mixture read what its router
// does, some tokens of it each.
ScalingGroup ReadersOf(const BlockSpec& block, int first) {
  ScalingGroup group;
  if (first < 0) return group;
  const LinearSpec& reader = block.linears[static_cast<size_t>(first)];
  group.input = reader.input;
  for (size_t i = 0; i < block.linears.size(); ++i) {
    const LinearSpec& linear = block.linears[i];
    const bool routed = reader.role == LinearRole::kRouter && linear.expert >= 0 &&
                        linear.role != LinearRole::kDown;
    if (linear.input == reader.input || routed) group.linears.push_back(static_cast<int>(i));
  }
  return group;
}

ScalingGroup AfterNorm(const BlockSpec& block, NormRole role,
                       std::initializer_list<LinearRole> readers) {
  ScalingGroup group = ReadersOf(block, PositionOf(block, readers));
  group.norm = block.norm(role);
  return group;
}

// Channel c of the attention's output is dimension c % d of query head c / d, which attends to
// value head (c / d) / (heads / kv_heads).
ScalingGroup AfterValues(const ModelSpec& model, const BlockSpec& block) {
  ScalingGroup group = ReadersOf(block, PositionOf(block, {LinearRole::kO}));
  if (model.latent.has_value()) {
    group.source = PositionOf(block, {LinearRole::kKvUp});
    const int64_t plain = model.latent->plain, values = model.latent->values;
    for (int64_t channel = 0; channel < model.heads * values; ++channel) {
      const int64_t row = channel / values * (plain + values) + plain + channel % values;
      group.source_rows.push_back(static_cast<int32_t>(row));
    }
    return group;
  }
  group.source = PositionOf(block, {LinearRole::kV, LinearRole::kQkv});
  if (group.source < 0) return group;
  const int64_t d = model.head_dim, shared = model.heads / model.kv_heads;
  for (int64_t channel = 0; channel < model.heads * d; ++channel) {
    const int64_t row = ValueRow(model, block, channel / d / shared, channel % d);
    group.source_rows.push_back(static_cast<int32_t>(row));
  }
  return group;
}

// down reads act(gate) * up, which follows a scale of up; or act(up), which follows one only where
// act does: ReLU.
ScalingGroup AfterUp(const ModelSpec& model, const BlockSpec& block, int expert) {
  const int down = PositionOf(block, {LinearRole::kDown}, expert);
  ScalingGroup group = ReadersOf(block, down);
  const int fused = PositionOf(block, {LinearRole::kGateUp}, expert);
  const bool gated = fused >= 0 || PositionOf(block, {LinearRole::kGate}, expert) >= 0;
  if (down < 0 || (!gated && model.activation != Activation::kRelu)) return group;
  group.source = fused >= 0 ? fused : PositionOf(block, {LinearRole::kUp}, expert);
  const int64_t width = block.linears[static_cast<size_t>(down)].in_features;
  const int64_t first = fused >= 0 ? width : 0;  // the rows of gate come before
  for (int64_t channel = 0; channel < width; ++channel) {
    group.source_rows.push_back(static_cast<int32_t>(first + channel));
  }
  return group;
}

}  // namespace

int64_t ValueRow(const ModelSpec& model, const BlockSpec& block, int64_t head, int64_t i) {
  const int64_t d = model.head_dim, shared = model.heads / model.kv_heads;
  if (block.Find(LinearRole::kQkv) == nullptr) return head * d + i;
  if (model.qkv_layout == QkvLayout::kConcatenated) {
    return (model.heads + model.kv_heads + head) * d + i;
  }
  return (head * (shared + 2) + shared + 1) * d + i;
}

std::vector<ScalingGroup> ScalingGroupsOf(const ModelSpec& model, const BlockSpec& block) {
  std::vector<ScalingGroup> groups;
  const auto add = [&](ScalingGroup group) {
    const bool has_source = !group.norm.gain.empty() || group.source >= 0;
    if (!group.linears.empty() && has_source) groups.push_back(std::move(group));
  };
  add(AfterNorm(block, NormRole::kAttention,
                {LinearRole::kQ, LinearRole::kQkv, LinearRole::kQDown}));
  if (model.latent.has_value()) {
    add(AfterNorm(block, NormRole::kQ, {LinearRole::kQUp}));
    add(AfterNorm(block, NormRole::kK, {LinearRole::kKvUp}));
  }
  add(AfterValues(model, block));
  add(AfterNorm(block, NormRole::kMlp,
                {LinearRole::kRouter, LinearRole::kGate, LinearRole::kGateUp, LinearRole::kUp}));
  add(AfterUp(model, block, -1));  // of a mixture: the shared expert's
  for (int expert = 0; block.mixture.has_value() && expert < block.mixture->experts; ++expert) {
    add(AfterUp(model, block, expert));
  }
  return groups;
}

}  // namespace quantd
