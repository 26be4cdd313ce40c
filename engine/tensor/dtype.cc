#include "engine/tensor/dtype.h"

#include <array>

namespace quantd {
namespace {

struct Row {
  DType dtype;
  int64_t bytes;
  std::string_view name;
  std::string_view torch_name;
};

// In the order of the enum.
constexpr std::array kRows = {
    Row{DType::kF64, 8, "F64", "float64"},
    Row{DType::kF32, 4, "F32", "float32"},
    Row{DType::kF16, 2, "F16", "float16"},
    Row{DType::kBF16, 2, "BF16", "bfloat16"},
    Row{DType::kI64, 8, "I64", "int64"},
    Row{DType::kI32, 4, "I32", "int32"},
    Row{DType::kI16, 2, "I16", "int16"},
    Row{DType::kI8, 1, "I8", "int8"},
    Row{DType::kU8, 1, "U8", "uint8"},
    Row{DType::kBool, 1, "BOOL", "bool"},
    Row{DType::kF8E4M3, 1, "F8_E4M3", "float8_e4m3fn"},
    Row{DType::kF8E5M2, 1, "F8_E5M2", "float8_e5m2"},
    Row{DType::kF8E8M0, 1, "F8_E8M0", "float8_e8m0fnu"},
};

constexpr bool InOrder() {
  for (size_t i = 0; i < kRows.size(); ++i) {
    if (kRows[i].dtype != static_cast<DType>(i)) return false;
  }
  return kRows.back().dtype == DType::kF8E8M0;
}
static_assert(InOrder());

const Row& RowOf(DType dtype) { return kRows[static_cast<size_t>(dtype)]; }

}  // namespace

int64_t SizeOf(DType dtype) { return RowOf(dtype).bytes; }

std::string_view NameOf(DType dtype) { return RowOf(dtype).name; }

std::optional<DType> DTypeByName(std::string_view name) {
  for (const Row& row : kRows) {
    if (row.name == name) return row.dtype;
  }
  return std::nullopt;
}

std::string_view TorchNameOf(DType dtype) { return RowOf(dtype).torch_name; }

bool IsFloat(DType dtype) {
  return dtype == DType::kF32 || dtype == DType::kF16 || dtype == DType::kBF16;
}

}  // namespace quantd
