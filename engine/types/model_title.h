// What people call a model.
#pragma once

#include <string>
#include <string_view>

namespace quantd {

// Of the place it lies in: "Llama-3.2-1B" of ".../Llama-3.2-1B/" and of the snapshot folder of a
// hub's cache, ".../models--meta-llama--Llama-3.2-1B/snapshots/4e20de3…", or of a file
// ".../Llama-3.2-1B.gguf". Empty for "/".
std::string ModelTitle(std::string_view location);

}  // namespace quantd
