// The bytes of a text, wherever they lie: a text that is part of the program, or a file.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/random_access_file.h"

namespace quantd {

class TextBytes {
 public:
  // "builtin:calibration" and "builtin:evaluation" (shipped inside the program), or the path of a
  // file of at most 1 GiB. With `roots` (QuantizeRequest::model_roots) the file that is opened lies
  // in one of them, wherever links lead by then. Errors: DATASET_INVALID; with roots
  // MODEL_OUTSIDE_ROOTS for a file outside of them, or that is not there.
  static absl::StatusOr<TextBytes> Open(const std::string& source,
                                        std::span<const std::string> roots);

  const std::string& source() const { return source_; }
  int64_t size() const { return size_; }
  // Appends bytes [offset, offset + count), fewer at the end.
  absl::Status Read(int64_t offset, int64_t count, std::string& to) const;
  // SHA-256 of all of them. DATASET_INVALID naming the byte where they stop being UTF-8.
  absl::StatusOr<std::string> Digest() const;

 private:
  std::string source_;
  int64_t size_ = 0;
  std::string_view builtin_;
  std::shared_ptr<const RandomAccessFile> file_;
};

// One byte after another, with the number of the line.
class TextCursor {
 public:
  explicit TextCursor(const TextBytes& bytes) : bytes_(bytes) {}

  // The next byte, without going on; -1 at the end, and after an error.
  int Peek();
  int Next();
  int64_t line() const { return line_; }  // of the next byte, from 1
  const absl::Status& status() const { return status_; }

 private:
  const TextBytes& bytes_;
  std::string buffer_;
  size_t at_ = 0;
  int64_t read_ = 0;
  int64_t line_ = 1;
  absl::Status status_;
};

// DATASET_INVALID.
absl::Status InvalidText(std::string where, std::string got, std::string wanted);

}  // namespace quantd
