// The tokenizer of a model as keys of a GGUF file: tokens, types, merges or scores, the
// special tokens, the chat template.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "engine/gguf/key_values.h"
#include "engine/tensor/model_files.h"

namespace quantd {

// Reads tokenizer.json, tokenizer_config.json, generation_config.json, config.json and
// chat_template.jinja as far as they are there. `vocabulary` is the number of rows of the
// embedding: ids without a token get one that is never used. What a reader of the file may get
// wrong goes to `warnings`. Errors: MODEL_CORRUPT; MODEL_UNSUPPORTED for a kind of tokenizer that
// GGUF has no keys for.
absl::Status AddTokenizer(const ModelFiles& files, int64_t vocabulary, KeyValues& keys,
                          std::vector<std::string>& warnings);

}  // namespace quantd
