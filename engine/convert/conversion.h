// A quantized model in another layout, code for code.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"

namespace quantd {

struct ConvertOptions {
  std::string model_folder;
  std::string output_folder;  // not there yet, or empty
  std::string format;         // "awq", "gptq", "compressed-tensors"
  std::string loader;         // whose shape rules must hold; empty: nobody's
};

struct ConvertReport {
  int64_t linears = 0;
  int64_t files = 0;
  int64_t bytes = 0;  // of the weights written
};

// Every weight of the result is the weight of the model, to the last bit (where a GPTQ group must
// be stored with its scale turned round, a zero may change its sign). Memory: two copies of one
// linear. Files get their names when they are complete; config.json comes last. Errors:
// FORMAT_CANNOT_HOLD and LOADER_REFUSES naming the modules; MODEL_CORRUPT for a model with
// problems; MODEL_NOT_FOUND; INVALID_FIELD for the format or the folder; those of writing.
absl::StatusOr<ConvertReport> Convert(const ConvertOptions& options);

}  // namespace quantd
