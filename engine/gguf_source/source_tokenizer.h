// The tokenizer in a GGUF file as the files of a Hugging Face model: engine/gguf/tokenizer_keys.h
// backwards.
#pragma once

#include <map>
#include <string>

#include "absl/status/statusor.h"
#include "engine/gguf/gguf_reader.h"

namespace quantd {

// tokenizer.json, tokenizer_config.json (special tokens, whether texts begin or end with them, the
// chat template) and generation_config.json, by name. Byte-level BPE ("gpt2") is cut as
// tokenizer.ggml.pre says; SentencePiece's BPE ("llama") merges in the order of its scores. Spaces
// that special tokens swallow are not in the file, and not here. Nothing: the file has no tokens.
// Errors: MODEL_CORRUPT; MODEL_UNSUPPORTED for another kind, or a `pre` that has no known cutting.
absl::StatusOr<std::map<std::string, std::string>> TokenizerFiles(const GgufHeader& header);

}  // namespace quantd
