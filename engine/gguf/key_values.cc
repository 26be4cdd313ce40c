#include "engine/gguf/key_values.h"

#include <bit>
#include <cstring>

namespace quantd {
namespace {

static_assert(std::endian::native == std::endian::little);

// Numbers of the value types.
constexpr uint32_t kU16 = 2, kU32 = 4, kI32 = 5, kF32 = 6, kBool = 7, kText = 8, kList = 9;

template <typename T>
void AppendNumber(T value, std::string& to) {
  char bytes[sizeof(value)];
  std::memcpy(bytes, &value, sizeof(value));
  to.append(bytes, sizeof(value));
}

}  // namespace

void AppendU32(uint32_t value, std::string& to) { AppendNumber(value, to); }
void AppendU64(uint64_t value, std::string& to) { AppendNumber(value, to); }
void AppendText(std::string_view text, std::string& to) {
  AppendU64(text.size(), to);
  to.append(text);
}

void KeyValues::Begin(std::string_view key, uint32_t type) {
  ++count_;
  AppendText(key, bytes_);
  AppendU32(type, bytes_);
}

void KeyValues::BeginList(std::string_view key, uint32_t type, size_t size) {
  Begin(key, kList);
  AppendU32(type, bytes_);
  AppendU64(size, bytes_);
}

void KeyValues::AddU32(std::string_view key, uint32_t value) {
  Begin(key, kU32);
  AppendU32(value, bytes_);
}

void KeyValues::AddU16(std::string_view key, uint16_t value) {
  Begin(key, kU16);
  AppendNumber(value, bytes_);
}

void KeyValues::AddI32(std::string_view key, int32_t value) {
  Begin(key, kI32);
  AppendNumber(value, bytes_);
}

void KeyValues::Append(const KeyValues& more) {
  count_ += more.count_;
  bytes_ += more.bytes_;
}

void KeyValues::AddF32(std::string_view key, float value) {
  Begin(key, kF32);
  AppendNumber(value, bytes_);
}

void KeyValues::AddBool(std::string_view key, bool value) {
  Begin(key, kBool);
  bytes_.push_back(value ? 1 : 0);
}

void KeyValues::AddText(std::string_view key, std::string_view value) {
  Begin(key, kText);
  AppendText(value, bytes_);
}

void KeyValues::AddTexts(std::string_view key, std::span<const std::string> values) {
  BeginList(key, kText, values.size());
  for (const std::string& value : values) AppendText(value, bytes_);
}

void KeyValues::AddI32s(std::string_view key, std::span<const int32_t> values) {
  BeginList(key, kI32, values.size());
  for (const int32_t value : values) AppendNumber(value, bytes_);
}

void KeyValues::AddF32s(std::string_view key, std::span<const float> values) {
  BeginList(key, kF32, values.size());
  for (const float value : values) AppendNumber(value, bytes_);
}

}  // namespace quantd
