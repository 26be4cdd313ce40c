// Granite (IBM, arXiv 2405.04324 and after): the llama shape with four multipliers, of embeddings,
// scores, what is added to the stream, and logits.
#include "base/error.h"
#include "engine/model/config_reader.h"
#include "engine/model/decoder_config.h"
#include "engine/model/families.h"

namespace quantd {

absl::StatusOr<ModelSpec> ParseGranite(const Json& config) {
  QD_ASSIGN_OR_RETURN(
      ModelSpec model,
      ParseDecoder(config, {.family = "granite",
                            .max_positions = 2048,
                            .attention_bias = DecoderTraits::Bias::kOnAllIfConfigured,
                            .mlp_bias_if_configured = true}));
  ConfigReader reader(config);
  const auto read = [&reader](std::string_view key) {
    return reader.Positive(key, 1.0).value_or(1.0);
  };
  model.embedding_scale = read("embedding_multiplier");
  model.attention_scale = read("attention_multiplier");
  model.residual_scale = read("residual_multiplier");
  model.logit_scale = 1.0 / read("logits_scaling");
  QD_RETURN_IF_ERROR(reader.Finish());
  return model;
}

}  // namespace quantd
