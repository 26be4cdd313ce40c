// Typed values from the metadata of a GGUF file; what is wrong with them is gathered.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "base/error.h"
#include "engine/gguf/gguf_reader.h"

namespace quantd {

// The shortest decimal that gives the same 32-bit number: 1e-05, not 9.99999975e-06.
double ShortestDecimal(double value);

// Keys are those of one architecture: "block_count" for "llama.block_count". Every key that is
// asked for is known.
class Metadata {
 public:
  Metadata(const GgufHeader& header, std::string architecture)
      : header_(header), prefix_(std::move(architecture) + ".") {}

  // MODEL_CORRUPT later if it is missing or below 1.
  int64_t Size(std::string_view key);
  // Nothing: there is none. MODEL_CORRUPT later if it is there and no number.
  std::optional<int64_t> OptionalSize(std::string_view key);
  // Of a 32-bit number the shortest decimal that gives it, which is what the model's author wrote.
  std::optional<double> OptionalNumber(std::string_view key);
  std::optional<std::string> OptionalText(std::string_view key);
  // A key that changes nothing.
  void Ignore(std::string_view key) { known_.insert(prefix_ + std::string(key)); }
  // A tensor that every file of the architecture has.
  void Missing(std::string_view tensor);
  void Wrong(std::string_view key, std::string got, std::string wanted);
  void Unsupported(std::string_view key, std::string got, std::string wanted);

  // What was wrong; MODEL_UNSUPPORTED also for keys of the architecture that nobody asked for.
  absl::Status Finish();

 private:
  const GgufValue* Find(std::string_view key);

  const GgufHeader& header_;
  const std::string prefix_;
  std::set<std::string, std::less<>> known_;
  std::vector<Violation> wrong_, unsupported_;
};

}  // namespace quantd
