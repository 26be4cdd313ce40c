#include "engine/method/registry.h"

#include "engine/method/auto.h"
#include "engine/method/awq.h"
#include "engine/method/awq_gptq.h"
#include "engine/method/gguf.h"
#include "engine/method/gptq.h"
#include "engine/method/hqq.h"
#include "engine/method/hqq_gptq.h"
#include "engine/method/int8.h"
#include "engine/method/rtn.h"
#include "engine/method/smoothquant.h"

namespace quantd {

// The rows are objects of other files, so the table is made on first use and not at start-up, whose
// order is not fixed.
std::span<const Method> Methods() {
  static const Method methods[] = {kRtn,         kInt8,    kHqq,     kAwq,        kGptq,
                                   kSmoothQuant, kAwqGptq, kHqqGptq, kGgufMethod, kAuto};
  return methods;
}

const Method* FindMethod(std::string_view name) {
  for (const Method& method : Methods()) {
    if (method.name == name) return &method;
  }
  return nullptr;
}

bool Tunes(const ResolvedLinear& entry) {
  if (!entry.scheme.has_value()) return false;
  const Method& method = *FindMethod(entry.scheme->method);
  return method.tunes != nullptr && method.tunes(*entry.scheme);
}

}  // namespace quantd
