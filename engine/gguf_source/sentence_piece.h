// What SentencePiece's BPE, as GGUF files have it, is in a tokenizer.json.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/json.h"

namespace quantd {

// Spaces become "▁", with one before the text if `prefix`.
Json SentencePieceNormalizer(bool prefix);
Json SentencePieceDecoder(bool prefix);

// The merges that make the same tokens: of every token each way to cut it into two tokens, tokens
// with a higher score first. It is the order that transformers gives converted models
// (convert_slow_tokenizer.py, generate_merges). Ids index the three lists; control
// and unknown tokens and bytes are not made by merging.
Json MergesByScore(std::span<const std::string> tokens, std::span<const int64_t> types,
                   std::span<const double> scores);

}  // namespace quantd
