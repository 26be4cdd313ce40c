// What the searches of methods are made of, for the number format of a scheme: integers by the
// kernels of the instruction set, floating types by the rules of engine/tensor/small_float.h.
#pragma once

#include <cstdint>

#include "engine/backend/kernels.h"
#include "engine/backend/rules.h"
#include "engine/types/scheme.h"

namespace quantd {

// The element type of a floating format.
rules::SmallFloat TypeOf(const NumberFormat& format);

// A scale as the scheme stores it, for |scale| > 0. With ScaleKind::kE4M3 and no tensor scale yet
// (0, before all weights of the linear are known): as it is.
float StoredScale(float scale, const Scheme& scheme);

// The scale of weights, or inputs, with that greatest magnitude, by range: compressed-tensors'
// (calculate_qparams of 0.20) bit for bit, but for groups of zeros with ScaleKind::kFloat, where it
// is 1. Floating formats.
float ScaleOfRange(float absmax, const Scheme& scheme);

// The f32 that brings the scales of a tensor with that greatest magnitude into the range of E4M3,
// as compressed-tensors' generate_gparam.
float TensorScaleOf(float absmax);

// QuantizeKernels::choose_scale, quantize and rounding_error for any scheme without blocks or real
// zeros. Of floating formats zero is 0 and codes are the elements' bits.
void ChooseScale(const QuantizeKernels& kernels, const float* weights, const float* importance,
                 int64_t count, const Scheme& scheme, float* scale, int8_t* zero);
void QuantizeGroup(const QuantizeKernels& kernels, const float* weights, int64_t count, float scale,
                   int8_t zero, const Scheme& scheme, int8_t* codes, double* weight_energy,
                   double* error_energy);
float RoundingError(const QuantizeKernels& kernels, const float* weights, const float* importance,
                    int64_t count, float scale, int8_t zero, const Scheme& scheme, float* errors);

// to[i] = the value of the scheme's floating type nearest to weights[i] / scales[i].
void RoundToLevels(const float* weights, const float* scales, int64_t count, const Scheme& scheme,
                   float* to);

// Inputs of one token as a server rounds them for a scheme with a floating format and activations,
// to[count]: to its number format with scales by range; with ActivationScheme::kStatic by `input`.
void RoundInputs(const float* x, int64_t count, const Scheme& scheme, const StaticInput* input,
                 float* to);

}  // namespace quantd
