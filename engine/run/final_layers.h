// What follows the blocks: final norm, output projection, and the evaluation of both models.
#pragma once

#include <memory>

#include "absl/status/status.h"
#include "engine/artifact/artifact.h"
#include "engine/block/linear_quantizer.h"
#include "engine/plan/plan.h"
#include "engine/run/pass.h"
#include "engine/types/report.h"

namespace quantd {

// Quantizes or copies the output projection, and evaluates where the streams of the evaluation text
// have gone through the blocks. `embedding`: its rows where it is quantized and evaluated. Adds to
// the report. Errors: as Quantize.
absl::Status RunFinalLayers(const PlannedQuantization& planned,
                            const std::shared_ptr<const QuantizedRows>& embedding,
                            const Streams& streams, Pass& pass, ArtifactWriter& artifact,
                            ProgressSink& sink, Report& report);

// The resolved linear of the plan; the head's is last.
const ResolvedLinear& ResolvedHead(const Plan& plan);

}  // namespace quantd
