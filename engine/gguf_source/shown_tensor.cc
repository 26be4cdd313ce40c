#include "engine/gguf_source/shown_tensor.h"

#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/error.h"
#include "engine/gguf/block_types.h"
#include "engine/gguf/tensor_names.h"

namespace quantd {
namespace {

// A file that is not what it says contradicts itself in every tensor.
constexpr size_t kMostViolations = 20;

std::string ShapeText(std::span<const int64_t> shape) {
  return absl::StrCat("[", absl::StrJoin(shape, ", "), "]");
}

// What stands for something in config.json, or is made by readers anew.
bool IsConstant(std::string_view name, std::string_view family) {
  if (name.ends_with(".attn_rot_embd") || name.ends_with(".attn_rot_embd.weight")) return true;
  return family == "phi3"
             ? name == "rope_factors_long.weight" || name == "rope_factors_short.weight"
             : name == "rope_freqs.weight";
}

std::string DecodedTypes() {
  return absl::StrJoin(BlockTypes(), ", ", [](std::string* out, const BlockType& type) {
    absl::StrAppend(out, ToAbsl(type.name));
  });
}

std::string TypeName(uint32_t number) {
  const GgufElement* element = FindGgufElement(number);
  return element == nullptr ? absl::StrCat("element type ", number) : std::string(element->name);
}

class Shower {
 public:
  Shower(const ModelSpec& model, std::span<const GgufPart> parts) : model_(model) {
    for (size_t part = 0; part < parts.size(); ++part) {
      for (const GgufTensor& tensor : parts[part].header.tensors) {
        stored_[tensor.name] = {&tensor, part};
      }
    }
  }

  absl::StatusOr<std::vector<ShownTensor>> Run() {
    Show(model_.embedding, {model_.vocabulary, model_.hidden});
    for (const BlockSpec& block : model_.blocks) {
      for (const std::string& norm : block.NormTensors()) Show(norm, {});
      for (const LinearSpec& linear : block.linears) {
        Show(linear.name + ".weight", {linear.out_features, linear.in_features});
        if (linear.has_bias) Show(linear.name + ".bias", {linear.out_features});
      }
    }
    for (const std::string& norm : {model_.final_norm.gain, model_.final_norm.bias}) {
      if (!norm.empty()) Show(norm, {});
    }
    if (!model_.tied_embeddings) Show(model_.head_tensor, {model_.vocabulary, model_.hidden});
    RefuseOthers();
    QD_RETURN_IF_ERROR(Finish(Reason::kModelCorrupt, std::move(wrong_),
                              "the GGUF file does not hold what its metadata describe"));
    QD_RETURN_IF_ERROR(Finish(Reason::kModelUnsupported, std::move(unsupported_),
                              "GGUF files with such tensors are not read"));
    return std::move(shown_);
  }

 private:
  struct Stored {
    const GgufTensor* tensor = nullptr;
    size_t part = 0;
  };

  static absl::Status Finish(Reason reason, std::vector<Violation> violations,
                             std::string_view what) {
    if (violations.empty()) return absl::OkStatus();
    if (violations.size() > kMostViolations) violations.resize(kMostViolations);
    return MakeError(reason, what, std::move(violations));
  }

  // An empty shape is any: who reads the checkpoint checks it.
  void Show(const std::string& tensor, std::vector<int64_t> shape) {
    const std::optional<GgufName> name = FindGgufName(model_, tensor);
    const auto found = name.has_value() ? stored_.find(name->name) : stored_.end();
    if (found == stored_.end()) {
      wrong_.push_back({name.has_value() ? name->name : tensor, "no such tensor",
                        "the tensor, of shape " + ShapeText(shape)});
      return;
    }
    used_.insert(name->name);
    const GgufTensor& stored = *found->second.tensor;
    std::vector<int64_t> own(stored.dims.rbegin(), stored.dims.rend());
    std::vector<int64_t> wanted = shape;
    if (name->expert >= 0) wanted.insert(wanted.begin(), model_.blocks[0].mixture->experts);
    if (!shape.empty() && own != wanted) {
      wrong_.push_back({name->name, ShapeText(own), ShapeText(wanted)});
      return;
    }
    const BlockType* type = FindBlockType(stored.type);
    if (type == nullptr) {
      unsupported_.push_back({name->name, TypeName(stored.type), DecodedTypes()});
      return;
    }
    if (shape.empty()) shape = std::move(own);
    ShownTensor shown = {.info = {.name = tensor, .shape = std::move(shape)},
                         .type = type,
                         .part = found->second.part,
                         .offset = stored.offset,
                         .places = RowPlaces(*name, model_, stored.dims.back()),
                         .added = name->added};
    const bool numbers = shown.as_stored();
    shown.info.dtype = numbers ? DTypeOf(*type) : DType::kF32;
    if (name->expert >= 0) {
      shown.places.clear();
      shown.offset += name->expert * (stored.bytes / model_.blocks[0].mixture->experts);
    }
    shown_.push_back(std::move(shown));
  }

  static DType DTypeOf(const BlockType& type) {
    for (const DType dtype : {DType::kF32, DType::kF16}) {
      if (BlockTypeOf(dtype) == &type) return dtype;
    }
    return DType::kBF16;
  }

  void RefuseOthers() {
    for (const auto& [name, stored] : stored_) {
      if (used_.contains(name) || IsConstant(name, model_.family)) continue;
      unsupported_.push_back({name, "a tensor that the family " + model_.family + " does not use",
                              "none but the family's"});
    }
  }

  const ModelSpec& model_;
  std::map<std::string, Stored, std::less<>> stored_;
  std::set<std::string, std::less<>> used_;
  std::vector<ShownTensor> shown_;
  std::vector<Violation> wrong_, unsupported_;
};

}  // namespace

absl::StatusOr<std::vector<ShownTensor>> ShowTensors(const ModelSpec& model,
                                                     std::span<const GgufPart> parts) {
  return Shower(model, parts).Run();
}

}  // namespace quantd
