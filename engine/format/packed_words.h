// Small codes in 32-bit words, as several formats have them: a dense stream, low bits first, so
// that code i takes bits [i b, (i + 1) b); a code of 3 bits may lie across two words.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

namespace quantd {

// Words that hold `codes` codes of `bits` bits.
int64_t WordsFor(int64_t codes, int bits);

// Adds code `index` of the stream to words that were zero there. `code` < 2^bits.
inline void PutCode(uint32_t code, int64_t index, int bits, uint32_t* words) {
  const int64_t at = index * bits, word = at / 32;
  const int shift = static_cast<int>(at % 32);
  words[word] |= code << shift;
  if (shift + bits > 32) words[word + 1] |= code >> (32 - shift);
}

// Code `index` of the stream.
inline uint32_t CodeAt(const uint32_t* words, int64_t index, int bits) {
  const int64_t at = index * bits, word = at / 32;
  const int shift = static_cast<int>(at % 32);
  uint32_t code = words[word] >> shift;
  if (shift + bits > 32) code |= words[word + 1] << (32 - shift);
  return code & ((1U << bits) - 1);
}

// A signed code of `bits` bits as it is stored, from 0, and back.
inline uint32_t Unsigned(int code, int bits) {
  return static_cast<uint32_t>(code + (1 << (bits - 1)));
}
inline int8_t Signed(uint32_t stored, int bits) {
  return static_cast<int8_t>(static_cast<int>(stored) - (1 << (bits - 1)));
}

// The bytes of a file (little-endian, like every machine this runs on) and back; left-over bytes
// are dropped.
template <typename T>
std::vector<std::byte> BytesOf(std::span<const T> values) {
  std::vector<std::byte> bytes(values.size_bytes());
  if (!bytes.empty()) std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}
template <typename T>
std::vector<T> ValuesOf(std::span<const std::byte> bytes) {
  std::vector<T> values(bytes.size() / sizeof(T));
  if (!values.empty()) std::memcpy(values.data(), bytes.data(), values.size() * sizeof(T));
  return values;
}

}  // namespace quantd
