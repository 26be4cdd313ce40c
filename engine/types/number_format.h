// Number formats as data: what one stored weight can be, and what its scale can be. A format is a
// row; methods, packing and evaluation read the row and never list formats.
//
// Blocks of a file format (Scheme::block) are formats too, of which only whole blocks can be read:
// their rows are BlockTypes, and a scheme has one or the other.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace quantd {

// What a code stands for, before scale and zero point. kInteger: itself. The others are floating
// types by their bits, without infinities: kE2M1 0, 0.5, 1, 1.5, 2, 3, 4, 6; kE4M3 up to 448.
enum class Element { kInteger, kE2M1, kE4M3 };

// What a scale can be. kFloat: a number of Scheme::scale_dtype. kE8M0: a power of two from 2^-127
// to 2^127, one byte. kE4M3: a number of that type divided by Scheme::tensor_scale, one f32 of the
// whole linear.
enum class ScaleKind { kFloat, kE8M0, kE4M3 };

struct NumberFormat {
  std::string_view name;     // "nvfp4"
  std::string_view summary;  // one line
  int bits = 0;              // of one code
  Element element = Element::kInteger;
  ScaleKind scale = ScaleKind::kFloat;
  int64_t group_size = 0;  // weights per scale where the format fixes it; 0: the scheme says
  int64_t group_rows = 1;  // neighbouring rows whose groups share their scales: blocks of both

  bool floating() const { return element != Element::kInteger; }
};

// Every format that a scheme may name. Those of integers stand for `bits` alone: "int4" is bits 4.
std::span<const NumberFormat> NumberFormats();
// nullptr if there is none of that name.
const NumberFormat* FindNumberFormat(std::string_view name);
// "int2, int3, …", for messages.
std::string NumberFormatNames();
// The values of all codes, [2^bits], in units of the scale; nullptr for integers.
const float* LevelsOf(Element element);

}  // namespace quantd
