// How llama.cpp calls the way in which a byte-level BPE tokenizer cuts text before it merges.
#pragma once

#include <string_view>

#include "base/json.h"

namespace quantd {

// By tokenizer.json's "pre_tokenizer" ("llama-bpe", "qwen2", "gpt-2", …). Empty: it has no name of
// that kind.
std::string_view PreTokenizerName(const Json& pre_tokenizer);

}  // namespace quantd
