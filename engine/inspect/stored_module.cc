#include "engine/inspect/stored_module.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/error.h"

namespace quantd {
namespace {

void MeasureDense(StoredModule& module, const TensorFolder& /*folder*/, Findings* /*findings*/) {
  const FolderTensor* weight = module.Part("weight");
  if (weight == nullptr || weight->info.shape.size() != 2) return;
  module.out_features = weight->info.shape[0];
  module.in_features = weight->info.shape[1];
  module.usable = true;
}

// Known by name: 8 bits, or what bitsandbytes packs two to a byte.
void MeasureNamed(StoredModule& module, const TensorFolder& /*folder*/, Findings* /*findings*/) {
  const FolderTensor* weight = module.Part("weight");
  if (weight == nullptr || weight->info.shape.size() != 2) return;
  module.scheme.bits = 8;
  module.scheme.granularity = Granularity::kTensor;
  module.scheme.group_size = 0;
  module.out_features = weight->info.shape[0];
  module.in_features = weight->info.shape[1];
  if (module.layout == Layout::kBitsAndBytes && module.Part("SCB") == nullptr) {
    // The shape of the matrix is in quant_state; the codes lie flat.
    module.scheme.bits = 4;
    module.out_features = weight->info.elements() * 2;
    module.in_features = 1;
  }
}

void MeasureUnknown(StoredModule& module, const TensorFolder& /*folder*/, Findings* findings) {
  findings->Problem(module.name,
                    absl::StrCat("tensors of a layout that is not known: ",
                                 absl::StrJoin(module.parts, ", ", [](auto* out, auto& part) {
                                   absl::StrAppend(out, part.first);
                                 })));
}

constexpr std::array kRows = std::to_array<LayoutRow>({
    {Layout::kDense, "dense", MeasureDense},
    {Layout::kPackQuantized, "pack-quantized", MeasurePackQuantized},
    {Layout::kIntQuantized, "int-quantized", MeasureIntQuantized},
    {Layout::kAwqGemm, "awq gemm", MeasureAwq},
    {Layout::kGptq, "gptq", MeasureGptq},
    {Layout::kHqq, "hqq", MeasureHqq},
    {Layout::kFp8, "fp8", MeasureNamed},
    {Layout::kBitsAndBytes, "bitsandbytes", MeasureNamed},
    {Layout::kUnknown, "unknown", MeasureUnknown},
});

// Parts that only quantized linears have.
constexpr std::array<std::string_view, 13> kMarks = {"weight_packed",
                                                     "weight_shape",
                                                     "weight_scale",
                                                     "weight_zero_point",
                                                     "weight_scale_inv",
                                                     "qweight",
                                                     "qzeros",
                                                     "scales",
                                                     "W_q",
                                                     "SCB",
                                                     "absmax",
                                                     "quant_map",
                                                     "g_idx"};

// "a.b.weight" -> {"a.b", "weight"}; bitsandbytes puts its parts below the weight.
std::pair<std::string, std::string> Split(const std::string& tensor) {
  const size_t below = tensor.find(".weight.");
  const size_t dot = below != std::string::npos ? below : tensor.rfind('.');
  if (dot == std::string::npos) return {"", tensor};
  const size_t part =
      below != std::string::npos ? below + std::string_view(".weight.").size() : dot + 1;
  return {tensor.substr(0, dot), tensor.substr(part)};
}

// AWQ packs along the outputs and GPTQ along the inputs: the scales tell which.
Layout OfQweight(const StoredModule& module) {
  const FolderTensor* codes = module.Part("qweight");
  const FolderTensor* scales = module.Part("scales");
  if (scales == nullptr || scales->info.shape.size() != 2 || codes->info.shape.size() != 2) {
    return module.Part("g_idx") != nullptr ? Layout::kGptq : Layout::kUnknown;
  }
  if (codes->info.shape[1] == scales->info.shape[1]) return Layout::kGptq;
  if (codes->info.shape[1] == scales->info.shape[1] / 8) return Layout::kAwqGemm;
  return module.Part("g_idx") != nullptr ? Layout::kGptq : Layout::kUnknown;
}

Layout LayoutOf(const StoredModule& module) {
  if (module.Part("weight_packed") != nullptr) return Layout::kPackQuantized;
  if (module.Part("W_q") != nullptr) return Layout::kHqq;
  if (module.Part("qweight") != nullptr) return OfQweight(module);
  const FolderTensor* weight = module.Part("weight");
  if (module.Part("SCB") != nullptr || module.Part("absmax") != nullptr ||
      module.Part("quant_map") != nullptr) {
    return Layout::kBitsAndBytes;
  }
  if (weight != nullptr) {
    const DType dtype = weight->info.dtype;
    if (dtype == DType::kF8E4M3 || dtype == DType::kF8E5M2) return Layout::kFp8;
    if (dtype == DType::kI8) return Layout::kIntQuantized;
  }
  for (const std::string_view mark : kMarks) {
    if (module.Part(mark) != nullptr) return Layout::kUnknown;
  }
  return Layout::kDense;
}

std::string Shown(const std::vector<int64_t>& shape) {
  return absl::StrCat("[",
                      absl::StrJoin(shape, ", ",
                                    [](std::string* out, int64_t size) {
                                      absl::StrAppend(out, size < 0 ? "any" : absl::StrCat(size));
                                    }),
                      "]");
}

}  // namespace

std::string_view NameOf(Layout layout) { return RowOf(layout).name; }
const LayoutRow& RowOf(Layout layout) { return kRows[static_cast<size_t>(layout)]; }

const FolderTensor* StoredModule::Part(std::string_view suffix) const {
  const auto found = parts.find(suffix);
  return found == parts.end() ? nullptr : found->second;
}

int64_t StoredModule::bytes() const {
  int64_t total = 0;
  for (const auto& [suffix, tensor] : parts) {
    if (suffix != "bias") total += tensor->info.bytes();
  }
  return total;
}

bool ExpectPart(const StoredModule& module, std::string_view part, std::vector<DType> dtypes,
                std::vector<int64_t> shape, Findings* findings) {
  const FolderTensor* tensor = module.Part(part);
  const std::string where = absl::StrCat(module.name, ".", ToAbsl(part));
  if (tensor == nullptr) {
    findings->Problem(where, "missing, with " + Shown(shape));
    return false;
  }
  const TensorInfo& info = tensor->info;
  if (!dtypes.empty() && std::find(dtypes.begin(), dtypes.end(), info.dtype) == dtypes.end()) {
    findings->Problem(where, absl::StrCat("is ", ToAbsl(NameOf(info.dtype)), ", wanted ",
                                          absl::StrJoin(dtypes, " or ", [](auto* out, DType type) {
                                            absl::StrAppend(out, ToAbsl(NameOf(type)));
                                          })));
    return false;
  }
  bool fits = info.shape.size() == shape.size();
  for (size_t i = 0; fits && i < shape.size(); ++i)
    fits = shape[i] < 0 || shape[i] == info.shape[i];
  if (!fits) {
    findings->Problem(where, absl::StrCat("is ", Shown(info.shape), ", wanted ", Shown(shape)));
  }
  return fits;
}

std::vector<int64_t> SmallPart(const StoredModule& module, const TensorFolder& folder,
                               std::string_view part, int64_t count, Findings* findings) {
  const std::string where = absl::StrCat(module.name, ".", ToAbsl(part));
  const FolderTensor* tensor = module.Part(part);
  if (tensor == nullptr) {
    findings->Problem(where, "missing");
    return {};
  }
  const int64_t width = SizeOf(tensor->info.dtype);
  const bool integers = tensor->info.dtype == DType::kI64 || tensor->info.dtype == DType::kI32 ||
                        tensor->info.dtype == DType::kU8;
  if (!integers || tensor->info.elements() != count) {
    findings->Problem(where, absl::StrCat("wanted ", count, " integers"));
    return {};
  }
  const auto bytes = folder.ReadAll(*tensor);
  if (!bytes.ok()) {
    findings->Problem(where, std::string(bytes.status().message()));
    return {};
  }
  std::vector<int64_t> values;
  for (int64_t i = 0; i < count; ++i) {
    // Little-endian; negative numbers are not shapes and stay huge or negative.
    int64_t value = 0;
    std::memcpy(&value, bytes->data() + i * width, static_cast<size_t>(width));
    values.push_back(value);
  }
  return values;
}

bool SetGroups(StoredModule& module, int64_t groups, Findings* findings) {
  Scheme& scheme = module.scheme;
  if (groups == 1) {
    scheme.granularity = Granularity::kChannel;
    scheme.group_size = 0;
    return true;
  }
  scheme.granularity = Granularity::kGroup;
  scheme.group_size = groups > 0 ? module.in_features / groups : 0;
  if (groups > 0 && scheme.group_size > 0 && module.in_features % groups == 0) return true;
  findings->Problem(module.name, absl::StrCat(groups, " groups do not divide a row of ",
                                              module.in_features, " weights"));
  return false;
}

std::vector<StoredModule> StoredModules(const TensorFolder& folder, Findings* findings) {
  std::map<std::string, StoredModule> by_name;
  for (const auto& [name, tensor] : folder.tensors()) {
    auto [prefix, suffix] = Split(name);
    StoredModule& module = by_name[prefix];
    module.parts.emplace(std::move(suffix), &tensor);
  }
  std::vector<StoredModule> modules;
  for (auto& [name, module] : by_name) {
    module.name = name;
    module.layout = LayoutOf(module);
    const FolderTensor* weight = module.Part("weight");
    const bool matrix = weight != nullptr && weight->info.shape.size() == 2;
    if (module.layout == Layout::kDense && !matrix) continue;
    RowOf(module.layout).measure(module, folder, findings);
    modules.push_back(std::move(module));
  }
  return modules;
}

}  // namespace quantd
