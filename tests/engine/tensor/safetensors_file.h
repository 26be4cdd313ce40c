// Builds safetensors files by hand, true ones and lying ones.
#pragma once

#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

namespace quantd {

inline std::string LittleEndian64(uint64_t value) {
  std::string bytes(8, '\0');
  std::memcpy(bytes.data(), &value, 8);
  return bytes;
}

// A file with this header and `data_bytes` bytes of data, counting up from 0.
inline std::string SafetensorsFile(std::string_view header, size_t data_bytes) {
  std::string file = LittleEndian64(header.size());
  file += header;
  for (size_t i = 0; i < data_bytes; ++i) file += static_cast<char>(i);
  return file;
}

inline std::span<const std::byte> BytesOf(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

}  // namespace quantd
