// GPT-2: learned positions, LayerNorm, q, k, v in one linear; the checkpoint holds linears as
// [inputs, outputs] (Conv1D in transformers).
#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "engine/model/config_reader.h"
#include "engine/model/families.h"
#include "engine/model/spec_parts.h"

namespace quantd {
namespace {

using Limits = ConfigReader;

BlockSpec MakeBlock(const ModelSpec& model, int index) {
  BlockSpec block;
  block.prefix = absl::StrCat("transformer.h.", index, ".");
  block.norm(NormRole::kAttention).gain = block.prefix + "ln_1.weight";
  block.norm(NormRole::kMlp).gain = block.prefix + "ln_2.weight";
  const int64_t d = model.hidden, f = model.intermediate;
  AddLinear(block, index, "attn.c_attn", LinearRole::kQkv, {3 * d, d}, 0);
  AddLinear(block, index, "attn.c_proj", LinearRole::kO, {d, d}, 1);
  AddLinear(block, index, "mlp.c_fc", LinearRole::kUp, {f, d}, 2);
  AddLinear(block, index, "mlp.c_proj", LinearRole::kDown, {d, f}, 3);
  for (LinearSpec& linear : block.linears) linear.has_bias = linear.transposed = true;
  return block;
}

}  // namespace

absl::StatusOr<ModelSpec> ParseGpt2(const Json& config) {
  ConfigReader reader(config);
  JsonFields& fields = reader.fields();
  ModelSpec model;
  model.family = "gpt2";
  model.architecture = reader.ReadArchitecture();
  model.hidden = reader.Required({"n_embd", "hidden_size"}, Limits::kWidest);
  model.heads = model.kv_heads =
      reader.Required({"n_head", "num_attention_heads"}, Limits::kMostHeads);
  model.intermediate = reader.Optional({"n_inner"}, 4 * model.hidden, Limits::kWidest);
  model.vocabulary = reader.Required({"vocab_size"}, Limits::kLargestVocabulary);
  model.max_positions =
      reader.Optional({"n_positions", "max_position_embeddings"}, 1024, Limits::kMostPositions);
  const int64_t layers = reader.Required({"n_layer", "num_hidden_layers"}, Limits::kMostLayers);
  model.activation = reader.ReadActivation("activation_function", "gelu_new");
  model.norm_epsilon = fields.Number("layer_norm_epsilon", 1e-5, 1e-30, 1.0);
  model.tied_embeddings = fields.Bool("tie_word_embeddings", true);
  if (!fields.Bool("scale_attn_weights", true)) model.attention_scale = 1.0;
  for (const char* key : {"scale_attn_by_inverse_layer_idx", "add_cross_attention"}) {
    if (fields.Bool(key, false)) reader.Unsupported(key, "true", "false");
  }
  reader.SplitHidden(model);
  QD_RETURN_IF_ERROR(reader.Finish());

  model.embedding = "transformer.wte.weight";
  model.positions = "transformer.wpe.weight";
  model.final_norm.gain = "transformer.ln_f.weight";
  NameHead(model, "lm_head");
  for (int64_t i = 0; i < layers; ++i) {
    model.blocks.push_back(MakeBlock(model, static_cast<int>(i)));
  }
  UseLayerNorm(model);
  return model;
}

}  // namespace quantd
