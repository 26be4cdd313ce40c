// The engine's one verb, whole or in parts.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/plan/plan.h"
#include "engine/run/pass.h"
#include "engine/types/progress.h"
#include "engine/types/report.h"

namespace quantd {

// What becomes of a journal (journal.h).
enum class Journaling {
  kNone,      // none is kept
  kNew,       // a new one is kept; what was there goes
  kGoOn,      // as kResume where the journal is of this run, else as kNew
  kResume,    // what is sealed is taken from there, the rest is done and kept there
  kAssemble,  // every block must be sealed there
};

struct RunOptions {
  Journaling journaling = Journaling::kNone;
  // Its folders: the first takes what is sealed now, all are read. Removed when the run has ended
  // well, but for those that were assembled.
  std::vector<std::string> journal_folders = {};
};

// Runs a plan: reads the model block by block, quantizes, writes the artifact into
// request.output_folder (made if missing; files are replaced), evaluates, and returns the report,
// which is also in quantd/report.json there. Memory: one block, activations, statistics of one
// block. Deterministic: files are the same bytes for any number of threads, and however often the
// run was resumed, but for times and memory in the report. Errors: MODEL_CORRUPT, MODEL_NOT_FINITE
// naming tensor and block, DISK_FULL, CANCELLED; INVALID_FIELD for a journal of another run, or one
// that lacks blocks to assemble. A missed gate is not an error here: see report.gate. After an
// error no file of the artifact is left half-written; those sealed before stay.
absl::StatusOr<Report> Quantize(const PlannedQuantization& planned, ProgressSink& sink,
                                const RunOptions& options = {});

// One run in parts, on as many machines of one class as one likes; their journals are assembled by
// Quantize. Both keep what is in the journal of `folder`.

// Seals the blocks of `range` in the journal, and makes no artifact. Starts at the last boundary
// there, or runs the original blocks up to the range. Errors: those of Quantize; INVALID_FIELD for
// a range outside the model, and where blocks are calibrated by quantized ones before them.
absl::Status QuantizeBlocks(const PlannedQuantization& planned, BlockRange range,
                            const std::string& folder, ProgressSink& sink);
// Runs the original blocks and leaves the activations at the blocks of `cuts`, so that each range
// can start at its own. Nothing is done where no activations are needed. Errors: as above.
absl::Status RelayActivations(const PlannedQuantization& planned, std::vector<int64_t> cuts,
                              const std::string& folder, ProgressSink& sink);

}  // namespace quantd
