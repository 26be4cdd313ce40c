// Where the weight of a linear comes from: rows of [N, K], whichever way the checkpoint holds it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/tensor/checkpoint.h"
#include "engine/types/model_spec.h"

namespace quantd {

// The weight of one linear. Thread-safe.
class WeightSource {
 public:
  // Reads `tensor` of the checkpoint, which must outlive it.
  WeightSource(const Checkpoint& checkpoint, const LinearSpec& linear, std::string tensor);

  const LinearSpec& linear() const { return *linear_; }
  const std::string& tensor() const { return tensor_; }
  DType dtype() const { return dtype_; }
  // In the checkpoint.
  int64_t bytes() const { return linear_->parameters() * SizeOf(dtype_); }

  // Reads all of it now, once, and keeps it: what follows copies out of memory. Not while others
  // read. Memory: the weight as it is stored.
  absl::Status Hold();
  // Gives the memory back; reads go to the checkpoint again.
  void Release() { held_ = {}; }
  // All N rows; nothing unless held.
  std::optional<WeightRows> Held() const;

  // Rows [row, row + count) in the type of the checkpoint, out[count, K]. Errors: those of the
  // checkpoint.
  absl::Status Read(int64_t row, int64_t count, std::span<std::byte> out) const;
  // The same widened to f32.
  absl::Status ReadF32(int64_t row, int64_t count, float* out) const;

 private:
  const Checkpoint* checkpoint_;
  const LinearSpec* linear_;
  std::string tensor_;
  DType dtype_ = DType::kF32;
  AlignedBuffer<std::byte> held_;
};

// The weights of one block, in the order of BlockSpec::linears.
std::vector<WeightSource> SourcesOf(const Checkpoint& checkpoint, const BlockSpec& block);

}  // namespace quantd
