// What the fuzzer of GGUF files calls, and what must hold. See targets.h.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"
#include "engine/gguf/gguf_reader.h"

namespace quantd {

// A whole GGUF file.
inline void FuzzGguf(std::string_view bytes) {
  const auto require = [](bool holds, const char* promise) {
    if (holds) return;
    std::fprintf(stderr, "broken promise: %s\n", promise);
    std::abort();
  };
  const auto header = ParseGguf(std::as_bytes(std::span(bytes.data(), bytes.size())), "fuzzed");
  if (!header.ok()) {
    const auto reason = ReasonOf(header.status());
    require(reason == Reason::kModelCorrupt || reason == Reason::kModelUnsupported,
            "errors have their reason");
    require(!ViolationsOf(header.status()).empty(), "errors say where");
    return;
  }
  const auto size = static_cast<int64_t>(bytes.size());
  std::vector<std::pair<int64_t, int64_t>> places;
  for (const GgufTensor& tensor : header->tensors) {
    require(!tensor.dims.empty() && tensor.dims.size() <= 4, "tensors have 1 to 4 dimensions");
    require(tensor.elements() > 0, "tensors have a size");
    require(tensor.offset >= header->data_begin && tensor.offset % header->alignment == 0,
            "data are aligned, behind the header");
    require(tensor.bytes >= 0 && tensor.bytes <= size - tensor.offset, "data lie in the file");
    places.emplace_back(tensor.offset, tensor.bytes);
  }
  std::sort(places.begin(), places.end());
  for (size_t i = 1; i < places.size(); ++i) {
    require(places[i - 1].first + places[i - 1].second <= places[i].first, "data do not overlap");
  }
  for (const auto& [key, value] : header->metadata) {
    require(value.type == GgufType::kArray || value.items.size() == 1, "one value, or an array");
    header->String(key);
    header->Integer(key);
    header->Length(key);
  }
}

}  // namespace quantd
