// The streams of a run, as they enter its first block.
#pragma once

#include <memory>

#include "absl/status/status.h"
#include "engine/block/activations.h"
#include "engine/block/saved_statistics.h"
#include "engine/plan/plan.h"
#include "engine/run/pass.h"
#include "engine/types/report.h"

namespace quantd {

// Who goes through the quantized blocks too: nobody where only some blocks are quantized here.
enum class Evaluated { kNo, kYes };

struct OpenedStreams {
  Streams streams;
  SavedStatistics saved;
};

// Reads the texts that the plan needs, cuts and embeds them, opens saved statistics, and makes what
// a forward pass needs. `table`: the quantized embedding that the evaluated stream begins with;
// null: the original's. Fills what the report says of the texts, with warnings. Errors: those of
// texts, tokenizer and saved statistics.
absl::StatusOr<OpenedStreams> OpenStreams(const PlannedQuantization& planned, Evaluated evaluated,
                                          const std::shared_ptr<const QuantizedRows>& table,
                                          Pass& pass, Report& report);

}  // namespace quantd
