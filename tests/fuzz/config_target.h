// What the fuzzer of config.json calls, and what must hold. See targets.h.
#pragma once

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "base/error.h"
#include "base/json.h"
#include "engine/model/forward.h"
#include "engine/model/registry.h"

namespace quantd {

// A config.json, read as one of every family. What is accepted must be safe to compute with.
inline void FuzzConfig(std::string_view bytes) {
  const auto require = [](bool holds, const char* promise) {
    if (holds) return;
    std::fprintf(stderr, "broken promise: %s\n", promise);
    std::abort();
  };
  const auto config = ParseJson(bytes, "config.json");
  if (!config.ok()) return;
  for (const Family& family : Families()) {
    const auto model = family.parse(*config);
    if (!model.ok()) {
      const auto reason = ReasonOf(model.status());
      require(reason == Reason::kModelCorrupt || reason == Reason::kModelUnsupported,
              "errors have their reason");
      require(!ViolationsOf(model.status()).empty(), "errors say where");
      continue;
    }
    require(model->heads > 0 && model->kv_heads > 0 && model->heads % model->kv_heads == 0,
            "heads can be grouped");
    require(model->head_dim > 0 && model->head_dim % 2 == 0, "heads have halves");
    require(!model->blocks.empty(), "there are blocks");
    for (const LinearSpec* linear : model->Linears()) {
      require(linear->in_features > 0 && linear->out_features > 0, "linears have a size");
      require(linear->parameters() / linear->in_features == linear->out_features,
              "sizes do not overflow");
    }
    const RopeTable rope = RopeTable::Make(model->rope, 4);
    for (const float value : rope.cos.span()) require(std::isfinite(value), "rotations are finite");
    for (const float value : rope.sin.span()) require(std::isfinite(value), "rotations are finite");
  }
}

}  // namespace quantd
