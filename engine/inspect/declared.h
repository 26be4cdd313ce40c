// What quantization_config of a model says of its linears.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "base/json.h"
#include "engine/types/scheme.h"

namespace quantd {

// As far as a configuration says it.
struct DeclaredScheme {
  std::string type = "int";  // "int", "float"
  std::optional<int> bits;
  std::optional<Granularity> granularity;
  std::optional<int64_t> group_size;  // with granularity kGroup
  std::optional<bool> symmetric;
  std::optional<ActivationScheme> activations;
};

struct Declared {
  std::string method;   // "awq", "gptq", "compressed-tensors", "hqq", "fp8", …; empty: dense
  std::string variant;  // "gemm", "gptq_v2", "pack-quantized", …; empty: none
  Json config;          // the object itself
  // The scheme of a linear by its module name; nothing: it stays dense. Unset for methods that we
  // know by name alone.
  std::function<std::optional<DeclaredScheme>(std::string_view module)> scheme_of;
};

// Reads quantization_config (null: the model is dense). Never refuses a method that it does not
// know. Errors: MODEL_CORRUPT for values that no configuration of that method has.
absl::StatusOr<Declared> ReadDeclared(const Json& quantization_config);

}  // namespace quantd
