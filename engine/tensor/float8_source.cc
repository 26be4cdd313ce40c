#include "engine/tensor/float8_source.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/checked.h"
#include "base/error.h"
#include "engine/tensor/float8.h"

namespace quantd {
namespace {

constexpr int64_t kWidestBlock = int64_t{1} << 20;

constexpr std::array<std::string_view, 8> kCompanions = {
    ".weight_scale_inv", ".weight_scale", ".input_scale",  ".input_scale_ub",
    ".k_scale",          ".v_scale",      ".output_scale", ".activation_scale"};

std::string Text(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

// The sizes under `key`: [rows, columns]. False if they are there and are none.
bool ReadBlock(const Json& object, const char* key, Float8Source* source) {
  const auto found = object.find(key);
  if (found == object.end() || found->is_null()) return true;
  if (!found->is_array() || found->size() != 2) return false;
  for (const Json& size : *found) {
    if (!size.is_number_integer()) return false;
    const auto value = size.get<int64_t>();
    if (value < 1 || value > kWidestBlock) return false;
  }
  source->block_rows = (*found)[0].get<int64_t>();
  source->block_columns = (*found)[1].get<int64_t>();
  return true;
}

// Whether a group of compressed-tensors is FP8. Blocks are of one size in a model.
bool ReadGroup(const Json& group, Float8Source* source) {
  if (!group.is_object()) return false;
  const auto weights = group.find("weights");
  if (weights == group.end() || !weights->is_object()) return false;
  const auto bits = weights->find("num_bits");
  const bool is_float8 = Text(*weights, "type") == "float" && bits != weights->end() &&
                         bits->is_number_integer() && bits->get<int64_t>() == 8;
  if (!is_float8) return false;
  const std::string strategy = Text(*weights, "strategy");
  if (strategy != "block") return strategy == "tensor" || strategy == "channel";
  const Float8Source before = *source;
  if (!ReadBlock(*weights, "block_structure", source) || source->block_rows == 0) return false;
  return before.block_rows == 0 ||
         (before.block_rows == source->block_rows && before.block_columns == source->block_columns);
}

bool ReadGroups(const Json& quantization, Float8Source* source) {
  const auto groups = quantization.find("config_groups");
  if (groups == quantization.end() || !groups->is_object() || groups->empty()) return false;
  return std::all_of(groups->begin(), groups->end(),
                     [&](const Json& group) { return ReadGroup(group, source); });
}

DType ModelDType(const Json& config) {
  for (const char* key : {"torch_dtype", "dtype"}) {
    for (const DType dtype : {DType::kBF16, DType::kF16, DType::kF32}) {
      if (Text(config, key) == TorchNameOf(dtype)) return dtype;
    }
  }
  return DType::kBF16;
}

}  // namespace

std::optional<Float8Source> ReadFloat8Source(const Json& config) {
  if (!config.is_object()) return std::nullopt;
  const Json* quantization = nullptr;
  for (const char* key : {"compression_config", "quantization_config"}) {
    const auto found = config.find(key);
    if (found != config.end() && found->is_object()) quantization = &*found;
  }
  if (quantization == nullptr) return std::nullopt;
  Float8Source source;
  const std::string method = Text(*quantization, "quant_method");
  const bool known = method == "compressed-tensors"
                         ? ReadGroups(*quantization, &source)
                         : (method == "fp8" || method == "fbgemm_fp8") &&
                               ReadBlock(*quantization, "weight_block_size", &source);
  if (!known) return std::nullopt;
  source.dtype = ModelDType(config);
  source.description = method == "compressed-tensors" ? "compressed-tensors fp8" : method;
  if (source.block_rows > 0) {
    absl::StrAppend(&source.description, ", blocks of ", source.block_rows, " x ",
                    source.block_columns);
  }
  return source;
}

bool IsFloat8Companion(std::string_view name) {
  return std::any_of(kCompanions.begin(), kCompanions.end(),
                     [&](std::string_view suffix) { return name.ends_with(suffix); });
}

absl::StatusOr<Float8Scales> MeasureFloat8Scales(const TensorInfo& weight, const TensorInfo& scales,
                                                 const Float8Source& source,
                                                 const std::string& where) {
  const auto refuse = [&](std::string got, std::string wanted) {
    return MakeError(Reason::kModelCorrupt, "scales that do not fit their FP8 weights",
                     Violation{.where = where, .got = std::move(got), .wanted = std::move(wanted)});
  };
  if (!IsFloat(scales.dtype) && scales.dtype != DType::kF8E8M0) {
    return refuse(std::string(NameOf(scales.dtype)), "F32, BF16, F16 or F8_E8M0");
  }
  const int64_t rows = weight.shape[0], columns = weight.shape[1];
  const std::vector<int64_t>& shape = scales.shape;
  const bool channels = shape == std::vector{rows} || shape == std::vector<int64_t>{rows, 1};
  if (source.block_rows > 0) {
    const int64_t down = DivideRoundingUp(rows, source.block_rows);
    const int64_t across = DivideRoundingUp(columns, source.block_columns);
    if (shape == std::vector{down, across}) {
      return Float8Scales{source.block_rows, source.block_columns, across};
    }
  }
  if (shape.size() <= 2 && scales.elements() == 1) return Float8Scales{rows, columns, 1};
  if (channels) return Float8Scales{1, columns, 1};
  return refuse(absl::StrCat("[", absl::StrJoin(shape, ", "), "]"),
                absl::StrCat("a scale for the tensor, each of ", rows, " rows",
                             source.block_rows > 0 ? " or each block" : ""));
}

}  // namespace quantd
