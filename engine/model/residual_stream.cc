#include "engine/model/residual_stream.h"

#include <string>
#include <utility>
#include <vector>

#include "base/error.h"

namespace quantd {
namespace {

bool IsOfAttention(LinearRole role) {
  return role == LinearRole::kQ || role == LinearRole::kK || role == LinearRole::kV ||
         role == LinearRole::kQkv || role == LinearRole::kQDown || role == LinearRole::kKvDown;
}

void CheckBlock(const BlockSpec& block, std::vector<Violation>& violations) {
  for (const NormRole role : {NormRole::kAttentionOut, NormRole::kMlpOut}) {
    if (!block.Has(role)) continue;
    violations.push_back({.where = block.norm(role).gain,
                          .got = "a norm of what is added to the stream",
                          .wanted = "none"});
  }
  for (const LinearSpec& linear : block.linears) {
    const bool known = SideOf(linear.role) != ResidualSide::kNone;
    if (known &&
        !(SideOf(linear.role) == ResidualSide::kReads && NormBefore(block, linear).gain.empty())) {
      continue;
    }
    violations.push_back({.where = linear.name,
                          .got = known ? "a linear that reads the stream without a norm"
                                       : "a linear whose place is not known",
                          .wanted = "norms before attention and MLP"});
  }
}

}  // namespace

ResidualSide SideOf(LinearRole role) {
  switch (role) {
    case LinearRole::kQ:
    case LinearRole::kK:
    case LinearRole::kV:
    case LinearRole::kQkv:
    case LinearRole::kGate:
    case LinearRole::kUp:
    case LinearRole::kGateUp:
    case LinearRole::kQDown:
    case LinearRole::kKvDown:
    case LinearRole::kRouter:
    case LinearRole::kSharedGate:
    case LinearRole::kHead:
      return ResidualSide::kReads;
    case LinearRole::kO:
    case LinearRole::kDown:
      return ResidualSide::kWrites;
    case LinearRole::kQUp:
    case LinearRole::kKvUp:
    case LinearRole::kOther:
    case LinearRole::kEmbedding:
      return ResidualSide::kNone;
  }
  return ResidualSide::kNone;
}

const NormSpec& NormBefore(const BlockSpec& block, const LinearSpec& linear) {
  const bool second = !IsOfAttention(linear.role) && block.Has(NormRole::kMlp);
  // A parallel block may have one norm for both.
  const bool first = IsOfAttention(linear.role) || block.parallel;
  return block.norm(first && !second ? NormRole::kAttention : NormRole::kMlp);
}

absl::Status CheckRotatable(const ModelSpec& model) {
  std::vector<Violation> violations;
  const auto refuse = [&](bool refused, std::string where, std::string got, std::string wanted) {
    if (!refused) return;
    violations.push_back(
        {.where = std::move(where), .got = std::move(got), .wanted = std::move(wanted)});
  };
  refuse(!model.runnable, "model_type", model.architecture, "a family that can be run");
  refuse(model.norm_kind != NormKind::kRms, model.family, "LayerNorm, which takes a mean away",
         "RMSNorm");
  refuse(model.gain_offset != 0, model.family, "norms that add to their stored gain",
         "norms that multiply by their gain");
  refuse(!model.positions.empty(), model.positions, "a table of positions added to the stream",
         "rotary positions");
  refuse(!model.carried_modules.empty(),
         model.carried_modules.empty() ? "" : model.carried_modules.front(),
         "a part beside the language model, which may write to the stream",
         "a model of text alone");
  refuse(model.hidden % 2 != 0, "hidden_size", std::to_string(model.hidden), "an even width");
  for (const BlockSpec& block : model.blocks) {
    if (violations.empty()) CheckBlock(block, violations);
  }
  if (violations.empty()) return absl::OkStatus();
  return MakeError(Reason::kModelUnsupported, "the residual stream cannot be rotated",
                   std::move(violations));
}

}  // namespace quantd
