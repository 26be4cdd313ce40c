#include "engine/model/registry.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/error.h"
#include "base/files.h"
#include "engine/model/families.h"

namespace quantd {
namespace {

constexpr Family kFamilies[] = {
    {"llama", "the shape itself: RMSNorm, rotary attention with grouped heads, gated SiLU MLP",
     ParseLlama},
    {"mistral", "a sliding window in every block", ParseMistral},
    {"qwen2", "biases on q, k and v; a sliding window from some block on", ParseQwen2},
    {"qwen3", "norms on the heads of q and k; a head size of its own", ParseQwen3},
};

std::string FamilyNames() {
  return absl::StrJoin(kFamilies, ", ", [](std::string* out, const Family& family) {
    absl::StrAppend(out, ToAbsl(family.name));
  });
}

absl::StatusOr<const Family*> FindFamily(const Json& config) {
  JsonFields fields(config, "config.json");
  const std::string type = fields.String("model_type", "");
  for (const Family& family : kFamilies) {
    if (family.name == type) return &family;
  }
  return MakeError(Reason::kModelUnsupported, "unknown model family",
                   Violation{"config.json:model_type", "\"" + type + "\"", FamilyNames()});
}

absl::StatusOr<Json> ReadConfig(const std::string& folder) {
  constexpr int64_t kMostBytes = int64_t{16} << 20;
  const std::string path = folder + "/config.json";
  if (!PathExists(path)) {
    return MakeError(Reason::kModelNotFound, "no model there",
                     Violation{path, "no such file", "a config.json"});
  }
  QD_ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMostBytes));
  QD_ASSIGN_OR_RETURN(Json config, ParseJson(text, "config.json"));
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
  void ExpectLinear(const LinearSpec& linear) {
    Expect(linear.name + ".weight", {linear.out_features, linear.in_features});
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

absl::Status CheckTensors(const ModelSpec& model, const Checkpoint& checkpoint) {
  TensorCheck check(checkpoint);
  check.Expect(model.embedding, {model.vocabulary, model.hidden});
  check.Expect(model.final_norm, {model.hidden});
  check.Expect(model.head_tensor, {model.vocabulary, model.hidden});
  for (const BlockSpec& block : model.blocks) {
    check.Expect(block.input_norm, {model.hidden});
    check.Expect(block.post_attention_norm, {model.hidden});
    check.Expect(block.q_norm, {model.head_dim});
    check.Expect(block.k_norm, {model.head_dim});
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

absl::StatusOr<ModelSpec> ReadModelSpec(const std::string& folder, const Checkpoint& checkpoint) {
  QD_ASSIGN_OR_RETURN(const Json config, ReadConfig(folder));
  QD_ASSIGN_OR_RETURN(const Family* family, FindFamily(config));
  QD_ASSIGN_OR_RETURN(ModelSpec model, family->parse(config));
  QD_RETURN_IF_ERROR(CheckTensors(model, checkpoint));
  QD_ASSIGN_OR_RETURN(model.dtype, ReadDType(config, *checkpoint.Find(model.embedding)));
  for (const TensorInfo* info : checkpoint.Tensors()) model.parameters += info->elements();
  return model;
}

}  // namespace quantd
