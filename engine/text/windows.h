// Calibration and evaluation windows: token sequences of one length, cut from a text.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/text/text.h"
#include "engine/text/tokenizer.h"

namespace quantd {

struct WindowOptions {
  int64_t windows = 128;  // at most this many; 0 = all
  int64_t tokens = 512;   // of each window
  uint64_t seed =
      0;  // 0 keeps document order; else windows are drawn in a seeded order (SplitMix64 shuffle)
  int64_t vocabulary = 0;  // ids are below it; 0: of any size
};

// Token ids, [windows, tokens], all windows full.
struct Windows {
  int64_t tokens_per_window = 0;
  std::vector<std::vector<int32_t>> ids;

  int64_t total_tokens() const { return tokens_per_window * static_cast<int64_t>(ids.size()); }
};

// Cuts non-overlapping windows from the text's documents, one after another as if they were one.
// Each window begins with what the tokenizer begins a text with (BOS), where it does: models were
// trained on that, and the first token of a window is one that they give much attention. In the
// text's order no more is read and encoded than the windows need; a seed needs the number of all
// windows, so the text is encoded twice. Memory does not grow with the text (TokenStream).
// Errors: DATASET_INVALID if not even one window fills, or for an id outside of the vocabulary,
// naming file and place; those of reading the text.
absl::StatusOr<Windows> CutWindows(const Text& text, const Tokenizer& tokenizer,
                                   const WindowOptions& options);

}  // namespace quantd
