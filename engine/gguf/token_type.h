// What a token is, as tokenizer.ggml.token_type numbers it.
#pragma once

#include <cstdint>

namespace quantd {

enum TokenType : int32_t {
  kNormalToken = 1,
  kUnknownToken = 2,
  kControlToken = 3,
  kUserDefinedToken = 4,
  kUnusedToken = 5,
  kByteToken = 6
};

}  // namespace quantd
