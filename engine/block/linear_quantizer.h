// One linear from its source into packed tensors: panels of rows are read, quantized, packed and
// written, on all threads. Panels are cut the same way for any number of threads.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/artifact/packed_tensors.h"
#include "engine/block/transform.h"
#include "engine/format/registry.h"
#include "engine/method/registry.h"
#include "engine/model/weight_source.h"
#include "engine/types/progress.h"

namespace quantd {

// What becomes of a linear beside its bytes in the artifact.
struct QuantizedLinear {
  LayerReport report;
  // All rows, when they were asked for: evaluation multiplies by them.
  std::optional<QuantizedRows> rows;
};

enum class KeepRows { kNo, kYes };

// What is quantized, and what was found out about it before.
struct LinearInputs {
  const WeightSource& source;
  const Prepared* prepared = nullptr;    // null if the method prepares nothing
  const Transform* transform = nullptr;  // null: the weight as it is
  float tensor_scale = 0;                // Scheme::tensor_scale: tensor_scale.h
};

class LinearQuantizer {
 public:
  // `cancelled` is asked once per panel, from any thread.
  LinearQuantizer(const Format& format, const MethodContext& context,
                  std::function<bool()> cancelled)
      : format_(format), context_(context), cancelled_(std::move(cancelled)) {}

  // Into `tensors`; null: nothing is packed, as long as the rows may change. Errors:
  // MODEL_NOT_FINITE naming the tensor, DISK_FULL, CANCELLED. Memory: a panel per thread, and the
  // rows (a byte per weight) if kept or if the format packs stripes of all of them.
  absl::StatusOr<QuantizedLinear> Run(const ResolvedLinear& entry, const LinearInputs& inputs,
                                      KeepRows keep, PackedTensors* tensors) const;
  // Rows that Run kept without packing them, changed since: into `tensors`, and their report anew.
  absl::Status Pack(const ResolvedLinear& entry, const LinearInputs& inputs,
                    QuantizedLinear& quantized, PackedTensors& tensors) const;

 private:
  absl::Status WriteWhole(const LinearSpec& linear, const Scheme& scheme,
                          const std::vector<TensorInfo>& parts,
                          const std::optional<QuantizedRows>& rows,
                          const std::optional<StaticInput>& input, PackedTensors& tensors) const;

  const Format& format_;
  MethodContext context_;
  std::function<bool()> cancelled_;
};

}  // namespace quantd
