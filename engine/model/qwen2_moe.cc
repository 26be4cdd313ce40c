// Qwen2-MoE (arXiv 2407.10671): Qwen2 with experts, and one that every token runs through, behind a
// gate of its own.
#include "base/error.h"
#include "engine/model/config_reader.h"
#include "engine/model/decoder_config.h"
#include "engine/model/families.h"
#include "engine/model/mixture_parts.h"
#include "engine/model/spec_parts.h"

namespace quantd {

using Limits = ConfigReader;

absl::StatusOr<ModelSpec> ParseQwen2Moe(const Json& config) {
  ConfigReader reader(config);
  const bool slides = reader.fields().Bool("use_sliding_window", false);
  if (slides && reader.fields().Value("layer_types") == nullptr) {
    reader.Unsupported("use_sliding_window", "true without layer_types",
                       "layer_types: readers differ about which blocks have a window");
  }
  MixtureSpec mixture = ReadMixture(reader, {"num_experts", "num_local_experts"}, 60, 4);
  mixture.normalized = reader.fields().Bool("norm_topk_prob", false);
  const int64_t width = reader.Optional({"moe_intermediate_size"}, 1408, Limits::kWidest);
  const int64_t shared =
      reader.Optional({"shared_expert_intermediate_size"}, 5632, Limits::kWidest);
  QD_RETURN_IF_ERROR(reader.Finish());
  QD_ASSIGN_OR_RETURN(
      ModelSpec model,
      ParseDecoder(config, {.family = "qwen2_moe",
                            .kv_heads = 16,
                            .max_positions = 32768,
                            .attention_bias = DecoderTraits::Bias::kOnQkvIfConfigured,
                            .attention_bias_key = "qkv_bias",
                            .attention_bias_default = true,
                            .sliding = DecoderTraits::Sliding::kFromBlock}));
  const std::vector<bool> dense = DenseBlocks(reader, model.blocks.size());
  QD_RETURN_IF_ERROR(reader.Finish());
  for (size_t i = 0; i < model.blocks.size(); ++i) {
    if (dense[i]) continue;
    BlockSpec& block = model.blocks[i];
    const auto index = static_cast<int>(i);
    UseMixture(block, index, model.hidden, width, mixture, {});
    AddSharedExpert(block, index, model.hidden, shared, "mlp.shared_expert");
    AddLinear(block, index, "mlp.shared_expert_gate", LinearRole::kSharedGate, {1, model.hidden},
              2);
  }
  return model;
}

}  // namespace quantd
