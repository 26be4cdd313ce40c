// The command-line flags of one quantization, declared once for `quantctl quantize`, `quantctl
// validate` and `quantd-worker quantize`.
#pragma once

#include <CLI/CLI.hpp>
#include <memory>

#include "absl/status/status.h"
#include "base/json.h"
#include "engine/types/request.h"

namespace quantd {

// What the flags were set to; turned into a request by Apply once the command line is parsed.
class QuantizeFlags {
 public:
  struct Values;  // one member per flag; private to the .cc file

  // Adds every flag to `command`. The object must outlive the parse.
  explicit QuantizeFlags(CLI::App& command);
  ~QuantizeFlags();
  // Reads the recipe file if one was named, then lets the flags override it. All problems at once,
  // `where` being the flag ("--bits").
  absl::Status Apply(QuantizeRequest& request) const;
  // What the flags say, as sections and keys of the request's JSON ({"calibration": {"samples":
  // 64}}); of "recipe" only which of skip, propagate and kv_cache were said. What is not here is as
  // it was before Apply.
  Json Said() const;

 private:
  std::unique_ptr<Values> values_;
};

}  // namespace quantd
