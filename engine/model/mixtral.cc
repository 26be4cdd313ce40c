// Mixtral (arXiv 2401.04088) and Qwen3-MoE (2505.09388): a router and experts in the place of the
// MLP.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "engine/model/config_reader.h"
#include "engine/model/decoder_config.h"
#include "engine/model/families.h"
#include "engine/model/spec_parts.h"

namespace quantd {
namespace {

using Limits = ConfigReader;

// What the tensors of a mixture are called.
struct MixtureNames {
  const char* router;
  const char* experts;
  const char* gate;
  const char* up;
  const char* down;
};

// Inputs: 2 is what the router reads; each expert has two of its own, for it sees some tokens only.
void UseMixture(BlockSpec& block, int index, int64_t hidden, int64_t width,
                const MixtureSpec& mixture, const MixtureNames& names) {
  RemoveMlp(block);
  block.mixture = mixture;
  AddLinear(block, index, names.router, LinearRole::kRouter, {mixture.experts, hidden}, 2);
  for (int expert = 0; expert < mixture.experts; ++expert) {
    const std::string prefix = absl::StrCat(names.experts, ".", expert, ".");
    const int input = 3 + 2 * expert;
    const auto add = [&](const char* name, LinearRole role, int64_t out, int64_t in, int reads) {
      AddLinear(block, index, prefix + name, role, {out, in}, reads).expert = expert;
    };
    add(names.gate, LinearRole::kGate, width, hidden, input);
    add(names.up, LinearRole::kUp, width, hidden, input);
    add(names.down, LinearRole::kDown, hidden, width, input + 1);
  }
}

MixtureSpec ReadMixture(ConfigReader& reader, std::string_view experts_key, int64_t experts,
                        int64_t chosen) {
  MixtureSpec mixture;
  mixture.experts = static_cast<int>(reader.Optional({experts_key}, experts, Limits::kMostExperts));
  mixture.top_k =
      static_cast<int>(reader.Optional({"num_experts_per_tok"}, chosen, Limits::kMostExperts));
  if (mixture.top_k > mixture.experts) {
    reader.fields().Wrong("num_experts_per_tok", absl::StrCat(mixture.top_k),
                          absl::StrCat("at most ", mixture.experts, " experts"));
  }
  return mixture;
}

// The blocks that keep one MLP: those named in mlp_only_layers, and those between steps.
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

}  // namespace

absl::StatusOr<ModelSpec> ParseMixtral(const Json& config) {
  QD_ASSIGN_OR_RETURN(ModelSpec model,
                      ParseDecoder(config, {.family = "mixtral",
                                            .kv_heads = 8,
                                            .max_positions = 4096 * 32,
                                            .sliding = DecoderTraits::Sliding::kEveryBlock,
                                            .sliding_window = std::nullopt,
                                            .epsilon = 1e-5,
                                            .rope = {.theta = 1e6}}));
  ConfigReader reader(config);
  const MixtureSpec mixture = ReadMixture(reader, "num_local_experts", 8, 2);
  QD_RETURN_IF_ERROR(reader.Finish());
  const MixtureNames names = {"block_sparse_moe.gate", "block_sparse_moe.experts", "w1", "w3",
                              "w2"};
  for (size_t i = 0; i < model.blocks.size(); ++i) {
    UseMixture(model.blocks[i], static_cast<int>(i), model.hidden, model.intermediate, mixture,
               names);
  }
  return model;
}

absl::StatusOr<ModelSpec> ParseQwen3Moe(const Json& config) {
  ConfigReader reader(config);
  using Sliding = DecoderTraits::Sliding;
  const bool slides = reader.fields().Bool("use_sliding_window", false);
  QD_ASSIGN_OR_RETURN(
      ModelSpec model,
      ParseDecoder(config, {.family = "qwen3_moe",
                            .kv_heads = 4,
                            .max_positions = 32768,
                            .attention_bias = DecoderTraits::Bias::kOnAllIfConfigured,
                            .qk_norm = true,
                            .sliding = slides ? Sliding::kEveryBlock : Sliding::kNever}));
  MixtureSpec mixture = ReadMixture(reader, "num_experts", 128, 8);
  mixture.normalized = reader.fields().Bool("norm_topk_prob", false);
  const int64_t width = reader.Optional({"moe_intermediate_size"}, 768, Limits::kWidest);
  const std::vector<bool> dense = DenseBlocks(reader, model.blocks.size());
  QD_RETURN_IF_ERROR(reader.Finish());
  const MixtureNames names = {"mlp.gate", "mlp.experts", "gate_proj", "up_proj", "down_proj"};
  for (size_t i = 0; i < model.blocks.size(); ++i) {
    if (dense[i]) continue;
    UseMixture(model.blocks[i], static_cast<int>(i), model.hidden, width, mixture, names);
  }
  return model;
}

}  // namespace quantd
