// What the fuzzer of quantization_config calls, and what must hold. See targets.h.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "base/error.h"
#include "base/json.h"
#include "engine/inspect/declared.h"

namespace quantd {

// The value of quantization_config, of whatever tool.
inline void FuzzQuantizationConfig(std::string_view bytes) {
  const auto require = [](bool holds, const char* promise) {
    if (holds) return;
    std::fprintf(stderr, "broken promise: %s\n", promise);
    std::abort();
  };
  const auto json = ParseJson(bytes, "quantization_config");
  if (!json.ok()) return;
  const auto declared = ReadDeclared(*json);
  if (!declared.ok()) {
    require(ReasonOf(declared.status()).has_value(), "errors have a reason");
    return;
  }
  if (declared->scheme_of == nullptr) return;
  for (const char* module : {"", "lm_head", "model.layers.0.self_attn.q_proj", "a.b.c.d"}) {
    const auto scheme = declared->scheme_of(module);
    if (!scheme.has_value()) continue;
    require(!scheme->bits || (*scheme->bits >= 1 && *scheme->bits <= 16), "widths are possible");
    require(!scheme->group_size || *scheme->group_size >= 0, "groups are possible");
  }
}

}  // namespace quantd
