// The header of a GGUF file, version 2 or 3: metadata, and where which tensor lies. Everything read
// is taken for a lie until it is checked.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "base/files.h"

namespace quantd {

// As numbered in the files.
enum class GgufType : uint32_t {
  kU8,
  kI8,
  kU16,
  kI16,
  kU32,
  kI32,
  kF32,
  kBool,
  kString,
  kArray,
  kU64,
  kI64,
  kF64,
};

using GgufScalar = std::variant<bool, int64_t, uint64_t, double, std::string>;

struct GgufValue {
  GgufType type = GgufType::kU32;     // kArray: of `element`
  GgufType element = GgufType::kU32;  // never kArray
  std::vector<GgufScalar> items;      // one, unless an array
};

// A size that a type of elements has in any GGUF file, also of those that are not read further.
struct GgufElement {
  uint32_t number = 0;
  std::string_view name;  // "Q4_K", "IQ2_XS"
  int64_t elements = 1;   // per block
  int64_t bytes = 1;      // of a block
};
// nullptr: not known.
const GgufElement* FindGgufElement(uint32_t number);

struct GgufTensor {
  std::string name;
  std::vector<int64_t> dims;  // as in the file: the fastest first, [in, out]; 1 to 4, each above 0
  uint32_t type = 0;          // GGML's number
  int64_t offset = 0;         // from the start of the file
  int64_t bytes = 0;          // 0 for a type that is not known

  int64_t elements() const;
};

struct GgufHeader {
  uint32_t version = 3;
  int64_t alignment = 32;
  std::map<std::string, GgufValue, std::less<>> metadata;
  std::vector<GgufTensor> tensors;  // in the order of the file
  int64_t data_begin = 0;

  // nothing: no such key, or of another type.
  std::optional<std::string> String(std::string_view key) const;
  std::optional<int64_t> Integer(std::string_view key) const;
  // Elements of an array; nothing: no such key, or no array.
  std::optional<int64_t> Length(std::string_view key) const;
};

// Checks everything that can lie: magic, version, counts and lengths against the bytes there are,
// types, nesting (no arrays of arrays), duplicates, dimensions and sizes without overflow, whole
// blocks per row, alignment, data inside the file and without overlap. Errors: MODEL_CORRUPT naming
// the file and the key or tensor; MODEL_UNSUPPORTED for version 1 and big-endian files; those of
// reading.
absl::StatusOr<GgufHeader> ReadGgufHeader(const RandomAccessFile& file);
// The same on a whole file in memory: what the fuzzer calls.
absl::StatusOr<GgufHeader> ParseGguf(std::span<const std::byte> file, const std::string& path);

}  // namespace quantd
