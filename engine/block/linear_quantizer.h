// One linear from the checkpoint into the artifact: panels of rows are read, quantized, packed and
// written, on all threads. Panels are cut the same way for any number of threads.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/threads.h"
#include "engine/artifact/artifact.h"
#include "engine/block/fold.h"
#include "engine/plan/plan.h"
#include "engine/types/progress.h"

namespace quantd {

// What becomes of a linear beside its bytes in the artifact.
struct QuantizedLinear {
  LayerReport report;
  // All rows, when they were asked for: evaluation multiplies by them.
  std::optional<QuantizedRows> rows;
};

enum class KeepRows { kNo, kYes };

// What was found out about a linear before its weights are quantized.
struct LinearInputs {
  const Prepared* prepared = nullptr;  // null if the method prepares nothing
  const LinearFold* fold = nullptr;    // null: nothing is folded
};

class LinearQuantizer {
 public:
  // `cancelled` is asked once per panel, from any thread.
  LinearQuantizer(const PlannedQuantization& planned, ArtifactWriter& artifact,
                  const MethodContext& context, std::function<bool()> cancelled)
      : planned_(planned),
        artifact_(artifact),
        context_(context),
        cancelled_(std::move(cancelled)) {}

  // Errors: MODEL_NOT_FINITE naming the tensor, DISK_FULL, CANCELLED. Memory: a panel per thread,
  // and the rows (a byte per weight) if kept or if the format packs stripes of all of them.
  absl::StatusOr<QuantizedLinear> Run(const ResolvedLinear& entry, const LinearInputs& inputs,
                                      KeepRows keep);

 private:
  absl::Status Write(const LinearSpec& linear, const std::vector<TensorInfo>& parts,
                     const std::vector<PackedPiece>& pieces);
  absl::Status WriteWhole(const ResolvedLinear& entry, const std::vector<TensorInfo>& parts,
                          const std::optional<QuantizedRows>& rows,
                          const std::optional<StaticInput>& input);
  absl::Status ReadPanel(const ResolvedLinear& entry, const LinearFold* fold, int64_t row,
                         int64_t count, AlignedBuffer<std::byte>& bytes, WeightRows& weight);
  const PlannedQuantization& planned_;
  ArtifactWriter& artifact_;
  MethodContext context_;
  std::function<bool()> cancelled_;
};

}  // namespace quantd
