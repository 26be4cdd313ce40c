// The engine's one verb.
#pragma once

#include "absl/status/statusor.h"
#include "engine/plan/plan.h"
#include "engine/types/progress.h"
#include "engine/types/report.h"

namespace quantd {

// Runs a plan: reads the model block by block, quantizes, writes the artifact into
// request.output_folder (made if missing; files are replaced), evaluates, and returns the report,
// which is also in quantd/report.json there. Memory: one block, activations, statistics of one
// block. Deterministic: files are the same bytes for any number of threads, but for times and
// memory in the report. Errors: MODEL_CORRUPT, MODEL_NOT_FINITE naming tensor and block, DISK_FULL,
// CANCELLED. A missed gate is not an error here: see report.gate. After an error no file of the
// artifact is left half-written; those sealed before stay.
absl::StatusOr<Report> Quantize(const PlannedQuantization& planned, ProgressSink& sink);

}  // namespace quantd
