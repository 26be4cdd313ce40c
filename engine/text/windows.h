// Calibration and evaluation windows: token sequences of one length, cut from a text.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/text/tokenizer.h"

namespace quantd {

struct WindowOptions {
  int64_t windows = 128;  // at most this many; 0 = all
  int64_t tokens = 512;   // of each window
  uint64_t seed =
      0;  // 0 keeps document order; else windows are drawn in a seeded order (SplitMix64 shuffle)
};

// Token ids, [windows, tokens], all windows full. What did not fit is counted, never dropped
// silently.
struct Windows {
  int64_t tokens_per_window = 0;
  std::vector<std::vector<int32_t>> ids;
  int64_t tokens_in_text = 0;  // before cutting
  int64_t tokens_left_over =
      0;               // the tail that does not fill a window, plus windows beyond the limit
  std::string digest;  // SHA-256 of the text

  int64_t total_tokens() const { return tokens_per_window * static_cast<int64_t>(ids.size()); }
};

// Reads a text: "builtin:calibration" and "builtin:evaluation" (shipped inside the program), or the
// path of a UTF-8 file of at most 1 GiB. With `roots` (QuantizeRequest::model_roots) the file that
// is opened lies in one of them, wherever links lead by then. Errors: DATASET_INVALID; with roots
// MODEL_OUTSIDE_ROOTS for a file outside of them, or that is not there.
absl::StatusOr<std::string> ReadText(const std::string& source, std::span<const std::string> roots);

// The first bytes of a text, at most `max_bytes`; `whole` when there are no more. The rest is not
// read, and not looked at. Errors as ReadText, for what was read.
struct TextHead {
  std::string text;
  bool whole = true;
};
absl::StatusOr<TextHead> ReadTextHead(const std::string& source, std::span<const std::string> roots,
                                      int64_t max_bytes);

// Joins the documents as they are in the text, encodes it in one go (the tokenizer's own BOS rule
// once at the start) and cuts non-overlapping windows. DATASET_INVALID if not even one window
// fills.
absl::StatusOr<Windows> CutWindows(std::string_view text, const Tokenizer& tokenizer,
                                   const WindowOptions& options);

}  // namespace quantd
