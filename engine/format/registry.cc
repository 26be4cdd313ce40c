#include "engine/format/registry.h"

#include <algorithm>

#include "engine/format/awq.h"
#include "engine/format/compressed_tensors.h"
#include "engine/format/dequantized.h"
#include "engine/format/gguf.h"
#include "engine/format/gptq.h"
#include "engine/format/hqq.h"

namespace quantd {

// The rows are objects of other files, so the table is made on first use and not at start-up, whose
// order is not fixed.
std::span<const Format> Formats() {
  static const Format formats[] = {kCompressedTensors, kAwqFormat, kGptqFormat,
                                   kHqqFormat,         kGguf,      kDequantized};
  return formats;
}

std::vector<std::string> LoaderNames() {
  std::vector<std::string> names;
  for (const Format& format : Formats()) {
    for (const LoaderRow& row : format.loaders) {
      if (std::find(names.begin(), names.end(), row.name) == names.end()) {
        names.emplace_back(row.name);
      }
    }
  }
  return names;
}

const Format* FindFormat(std::string_view name) {
  for (const Format& format : Formats()) {
    if (format.name == name) return &format;
  }
  return nullptr;
}

}  // namespace quantd
