#include "engine/model/decoder_config.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "engine/model/config_reader.h"
#include "engine/model/spec_parts.h"

namespace quantd {
namespace {

using Limits = ConfigReader;

class DecoderParser {
 public:
  DecoderParser(const Json& config, const DecoderTraits& traits)
      : traits_(traits), reader_(config), fields_(reader_.fields()) {}

  absl::StatusOr<ModelSpec> Parse() {
    model_.family = std::string(traits_.family);
    model_.architecture = reader_.ReadArchitecture();
    model_.activation = reader_.ReadActivation(traits_.activation_key, traits_.activation);
    ReadShape();
    ReadWindows();
    QD_RETURN_IF_ERROR(reader_.FinishValues());
    auto rope = ParseRope(reader_.config(), model_.head_dim, model_.max_positions,
                          reader_.unsupported(), traits_.rope);
    if (!rope.ok()) return CorruptConfig(rope.status());
    QD_RETURN_IF_ERROR(reader_.Finish());
    model_.rope = *std::move(rope);
    NameTensors();
    return std::move(model_);
  }

 private:
  void ReadShape() {
    model_.hidden = reader_.Required({"hidden_size"}, Limits::kWidest);
    model_.intermediate = reader_.Required({"intermediate_size"}, Limits::kWidest);
    model_.heads = reader_.Required({"num_attention_heads"}, Limits::kMostHeads);
    model_.vocabulary = reader_.Required({"vocab_size"}, Limits::kLargestVocabulary);
    layers_ = reader_.Required({"num_hidden_layers"}, Limits::kMostLayers);
    // A key that is null means "as many as heads", one that is not there means the family's
    // default.
    const bool has_kv_heads = fields_.Has("num_key_value_heads");
    model_.kv_heads =
        fields_.Integer("num_key_value_heads",
                        has_kv_heads ? model_.heads : traits_.kv_heads.value_or(model_.heads), 1,
                        Limits::kMostHeads);
    const bool has_head_dim = fields_.Has("head_dim");
    const int64_t share = std::max<int64_t>(1, model_.hidden / model_.heads);
    model_.head_dim =
        fields_.Integer("head_dim", has_head_dim ? share : traits_.head_dim.value_or(share), 1,
                        Limits::kWidestHead);
    model_.max_positions = fields_.Integer("max_position_embeddings", traits_.max_positions, 1,
                                           Limits::kMostPositions);
    model_.norm_epsilon = fields_.Number(traits_.epsilon_key, traits_.epsilon, 1e-30, 1.0);
    model_.tied_embeddings = fields_.Bool("tie_word_embeddings", traits_.tied_embeddings);
    using Bias = DecoderTraits::Bias;
    const bool on_all = traits_.attention_bias == Bias::kOnAllIfConfigured;
    const bool configured =
        (on_all || traits_.attention_bias == Bias::kOnQkvIfConfigured) &&
        fields_.Bool(traits_.attention_bias_key, traits_.attention_bias_default);
    qkv_bias_ = configured || traits_.attention_bias == Bias::kOnQkv;
    o_bias_ = configured && on_all;
    mlp_bias_ = traits_.mlp_bias_if_configured && fields_.Bool("mlp_bias", false);
    reader_.CheckHeads(model_);
    const bool derived = fields_.Value("head_dim") == nullptr && !traits_.head_dim.has_value();
    if (derived && model_.hidden % model_.heads != 0) {
      fields_.Wrong("num_attention_heads", absl::StrCat(model_.heads),
                    absl::StrCat("a divisor of hidden_size, ", model_.hidden));
    }
  }

  // The window of each block; none where a block sees everything.
  void ReadWindows() {
    windows_.assign(static_cast<size_t>(layers_), std::nullopt);
    using Sliding = DecoderTraits::Sliding;
    if (traits_.sliding == Sliding::kNever) return;
    const bool off =
        traits_.sliding == Sliding::kFromBlock && !fields_.Bool("use_sliding_window", false);
    const bool null = fields_.Has("sliding_window") && fields_.Value("sliding_window") == nullptr;
    const bool none = !fields_.Has("sliding_window") && !traits_.sliding_window.has_value();
    if (off || null || none) return;
    const int64_t window = fields_.Integer("sliding_window", traits_.sliding_window.value_or(1), 1,
                                           Limits::kMostPositions);
    if (traits_.sliding == Sliding::kEveryBlock) {
      windows_.assign(windows_.size(), window);
      return;
    }
    const std::vector<bool> slides = ReadLayerTypes();
    for (size_t i = 0; i < windows_.size(); ++i) {
      if (slides[i]) windows_[i] = window;
    }
  }

  // Whether each block slides.
  std::vector<bool> ReadLayerTypes() {
    std::vector<bool> slides(windows_.size());
    const int64_t first = fields_.Integer("max_window_layers", 28, 0, Limits::kMostLayers);
    const int64_t pattern =
        fields_.Integer("sliding_window_pattern", traits_.sliding_pattern, 1, Limits::kMostLayers);
    const std::vector<std::string> types = fields_.Strings("layer_types");
    if (!types.empty() && types.size() != slides.size()) {
      fields_.Wrong("layer_types", absl::StrCat(types.size(), " entries"),
                    absl::StrCat(layers_, " entries"));
      return slides;
    }
    const bool by_pattern = traits_.sliding == DecoderTraits::Sliding::kPattern;
    for (size_t i = 0; i < slides.size(); ++i) {
      const auto block = static_cast<int64_t>(i);
      slides[i] = by_pattern ? (block + 1) % pattern != 0 : block >= first;
      if (types.empty()) continue;
      slides[i] = types[i] == "sliding_attention";
      if (!slides[i] && types[i] != "full_attention") {
        fields_.Wrong("layer_types", "\"" + types[i] + "\"", "full_attention or sliding_attention");
      }
    }
    return slides;
  }

  void NameTensors() {
    model_.embedding = "model.embed_tokens.weight";
    model_.final_norm.gain = "model.norm.weight";
    NameHead(model_, "lm_head");
    for (int64_t i = 0; i < layers_; ++i) model_.blocks.push_back(MakeBlock(static_cast<int>(i)));
  }

  BlockSpec MakeBlock(int index) const {
    BlockSpec block;
    block.prefix = absl::StrCat("model.layers.", index, ".");
    block.norm(NormRole::kAttention).gain = block.prefix + "input_layernorm.weight";
    block.norm(NormRole::kMlp).gain = block.prefix + "post_attention_layernorm.weight";
    if (traits_.qk_norm) {
      block.norm(NormRole::kQ).gain = block.prefix + "self_attn.q_norm.weight";
      block.norm(NormRole::kK).gain = block.prefix + "self_attn.k_norm.weight";
    }
    block.sliding_window = windows_[static_cast<size_t>(index)];
    const int64_t q = model_.heads * model_.head_dim, kv = model_.kv_heads * model_.head_dim;
    const int64_t d = model_.hidden, f = model_.intermediate;
    const auto add = [&](const char* name, LinearRole role, int64_t out, int64_t in, bool bias,
                         int input) {
      AddLinear(block, index, name, role, {out, in}, input).has_bias = bias;
    };
    add("self_attn.q_proj", LinearRole::kQ, q, d, qkv_bias_, 0);
    add("self_attn.k_proj", LinearRole::kK, kv, d, qkv_bias_, 0);
    add("self_attn.v_proj", LinearRole::kV, kv, d, qkv_bias_, 0);
    add("self_attn.o_proj", LinearRole::kO, d, q, o_bias_, 1);
    add("mlp.gate_proj", LinearRole::kGate, f, d, mlp_bias_, 2);
    add("mlp.up_proj", LinearRole::kUp, f, d, mlp_bias_, 2);
    add("mlp.down_proj", LinearRole::kDown, d, f, mlp_bias_, 3);
    return block;
  }

  const DecoderTraits& traits_;
  ConfigReader reader_;
  JsonFields& fields_;
  ModelSpec model_;
  int64_t layers_ = 0;
  bool qkv_bias_ = false, o_bias_ = false, mlp_bias_ = false;
  std::vector<std::optional<int64_t>> windows_;
};

}  // namespace

absl::StatusOr<ModelSpec> ParseDecoder(const Json& config, const DecoderTraits& traits) {
  return DecoderParser(config, traits).Parse();
}

}  // namespace quantd
