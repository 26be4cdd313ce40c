// GLM-4.5 (arXiv 2508.06471): experts scored by a sigmoid, in groups, beside one that every token
// runs through; dense blocks first; half of each head is rotated.
#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "engine/model/config_reader.h"
#include "engine/model/decoder_config.h"
#include "engine/model/families.h"
#include "engine/model/mixture_parts.h"

namespace quantd {

using Limits = ConfigReader;

absl::StatusOr<ModelSpec> ParseGlm4Moe(const Json& config) {
  ConfigReader reader(config);
  MixtureSpec mixture = ReadMixture(reader, {"n_routed_experts", "num_local_experts"}, 128, 8);
  mixture.scores = MixtureSpec::Scores::kSigmoid;
  ReadGroups(reader, mixture);
  const int64_t width = reader.Optional({"moe_intermediate_size"}, 1408, Limits::kWidest);
  const int64_t shared = reader.Optional({"n_shared_experts"}, 1, Limits::kMostExperts);
  const int64_t first = reader.fields().Integer("first_k_dense_replace", 1, 0, Limits::kMostLayers);
  const bool qk_norm = reader.fields().Bool("use_qk_norm", false);
  QD_RETURN_IF_ERROR(reader.Finish());
  QD_ASSIGN_OR_RETURN(
      ModelSpec model,
      ParseDecoder(config, {.family = "glm4_moe",
                            .kv_heads = 8,
                            .max_positions = 131072,
                            .attention_bias = DecoderTraits::Bias::kOnQkvIfConfigured,
                            .qk_norm = qk_norm,
                            .epsilon = 1e-5,
                            .rope = {.partial = true, .partial_factor = 0.5}}));
  for (size_t i = static_cast<size_t>(first); i < model.blocks.size(); ++i) {
    BlockSpec& block = model.blocks[i];
    const auto index = static_cast<int>(i);
    mixture.correction = absl::StrCat(block.prefix, "mlp.gate.e_score_correction_bias");
    UseMixture(block, index, model.hidden, width, mixture, {});
    AddSharedExpert(block, index, model.hidden, shared * width, "mlp.shared_experts");
  }
  return model;
}

}  // namespace quantd
