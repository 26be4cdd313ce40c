#include "engine/types/number_format.h"

#include <array>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "engine/tensor/small_float.h"

namespace quantd {
namespace {

constexpr NumberFormat kFormats[] = {
    {.name = "int2", .summary = "integers of 2 bits", .bits = 2},
    {.name = "int3", .summary = "integers of 3 bits", .bits = 3},
    {.name = "int4", .summary = "integers of 4 bits", .bits = 4},
    {.name = "int5", .summary = "integers of 5 bits", .bits = 5},
    {.name = "int6", .summary = "integers of 6 bits", .bits = 6},
    {.name = "int7", .summary = "integers of 7 bits", .bits = 7},
    {.name = "int8", .summary = "integers of 8 bits", .bits = 8},
    {.name = "fp8-e4m3",
     .summary = "E4M3, scales of the model's type per channel or tensor",
     .bits = 8,
     .element = Element::kE4M3},
    {.name = "fp8-block",
     .summary = "E4M3, a scale of the model's type per block of 128 x 128 weights",
     .bits = 8,
     .element = Element::kE4M3,
     .group_size = 128,
     .group_rows = 128},
    {.name = "mxfp8",
     .summary = "E4M3, a power of two per 32 weights (OCP MX)",
     .bits = 8,
     .element = Element::kE4M3,
     .scale = ScaleKind::kE8M0,
     .group_size = 32},
    {.name = "mxfp4",
     .summary = "E2M1, a power of two per 32 weights (OCP MX)",
     .bits = 4,
     .element = Element::kE2M1,
     .scale = ScaleKind::kE8M0,
     .group_size = 32},
    {.name = "nvfp4",
     .summary = "E2M1, an E4M3 scale per 16 weights and one f32 per tensor",
     .bits = 4,
     .element = Element::kE2M1,
     .scale = ScaleKind::kE4M3,
     .group_size = 16},
};

template <size_t count>
std::array<float, count> Values(rules::SmallFloat type) {
  std::array<float, count> values;
  for (size_t code = 0; code < count; ++code) {
    values[code] = rules::SmallFloatOf(type, static_cast<uint32_t>(code));
  }
  return values;
}

}  // namespace

std::span<const NumberFormat> NumberFormats() { return kFormats; }

const NumberFormat* FindNumberFormat(std::string_view name) {
  for (const NumberFormat& format : kFormats) {
    if (format.name == name) return &format;
  }
  return nullptr;
}

std::string NumberFormatNames() {
  std::string names;
  for (const NumberFormat& format : kFormats) {
    absl::StrAppend(&names, names.empty() ? "" : ", ", ToAbsl(format.name));
  }
  return names;
}

const float* LevelsOf(Element element) {
  static const auto e2m1 = Values<16>(rules::kE2M1);
  static const auto e4m3 = Values<256>(rules::kE4M3);
  if (element == Element::kInteger) return nullptr;
  return element == Element::kE2M1 ? e2m1.data() : e4m3.data();
}

}  // namespace quantd
