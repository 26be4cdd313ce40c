// Where the tensors of an artifact go while they are made: straight into the artifact, or into the
// file of one block (engine/run/journal.h).
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "absl/status/status.h"
#include "base/threads.h"
#include "engine/tensor/checkpoint.h"
#include "engine/tensor/tensor.h"

namespace quantd {

class PackedTensors {
 public:
  // Large tensors are copied on `pool`.
  explicit PackedTensors(ThreadPool& pool) : pool_(pool) {}
  virtual ~PackedTensors() = default;

  // The tensor of that name as it was planned; null: none of that name is written.
  virtual const TensorInfo* Planned(std::string_view name) const = 0;
  // Bytes of the planned tensor `name` at `offset`. Each byte once. Thread-safe. Errors: DISK_FULL,
  // IO; INTERNAL for what was not planned.
  virtual absl::Status Write(std::string_view name, int64_t offset,
                             std::span<const std::byte> bytes) = 0;

  // What a copied tensor may hold.
  enum class Content { kFinite, kAny };
  // Copies a tensor of the checkpoint, in the type that is planned for it, if one of that name is
  // planned. MODEL_NOT_FINITE if it holds NaN or infinity, unless `content` allows them.
  absl::Status Copy(const Checkpoint& checkpoint, std::string_view name,
                    Content content = Content::kFinite);
  // Writes all rows of a planned tensor as the checkpoint has them, as Copy does.
  absl::Status WriteRows(std::string_view name, const WeightRows& rows);
  // Writes a planned tensor from f32, rounded to its stored type.
  absl::Status WriteValues(std::string_view name, std::span<const float> values);

 private:
  absl::Status WriteAs(const TensorInfo& stored, int64_t row, int64_t row_bytes, DType dtype,
                       std::span<const std::byte> bytes);

  ThreadPool& pool_;
};

}  // namespace quantd
