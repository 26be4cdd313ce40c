// What the fuzzers feed with bytes from outside. Each call returns normally whatever the bytes are;
// a broken promise aborts. The fuzzers (clang) and the replaying tests (any compiler) share them.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <string>
#include <string_view>

#include "base/error.h"
#include "engine/tensor/checkpoint.h"
#include "engine/tensor/shard_index.h"
#include "engine/text/tokenizer.h"

namespace quantd {

inline void FuzzRequire(bool holds, const char* promise) {
  if (holds) return;
  std::fprintf(stderr, "broken promise: %s\n", promise);
  std::abort();
}

// A whole safetensors file; the same bytes as an index of shards.
inline void FuzzSafetensorsHeader(std::string_view bytes) {
  const auto size = static_cast<int64_t>(bytes.size());
  const auto header =
      ParseSafetensorsHeader(std::as_bytes(std::span(bytes.data(), bytes.size())), size, "fuzzed");
  if (header.ok()) {
    int64_t end = -1;
    for (const SafetensorsHeader::Entry& entry : header->entries) {
      FuzzRequire(end == -1 || entry.offset == end, "tensors follow each other");
      FuzzRequire(entry.offset >= 8 && entry.info.bytes() >= 0, "offsets and sizes are sane");
      end = entry.offset + entry.info.bytes();
      FuzzRequire(end <= size, "tensors lie inside the file");
    }
    FuzzRequire(end == -1 || end == size, "tensors fill the file");
  } else {
    FuzzRequire(ReasonOf(header.status()) == Reason::kModelCorrupt, "errors are MODEL_CORRUPT");
  }
  const auto index = ParseShardIndex(bytes, "fuzzed");
  if (!index.ok()) {
    FuzzRequire(ReasonOf(index.status()) == Reason::kModelCorrupt, "errors are MODEL_CORRUPT");
    return;
  }
  for (const auto& [tensor, shard] : *index) {
    FuzzRequire(!shard.empty() && shard.find('/') == std::string::npos, "shards are plain names");
  }
}

// A tokenizer.json; what loads must encode and decode without harm, whatever it gives.
inline void FuzzTokenizerJson(std::string_view bytes) {
  const auto tokenizer = Tokenizer::FromJson(bytes);
  if (!tokenizer.ok()) {
    FuzzRequire(ReasonOf(tokenizer.status()) == Reason::kModelCorrupt, "errors are MODEL_CORRUPT");
    return;
  }
  FuzzRequire((*tokenizer)->vocabulary_size() >= 0, "vocabularies have a size");
  for (const char* text :
       {"", "Hello, w\xC3\xB6rld 123\n", "aaaaaaaaaaaaaaaa <s> \xF0\x9F\xA6\x99"}) {
    const auto ids = (*tokenizer)->Encode(text, true);
    if (ids.ok()) (*tokenizer)->Decode(*ids).status().IgnoreError();
  }
}

}  // namespace quantd
