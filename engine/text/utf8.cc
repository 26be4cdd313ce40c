#include "engine/text/utf8.h"

#include <cstdint>
#include <cstring>

namespace quantd {
namespace {

// What may follow a leading byte: how many bytes, and the bounds of the first of them.
struct Lead {
  size_t following;
  uint8_t low;
  uint8_t high;
};

std::optional<Lead> LeadOf(uint8_t byte) {
  if (byte >= 0xC2 && byte <= 0xDF) return Lead{1, 0x80, 0xBF};
  if (byte == 0xE0) return Lead{2, 0xA0, 0xBF};
  if (byte == 0xED) return Lead{2, 0x80, 0x9F};  // no surrogates
  if (byte >= 0xE1 && byte <= 0xEF) return Lead{2, 0x80, 0xBF};
  if (byte == 0xF0) return Lead{3, 0x90, 0xBF};
  if (byte >= 0xF1 && byte <= 0xF3) return Lead{3, 0x80, 0xBF};
  if (byte == 0xF4) return Lead{3, 0x80, 0x8F};
  return std::nullopt;
}

bool AsciiOnly(const char* eight_bytes) {
  uint64_t word = 0;
  std::memcpy(&word, eight_bytes, sizeof(word));
  return (word & 0x8080808080808080u) == 0;
}

}  // namespace

std::optional<size_t> FirstInvalidUtf8(std::string_view text) {
  size_t i = 0;
  while (i < text.size()) {
    if (i + 8 <= text.size() && AsciiOnly(text.data() + i)) {
      i += 8;
      continue;
    }
    const auto byte = static_cast<uint8_t>(text[i]);
    if (byte < 0x80) {
      ++i;
      continue;
    }
    const std::optional<Lead> lead = LeadOf(byte);
    if (!lead || text.size() - i <= lead->following) return i;
    for (size_t k = 1; k <= lead->following; ++k) {
      const auto next = static_cast<uint8_t>(text[i + k]);
      const uint8_t low = k == 1 ? lead->low : 0x80;
      const uint8_t high = k == 1 ? lead->high : 0xBF;
      if (next < low || next > high) return i;
    }
    i += 1 + lead->following;
  }
  return std::nullopt;
}

}  // namespace quantd
