// GPT-NeoX and Pythia (arXiv 2204.06745, 2304.01373): attention and MLP beside each other,
// LayerNorm, q, k, v of each head interleaved in one linear, a part of each head rotated.
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "engine/model/config_reader.h"
#include "engine/model/families.h"
#include "engine/model/rope_config.h"
#include "engine/model/spec_parts.h"

namespace quantd {
namespace {

using Limits = ConfigReader;

BlockSpec MakeBlock(const ModelSpec& model, int index, bool attention_bias) {
  BlockSpec block;
  block.prefix = absl::StrCat("gpt_neox.layers.", index, ".");
  block.norm(NormRole::kAttention).gain = block.prefix + "input_layernorm.weight";
  block.norm(NormRole::kMlp).gain = block.prefix + "post_attention_layernorm.weight";
  const int64_t d = model.hidden, f = model.intermediate;
  AddLinear(block, index, "attention.query_key_value", LinearRole::kQkv, {3 * d, d}, 0).has_bias =
      attention_bias;
  AddLinear(block, index, "attention.dense", LinearRole::kO, {d, d}, 1).has_bias = attention_bias;
  AddLinear(block, index, "mlp.dense_h_to_4h", LinearRole::kUp, {f, d}, 2).has_bias = true;
  AddLinear(block, index, "mlp.dense_4h_to_h", LinearRole::kDown, {d, f}, 3).has_bias = true;
  return block;
}

// The rope's keys under the names that the other families use. Those names beside the rope mean
// nothing in this family.
Json WithCommonRopeKeys(const Json& config) {
  Json changed = config;
  const auto rename = [&](const char* from, const char* to, double fallback) {
    changed[to] =
        config.contains(from) && !config.at(from).is_null() ? config.at(from) : Json(fallback);
  };
  rename("rotary_pct", "partial_rotary_factor", 0.25);
  rename("rotary_emb_base", "rope_theta", 10000.0);
  return changed;
}

}  // namespace

absl::StatusOr<ModelSpec> ParseGptNeox(const Json& config) {
  ConfigReader reader(config);
  JsonFields& fields = reader.fields();
  ModelSpec model;
  model.family = "gpt_neox";
  model.architecture = reader.ReadArchitecture();
  model.hidden = reader.Required({"hidden_size"}, Limits::kWidest);
  model.heads = model.kv_heads = reader.Required({"num_attention_heads"}, Limits::kMostHeads);
  model.intermediate = reader.Required({"intermediate_size"}, Limits::kWidest);
  model.vocabulary = reader.Required({"vocab_size"}, Limits::kLargestVocabulary);
  model.max_positions = reader.Optional({"max_position_embeddings"}, 2048, Limits::kMostPositions);
  const int64_t layers = reader.Required({"num_hidden_layers"}, Limits::kMostLayers);
  model.activation = reader.ReadActivation("hidden_act", "gelu");
  model.norm_epsilon = fields.Number("layer_norm_eps", 1e-5, 1e-30, 1.0);
  model.tied_embeddings = fields.Bool("tie_word_embeddings", false);
  model.qkv_layout = QkvLayout::kByKeyHead;
  const bool parallel = fields.Bool("use_parallel_residual", true);
  const bool attention_bias = fields.Bool("attention_bias", true);
  reader.SplitHidden(model);
  QD_RETURN_IF_ERROR(reader.FinishValues());
  auto rope = ParseRope(WithCommonRopeKeys(config), model.head_dim, model.max_positions,
                        reader.unsupported(), {.partial = true});
  if (!rope.ok()) return CorruptConfig(rope.status());
  QD_RETURN_IF_ERROR(reader.Finish());
  model.rope = *std::move(rope);

  model.embedding = "gpt_neox.embed_in.weight";
  model.final_norm.gain = "gpt_neox.final_layer_norm.weight";
  NameHead(model, "embed_out");
  for (int64_t i = 0; i < layers; ++i) {
    model.blocks.push_back(MakeBlock(model, static_cast<int>(i), attention_bias));
    model.blocks.back().parallel = parallel;
  }
  UseLayerNorm(model);
  return model;
}

}  // namespace quantd
