#include "engine/model/mixture_parts.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "engine/model/spec_parts.h"

namespace quantd {
namespace {

using Limits = ConfigReader;
constexpr int kRouterInput = 2;

int InputOf(int expert) { return kRouterInput + 1 + 2 * expert; }

}  // namespace

MixtureSpec ReadMixture(ConfigReader& reader, std::initializer_list<std::string_view> experts_keys,
                        int64_t experts, int64_t chosen) {
  MixtureSpec mixture;
  mixture.experts = static_cast<int>(reader.Optional(experts_keys, experts, Limits::kMostExperts));
  mixture.top_k =
      static_cast<int>(reader.Optional({"num_experts_per_tok"}, chosen, Limits::kMostExperts));
  if (mixture.top_k > mixture.experts) {
    reader.fields().Wrong("num_experts_per_tok", absl::StrCat(mixture.top_k),
                          absl::StrCat("at most ", mixture.experts, " experts"));
  }
  return mixture;
}

void ReadGroups(ConfigReader& reader, MixtureSpec& mixture) {
  mixture.groups =
      static_cast<int>(reader.Optional({"n_group"}, mixture.groups, Limits::kMostExperts));
  mixture.top_groups =
      static_cast<int>(reader.Optional({"topk_group"}, mixture.top_groups, Limits::kMostExperts));
  mixture.normalized = reader.fields().Bool("norm_topk_prob", true);
  mixture.scale = reader.Positive("routed_scaling_factor", mixture.scale).value_or(1);
  if (mixture.top_groups > mixture.groups) {
    reader.fields().Wrong("topk_group", absl::StrCat(mixture.top_groups),
                          absl::StrCat("at most n_group, ", mixture.groups));
    return;
  }
  if (mixture.experts % mixture.groups != 0) {
    reader.fields().Wrong("n_group", absl::StrCat(mixture.groups),
                          absl::StrCat("a divisor of the experts, ", mixture.experts));
    return;
  }
  const int in_group = mixture.experts / mixture.groups;
  if (mixture.top_k > mixture.top_groups * in_group) {
    reader.fields().Wrong("num_experts_per_tok", absl::StrCat(mixture.top_k),
                          absl::StrCat("at most ", mixture.top_groups * in_group,
                                       " experts of the groups that are chosen"));
  }
}

std::vector<bool> DenseBlocks(ConfigReader& reader, size_t blocks) {
  std::vector<bool> dense(blocks);
  const int64_t step = reader.Optional({"decoder_sparse_step"}, 1, Limits::kMostLayers);
  for (size_t i = 0; i < blocks; ++i) dense[i] = (static_cast<int64_t>(i) + 1) % step != 0;
  const Json* listed = reader.fields().Value("mlp_only_layers");
  if (listed == nullptr) return dense;
  for (const Json& entry : listed->is_array() ? *listed : Json::array({-1})) {
    const auto block = entry.is_number_unsigned() ? entry.get<uint64_t>() : blocks;
    if (block >= blocks) {
      reader.fields().Wrong("mlp_only_layers", "another value", "numbers of blocks");
      break;
    }
    dense[block] = true;
  }
  return dense;
}

void UseMixture(BlockSpec& block, int index, int64_t hidden, int64_t width,
                const MixtureSpec& mixture, const MixtureNames& names) {
  RemoveMlp(block);
  block.mixture = mixture;
  AddLinear(block, index, names.router, LinearRole::kRouter, {mixture.experts, hidden},
            kRouterInput);
  for (int expert = 0; expert < mixture.experts; ++expert) {
    const std::string prefix = absl::StrCat(names.experts, ".", expert, ".");
    const int input = InputOf(expert);
    const auto add = [&](const char* name, LinearRole role, int64_t out, int64_t in, int reads) {
      AddLinear(block, index, prefix + name, role, {out, in}, reads).expert = expert;
    };
    add(names.gate, LinearRole::kGate, width, hidden, input);
    add(names.up, LinearRole::kUp, width, hidden, input);
    add(names.down, LinearRole::kDown, hidden, width, input + 1);
  }
}

void AddSharedExpert(BlockSpec& block, int index, int64_t hidden, int64_t width, const char* name) {
  const std::string prefix = absl::StrCat(name, ".");
  AddLinear(block, index, prefix + "gate_proj", LinearRole::kGate, {width, hidden}, kRouterInput);
  AddLinear(block, index, prefix + "up_proj", LinearRole::kUp, {width, hidden}, kRouterInput);
  AddLinear(block, index, prefix + "down_proj", LinearRole::kDown, {hidden, width},
            InputOf(block.mixture->experts));
}

LateMixtures ReadLateMixtures(ConfigReader& reader, const LateMixtures& otherwise) {
  LateMixtures layout;
  layout.width = reader.Optional({"moe_intermediate_size"}, otherwise.width, Limits::kWidest);
  layout.shared = reader.Optional({"n_shared_experts"}, otherwise.shared, Limits::kMostExperts);
  layout.first =
      reader.fields().Integer("first_k_dense_replace", otherwise.first, 0, Limits::kMostLayers);
  return layout;
}

void UseLateMixtures(ModelSpec& model, const LateMixtures& layout, MixtureSpec mixture) {
  const bool corrected = mixture.scores == MixtureSpec::Scores::kSigmoid;
  for (size_t i = static_cast<size_t>(layout.first); i < model.blocks.size(); ++i) {
    BlockSpec& block = model.blocks[i];
    const auto index = static_cast<int>(i);
    if (corrected) {
      mixture.correction = absl::StrCat(block.prefix, "mlp.gate.e_score_correction_bias");
    }
    UseMixture(block, index, model.hidden, layout.width, mixture, {});
    AddSharedExpert(block, index, model.hidden, layout.shared * layout.width, "mlp.shared_experts");
  }
}

}  // namespace quantd
