// Half-quadratic quantization: the zero points of groups for given scales, by alternating between
// codes, sparse residuals and zeros (HQQ, Badri and Shaji 2023). docs/numerics.md, HQQ.
#pragma once

#include <cstdint>
#include <span>

#include "engine/backend/kernels.h"

namespace quantd {

struct HalfQuadratic {
  ZeroUpdates updates;
  double norm = 0.7;    // p of the residuals' |e|^p
  double beta = 10;     // how much the split residual may differ from the residual
  double kappa = 1.01;  // beta grows by this after each update
};

// One group: `count` weights and their importance (null: all alike).
struct GroupWeights {
  const float* weights = nullptr;
  const float* importance = nullptr;
  int64_t count = 0;
};

// Codes from 0: q = clamp(round(w * inverse + zero), 0, most), w ~ (q - zero) / inverse.
struct ZeroLine {
  float inverse = 1, zero = 0;
};

// The line over the range of the weights, where the iteration starts: as the reference, 1 for a
// range of at most 1e-4, and at most 20000.
ZeroLine LineOfRange(const GroupWeights& group, int most, bool round_zero);

// A residual of at most this is shrunk to nothing by the split with `beta`, so that the update is
// the mean.
double ShrinkThreshold(const HalfQuadratic& options, double beta);

// The iteration as written: codes, residual, shrunk residual, zero; per element with |e|^(p - 1).
// Adds to errors[i], unless null, the (weighted) sum of |e| before update i.
void UpdateZeroLiterally(const GroupWeights& group, int most, const HalfQuadratic& options,
                         ZeroLine* line, double* errors);

// The same result, by means alone (kernels) where no residual ever reaches the threshold, which is
// all but always.
void UpdateZero(const GroupWeights& group, int most, const HalfQuadratic& options,
                const RealZeroKernels& kernels, ZeroLine* line, double* errors);

// How many updates are made when the iteration ends with the first whose error, errors[i], is not
// below all before it; that update is still made.
int UpdatesUntilWorse(std::span<const double> errors);

}  // namespace quantd
