// Which format a result is written in, and whether that one can hold it.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/format/registry.h"
#include "engine/types/recipe.h"
#include "engine/types/request.h"

namespace quantd {

struct PickedFormat {
  const Format* format = nullptr;
  // Why it is not the first one, where none was asked for; engines that do not read it.
  std::vector<std::string> warnings = {};
};

// The format that is asked for, or where none is the first of compressed-tensors, gptq, hqq, gguf
// and dequantized that holds the linears for the named loader. Settles the schemes for it. Errors:
// FORMAT_CANNOT_HOLD, LOADER_REFUSES, with every module that does not fit and what would; of the
// first format where none holds them.
absl::StatusOr<PickedFormat> PickFormat(const OutputRequest& output, const ModelSpec& model,
                                        std::vector<ResolvedLinear>& linears);

}  // namespace quantd
