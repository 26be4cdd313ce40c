#include "engine/model/model_spec.h"

namespace quantd {

std::string_view NameOf(LinearRole role) {
  switch (role) {
    case LinearRole::kQ:
      return "q";
    case LinearRole::kK:
      return "k";
    case LinearRole::kV:
      return "v";
    case LinearRole::kO:
      return "o";
    case LinearRole::kGate:
      return "gate";
    case LinearRole::kUp:
      return "up";
    case LinearRole::kDown:
      return "down";
    case LinearRole::kHead:
      return "head";
    case LinearRole::kOther:
      break;
  }
  return "other";
}

const LinearSpec* BlockSpec::Find(LinearRole role) const {
  for (const LinearSpec& linear : linears) {
    if (linear.role == role) return &linear;
  }
  return nullptr;
}

std::vector<const LinearSpec*> ModelSpec::Linears() const {
  std::vector<const LinearSpec*> all;
  for (const BlockSpec& block : blocks) {
    for (const LinearSpec& linear : block.linears) all.push_back(&linear);
  }
  all.push_back(&head);
  return all;
}

}  // namespace quantd
