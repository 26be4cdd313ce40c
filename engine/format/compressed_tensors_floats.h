// The layouts of floating number formats in compressed-tensors, as release 0.20 reads and
// llm-compressor writes them: nvfp4-pack-quantized, mxfp4-pack-quantized, mxfp8-quantized,
// float-quantized (fp8 with activations) and naive-quantized (fp8 without).
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "engine/format/registry.h"

namespace quantd {

// All for schemes with a floating format, as Format's functions of these names; the first is the
// layout's name.
std::string_view FloatingLayout(const Scheme& scheme);
std::vector<TensorInfo> FloatingTensors(const LinearSpec& linear, const Scheme& scheme);
std::vector<PackedPiece> PackFloating(const LinearSpec& linear, const Scheme& scheme,
                                      int64_t row_begin, const QuantizedRows& rows);
std::vector<PackedPiece> FloatingConstants(const LinearSpec& linear, const Scheme& scheme,
                                           const std::optional<StaticInput>& input);
// QuantizationArgs of the weights, and of the inputs (null without activations).
Json FloatingWeightArguments(const Scheme& scheme);
Json FloatingInputArguments(const Scheme& scheme);

}  // namespace quantd
