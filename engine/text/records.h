// The records of a text that has some: lines or an array of JSON, rows of a CSV file.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "base/json.h"
#include "engine/text/text_bytes.h"

namespace quantd {

enum class TextForm {
  kPlain,     // one document, whatever is in it
  kLines,     // JSONL: a JSON value a line
  kElements,  // a JSON array, or one object
  kComma,     // RFC 4180, a header first
  kTab,
};

struct TextRecord {
  Json value;        // a row of a CSV file: an object of texts
  int64_t line = 1;  // where it begins
};

// What a text is: by its name (.jsonl, .ndjson, .json, .csv, .tsv), else by how it begins: a whole
// JSON object or array, or a header of names one of which is `field` ("": text). DATASET_INVALID
// for a name that promises what is not there, and for compressed and columnar files.
absl::StatusOr<TextForm> FormOf(const TextBytes& bytes, std::string_view field);

class RecordReader {
 public:
  // `bytes` outlives it. Not for kPlain.
  static std::unique_ptr<RecordReader> Make(const TextBytes& bytes, TextForm form);
  virtual ~RecordReader() = default;
  // The next record; nothing at the end. DATASET_INVALID naming file and line.
  virtual absl::StatusOr<std::optional<TextRecord>> Next() = 0;
};

}  // namespace quantd
