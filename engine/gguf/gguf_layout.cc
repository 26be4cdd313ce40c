#include "engine/gguf/gguf_layout.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/checked.h"
#include "base/error.h"
#include "engine/gguf/block_types.h"
#include "engine/gguf/model_keys.h"
#include "engine/gguf/tensor_names.h"

namespace quantd {
namespace {

constexpr int64_t kAlignment = 32;  // general.alignment where the key is missing
constexpr uint32_t kVersion = 3;

int64_t Aligned(int64_t at) { return DivideRoundingUp(at, kAlignment) * kAlignment; }

// One entry of the list of tensors; the fastest dimension comes first.
absl::Status AppendTensor(const std::string& name, const TensorInfo& tensor, int64_t offset,
                          std::string& header) {
  const BlockType* type = tensor.block != nullptr ? tensor.block : BlockTypeOf(tensor.dtype);
  if (type == nullptr) {
    return MakeError(Reason::kInternal, "no type of GGUF",
                     Violation{tensor.name, std::string(NameOf(tensor.dtype)), "a float type"});
  }
  AppendText(name, header);
  AppendU32(static_cast<uint32_t>(tensor.shape.size()), header);
  for (auto size = tensor.shape.rbegin(); size != tensor.shape.rend(); ++size) {
    AppendU64(static_cast<uint64_t>(*size), header);
  }
  AppendU32(type->number, header);
  AppendU64(static_cast<uint64_t>(offset), header);
  return absl::OkStatus();
}

// Places tensors of one file one after the other.
class Layout {
 public:
  explicit Layout(const ModelSpec& model) : model_(model) {}

  absl::Status Add(const TensorInfo& tensor, const GgufName& name) {
    if (name.expert >= 0) return AddExpert(tensor, name);
    QD_RETURN_IF_ERROR(AppendTensor(name.name, tensor, end_, infos_));
    ++tensors_;
    file_.places.push_back(PlaceOf(tensor, name, end_));
    end_ = Aligned(end_ + tensor.bytes());
    return absl::OkStatus();
  }

  absl::Status AddConstant(const ConstantTensor& constant) {
    const auto count = static_cast<int64_t>(constant.values.size());
    QD_RETURN_IF_ERROR(Add({"", DType::kF32, {count}}, {.name = constant.name}));
    file_.constants.emplace_back(constant.values.size() * sizeof(float));
    std::memcpy(file_.constants.back().data(), constant.values.data(),
                file_.constants.back().size());
    return absl::OkStatus();
  }

  int64_t bytes() const { return end_; }
  uint64_t tensors() const { return tensors_; }
  // Whether experts are missing that belong beside those that are here.
  bool incomplete() const { return missing_experts_ > 0; }

  LaidOutFile Finish(const KeyValues& keys) && {
    file_.header = "GGUF";
    AppendU32(kVersion, file_.header);
    AppendU64(tensors_, file_.header);
    AppendU64(keys.count(), file_.header);
    file_.header += keys.bytes() + infos_;
    const int64_t data = Aligned(static_cast<int64_t>(file_.header.size()));
    for (TensorPlace& place : file_.places) place.begin += data;
    file_.size = data + end_;
    return std::move(file_);
  }

 private:
  struct Stack {
    int64_t begin = 0;
    TensorInfo of;
  };

  TensorPlace PlaceOf(const TensorInfo& tensor, const GgufName& name, int64_t begin) const {
    const int64_t rows = tensor.shape.empty() ? 1 : tensor.shape[0];
    return {.name = name.name,
            .begin = begin,
            .bytes = tensor.bytes(),
            .order = {.row_bytes = rows == 0 ? 0 : tensor.bytes() / rows,
                      .places = RowPlaces(name, model_, rows)},
            .added = name.added};
  }

  // All experts of a block get their room when the first of them comes.
  absl::Status AddExpert(const TensorInfo& tensor, const GgufName& name) {
    const auto [stack, is_first] = stacks_.try_emplace(name.name, Stack{end_, tensor});
    if (is_first) {
      const int64_t experts = model_.blocks[0].mixture->experts;
      TensorInfo all = tensor;
      all.shape.insert(all.shape.begin(), experts);
      QD_RETURN_IF_ERROR(AppendTensor(name.name, all, end_, infos_));
      ++tensors_;
      missing_experts_ += experts;
      end_ = Aligned(end_ + experts * tensor.bytes());
    }
    --missing_experts_;
    const TensorInfo& of = stack->second.of;
    if (tensor.block != of.block || tensor.dtype != of.dtype || tensor.shape != of.shape) {
      return MakeError(Reason::kInternal, "experts of different types",
                       Violation{tensor.name, "another type", "that of " + of.name});
    }
    file_.places.push_back(
        PlaceOf(tensor, name, stack->second.begin + name.expert * tensor.bytes()));
    return absl::OkStatus();
  }

  const ModelSpec& model_;
  LaidOutFile file_;
  std::string infos_;
  uint64_t tensors_ = 0;
  int64_t end_ = 0;
  int64_t missing_experts_ = 0;
  std::map<std::string, Stack> stacks_;
};

}  // namespace

std::optional<TensorInfo> StoredInGguf(TensorInfo tensor, const ModelSpec& model) {
  const std::optional<GgufName> name = FindGgufName(model, tensor.name);
  if (!name.has_value()) return std::nullopt;
  const bool widened = tensor.shape.size() < 2 || name->as_float32;
  if (widened && IsFloat(tensor.dtype)) tensor.dtype = DType::kF32;
  return tensor;
}

absl::StatusOr<std::vector<LaidOutFile>> LayOutGguf(const ModelSpec& model,
                                                    std::span<const TensorInfo> tensors,
                                                    const KeyValues& keys, int64_t split_bytes) {
  std::vector<Layout> layouts(1, Layout(model));
  for (const TensorInfo& tensor : tensors) {
    const std::optional<GgufName> name = FindGgufName(model, tensor.name);
    if (!name.has_value()) {
      return MakeError(Reason::kInternal, "no name of GGUF", Violation{tensor.name, "none", ""});
    }
    const Layout& last = layouts.back();
    const bool full = split_bytes > 0 && last.bytes() + tensor.bytes() > split_bytes;
    if (full && last.tensors() > 0 && !last.incomplete()) layouts.emplace_back(model);
    QD_RETURN_IF_ERROR(layouts.back().Add(tensor, *name));
  }
  for (const ConstantTensor& constant : RopeFactors(model.rope)) {
    QD_RETURN_IF_ERROR(layouts.back().AddConstant(constant));
  }
  uint64_t count = 0;
  for (const Layout& layout : layouts) count += layout.tensors();
  std::vector<LaidOutFile> files;
  for (size_t number = 0; number < layouts.size(); ++number) {
    KeyValues own;
    if (number == 0) own.Append(keys);
    if (layouts.size() > 1) {
      own.AddU16("split.no", static_cast<uint16_t>(number));
      own.AddU16("split.count", static_cast<uint16_t>(layouts.size()));
      own.AddI32("split.tensors.count", static_cast<int32_t>(count));
    }
    files.push_back(std::move(layouts[number]).Finish(own));
  }
  return files;
}

}  // namespace quantd
