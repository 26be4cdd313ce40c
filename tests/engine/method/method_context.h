// Where methods run in tests: the CPU backend, on two threads; and what they are told.
#pragma once

#include "base/threads.h"
#include "engine/method/registry.h"

namespace quantd {

inline MethodContext TestContext(const QuantizeKernels& kernels = CpuKernels()) {
  static auto* const pool = new ThreadPool(2);
  return {*pool, **FindBackend("cpu"), kernels};
}

// One option of a method.
inline Options With(std::string_view name, OptionValue value) {
  Options options;
  options.Set(name, std::move(value));
  return options;
}

}  // namespace quantd
