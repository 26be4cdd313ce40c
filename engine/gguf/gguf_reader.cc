#include "engine/gguf/gguf_reader.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <functional>
#include <set>
#include <tuple>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/checked.h"
#include "base/error.h"

namespace quantd {
namespace {

constexpr int64_t kWindowBytes = 256 << 10;
constexpr uint64_t kMostTensors = 1 << 20;
constexpr uint64_t kMostKeys = 1 << 16;
constexpr uint64_t kMostNameBytes = 1 << 16;
constexpr uint64_t kMostStringBytes = 64 << 20;
// Of all arrays together: vocabularies have some hundred thousand.
constexpr int64_t kMostItems = 4 << 20;
constexpr int64_t kMostAlignment = 1 << 20;

// ggml-common.h and ggml.c of llama.cpp: weights and bytes of a block.
constexpr std::array kElements = std::to_array<GgufElement>({
    {0, "F32", 1, 4},         {1, "F16", 1, 2},         {2, "Q4_0", 32, 18},
    {3, "Q4_1", 32, 20},      {6, "Q5_0", 32, 22},      {7, "Q5_1", 32, 24},
    {8, "Q8_0", 32, 34},      {9, "Q8_1", 32, 36},      {10, "Q2_K", 256, 84},
    {11, "Q3_K", 256, 110},   {12, "Q4_K", 256, 144},   {13, "Q5_K", 256, 176},
    {14, "Q6_K", 256, 210},   {15, "Q8_K", 256, 292},   {16, "IQ2_XXS", 256, 66},
    {17, "IQ2_XS", 256, 74},  {18, "IQ3_XXS", 256, 98}, {19, "IQ1_S", 256, 50},
    {20, "IQ4_NL", 32, 18},   {21, "IQ3_S", 256, 110},  {22, "IQ2_S", 256, 82},
    {23, "IQ4_XS", 256, 136}, {24, "I8", 1, 1},         {25, "I16", 1, 2},
    {26, "I32", 1, 4},        {27, "I64", 1, 8},        {28, "F64", 1, 8},
    {29, "IQ1_M", 256, 56},   {30, "BF16", 1, 2},       {34, "TQ1_0", 256, 54},
    {35, "TQ2_0", 256, 66},   {39, "MXFP4", 32, 17},    {40, "NVFP4", 64, 36},
});

std::string Shown(std::string_view text) {
  return absl::Utf8SafeCEscape(ToAbsl(text.substr(0, 200)));
}

// Bytes of the smallest value of a type: what a count is checked against.
int64_t LeastBytes(GgufType type) {
  switch (type) {
    case GgufType::kU8:
    case GgufType::kI8:
    case GgufType::kBool:
      return 1;
    case GgufType::kU16:
    case GgufType::kI16:
      return 2;
    case GgufType::kU32:
    case GgufType::kI32:
    case GgufType::kF32:
      return 4;
    default:
      return 8;  // strings have a length
  }
}

// Reads a header from front to back through a window.
class Cursor {
 public:
  using Fetch = std::function<absl::Status(int64_t offset, std::span<std::byte> out)>;

  Cursor(std::string path, int64_t file_bytes, Fetch fetch)
      : path_(std::move(path)), file_bytes_(file_bytes), fetch_(std::move(fetch)) {}

  int64_t position() const { return position_; }
  int64_t left() const { return file_bytes_ - position_; }
  const std::string& path() const { return path_; }

  absl::Status Corrupt(std::string_view where, std::string got, std::string wanted) const {
    return MakeError(Reason::kModelCorrupt, "bad GGUF header",
                     Violation{.where = where.empty() ? path_ : path_ + ":" + Shown(where),
                               .got = std::move(got),
                               .wanted = std::move(wanted)});
  }

  absl::Status Take(std::span<std::byte> out, std::string_view where) {
    const auto count = static_cast<int64_t>(out.size());
    if (count > left()) {
      return Corrupt(where, absl::StrCat("the end of the file after ", left(), " bytes"),
                     absl::StrCat(count, " bytes"));
    }
    if (count > kWindowBytes) {
      QD_RETURN_IF_ERROR(fetch_(position_, out));
    } else if (count > 0) {
      if (position_ < window_begin_ ||
          position_ + count > window_begin_ + static_cast<int64_t>(window_.size())) {
        window_begin_ = position_;
        window_.resize(static_cast<size_t>(std::min(kWindowBytes, left())));
        QD_RETURN_IF_ERROR(fetch_(window_begin_, window_));
      }
      std::memcpy(out.data(), window_.data() + (position_ - window_begin_), out.size());
    }
    position_ += count;
    return absl::OkStatus();
  }

  template <typename T>
  absl::StatusOr<T> Number(std::string_view where) {
    T value{};
    QD_RETURN_IF_ERROR(Take(std::as_writable_bytes(std::span(&value, 1)), where));
    return value;
  }

  absl::StatusOr<std::string> Text(uint64_t most, std::string_view where) {
    QD_ASSIGN_OR_RETURN(const auto length, Number<uint64_t>(where));
    if (length > most || length > static_cast<uint64_t>(left())) {
      return Corrupt(where, absl::StrCat("a string of ", length, " bytes"),
                     absl::StrCat("at most ", std::min(most, static_cast<uint64_t>(left()))));
    }
    std::string text(length, '\0');
    QD_RETURN_IF_ERROR(Take(std::as_writable_bytes(std::span(text.data(), text.size())), where));
    return text;
  }

 private:
  std::string path_;
  int64_t file_bytes_;
  Fetch fetch_;
  int64_t position_ = 0;
  int64_t window_begin_ = 0;
  std::vector<std::byte> window_;
};

template <typename T, typename Kept>
absl::StatusOr<GgufScalar> Widened(Cursor& cursor, std::string_view where) {
  QD_ASSIGN_OR_RETURN(const T value, cursor.Number<T>(where));
  return GgufScalar(static_cast<Kept>(value));
}

absl::StatusOr<GgufScalar> ReadScalar(Cursor& cursor, GgufType type, std::string_view where) {
  switch (type) {
    case GgufType::kU8:
      return Widened<uint8_t, uint64_t>(cursor, where);
    case GgufType::kI8:
      return Widened<int8_t, int64_t>(cursor, where);
    case GgufType::kU16:
      return Widened<uint16_t, uint64_t>(cursor, where);
    case GgufType::kI16:
      return Widened<int16_t, int64_t>(cursor, where);
    case GgufType::kU32:
      return Widened<uint32_t, uint64_t>(cursor, where);
    case GgufType::kI32:
      return Widened<int32_t, int64_t>(cursor, where);
    case GgufType::kF32:
      return Widened<float, double>(cursor, where);
    case GgufType::kU64:
      return Widened<uint64_t, uint64_t>(cursor, where);
    case GgufType::kI64:
      return Widened<int64_t, int64_t>(cursor, where);
    case GgufType::kF64:
      return Widened<double, double>(cursor, where);
    case GgufType::kBool: {
      QD_ASSIGN_OR_RETURN(const auto value, cursor.Number<uint8_t>(where));
      if (value > 1) return cursor.Corrupt(where, absl::StrCat("bool ", value), "0 or 1");
      return GgufScalar(value == 1);
    }
    case GgufType::kString: {
      QD_ASSIGN_OR_RETURN(std::string text, cursor.Text(kMostStringBytes, where));
      return GgufScalar(std::move(text));
    }
    default:
      return cursor.Corrupt(where, absl::StrCat("type ", static_cast<uint32_t>(type)), "0 to 12");
  }
}

absl::StatusOr<GgufType> ReadType(Cursor& cursor, std::string_view where) {
  QD_ASSIGN_OR_RETURN(const auto number, cursor.Number<uint32_t>(where));
  if (number > static_cast<uint32_t>(GgufType::kF64)) {
    return cursor.Corrupt(where, absl::StrCat("type ", number), "0 to 12");
  }
  return static_cast<GgufType>(number);
}

absl::StatusOr<GgufValue> ReadValue(Cursor& cursor, std::string_view key, int64_t* items_left) {
  GgufValue value;
  QD_ASSIGN_OR_RETURN(value.type, ReadType(cursor, key));
  value.element = value.type;
  uint64_t count = 1;
  if (value.type == GgufType::kArray) {
    QD_ASSIGN_OR_RETURN(value.element, ReadType(cursor, key));
    if (value.element == GgufType::kArray) {
      return cursor.Corrupt(key, "an array of arrays", "an array of values");
    }
    QD_ASSIGN_OR_RETURN(count, cursor.Number<uint64_t>(key));
  }
  const int64_t most = std::min(*items_left, cursor.left() / LeastBytes(value.element));
  if (count > static_cast<uint64_t>(std::max<int64_t>(most, 0))) {
    return cursor.Corrupt(key, absl::StrCat(count, " values"), absl::StrCat("at most ", most));
  }
  *items_left -= static_cast<int64_t>(count);
  value.items.reserve(count);
  for (uint64_t i = 0; i < count; ++i) {
    QD_ASSIGN_OR_RETURN(GgufScalar scalar, ReadScalar(cursor, value.element, key));
    value.items.push_back(std::move(scalar));
  }
  return value;
}

absl::Status ReadMetadata(Cursor& cursor, uint64_t count, GgufHeader* header) {
  int64_t items_left = kMostItems;
  for (uint64_t i = 0; i < count; ++i) {
    QD_ASSIGN_OR_RETURN(std::string key, cursor.Text(kMostNameBytes, "a key"));
    QD_ASSIGN_OR_RETURN(GgufValue value, ReadValue(cursor, key, &items_left));
    const auto [place, added] = header->metadata.emplace(std::move(key), std::move(value));
    if (!added) return cursor.Corrupt(place->first, "the key twice", "it once");
  }
  if (!header->metadata.contains("general.alignment")) return absl::OkStatus();
  const int64_t alignment = header->Integer("general.alignment").value_or(0);
  if (alignment < 1 || alignment > kMostAlignment || (alignment & (alignment - 1)) != 0) {
    return cursor.Corrupt("general.alignment", absl::StrCat(alignment), "a power of two");
  }
  header->alignment = alignment;
  return absl::OkStatus();
}

// The bytes that the shape needs; checks the shape.
absl::StatusOr<int64_t> BytesOf(const Cursor& cursor, const GgufTensor& tensor) {
  const std::string shape = absl::StrCat("[", absl::StrJoin(tensor.dims, ", "), "]");
  const std::optional<int64_t> elements = CheckedProduct(tensor.dims);
  if (!elements || *std::min_element(tensor.dims.begin(), tensor.dims.end()) <= 0) {
    return cursor.Corrupt(tensor.name, "shape " + shape, "sizes above 0, a product below 2^63");
  }
  const GgufElement* element = FindGgufElement(tensor.type);
  if (element == nullptr) return 0;
  if (tensor.dims[0] % element->elements != 0) {
    return cursor.Corrupt(tensor.name, absl::StrCat("rows of ", tensor.dims[0]),
                          absl::StrCat("whole blocks of ", element->elements));
  }
  const auto bytes = CheckedMultiply(*elements / element->elements, element->bytes);
  if (!bytes) return cursor.Corrupt(tensor.name, "shape " + shape, "a size below 2^63 bytes");
  return *bytes;
}

absl::Status ReadTensors(Cursor& cursor, uint64_t count, GgufHeader* header) {
  std::set<std::string_view> names;
  header->tensors.reserve(count);  // the count was checked against the bytes there are
  for (uint64_t i = 0; i < count; ++i) {
    GgufTensor& tensor = header->tensors.emplace_back();
    QD_ASSIGN_OR_RETURN(tensor.name, cursor.Text(kMostNameBytes, "the name of a tensor"));
    if (!names.insert(tensor.name).second) {
      return cursor.Corrupt(tensor.name, "the tensor twice", "it once");
    }
    QD_ASSIGN_OR_RETURN(const auto rank, cursor.Number<uint32_t>(tensor.name));
    if (rank < 1 || rank > 4) {
      return cursor.Corrupt(tensor.name, absl::StrCat(rank, " dimensions"), "1 to 4");
    }
    for (uint32_t d = 0; d < rank; ++d) {
      QD_ASSIGN_OR_RETURN(const auto size, cursor.Number<int64_t>(tensor.name));
      tensor.dims.push_back(size);
    }
    QD_ASSIGN_OR_RETURN(tensor.type, cursor.Number<uint32_t>(tensor.name));
    QD_ASSIGN_OR_RETURN(tensor.offset, cursor.Number<int64_t>(tensor.name));
    QD_ASSIGN_OR_RETURN(tensor.bytes, BytesOf(cursor, tensor));
  }
  return absl::OkStatus();
}

// Offsets become those of the file. Tensors lie inside it, aligned, none on another.
absl::Status PlaceTensors(const Cursor& cursor, int64_t file_bytes, GgufHeader* header) {
  const int64_t alignment = header->alignment;
  header->data_begin = DivideRoundingUp(cursor.position(), alignment) * alignment;
  const int64_t data_bytes = file_bytes - header->data_begin;
  std::vector<const GgufTensor*> by_place;
  for (GgufTensor& tensor : header->tensors) {
    if (tensor.offset < 0 || tensor.offset % alignment != 0 || tensor.offset > data_bytes ||
        tensor.bytes > data_bytes - tensor.offset) {
      return cursor.Corrupt(tensor.name,
                            absl::StrCat(tensor.bytes, " bytes at offset ", tensor.offset),
                            absl::StrCat("a multiple of ", alignment, ", inside the ",
                                         std::max<int64_t>(data_bytes, 0), " bytes of data"));
    }
    tensor.offset += header->data_begin;
    by_place.push_back(&tensor);
  }
  std::sort(by_place.begin(), by_place.end(), [](const GgufTensor* a, const GgufTensor* b) {
    return std::tie(a->offset, a->bytes) < std::tie(b->offset, b->bytes);
  });
  for (size_t i = 1; i < by_place.size(); ++i) {
    if (by_place[i - 1]->offset + by_place[i - 1]->bytes <= by_place[i]->offset) continue;
    return cursor.Corrupt(by_place[i]->name, "data that overlaps " + Shown(by_place[i - 1]->name),
                          "data of its own");
  }
  return absl::OkStatus();
}

absl::StatusOr<GgufHeader> Read(Cursor& cursor, int64_t file_bytes) {
  GgufHeader header;
  std::array<char, 4> magic{};
  QD_RETURN_IF_ERROR(cursor.Take(std::as_writable_bytes(std::span(magic)), ""));
  if (std::string_view(magic.data(), 4) != "GGUF") {
    return cursor.Corrupt("", "another kind of file", "GGUF in the first four bytes");
  }
  QD_ASSIGN_OR_RETURN(header.version, cursor.Number<uint32_t>(""));
  if (header.version != 2 && header.version != 3) {
    const bool swapped = (header.version & 0xffff) == 0 && header.version != 0;
    const std::string got = swapped ? "big-endian" : absl::StrCat("version ", header.version);
    return MakeError(Reason::kModelUnsupported, "GGUF files of this kind are not read",
                     Violation{cursor.path(), got, "version 2 or 3, little-endian"});
  }
  QD_ASSIGN_OR_RETURN(const auto tensors, cursor.Number<uint64_t>("the number of tensors"));
  QD_ASSIGN_OR_RETURN(const auto keys, cursor.Number<uint64_t>("the number of keys"));
  // A tensor takes at least 32 bytes of header, a key 13.
  const auto left = static_cast<uint64_t>(cursor.left());
  if (tensors > kMostTensors || tensors > left / 32) {
    return cursor.Corrupt("", absl::StrCat(tensors, " tensors"),
                          "as many as the file has room for");
  }
  if (keys > kMostKeys || keys > left / 13) {
    return cursor.Corrupt("", absl::StrCat(keys, " keys"), "as many as the file has room for");
  }
  QD_RETURN_IF_ERROR(ReadMetadata(cursor, keys, &header));
  QD_RETURN_IF_ERROR(ReadTensors(cursor, tensors, &header));
  QD_RETURN_IF_ERROR(PlaceTensors(cursor, file_bytes, &header));
  return header;
}

}  // namespace

const GgufElement* FindGgufElement(uint32_t number) {
  for (const GgufElement& element : kElements) {
    if (element.number == number) return &element;
  }
  return nullptr;
}

int64_t GgufTensor::elements() const {
  int64_t product = 1;
  for (const int64_t size : dims) product *= size;
  return product;
}

std::optional<std::string> GgufHeader::String(std::string_view key) const {
  const auto found = metadata.find(key);
  if (found == metadata.end() || found->second.type != GgufType::kString) return std::nullopt;
  return std::get<std::string>(found->second.items.front());
}

std::optional<int64_t> GgufHeader::Integer(std::string_view key) const {
  const auto found = metadata.find(key);
  if (found == metadata.end() || found->second.type == GgufType::kArray) return std::nullopt;
  const GgufScalar& scalar = found->second.items.front();
  if (const auto* number = std::get_if<int64_t>(&scalar)) return *number;
  const auto* number = std::get_if<uint64_t>(&scalar);
  if (number == nullptr || *number > static_cast<uint64_t>(INT64_MAX)) return std::nullopt;
  return static_cast<int64_t>(*number);
}

std::optional<int64_t> GgufHeader::Length(std::string_view key) const {
  const auto found = metadata.find(key);
  if (found == metadata.end() || found->second.type != GgufType::kArray) return std::nullopt;
  return static_cast<int64_t>(found->second.items.size());
}

absl::StatusOr<GgufHeader> ReadGgufHeader(const RandomAccessFile& file) {
  Cursor cursor(file.name(), file.size(),
                [&](int64_t offset, std::span<std::byte> out) { return file.Read(offset, out); });
  return Read(cursor, file.size());
}

absl::StatusOr<GgufHeader> ParseGguf(std::span<const std::byte> file, const std::string& path) {
  const auto size = static_cast<int64_t>(file.size());
  Cursor cursor(path, size, [&](int64_t offset, std::span<std::byte> out) {
    std::memcpy(out.data(), file.data() + offset, out.size());
    return absl::OkStatus();
  });
  return Read(cursor, size);
}

}  // namespace quantd
