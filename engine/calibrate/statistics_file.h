// Statistics of the inputs of one decoder block as a safetensors file: sums and extrema as they
// are, so what is read is what was written, bit for bit.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/calibrate/statistics.h"

namespace quantd {

// Writes `inputs`, by LinearSpec::input; empty ones are left out. The file has its name when all of
// it is on the disk. Tensors of input i are named inputs.<i>.<part>: docs/formats.md. Errors:
// DISK_FULL, IO.
absl::Status WriteStatistics(const std::string& path, std::span<const InputStatistics> inputs);

// What WriteStatistics wrote, with empty statistics for inputs that it left out; Gram matrices in
// `scratch_folder`, as Gram::Make says. MODEL_CORRUPT naming what does not fit.
absl::StatusOr<std::vector<InputStatistics>> ReadStatistics(const std::string& path,
                                                            const std::string& scratch_folder);

}  // namespace quantd
