#include "engine/gguf_source/source_config.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "engine/gguf/architectures.h"
#include "engine/gguf/block_types.h"
#include "engine/gguf_source/metadata.h"
#include "engine/gguf_source/source_rope.h"

namespace quantd {
namespace {

// How config.json says what an architecture is; what all of them share is not here.
struct ConfigKind {
  std::string_view family;  // model_type; general.architecture is FindGgufArchitecture's
  std::string_view class_name;
  bool experts = false;
};

// Of the families that one architecture may be, the first: mistral without a window is llama.
constexpr ConfigKind kKinds[] = {
    {"llama", "LlamaForCausalLM"},
    {"qwen2", "Qwen2ForCausalLM"},
    {"qwen3", "Qwen3ForCausalLM"},
    {"gemma", "GemmaForCausalLM"},
    {"gemma2", "Gemma2ForCausalLM"},
    {"gemma3_text", "Gemma3ForCausalLM"},
    {"phi3", "Phi3ForCausalLM"},
    {"mixtral", "MixtralForCausalLM", true},
    {"qwen3_moe", "Qwen3MoeForCausalLM", true},
};

const ConfigKind* KindOf(const std::string& architecture, bool experts) {
  for (const ConfigKind& kind : kKinds) {
    if (FindGgufArchitecture(kind.family)->name == architecture && kind.experts == experts) {
      return &kind;
    }
  }
  return nullptr;
}

// That of all matrices; F32 if they differ or are blocks.
DType TypeOf(std::span<const GgufPart> parts) {
  std::optional<uint32_t> only;
  for (const GgufPart& part : parts) {
    for (const GgufTensor& tensor : part.header.tensors) {
      // Routers are in F32 in any file.
      if (tensor.dims.size() < 2 || tensor.name.find("ffn_gate_inp") != std::string::npos) continue;
      if (only.has_value() && *only != tensor.type) return DType::kF32;
      only = tensor.type;
    }
  }
  for (const DType dtype : {DType::kF16, DType::kBF16}) {
    if (only.has_value() && BlockTypeOf(dtype)->number == *only) return dtype;
  }
  return DType::kF32;
}

// A count that lies would fill config.json.
int64_t CountBlocks(Metadata& metadata, std::span<const GgufPart> parts) {
  const int64_t blocks = metadata.Size("block_count");
  size_t tensors = 0;
  for (const GgufPart& part : parts) tensors += part.header.tensors.size();
  if (blocks <= static_cast<int64_t>(tensors)) return blocks;
  metadata.Wrong("block_count", absl::StrCat(blocks),
                 absl::StrCat("at most the ", tensors, " tensors there are"));
  return 1;
}

void AddSizes(Metadata& metadata, std::span<const GgufPart> parts, Json& config) {
  const int64_t hidden = metadata.Size("embedding_length");
  const int64_t heads = metadata.Size("attention.head_count");
  config["hidden_size"] = hidden;
  config["intermediate_size"] = metadata.Size("feed_forward_length");
  config["num_hidden_layers"] = CountBlocks(metadata, parts);
  config["num_attention_heads"] = heads;
  config["num_key_value_heads"] = metadata.OptionalSize("attention.head_count_kv").value_or(heads);
  const int64_t head_dim = metadata.OptionalSize("attention.key_length").value_or(hidden / heads);
  config["head_dim"] = head_dim;
  if (metadata.OptionalSize("attention.value_length").value_or(head_dim) != head_dim) {
    metadata.Unsupported("attention.value_length", "another size than that of keys", "the same");
  }
  config["max_position_embeddings"] = metadata.Size("context_length");
  const GgufTensor* embedding = FindTensor(parts, "token_embd.weight").tensor;
  if (embedding == nullptr) metadata.Missing("token_embd.weight");
  config["vocab_size"] = embedding == nullptr ? 0 : embedding->dims.back();
  metadata.Ignore("vocab_size");
  const auto epsilon = metadata.OptionalNumber("attention.layer_norm_rms_epsilon");
  if (!epsilon.has_value()) {
    metadata.Wrong("attention.layer_norm_rms_epsilon", "nothing", "a number");
  }
  config["rms_norm_eps"] = epsilon.value_or(1e-5);
}

// 1 / sqrt of what scores are multiplied by, where config.json says it apart.
void AddScoreScale(const GgufArchitecture& architecture, Json& config) {
  const auto blocks = config["num_hidden_layers"].get<int64_t>();
  const bool of_27b = blocks == static_cast<int64_t>(architecture.blocks_of_27b);
  config["query_pre_attn_scalar"] =
      of_27b ? config["hidden_size"].get<int64_t>() / config["num_attention_heads"].get<int64_t>()
             : config["head_dim"].get<int64_t>();
}

void AddWindows(const GgufArchitecture& architecture, Metadata& metadata, Json& config) {
  const std::optional<int64_t> window = metadata.OptionalSize("attention.sliding_window");
  const auto period = metadata.OptionalSize("attention.sliding_window_pattern");
  if (period.value_or(architecture.window_period) != architecture.window_period) {
    metadata.Unsupported("attention.sliding_window_pattern", absl::StrCat(*period),
                         absl::StrCat(architecture.window_period));
  }
  if (architecture.window_period == 0) {
    if (architecture.family == "qwen2" || architecture.family == "qwen3") {
      config["use_sliding_window"] = false;
    } else if (architecture.family == "phi3") {
      config["sliding_window"] = window.value_or(0) > 0 ? Json(*window) : Json(nullptr);
    } else if (window.value_or(0) > 0) {
      metadata.Unsupported("attention.sliding_window", absl::StrCat(*window), "none");
    }
    return;
  }
  if (window.value_or(0) < 1) metadata.Wrong("attention.sliding_window", "nothing", "a number");
  config["sliding_window"] = window.value_or(1);
  Json types = Json::array();
  for (int64_t i = 1; i <= config["num_hidden_layers"].get<int64_t>(); ++i) {
    types.push_back(i % architecture.window_period == 0 ? "full_attention" : "sliding_attention");
  }
  config["layer_types"] = std::move(types);
}

void AddActivation(const GgufArchitecture& architecture, Json& config) {
  const bool gelu = architecture.activation == Activation::kGeluTanh;
  config["hidden_act"] = gelu ? "gelu_pytorch_tanh" : "silu";
  if (gelu) config["hidden_activation"] = config["hidden_act"];
}

void AddCaps(const GgufArchitecture& architecture, Metadata& metadata, Json& config) {
  if (!architecture.softcaps) return;
  config["attn_logit_softcapping"] =
      metadata.OptionalNumber("attn_logit_softcapping").value_or(50.0);
  config["final_logit_softcapping"] =
      metadata.OptionalNumber("final_logit_softcapping").value_or(30.0);
}

void AddExperts(const ConfigKind& kind, Metadata& metadata, Json& config) {
  if (!kind.experts) {
    metadata.Ignore("expert_count");  // 0
    metadata.Ignore("expert_used_count");
    return;
  }
  const int64_t experts = metadata.Size("expert_count");
  config["num_experts_per_tok"] = metadata.Size("expert_used_count");
  const auto width = metadata.OptionalSize("expert_feed_forward_length");
  if (kind.family == "mixtral") {
    config["num_local_experts"] = experts;
    return;
  }
  config["num_experts"] = experts;
  config["moe_intermediate_size"] = width.value_or(config["intermediate_size"].get<int64_t>());
  config["norm_topk_prob"] = true;
  config["decoder_sparse_step"] = 1;
}

// Biases that config.json has to speak of.
void AddBiases(const ConfigKind& kind, std::span<const GgufPart> parts, Json& config) {
  if (kind.family == "qwen2" || kind.family == "phi3" || kind.family == "mixtral") return;
  config["attention_bias"] = FindTensor(parts, "blk.0.attn_q.bias").tensor != nullptr;
  if (kind.family == "llama") {
    config["mlp_bias"] = FindTensor(parts, "blk.0.ffn_down.bias").tensor != nullptr;
  }
}

}  // namespace

std::string ReadableArchitectures() {
  std::vector<std::string_view> names;
  std::string text;
  for (const ConfigKind& kind : kKinds) {
    const std::string_view name = FindGgufArchitecture(kind.family)->name;
    if (std::find(names.begin(), names.end(), name) != names.end()) continue;
    names.push_back(name);
    absl::StrAppend(&text, text.empty() ? "" : ", ", ToAbsl(name));
  }
  return text;
}

absl::StatusOr<Json> ConfigOf(const GgufHeader& header, std::span<const GgufPart> parts) {
  const std::optional<std::string> name = header.String("general.architecture");
  if (!name.has_value()) {
    return MakeError(Reason::kModelCorrupt, "bad metadata of a GGUF file",
                     Violation{"general.architecture", "nothing", "the name of an architecture"});
  }
  const bool experts = header.Integer(*name + ".expert_count").value_or(0) > 0;
  const ConfigKind* kind = KindOf(*name, experts);
  if (kind == nullptr) {
    return MakeError(Reason::kModelUnsupported, "GGUF models of this kind are not read",
                     Violation{"general.architecture", experts ? *name + " with experts" : *name,
                               "one of " + ReadableArchitectures()});
  }
  const GgufArchitecture& architecture = *FindGgufArchitecture(kind->family);
  Metadata metadata(header, *name);
  Json config = {{"architectures", {std::string(kind->class_name)}},
                 {"model_type", std::string(kind->family)}};
  AddSizes(metadata, parts, config);
  AddActivation(architecture, config);
  AddCaps(architecture, metadata, config);
  AddWindows(architecture, metadata, config);
  if (architecture.window_period > 0) AddScoreScale(architecture, config);
  AddExperts(*kind, metadata, config);
  AddBiases(*kind, parts, config);
  config["tie_word_embeddings"] = FindTensor(parts, "output.weight").tensor == nullptr;
  config["torch_dtype"] = std::string(TorchNameOf(TypeOf(parts)));
  QD_RETURN_IF_ERROR(AddRope(architecture, metadata, parts, config));
  for (const char* harmless : {"tensor_data_layout", "pooling_type", "attention.causal"}) {
    metadata.Ignore(harmless);
  }
  QD_RETURN_IF_ERROR(metadata.Finish());
  return config;
}

}  // namespace quantd
