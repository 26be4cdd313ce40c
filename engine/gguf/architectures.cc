#include "engine/gguf/architectures.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error.h"

namespace quantd {
namespace {

using Biases = GgufArchitecture::Biases;
using Head = GgufArchitecture::Head;

constexpr GgufArchitecture kArchitectures[] = {
    {.family = "llama", .name = "llama", .pairs_rows = true, .rope_factors = true},
    {.family = "mistral", .name = "llama", .pairs_rows = true, .rope_factors = true},
    {.family = "qwen2", .name = "qwen2"},
    {.family = "qwen3", .name = "qwen3", .biases = Biases::kNone},
    {.family = "gemma",
     .name = "gemma",
     .activation = Activation::kGeluTanh,
     .biases = Biases::kNone,
     .head = Head::kEmbedding},
    {.family = "gemma2",
     .name = "gemma2",
     .activation = Activation::kGeluTanh,
     .biases = Biases::kNone,
     .head = Head::kEmbedding,
     .window_period = 2,
     .blocks_of_27b = 46,
     .softcaps = true},
    {.family = "gemma3_text",
     .name = "gemma3",
     .activation = Activation::kGeluTanh,
     .biases = Biases::kNone,
     .head = Head::kEmbedding,
     .window_period = 6,
     .blocks_of_27b = 62},
    {.family = "phi3", .name = "phi3", .biases = Biases::kNone, .rope_factors = true},
    {.family = "starcoder2",
     .name = "starcoder2",
     .activation = Activation::kGeluTanh,
     .biases = Biases::kAll},
    {.family = "gpt_neox",
     .name = "gptneox",
     .activation = Activation::kGeluTanh,
     .biases = Biases::kAll,
     .head = Head::kOwn},
    {.family = "falcon",
     .name = "falcon",
     .activation = Activation::kGeluTanh,
     .biases = Biases::kNone},
    {.family = "gpt2", .name = "gpt2", .activation = Activation::kGeluTanh, .biases = Biases::kAll},
    {.family = "mixtral", .name = "llama", .pairs_rows = true, .biases = Biases::kNone},
    {.family = "qwen3_moe", .name = "qwen3moe", .biases = Biases::kNone},
};

// Everything that does not fit, by field.
class Refusals {
 public:
  void Add(std::string where, std::string got, std::string wanted) {
    violations_.push_back({std::move(where), std::move(got), std::move(wanted)});
  }
  absl::Status Finish() && {
    if (violations_.empty()) return absl::OkStatus();
    return MakeError(Reason::kFormatCannotHold, "gguf cannot hold the model",
                     std::move(violations_));
  }

 private:
  std::vector<Violation> violations_;
};

void CheckLinears(const ModelSpec& model, const GgufArchitecture& architecture,
                  Refusals& refusals) {
  const Activation activation = model.activation;
  if (architecture.activation != activation &&
      !(architecture.activation == Activation::kGeluTanh && activation == Activation::kGelu)) {
    refusals.Add("activation", "another function",
                 architecture.activation == Activation::kSilu ? "silu" : "gelu");
  }
  if (architecture.head == Head::kOwn && model.tied_embeddings) {
    refusals.Add("tie_word_embeddings", "true", "false: readers want an output projection");
  }
  if (architecture.head == Head::kEmbedding && !model.tied_embeddings) {
    refusals.Add("tie_word_embeddings", "false", "true: readers use the embedding");
  }
  for (const BlockSpec& block : model.blocks) {
    for (const LinearSpec& linear : block.linears) {
      const bool fits = architecture.biases == Biases::kAny ||
                        linear.has_bias == (architecture.biases == Biases::kAll);
      if (fits) continue;
      refusals.Add(linear.name, linear.has_bias ? "a bias" : "no bias",
                   absl::StrCat(linear.has_bias ? "none" : "one", ", as all models called ",
                                ToAbsl(architecture.name), " have it"));
      return;
    }
  }
}

void CheckAttention(const ModelSpec& model, const GgufArchitecture& architecture,
                    Refusals& refusals) {
  const bool of_27b =
      architecture.blocks_of_27b != 0 && model.blocks.size() == architecture.blocks_of_27b;
  const auto width = static_cast<double>(of_27b ? model.hidden / model.heads : model.head_dim);
  const double scale = 1 / std::sqrt(width), asked = model.attention_scale.value_or(scale);
  if (std::abs(asked - scale) > 1e-6 * scale) {
    refusals.Add("query_pre_attn_scalar", absl::StrCat(1 / (asked * asked)), absl::StrCat(width));
  }
  if (architecture.softcaps != (model.attention_softcap > 0) ||
      architecture.softcaps != (model.logit_softcap > 0)) {
    refusals.Add("attn_logit_softcapping, final_logit_softcapping",
                 absl::StrCat(model.attention_softcap, ", ", model.logit_softcap),
                 architecture.softcaps ? "both" : "none");
  }
  if (architecture.window_period == 0) return;
  for (size_t i = 0; i < model.blocks.size(); ++i) {
    const bool local = static_cast<int64_t>(i + 1) % architecture.window_period != 0;
    const auto& window = model.blocks[i].sliding_window;
    if (window.has_value() == local && (!local || window == model.blocks[0].sliding_window)) {
      continue;
    }
    refusals.Add("layer_types",
                 absl::StrCat("block ", i, local ? " without" : " with", " a window"),
                 absl::StrCat("one in all blocks but every ", architecture.window_period, "th"));
    return;
  }
}

void CheckBlocks(const ModelSpec& model, Refusals& refusals) {
  const bool mixture = !model.blocks.empty() && model.blocks[0].mixture.has_value();
  for (const BlockSpec& block : model.blocks) {
    if (block.mixture.has_value() != mixture) {
      refusals.Add("mlp_only_layers", "some blocks without experts", "all blocks alike");
      return;
    }
    if (mixture && !block.mixture->normalized) {
      refusals.Add("norm_topk_prob", "false", "true");
      return;
    }
    if (model.family == "falcon" && !block.parallel) {
      refusals.Add("parallel_attn", "false", "true");
      return;
    }
  }
}

void CheckRope(const ModelSpec& model, const GgufArchitecture& architecture, Refusals& refusals) {
  using Scaling = RopeSpec::Scaling;
  const RopeSpec& rope = model.rope;
  if (rope.scaling == Scaling::kLlama3 &&
      (architecture.name != "llama" || !architecture.rope_factors)) {
    refusals.Add("rope_scaling", "llama3 in the family " + model.family, "it in llama");
  }
  if (rope.scaling == Scaling::kLongRope && architecture.name != "phi3") {
    refusals.Add("rope_scaling", "longrope in the family " + model.family, "it in phi3");
  }
  if (rope.mscale.has_value() || rope.mscale_all_dim.has_value() || !rope.truncate) {
    refusals.Add("rope_scaling", "yarn with mscale or truncate", "yarn without");
  }
  if (rope.scaling == Scaling::kYarn && (rope.beta_fast != 32 || rope.beta_slow != 1)) {
    refusals.Add("rope_scaling.beta_fast, beta_slow",
                 absl::StrCat(rope.beta_fast, ", ", rope.beta_slow),
                 "32, 1: readers take no others");
  }
  if (model.local_rope.has_value() && model.local_rope->scaling != Scaling::kNone) {
    refusals.Add("rope_parameters.sliding_attention", "scaled", "unscaled");
  }
}

}  // namespace

const GgufArchitecture* FindGgufArchitecture(std::string_view family) {
  for (const GgufArchitecture& architecture : kArchitectures) {
    if (architecture.family == family) return &architecture;
  }
  return nullptr;
}

std::string GgufFamilies() {
  std::string families;
  for (const GgufArchitecture& architecture : kArchitectures) {
    absl::StrAppend(&families, families.empty() ? "" : ", ", ToAbsl(architecture.family));
  }
  return families;
}

absl::Status CheckModel(const ModelSpec& model) {
  const GgufArchitecture* architecture = FindGgufArchitecture(model.family);
  Refusals refusals;
  if (architecture == nullptr) {
    refusals.Add("model_type", model.family, "one of " + GgufFamilies());
    return std::move(refusals).Finish();
  }
  CheckLinears(model, *architecture, refusals);
  CheckAttention(model, *architecture, refusals);
  CheckBlocks(model, refusals);
  CheckRope(model, *architecture, refusals);
  return std::move(refusals).Finish();
}

std::vector<std::string> ModelWarnings(const ModelSpec& model) {
  const GgufArchitecture* architecture = FindGgufArchitecture(model.family);
  std::vector<std::string> warnings;
  if (model.activation == Activation::kGelu) {
    warnings.emplace_back(
        "readers of the GGUF file compute GELU in its tanh form; the model in its exact one");
  }
  if (model.rope.scaling == RopeSpec::Scaling::kLongRope) {
    warnings.push_back(absl::StrCat(
        "readers of the GGUF file choose between short and long rope factors by the length of "
        "context they are started with, above or not above ",
        model.rope.original_max_positions));
  }
  if (architecture != nullptr && architecture->window_period > 0) return warnings;
  for (const BlockSpec& block : model.blocks) {
    if (!block.sliding_window.has_value() || *block.sliding_window >= model.max_positions) continue;
    warnings.push_back(
        absl::StrCat("readers of the GGUF file attend to all positions; the model looks back ",
                     *block.sliding_window, ": they differ on longer contexts"));
    break;
  }
  return warnings;
}

}  // namespace quantd
