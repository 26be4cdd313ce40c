// Mixtral (arXiv 2401.04088) and Qwen3-MoE (2505.09388): a router and experts in the place of the
// MLP.
#include "base/error.h"
#include "engine/model/config_reader.h"
#include "engine/model/decoder_config.h"
#include "engine/model/families.h"
#include "engine/model/mixture_parts.h"

namespace quantd {

using Limits = ConfigReader;

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
  const MixtureSpec mixture = ReadMixture(reader, {"num_local_experts"}, 8, 2);
  QD_RETURN_IF_ERROR(reader.Finish());
  const MixtureNames names = {.router = "block_sparse_moe.gate",
                              .experts = "block_sparse_moe.experts",
                              .gate = "w1",
                              .up = "w3",
                              .down = "w2"};
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
  MixtureSpec mixture = ReadMixture(reader, {"num_experts", "num_local_experts"}, 128, 8);
  mixture.normalized = reader.fields().Bool("norm_topk_prob", false);
  const int64_t width = reader.Optional({"moe_intermediate_size"}, 768, Limits::kWidest);
  const std::vector<bool> dense = DenseBlocks(reader, model.blocks.size());
  QD_RETURN_IF_ERROR(reader.Finish());
  for (size_t i = 0; i < model.blocks.size(); ++i) {
    if (dense[i]) continue;
    UseMixture(model.blocks[i], static_cast<int>(i), model.hidden, width, mixture, {});
  }
  return model;
}

}  // namespace quantd
