// Element types, as safetensors names them.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace quantd {

enum class DType {
  kF64,
  kF32,
  kF16,
  kBF16,
  kI64,
  kI32,
  kI16,
  kI8,
  kU8,
  kBool,
  kF8E4M3,
  kF8E5M2,
  kF8E8M0
};

// Bytes of one element.
int64_t SizeOf(DType dtype);
// "F32", "BF16", "I8", … as in a safetensors header.
std::string_view NameOf(DType dtype);
std::optional<DType> DTypeByName(std::string_view name);
// "float32", "bfloat16", … as torch_dtype in config.json has it.
std::string_view TorchNameOf(DType dtype);
// F32, F16 and BF16: what weights may be read as.
bool IsFloat(DType dtype);

}  // namespace quantd
