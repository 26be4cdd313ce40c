// The keys and values at the head of a GGUF file, in the order in which they are added.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace quantd {

class KeyValues {
 public:
  void AddU32(std::string_view key, uint32_t value);
  void AddU16(std::string_view key, uint16_t value);
  void AddI32(std::string_view key, int32_t value);
  void AddF32(std::string_view key, float value);
  void AddBool(std::string_view key, bool value);
  void AddText(std::string_view key, std::string_view value);
  void AddTexts(std::string_view key, std::span<const std::string> values);
  void AddI32s(std::string_view key, std::span<const int32_t> values);
  void AddF32s(std::string_view key, std::span<const float> values);

  // Those of `more` after these.
  void Append(const KeyValues& more);

  uint64_t count() const { return count_; }
  // As they lie in the file.
  const std::string& bytes() const { return bytes_; }

 private:
  void Begin(std::string_view key, uint32_t type);
  void BeginList(std::string_view key, uint32_t type, size_t size);

  uint64_t count_ = 0;
  std::string bytes_;
};

// Little-endian, as GGUF has it.
void AppendU32(uint32_t value, std::string& to);
void AppendU64(uint64_t value, std::string& to);
// The length in bytes (64 bits), then the text.
void AppendText(std::string_view text, std::string& to);

}  // namespace quantd
