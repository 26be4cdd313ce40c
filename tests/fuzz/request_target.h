// What the fuzzer of requests and recipes calls, and what must hold. See targets.h.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "base/error.h"
#include "base/json.h"
#include "engine/types/recipe.h"
#include "engine/types/request.h"

namespace quantd {

// The bytes as a recipe file (YAML or JSON), and as the request of a job.
inline void FuzzRequest(std::string_view bytes) {
  const auto require = [](bool holds, const char* promise) {
    if (holds) return;
    std::fprintf(stderr, "broken promise: %s\n", promise);
    std::abort();
  };
  const auto recipe = ParseRecipe(bytes);
  require(recipe.ok() || ReasonOf(recipe.status()).has_value(), "errors have a reason");
  const auto json = ParseJson(bytes, "request");
  if (!json.ok()) return;
  const auto request = QuantizeRequestFromJson(*json);
  if (!request.ok()) {
    require(ReasonOf(request.status()).has_value(), "errors have a reason");
    return;
  }
  // What was taken is written and taken again, the same.
  const Json written = ToJson(*request);
  const auto again = QuantizeRequestFromJson(written);
  require(again.ok(), "requests that were taken are taken again");
  require(DumpJson(ToJson(*again)) == DumpJson(written), "requests keep what they say");
}

}  // namespace quantd
