// What runs a quantized block again, as a file: its transform and its rows.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/files.h"
#include "base/threads.h"
#include "engine/block/block_result.h"
#include "engine/plan/plan.h"

namespace quantd {

// Writes transform and rows of `result`. Errors: DISK_FULL, IO.
absl::StatusOr<SealedFile> WriteKeptRows(const std::string& path, const BlockResult& result,
                                         ThreadPool& pool);
// Reads them into `result`, whose block tells which linears they are of. Errors: MODEL_CORRUPT.
absl::Status ReadKeptRows(const std::string& path, const PlannedQuantization& planned,
                          BlockResult& result, ThreadPool& pool);

}  // namespace quantd
