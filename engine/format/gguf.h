// GGUF files, as llama.cpp loads them: engine/gguf/ has the parts.
#pragma once

#include "engine/format/registry.h"

namespace quantd {

extern const Format kGguf;

}  // namespace quantd
