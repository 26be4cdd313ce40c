// StarCoder2 (arXiv 2402.19173): LayerNorm, biases everywhere, an MLP without a gate.
#include "base/error.h"
#include "engine/model/config_reader.h"
#include "engine/model/decoder_config.h"
#include "engine/model/families.h"
#include "engine/model/spec_parts.h"

namespace quantd {

absl::StatusOr<ModelSpec> ParseStarcoder2(const Json& config) {
  QD_ASSIGN_OR_RETURN(ModelSpec model,
                      ParseDecoder(config, {.family = "starcoder2",
                                            .kv_heads = 2,
                                            .max_positions = 4096,
                                            .sliding = DecoderTraits::Sliding::kEveryBlock,
                                            .sliding_window = std::nullopt,
                                            .tied_embeddings = true,
                                            .activation = "gelu_pytorch_tanh",
                                            .epsilon_key = "norm_epsilon",
                                            .epsilon = 1e-5}));
  ConfigReader reader(config);
  const bool biases = reader.fields().Bool("use_bias", true);
  QD_RETURN_IF_ERROR(reader.Finish());
  const int64_t d = model.hidden, f = model.intermediate;
  for (size_t i = 0; i < model.blocks.size(); ++i) {
    BlockSpec& block = model.blocks[i];
    RemoveMlp(block);
    AddLinear(block, static_cast<int>(i), "mlp.c_fc", LinearRole::kUp, {f, d}, 2);
    AddLinear(block, static_cast<int>(i), "mlp.c_proj", LinearRole::kDown, {d, f}, 3);
    for (LinearSpec& linear : block.linears) linear.has_bias = biases;
  }
  UseLayerNorm(model);
  return model;
}

}  // namespace quantd
