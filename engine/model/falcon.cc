// Falcon (arXiv 2311.16867): attention and MLP beside each other behind one norm or two, one key
// head for all queries or one per group, q, k, v in one linear. Models with alibi are refused.
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

struct Layout {
  bool grouped = false;  // the "new decoder architecture"
  bool parallel = true;
  bool two_norms = false;  // before attention and before the MLP
  bool biases = false;
};

BlockSpec MakeBlock(const ModelSpec& model, int index, const Layout& layout) {
  BlockSpec block;
  block.prefix = absl::StrCat("transformer.h.", index, ".");
  block.parallel = layout.parallel;
  const bool named_by_use = layout.grouped && layout.two_norms;
  block.norm(NormRole::kAttention).gain =
      block.prefix + (named_by_use ? "ln_attn.weight" : "input_layernorm.weight");
  if (layout.two_norms) {
    block.norm(NormRole::kMlp).gain =
        block.prefix + (named_by_use ? "ln_mlp.weight" : "post_attention_layernorm.weight");
  }
  const int64_t d = model.hidden, f = model.intermediate;
  const int64_t qkv = (model.heads + 2 * model.kv_heads) * model.head_dim;
  const int mlp_input = layout.two_norms ? 2 : 0;
  AddLinear(block, index, "self_attention.query_key_value", LinearRole::kQkv, {qkv, d}, 0);
  AddLinear(block, index, "self_attention.dense", LinearRole::kO, {d, d}, 1);
  AddLinear(block, index, "mlp.dense_h_to_4h", LinearRole::kUp, {f, d}, mlp_input);
  AddLinear(block, index, "mlp.dense_4h_to_h", LinearRole::kDown, {d, f}, layout.two_norms ? 3 : 2);
  for (LinearSpec& linear : block.linears) linear.has_bias = layout.biases;
  return block;
}

Layout ReadLayout(ConfigReader& reader, ModelSpec& model) {
  JsonFields& fields = reader.fields();
  Layout layout;
  layout.grouped = fields.Bool("new_decoder_architecture", false);
  layout.biases = fields.Bool("bias", false);
  const bool asked = fields.Bool("parallel_attn", true);
  layout.parallel = layout.grouped || asked;
  const int64_t norms = reader.Optional({"num_ln_in_parallel_attn"}, 2, 2);
  layout.two_norms = layout.grouped ? norms == 2 : !layout.parallel;
  const bool one_key_head = !layout.grouped && fields.Bool("multi_query", true);
  model.kv_heads =
      one_key_head ? 1 : reader.Optional({"num_kv_heads", "n_head_kv"}, model.heads, model.heads);
  model.qkv_layout = one_key_head ? QkvLayout::kConcatenated : QkvLayout::kByKeyHead;
  if (fields.Bool("alibi", false)) reader.Unsupported("alibi", "true", "false: rotary positions");
  return layout;
}

}  // namespace

absl::StatusOr<ModelSpec> ParseFalcon(const Json& config) {
  ConfigReader reader(config);
  JsonFields& fields = reader.fields();
  ModelSpec model;
  model.family = "falcon";
  model.architecture = reader.ReadArchitecture();
  model.hidden = reader.Required({"hidden_size", "n_embed"}, Limits::kWidest);
  model.heads = reader.Required({"num_attention_heads", "n_head"}, Limits::kMostHeads);
  model.intermediate = reader.Optional({"ffn_hidden_size"}, 4 * model.hidden, Limits::kWidest);
  model.vocabulary = reader.Required({"vocab_size"}, Limits::kLargestVocabulary);
  model.max_positions = reader.Optional({"max_position_embeddings"}, 2048, Limits::kMostPositions);
  const int64_t layers = reader.Required({"num_hidden_layers", "n_layer"}, Limits::kMostLayers);
  model.activation = reader.ReadActivation("activation", "gelu");
  model.norm_epsilon = fields.Number("layer_norm_epsilon", 1e-5, 1e-30, 1.0);
  model.tied_embeddings = fields.Bool("tie_word_embeddings", true);
  const Layout layout = ReadLayout(reader, model);
  reader.SplitHidden(model);
  QD_RETURN_IF_ERROR(reader.FinishValues());
  auto rope = ParseRope(config, model.head_dim, model.max_positions, reader.unsupported());
  if (!rope.ok()) return CorruptConfig(rope.status());
  QD_RETURN_IF_ERROR(reader.Finish());
  model.rope = *std::move(rope);

  model.embedding = "transformer.word_embeddings.weight";
  model.final_norm.gain = "transformer.ln_f.weight";
  NameHead(model, "lm_head");
  for (int64_t i = 0; i < layers; ++i) {
    model.blocks.push_back(MakeBlock(model, static_cast<int>(i), layout));
  }
  UseLayerNorm(model);
  return model;
}

}  // namespace quantd
