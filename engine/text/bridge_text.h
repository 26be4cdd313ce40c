// Texts over the border to Rust (tokenizers_bridge/).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "engine/text/tokenizers_bridge/tokenizers_bridge.h"

namespace quantd {

inline const uint8_t* BridgeBytes(std::string_view text) {
  return reinterpret_cast<const uint8_t*>(text.data());
}

// Copies a text that Rust owns and gives it back.
inline std::string TakeText(QdText text) {
  std::string copy(reinterpret_cast<const char*>(text.data), text.size);
  qd_tokenizer_free_text(text);
  return copy;
}

}  // namespace quantd
