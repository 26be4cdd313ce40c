#include "engine/types/model_spec.h"

namespace quantd {

std::string_view NameOf(LinearRole role) {
  switch (role) {
    case LinearRole::kQ:
      return "q";
    case LinearRole::kK:
      return "k";
    case LinearRole::kV:
      return "v";
    case LinearRole::kQkv:
      return "qkv";
    case LinearRole::kO:
      return "o";
    case LinearRole::kQDown:
      return "q_down";
    case LinearRole::kQUp:
      return "q_up";
    case LinearRole::kKvDown:
      return "kv_down";
    case LinearRole::kKvUp:
      return "kv_up";
    case LinearRole::kGate:
      return "gate";
    case LinearRole::kUp:
      return "up";
    case LinearRole::kGateUp:
      return "gate_up";
    case LinearRole::kDown:
      return "down";
    case LinearRole::kRouter:
      return "router";
    case LinearRole::kSharedGate:
      return "shared_gate";
    case LinearRole::kHead:
      return "head";
    case LinearRole::kEmbedding:
      return "embedding";
    case LinearRole::kOther:
      break;
  }
  return "other";
}

const LinearSpec* BlockSpec::Find(LinearRole role, int expert) const {
  for (const LinearSpec& linear : linears) {
    if (linear.role == role && linear.expert == expert) return &linear;
  }
  return nullptr;
}

std::string BlockSpec::AttentionModule() const {
  const LinearSpec* keys = Find(LinearRole::kK);
  if (keys == nullptr) keys = Find(LinearRole::kQkv);
  return keys == nullptr ? "" : keys->name.substr(0, keys->name.rfind('.'));
}

std::vector<std::string> BlockSpec::NormTensors() const {
  std::vector<std::string> names;
  for (const NormSpec& norm : norms) {
    for (const std::string& name : {norm.gain, norm.bias}) {
      if (!name.empty()) names.push_back(name);
    }
  }
  return names;
}

std::vector<const LinearSpec*> ModelSpec::Linears() const {
  std::vector<const LinearSpec*> all;
  for (const BlockSpec& block : blocks) {
    for (const LinearSpec& linear : block.linears) all.push_back(&linear);
  }
  if (!head.name.empty()) all.push_back(&head);
  return all;
}

}  // namespace quantd
