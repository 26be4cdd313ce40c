// A model with its residual stream turned by an orthogonal matrix R, seen as an ordinary model with
// the same function: QuaRot's and SpinQuant's R1 (arXiv 2404.00456, 2405.16406). Rows E of the
// embedding become E R, what reads the stream W diag(gain) R, what writes to it R^T W; the norms
// between become ones, and a tied output projection a tensor of its own. ADR 24 says why it is a
// source of models and no step of quantizing.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "engine/model/rotation.h"
#include "engine/tensor/model_files.h"

namespace quantd {

// How a stream is turned. `name` tells it from any other.
struct RotationRule {
  std::string name;
  std::function<absl::StatusOr<Rotation>(int64_t width)> make;
};
// Random signs by the seed, and Hadamard matrices.
RotationRule HadamardRule(uint64_t seed);

// `files` are those of a Hugging Face model (ShowModel). Tensors keep their types: those that
// change are rounded to them once, after sums in f64. Memory: where a tensor that writes to the
// stream is read, all of it twice, in f32 and as it is shown; the last few of them are kept.
// Errors: MODEL_UNSUPPORTED for a model that CheckRotatable refuses, or with tensors whose part in
// it is not known; those of opening and reading the model.
absl::StatusOr<std::shared_ptr<const ModelFiles>> ShowRotated(
    std::shared_ptr<const ModelFiles> files, const RotationRule& rule);

}  // namespace quantd
