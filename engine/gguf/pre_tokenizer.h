// How llama.cpp calls the way in which a byte-level BPE tokenizer cuts text before it merges.
#pragma once

#include <optional>
#include <string_view>

#include "base/json.h"

namespace quantd {

// By tokenizer.json's "pre_tokenizer" ("llama-bpe", "qwen2", "gpt-2", …). Empty: it has no name of
// that kind.
std::string_view PreTokenizerName(const Json& pre_tokenizer);

// What a tokenizer.json has for such a name.
struct PreTokenizer {
  Json steps;                   // "pre_tokenizer"
  Json normalizer;              // null: none
  bool ignores_merges = false;  // a piece that is a token is not merged together
  bool begins_text = false;     // with the first special token, unless the file says otherwise
};
// Nothing: no name that we know. Names of one cutting stand for it too ("llama3", "mpt", …).
std::optional<PreTokenizer> FindPreTokenizer(std::string_view name);

}  // namespace quantd
