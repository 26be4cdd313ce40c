// A text as token ids, piece by piece: what a piece takes in memory is all that it takes.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/text/text.h"
#include "engine/text/tokenizer.h"

namespace quantd {

// Bytes of a text that are encoded at a time. A text that is not much longer is encoded whole.
inline constexpr int64_t kPieceBytes = 64 << 10;
// What reading and encoding a piece takes at most: the crate needs about 130 bytes for one of text.
inline constexpr int64_t kPieceMemoryBytes = 16 << 20;

// The ids are those of encoding each document whole, with what the tokenizer adds around it (a
// rendered one holds that already). Documents are cut where both sides encode apart as together:
// before a line that letters begin, else at another line, at a blank, at any character; each such
// place is tried with 256 bytes on both sides, and a piece is encoded behind the last 256 bytes of
// the one before. Where none of some dozen places passes, a document is cut at a line all the same,
// and the ids around that place may be others.
class TokenStream {
 public:
  // Both outlive it.
  TokenStream(const Text& text, const Tokenizer& tokenizer)
      : tokenizer_(tokenizer), documents_(text.Documents()) {}

  // Appends the ids of the next piece. False: the text has ended.
  absl::StatusOr<bool> Next(std::vector<int32_t>& ids);
  // The text of the piece that came last, and the place of its byte number `position`.
  std::string Where(size_t position) const {
    return documents_->Where(static_cast<int64_t>(buffer_.size() + piece_.size() - position));
  }
  std::string_view piece() const { return piece_; }

 private:
  absl::StatusOr<size_t> FindCut();
  absl::StatusOr<bool> Separates(size_t position);
  absl::StatusOr<std::vector<int32_t>> Encode();

  const Tokenizer& tokenizer_;
  std::unique_ptr<DocumentReader> documents_;
  bool inside_ = false;  // a document
  std::string buffer_;   // of it, what is not encoded yet
  std::string context_;  // what stood before that
  std::string piece_;
};

}  // namespace quantd
