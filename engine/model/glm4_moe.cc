// GLM-4.5 (arXiv 2508.06471): experts scored by a sigmoid, in groups, beside one that every token
// runs through; dense blocks first; half of each head is rotated.
#include <utility>

#include "base/error.h"
#include "engine/model/config_reader.h"
#include "engine/model/decoder_config.h"
#include "engine/model/families.h"
#include "engine/model/mixture_parts.h"

namespace quantd {

absl::StatusOr<ModelSpec> ParseGlm4Moe(const Json& config) {
  ConfigReader reader(config);
  MixtureSpec mixture = ReadMixture(reader, {"n_routed_experts", "num_local_experts"}, 128, 8);
  mixture.scores = MixtureSpec::Scores::kSigmoid;
  ReadGroups(reader, mixture);
  const LateMixtures layout = ReadLateMixtures(reader, {.first = 1, .shared = 1, .width = 1408});
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
  UseLateMixtures(model, layout, std::move(mixture));
  return model;
}

}  // namespace quantd
