#include "engine/model/decoder_config.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "engine/model/rope_config.h"

namespace quantd {
namespace {

constexpr int64_t kMostLayers = 4096;
constexpr int64_t kWidest = int64_t{1} << 20;
constexpr int64_t kMostHeads = int64_t{1} << 16;
constexpr int64_t kWidestHead = 1024;
constexpr int64_t kLargestVocabulary = int64_t{1} << 24;
constexpr int64_t kMostPositions = int64_t{1} << 30;

class DecoderParser {
 public:
  DecoderParser(const Json& config, const DecoderTraits& traits)
      : config_(config), traits_(traits), fields_(config, "config.json") {}

  absl::StatusOr<ModelSpec> Parse() {
    model_.family = std::string(traits_.family);
    CheckFeatures();
    ReadShape();
    ReadWindows();
    // Later steps divide by these numbers.
    if (const absl::Status status = fields_.FinishIgnoringUnknown(); !status.ok())
      return Corrupt(status);
    auto rope = ParseRope(config_, model_.head_dim, model_.max_positions, unsupported_);
    if (!rope.ok()) return Corrupt(rope.status());
    if (!unsupported_.empty()) {
      return MakeError(Reason::kModelUnsupported, "the model has features that are not supported",
                       std::move(unsupported_));
    }
    model_.rope = *std::move(rope);
    NameTensors();
    return std::move(model_);
  }

 private:
  static absl::Status Corrupt(const absl::Status& status) {
    return MakeError(Reason::kModelCorrupt, "config.json", ViolationsOf(status));
  }

  void CheckFeatures() {
    for (const std::string_view key : {"quantization_config", "compression_config"}) {
      if (fields_.Value(key) != nullptr) {
        unsupported_.push_back({absl::StrCat("config.json:", ToAbsl(key)),
                                "a model that is quantized already", "the original model"});
      }
    }
    const std::string activation = fields_.String("hidden_act", "silu");
    if (activation != "silu") {
      unsupported_.push_back({"config.json:hidden_act", "\"" + activation + "\"", "\"silu\""});
    }
    const std::vector<std::string> architectures = fields_.Strings("architectures");
    if (!architectures.empty()) model_.architecture = architectures[0];
    if (!architectures.empty() && !absl::EndsWith(architectures[0], "ForCausalLM")) {
      unsupported_.push_back({"config.json:architectures", "\"" + architectures[0] + "\"",
                              "a causal language model (…ForCausalLM)"});
    }
  }

  int64_t Required(std::string_view key, int64_t high) {
    if (fields_.Value(key) == nullptr) fields_.Wrong(key, "nothing", "an integer");
    return fields_.Integer(key, 1, 1, high);
  }

  void ReadShape() {
    model_.hidden = Required("hidden_size", kWidest);
    model_.intermediate = Required("intermediate_size", kWidest);
    model_.heads = Required("num_attention_heads", kMostHeads);
    model_.vocabulary = Required("vocab_size", kLargestVocabulary);
    layers_ = Required("num_hidden_layers", kMostLayers);
    // A key that is null means "as many as heads", one that is not there means the family's
    // default.
    const bool has_kv_heads = fields_.Has("num_key_value_heads");
    model_.kv_heads = fields_.Integer(
        "num_key_value_heads",
        has_kv_heads ? model_.heads : traits_.kv_heads.value_or(model_.heads), 1, kMostHeads);
    const bool has_head_dim = fields_.Has("head_dim");
    const int64_t share = std::max<int64_t>(1, model_.hidden / model_.heads);
    model_.head_dim = fields_.Integer(
        "head_dim", has_head_dim ? share : traits_.head_dim.value_or(share), 1, kWidestHead);
    model_.max_positions =
        fields_.Integer("max_position_embeddings", traits_.max_positions, 1, kMostPositions);
    model_.norm_epsilon = fields_.Number("rms_norm_eps", 1e-6, 1e-30, 1.0);
    model_.tied_embeddings = fields_.Bool("tie_word_embeddings", false);
    using Bias = DecoderTraits::Bias;
    const bool configured =
        traits_.attention_bias == Bias::kOnAllIfConfigured && fields_.Bool("attention_bias", false);
    qkv_bias_ = configured || traits_.attention_bias == Bias::kOnQkv;
    o_bias_ = configured;
    mlp_bias_ = traits_.mlp_bias_if_configured && fields_.Bool("mlp_bias", false);
    CheckShape();
  }

  void CheckShape() {
    if (model_.heads % model_.kv_heads != 0) {
      fields_.Wrong("num_key_value_heads", absl::StrCat(model_.kv_heads),
                    absl::StrCat("a divisor of num_attention_heads, ", model_.heads));
    }
    if (config_.is_object() && fields_.Value("head_dim") == nullptr &&
        !traits_.head_dim.has_value() && model_.hidden % model_.heads != 0) {
      fields_.Wrong("num_attention_heads", absl::StrCat(model_.heads),
                    absl::StrCat("a divisor of hidden_size, ", model_.hidden));
    }
    if (model_.head_dim % 2 != 0 || model_.head_dim > kWidestHead) {
      fields_.Wrong("head_dim", absl::StrCat(model_.head_dim),
                    absl::StrCat("an even number up to ", kWidestHead));
    }
  }

  // The window of each block; none where a block sees everything.
  void ReadWindows() {
    windows_.assign(static_cast<size_t>(layers_), std::nullopt);
    using Sliding = DecoderTraits::Sliding;
    if (traits_.sliding == Sliding::kNever) return;
    constexpr int64_t kDefaultWindow = 4096;
    const bool off =
        traits_.sliding == Sliding::kByBlock && !fields_.Bool("use_sliding_window", false);
    const bool null = fields_.Has("sliding_window") && fields_.Value("sliding_window") == nullptr;
    const int64_t window = fields_.Integer("sliding_window", kDefaultWindow, 1, kMostPositions);
    if (off || null) return;
    if (traits_.sliding == Sliding::kEveryBlock) {
      windows_.assign(windows_.size(), window);
      return;
    }
    const int64_t first = fields_.Integer("max_window_layers", 28, 0, kMostLayers);
    const std::vector<std::string> types = fields_.Strings("layer_types");
    if (!types.empty() && types.size() != windows_.size()) {
      fields_.Wrong("layer_types", absl::StrCat(types.size(), " entries"),
                    absl::StrCat(layers_, " entries"));
      return;
    }
    for (size_t i = 0; i < windows_.size(); ++i) {
      const bool slides =
          types.empty() ? static_cast<int64_t>(i) >= first : types[i] == "sliding_attention";
      if (slides) windows_[i] = window;
      if (!types.empty() && !slides && types[i] != "full_attention") {
        fields_.Wrong("layer_types", "\"" + types[i] + "\"", "full_attention or sliding_attention");
      }
    }
  }

  void NameTensors() {
    model_.embedding = "model.embed_tokens.weight";
    model_.final_norm = "model.norm.weight";
    model_.head = {.name = "lm_head",
                   .role = LinearRole::kHead,
                   .out_features = model_.vocabulary,
                   .in_features = model_.hidden};
    model_.head_tensor = model_.tied_embeddings ? model_.embedding : "lm_head.weight";
    for (int64_t i = 0; i < layers_; ++i) model_.blocks.push_back(MakeBlock(static_cast<int>(i)));
  }

  BlockSpec MakeBlock(int index) const {
    BlockSpec block;
    block.prefix = absl::StrCat("model.layers.", index, ".");
    block.input_norm = block.prefix + "input_layernorm.weight";
    block.post_attention_norm = block.prefix + "post_attention_layernorm.weight";
    if (traits_.qk_norm) {
      block.q_norm = block.prefix + "self_attn.q_norm.weight";
      block.k_norm = block.prefix + "self_attn.k_norm.weight";
    }
    block.sliding_window = windows_[static_cast<size_t>(index)];
    const int64_t q = model_.heads * model_.head_dim, kv = model_.kv_heads * model_.head_dim;
    const int64_t d = model_.hidden, f = model_.intermediate;
    const auto add = [&](const char* name, LinearRole role, int64_t out, int64_t in, bool bias,
                         int input) {
      block.linears.push_back({block.prefix + name, role, out, in, bias, index, input});
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

  const Json& config_;
  const DecoderTraits& traits_;
  JsonFields fields_;
  std::vector<Violation> unsupported_;
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
