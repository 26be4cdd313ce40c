// Where methods run in tests: the CPU backend, on two threads.
#pragma once

#include "base/threads.h"
#include "engine/method/registry.h"

namespace quantd {

inline MethodContext TestContext(const QuantizeKernels& kernels = CpuKernels()) {
  static auto* const pool = new ThreadPool(2);
  return {*pool, **FindBackend("cpu"), kernels};
}

}  // namespace quantd
