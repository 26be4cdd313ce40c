// Compares two rows of logits.
#pragma once

#include "engine/backend/backend.h"

namespace quantd {

// `next` is an index below `vocabulary`. Probabilities are exponentials in f32 summed in f64; the
// same logits give a divergence of exactly 0. Ties for the largest logit go to the lowest index.
TokenScores ScoreRow(const float* original, const float* quantized, int32_t next,
                     int64_t vocabulary);

}  // namespace quantd
