// The tensors of a model as they are once its residual stream is rotated.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "engine/model/rotation.h"
#include "engine/tensor/checkpoint.h"
#include "engine/types/model_spec.h"

namespace quantd {

// Thread-safe.
class RotatedWeights {
 public:
  // MODEL_UNSUPPORTED for tensors whose part in the model is not known.
  static absl::StatusOr<std::shared_ptr<const RotatedWeights>> Create(Checkpoint checkpoint,
                                                                      const ModelSpec& model,
                                                                      Rotation rotation);

  // As they are shown, in order of name.
  std::vector<TensorInfo> Infos() const;
  // Bytes [begin, begin + out.size()) of tensor number `index`.
  absl::Status Read(size_t index, int64_t begin, std::span<std::byte> out) const;

 private:
  // What becomes of a tensor.
  enum class Part {
    kAsItIs,
    kReads,   // rows: times the gain, if there is one, then R
    kWrites,  // columns: R^T; a bias likewise
    kOnes     // a norm whose gain went into what reads it
  };
  struct Shown {
    TensorInfo info;
    Part part = Part::kAsItIs;
    std::string stored;                                   // its tensor in the checkpoint
    std::shared_ptr<const std::vector<float>> gain = {};  // null: none
  };
  // A tensor that was rotated as a whole.
  struct Kept {
    size_t index = 0;
    std::shared_ptr<const std::vector<std::byte>> bytes;
  };

  RotatedWeights(Checkpoint checkpoint, Rotation rotation)
      : checkpoint_(std::move(checkpoint)), rotation_(std::move(rotation)) {}
  absl::Status Plan(const ModelSpec& model);
  absl::Status PlanReader(const std::string& tensor, const std::string& norm);
  absl::Status CheckRest(const ModelSpec& model) const;
  Shown* Find(const std::string& name);
  absl::Status ReadByRows(const Shown& tensor, int64_t begin, std::span<std::byte> out) const;
  // Rows [row, row + count) as they are shown.
  absl::Status ReadRows(const Shown& tensor, int64_t row, int64_t count,
                        std::span<std::byte> out) const;
  absl::StatusOr<std::shared_ptr<const std::vector<std::byte>>> Whole(size_t index) const;

  const Checkpoint checkpoint_;
  const Rotation rotation_;
  std::vector<Shown> tensors_;
  mutable absl::Mutex mutex_;
  mutable std::deque<Kept> kept_ ABSL_GUARDED_BY(mutex_);  // the newest first
};

}  // namespace quantd
