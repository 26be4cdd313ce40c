#include "engine/model/registry.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/error.h"
#include "engine/model/families.h"
#include "engine/model/tensor_names.h"
#include "engine/tensor/config_json.h"

namespace quantd {
namespace {

constexpr Family kFamilies[] = {
    {"llama", "the shape itself: RMSNorm, rotary attention with grouped heads, gated SiLU MLP",
     ParseLlama},
    {"mistral", "a sliding window in every block", ParseMistral},
    {"qwen2", "biases on q, k and v; a sliding window from some block on", ParseQwen2},
    {"qwen3", "norms on the heads of q and k; a head size of its own", ParseQwen3},
    {"gemma", "norms by 1 + gain, scaled embeddings, GELU", ParseGemma},
    {"gemma2", "Gemma with norms around, capped scores and logits, windows in every other block",
     ParseGemma2},
    {"gemma3_text", "Gemma 2 without caps; norms on the heads of q and k; two ropes",
     ParseGemma3Text},
    {"phi3", "fused q, k, v and gate, up; longrope", ParsePhi3},
    {"starcoder2", "LayerNorm, biases, an MLP without a gate", ParseStarcoder2},
    {"gpt_neox", "attention beside the MLP, q, k, v of each head in one linear, partial rotary",
     ParseGptNeox},
    {"falcon", "attention beside the MLP, one norm or two, few key heads; no alibi", ParseFalcon},
    {"opt", "learned positions, LayerNorm, ReLU; not the 350m shape", ParseOpt},
    {"gpt2", "learned positions, linears stored as [inputs, outputs]", ParseGpt2},
    {"mixtral", "a mixture of experts in every block", ParseMixtral},
    {"qwen3_moe", "Qwen3 with a mixture of experts in most blocks", ParseQwen3Moe},
    {"qwen2_moe", "Qwen2 with experts, and one behind a gate that every token runs through",
     ParseQwen2Moe},
    {"granite", "multipliers of embeddings, scores, what is added to the stream, and logits",
     ParseGranite},
    {"smollm3", "no positions in every fourth block", ParseSmolLm3},
    {"olmo2", "norms behind attention and MLP, and over all heads of q and k", ParseOlmo2},
    {"olmo3", "OLMo 2 with windows in three blocks of four; two ropes", ParseOlmo3},
    {"glm", "half of each head rotated in pairs; fused gate, up", ParseGlm},
    {"glm4", "GLM with norms around", ParseGlm4},
    {"glm4_moe", "experts scored by a sigmoid, in groups, and a shared one; dense blocks first",
     ParseGlm4Moe},
    {"cohere", "attention beside the MLP behind one LayerNorm, scaled logits; no norms of heads",
     ParseCohere},
    {"cohere2", "Cohere with windows in three blocks of four, no positions in the others",
     ParseCohere2},
    {"exaone4",
     "norms behind attention and MLP, and on the heads of q and k; some without positions",
     ParseExaone4},
    {"deepseek_v2", "q, k and v from narrow latents; experts in groups, and shared ones",
     ParseDeepseekV2},
    {"deepseek_v3", "DeepSeek-V2 with experts scored by a sigmoid and a correction",
     ParseDeepseekV3},
    {"llava", "vision and language: the language tower, of any family here", ParseLanguageTower},
    {"llava_next", "as llava", ParseLanguageTower},
    {"gemma3", "Gemma 3 with vision: as llava", ParseLanguageTower},
    {"mistral3", "Mistral with vision: as llava", ParseLanguageTower},
    {"internvl", "as llava", ParseLanguageTower},
    {"qwen2_vl", "Qwen2 with vision: as llava", ParseLanguageTower},
    {"qwen2_5_vl", "Qwen2.5 with vision: as llava", ParseLanguageTower},
    {"qwen3_vl", "Qwen3 with vision: as llava", ParseLanguageTower},
};

std::string FamilyNames() {
  return absl::StrJoin(kFamilies, ", ", [](std::string* out, const Family& family) {
    absl::StrAppend(out, ToAbsl(family.name));
  });
}

absl::StatusOr<Json> ReadConfig(const ModelFiles& files) {
  constexpr int64_t kMostBytes = int64_t{16} << 20;
  constexpr std::string_view kName = "config.json";
  const std::string path = files.Where(kName);
  if (!files.Has(kName)) {
    return MakeError(Reason::kModelNotFound, "no model there",
                     Violation{path, "no such file", "a config.json"});
  }
  QD_ASSIGN_OR_RETURN(const std::string text, files.ReadText(kName, kMostBytes));
  QD_ASSIGN_OR_RETURN(Json config, ParseConfigJson(text, "config.json"));
  if (!config.is_object()) {
    return MakeError(Reason::kModelCorrupt, "config.json",
                     Violation{path, "another type", "an object"});
  }
  return config;
}

// Notes every tensor that is missing or differs from what the model needs.
class TensorCheck {
 public:
  explicit TensorCheck(const Checkpoint& checkpoint) : checkpoint_(checkpoint) {}

  void Expect(const std::string& name, std::vector<int64_t> shape) {
    if (name.empty()) return;
    const TensorInfo* info = checkpoint_.Find(name);
    const std::string wanted = absl::StrCat("[", absl::StrJoin(shape, ", "), "]");
    if (info == nullptr) {
      Note(name, "no such tensor", wanted);
    } else if (info->shape != shape) {
      Note(name, absl::StrCat("[", absl::StrJoin(info->shape, ", "), "]"), wanted);
    } else if (!IsFloat(info->dtype)) {
      unsupported_.push_back({name, std::string(NameOf(info->dtype)), "F32, F16 or BF16"});
    }
  }
  void ExpectNorm(const NormSpec& norm, int64_t width) {
    Expect(norm.gain, {width});
    Expect(norm.bias, {width});
  }
  void ExpectLinear(const LinearSpec& linear) {
    std::vector<int64_t> shape = {linear.out_features, linear.in_features};
    if (linear.transposed) std::reverse(shape.begin(), shape.end());
    Expect(linear.name + ".weight", std::move(shape));
    const std::string bias = linear.name + ".bias";
    if (linear.has_bias) Expect(bias, {linear.out_features});
    // A bias that config.json does not speak of would be left out of every sum.
    if (!linear.has_bias && checkpoint_.Find(bias) != nullptr)
      Note(bias, "a bias", "none, after config.json");
  }
  absl::Status Finish() {
    if (!wrong_.empty()) {
      return MakeError(Reason::kModelCorrupt,
                       "the checkpoint does not hold what config.json describes",
                       std::move(wrong_));
    }
    if (!unsupported_.empty()) {
      return MakeError(Reason::kModelUnsupported, "weights of this type are not supported",
                       std::move(unsupported_));
    }
    return absl::OkStatus();
  }

 private:
  void Note(const std::string& name, std::string got, std::string wanted) {
    constexpr size_t kMostNotes = 20;  // a wrong config.json contradicts every tensor
    if (wrong_.size() < kMostNotes) wrong_.push_back({name, std::move(got), std::move(wanted)});
  }
  const Checkpoint& checkpoint_;
  std::vector<Violation> wrong_, unsupported_;
};

// Of the norms of q and of k.
std::pair<int64_t, int64_t> HeadNormWidths(const ModelSpec& model) {
  if (model.latent.has_value()) return {model.latent->q_rank, model.latent->kv_rank};
  const bool wide = model.wide_head_norms;
  return {model.head_dim * (wide ? model.heads : 1), model.head_dim * (wide ? model.kv_heads : 1)};
}

absl::Status CheckTensors(const ModelSpec& model, const Checkpoint& checkpoint) {
  TensorCheck check(checkpoint);
  check.Expect(model.embedding, {model.vocabulary, model.hidden});
  check.Expect(model.positions, {model.first_position + model.max_positions, model.hidden});
  check.ExpectNorm(model.final_norm, model.hidden);
  check.Expect(model.head_tensor, {model.vocabulary, model.hidden});
  for (const BlockSpec& block : model.blocks) {
    for (const NormRole role :
         {NormRole::kAttention, NormRole::kAttentionOut, NormRole::kMlp, NormRole::kMlpOut}) {
      check.ExpectNorm(block.norm(role), model.hidden);
    }
    const auto [q_width, k_width] = HeadNormWidths(model);
    check.ExpectNorm(block.norm(NormRole::kQ), q_width);
    check.ExpectNorm(block.norm(NormRole::kK), k_width);
    if (block.mixture.has_value())
      check.Expect(block.mixture->correction, {block.mixture->experts});
    for (const LinearSpec& linear : block.linears) check.ExpectLinear(linear);
  }
  return check.Finish();
}

// What config.json says, or the embedding's when it says nothing.
absl::StatusOr<DType> ReadDType(const Json& config, const TensorInfo& embedding) {
  JsonFields fields(config, "config.json");
  const std::string name = fields.String("torch_dtype", fields.String("dtype", ""));
  if (name.empty()) return embedding.dtype;
  for (const DType dtype : {DType::kBF16, DType::kF16, DType::kF32}) {
    if (name == TorchNameOf(dtype)) return dtype;
  }
  return MakeError(
      Reason::kModelUnsupported, "models of this type are not supported",
      Violation{"config.json:torch_dtype", "\"" + name + "\"", "float32, float16 or bfloat16"});
}

}  // namespace

std::span<const Family> Families() { return kFamilies; }

const Family* FindFamily(std::string_view model_type) {
  for (const Family& family : kFamilies) {
    if (family.name == model_type) return &family;
  }
  return nullptr;
}

absl::Status CheckRunnable(const ModelSpec& model) {
  if (model.runnable) return absl::OkStatus();
  if (!model.lacking.empty()) {
    return MakeError(Reason::kModelUnsupported,
                     "calibration and evaluation run the model, which has features that are not "
                     "supported; methods that look at weights alone need neither",
                     model.lacking);
  }
  return MakeError(Reason::kModelUnsupported,
                   "unknown model family: calibration and evaluation run the model; methods that "
                   "look at weights alone need neither",
                   Violation{"config.json:model_type", "\"" + model.family + "\"",
                             FamilyNames() + "; or method rtn or hqq with --no-evaluation"});
}

absl::StatusOr<ModelSpec> ReadModelSpec(const ModelFiles& files, const Checkpoint& checkpoint) {
  QD_ASSIGN_OR_RETURN(const Json config, ReadConfig(files));
  JsonFields fields(config, "config.json");
  const std::string type = fields.String("model_type", "");
  const Family* family = FindFamily(type);
  ModelSpec model;
  auto parsed = family != nullptr ? family->parse(config)
                                  : absl::StatusOr<ModelSpec>(absl::UnimplementedError("unknown"));
  if (parsed.ok()) {
    model = *std::move(parsed);
    TensorNames names;
    for (const TensorInfo* info : checkpoint.Tensors()) names.insert(info->name);
    AdoptNames(names, model);
    QD_RETURN_IF_ERROR(SettleHead(checkpoint, model));
    QD_RETURN_IF_ERROR(CheckTensors(model, checkpoint));
  } else if (family == nullptr || ReasonOf(parsed.status()) == Reason::kModelUnsupported) {
    // What the forward pass lacks is no hindrance to methods that look at weights alone.
    auto by_names = SpecByNames(config, type, checkpoint);
    if (!by_names.ok()) return family != nullptr ? parsed.status() : by_names.status();
    model = *std::move(by_names);
    model.lacking = ViolationsOf(parsed.status());
  } else {
    return parsed.status();
  }
  NameDenseModules(checkpoint, model);
  const std::string typical =
      model.embedding.empty() ? model.blocks[0].linears[0].name + ".weight" : model.embedding;
  QD_ASSIGN_OR_RETURN(model.dtype, ReadDType(config, *checkpoint.Find(typical)));
  for (const TensorInfo* info : checkpoint.Tensors()) model.parameters += info->elements();
  return model;
}

}  // namespace quantd
