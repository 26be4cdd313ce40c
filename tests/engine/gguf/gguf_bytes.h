// GGUF files built by hand, byte by byte, true or lying.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace quantd {

class GgufBytes {
 public:
  template <typename T>
  GgufBytes& Number(T value) {
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof(value));
    return *this;
  }
  GgufBytes& Raw(std::string_view text) {
    bytes_.append(text);
    return *this;
  }
  GgufBytes& Text(std::string_view text) { return Number<uint64_t>(text.size()).Raw(text); }
  GgufBytes& Head(uint64_t tensors, uint64_t keys, uint32_t version = 3) {
    return Raw("GGUF").Number(version).Number(tensors).Number(keys);
  }
  GgufBytes& StringKey(std::string_view key, std::string_view value) {
    return Text(key).Number<uint32_t>(8).Text(value);
  }
  GgufBytes& IntegerKey(std::string_view key, uint32_t value) {
    return Text(key).Number<uint32_t>(4).Number(value);
  }
  GgufBytes& StringsKey(std::string_view key, const std::vector<std::string>& values) {
    Text(key).Number<uint32_t>(9).Number<uint32_t>(8).Number<uint64_t>(values.size());
    for (const std::string& value : values) Text(value);
    return *this;
  }
  GgufBytes& Tensor(std::string_view name, const std::vector<int64_t>& dims, uint32_t type,
                    int64_t offset) {
    Text(name).Number(static_cast<uint32_t>(dims.size()));
    for (const int64_t size : dims) Number(size);
    return Number(type).Number(offset);
  }
  // Up to a multiple of 32, then `count` bytes of data.
  GgufBytes& Data(size_t count, char value = 0) {
    bytes_.resize((bytes_.size() + 31) / 32 * 32);
    bytes_.append(count, value);
    return *this;
  }
  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
};

// A llama of one block: token_embd in Q8_0 over 64 columns and two F32 norms.
inline std::string SmallGguf() {
  GgufBytes file;
  file.Head(3, 4)
      .StringKey("general.architecture", "llama")
      .IntegerKey("llama.embedding_length", 64)
      .IntegerKey("llama.block_count", 1)
      .StringsKey("tokenizer.ggml.tokens", {"a", "b", "c", "d"})
      .Tensor("token_embd.weight", {64, 4}, 8, 0)
      .Tensor("blk.0.attn_norm.weight", {64}, 0, 288)
      .Tensor("output_norm.weight", {64}, 0, 544)
      .Data(544 + 256);
  return file.bytes();
}

}  // namespace quantd
