// The CPU backend: oneDNN for matrix products, our own vector loops for what lies between them.
#pragma once

#include "engine/backend/backend.h"

namespace quantd {

// Never destroyed. Thread-safe.
Backend& CpuBackend();

}  // namespace quantd
