// OPT (arXiv 2205.01068): learned positions that start at row 2, LayerNorm, ReLU. The 350m model,
// whose norms stand behind and whose embeddings are narrower, is refused.
#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "engine/model/config_reader.h"
#include "engine/model/families.h"
#include "engine/model/spec_parts.h"

namespace quantd {
namespace {

using Limits = ConfigReader;

BlockSpec MakeBlock(const ModelSpec& model, int index, bool biases) {
  BlockSpec block;
  block.prefix = absl::StrCat("model.decoder.layers.", index, ".");
  block.norm(NormRole::kAttention).gain = block.prefix + "self_attn_layer_norm.weight";
  block.norm(NormRole::kMlp).gain = block.prefix + "final_layer_norm.weight";
  const int64_t d = model.hidden, f = model.intermediate;
  AddLinear(block, index, "self_attn.q_proj", LinearRole::kQ, {d, d}, 0);
  AddLinear(block, index, "self_attn.k_proj", LinearRole::kK, {d, d}, 0);
  AddLinear(block, index, "self_attn.v_proj", LinearRole::kV, {d, d}, 0);
  AddLinear(block, index, "self_attn.out_proj", LinearRole::kO, {d, d}, 1);
  AddLinear(block, index, "fc1", LinearRole::kUp, {f, d}, 2);
  AddLinear(block, index, "fc2", LinearRole::kDown, {d, f}, 3);
  for (LinearSpec& linear : block.linears) linear.has_bias = biases;
  return block;
}

void CheckFeatures(const ModelSpec& model, ConfigReader& reader) {
  JsonFields& fields = reader.fields();
  if (!fields.Bool("do_layer_norm_before", true)) {
    reader.Unsupported("do_layer_norm_before", "false: norms behind", "true");
  }
  if (!fields.Bool("layer_norm_elementwise_affine", true)) {
    reader.Unsupported("layer_norm_elementwise_affine", "false", "true");
  }
  if (fields.Bool("_remove_final_layer_norm", false)) {
    reader.Unsupported("_remove_final_layer_norm", "true", "false");
  }
  const int64_t width = reader.Optional({"word_embed_proj_dim"}, model.hidden, Limits::kWidest);
  if (width != model.hidden) {
    reader.Unsupported("word_embed_proj_dim", absl::StrCat(width),
                       absl::StrCat("hidden_size, ", model.hidden));
  }
}

}  // namespace

absl::StatusOr<ModelSpec> ParseOpt(const Json& config) {
  ConfigReader reader(config);
  JsonFields& fields = reader.fields();
  ModelSpec model;
  model.family = "opt";
  model.architecture = reader.ReadArchitecture();
  model.hidden = reader.Required({"hidden_size"}, Limits::kWidest);
  model.heads = model.kv_heads = reader.Required({"num_attention_heads"}, Limits::kMostHeads);
  model.intermediate = reader.Required({"ffn_dim"}, Limits::kWidest);
  model.vocabulary = reader.Required({"vocab_size"}, Limits::kLargestVocabulary);
  model.max_positions = reader.Optional({"max_position_embeddings"}, 2048, Limits::kMostPositions);
  const int64_t layers = reader.Required({"num_hidden_layers"}, Limits::kMostLayers);
  model.activation = reader.ReadActivation("activation_function", "relu");
  model.tied_embeddings = fields.Bool("tie_word_embeddings", true);
  const bool biases = fields.Bool("enable_bias", true);
  CheckFeatures(model, reader);
  reader.SplitHidden(model);
  QD_RETURN_IF_ERROR(reader.Finish());

  model.norm_epsilon = 1e-5;
  model.embedding = "model.decoder.embed_tokens.weight";
  model.positions = "model.decoder.embed_positions.weight";
  model.first_position = 2;
  model.final_norm.gain = "model.decoder.final_layer_norm.weight";
  NameHead(model, "lm_head");
  for (int64_t i = 0; i < layers; ++i) {
    model.blocks.push_back(MakeBlock(model, static_cast<int>(i), biases));
  }
  UseLayerNorm(model);
  return model;
}

}  // namespace quantd
