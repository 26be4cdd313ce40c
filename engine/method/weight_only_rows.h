// What weight-only methods with integer codes may be told in common.
#pragma once

#include <array>

#include "engine/method/option_row.h"

namespace quantd {

inline constexpr int kBits2To8[] = {2, 3, 4, 5, 6, 7, 8};

inline constexpr std::array<OptionRow, 1> kBits2To8Row = {
    {{"bits", "int", "4", "2..8", "bits of one code"}}};

inline constexpr std::array<OptionRow, 1> kNumberFormatRow = {
    {{"number_format", "enum", "int4",
      "int2, int3, int4, int5, int6, int7, int8, fp8-e4m3, fp8-block, mxfp8, mxfp4, nvfp4, Q8_0, "
      "Q6_K, Q5_K_M, Q5_K_S, Q5_K, Q5_1, Q5_0, Q4_K_M, Q4_K_S, Q4_K, Q4_1, Q4_0, Q3_K_L, Q3_K_M, "
      "Q3_K_S, Q3_K, Q2_K, Q2_K_S",
      "what one weight is stored as, instead of bits; the floating ones say which weights share a "
      "scale, and have no zero points; blocks and mixtures of them, for format gguf, say all of "
      "it, and decide about embedding and output projection too"}}};

// Groups of 128 with integer zero points unless told otherwise.
inline constexpr std::array<OptionRow, 3> kIntegerZeroRows = {
    {{"granularity", "enum", "group", "group, channel",
      "which weights share a scale: neighbouring inputs of a row, or a row"},
     {"group_size", "int", "128", "multiples of 8 that divide the inputs",
      "weights per scale, with granularity group"},
     {"symmetric", "bool", "false", "true, false", "false adds an integer zero point per scale"}}};

// Groups of 64 with real zero points.
inline constexpr std::array<OptionRow, 3> kRealZeroRows = {
    {{"granularity", "enum", "group", "group, channel",
      "which weights share a scale and a zero point: neighbouring inputs of a row, or a row"},
     {"group_size", "int", "64", "multiples of 8 that divide the inputs",
      "weights per scale, with granularity group"},
     {"symmetric", "bool", "false", "false", "zero points are real numbers"}}};

}  // namespace quantd
