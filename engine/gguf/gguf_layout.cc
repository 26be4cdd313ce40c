#include "engine/gguf/gguf_layout.h"

#include <algorithm>
#include <cstring>
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

}  // namespace

TensorInfo StoredInGguf(TensorInfo tensor) {
  if (tensor.shape.size() < 2 && IsFloat(tensor.dtype)) tensor.dtype = DType::kF32;
  return tensor;
}

absl::StatusOr<LaidOutFile> LayOutGguf(const ModelSpec& model, std::span<const TensorInfo> tensors,
                                       const KeyValues& keys) {
  const auto names = GgufNames(model);
  LaidOutFile file;
  std::string infos;
  int64_t end = 0;
  const auto add = [&](const TensorInfo& tensor, const GgufName& name) -> absl::Status {
    QD_RETURN_IF_ERROR(AppendTensor(name.name, tensor, end, infos));
    const int64_t rows = tensor.shape.empty() ? 1 : tensor.shape[0];
    RowPairing pairing;
    if (name.paired_heads > 0) {
      pairing = {.heads = name.paired_heads, .row_bytes = tensor.bytes() / rows};
    }
    file.places.push_back(
        {.name = name.name, .begin = end, .bytes = tensor.bytes(), .pairing = pairing});
    end = Aligned(end + tensor.bytes());
    return absl::OkStatus();
  };
  for (const TensorInfo& tensor : tensors) {
    const auto name = names.find(tensor.name);
    if (name == names.end()) {
      return MakeError(Reason::kInternal, "no name of GGUF", Violation{tensor.name, "none", ""});
    }
    QD_RETURN_IF_ERROR(add(tensor, name->second));
  }
  const std::vector<float> factors = RopeFactors(model.rope);
  if (!factors.empty()) {
    QD_RETURN_IF_ERROR(add({"", DType::kF32, {static_cast<int64_t>(factors.size())}},
                           {.name = "rope_freqs.weight"}));
    file.constants.emplace_back(factors.size() * sizeof(float));
    std::memcpy(file.constants.back().data(), factors.data(), file.constants.back().size());
  }
  file.header = "GGUF";
  AppendU32(kVersion, file.header);
  AppendU64(file.places.size(), file.header);
  AppendU64(keys.count(), file.header);
  file.header += keys.bytes() + infos;
  const int64_t data = Aligned(static_cast<int64_t>(file.header.size()));
  for (TensorPlace& place : file.places) place.begin += data;
  file.size = data + end;
  return file;
}

}  // namespace quantd
