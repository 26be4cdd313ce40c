// Reads what the ONNX backend node tests are made of: a TensorProto (input_0.pb, output_0.pb) and
// the numeric attributes of the one node of model.onnx. A protobuf wire reader of a few lines: the
// engine's tests need no protobuf.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace quantd {

// onnx.TensorProto.DataType.
enum class OnnxType {
  kFloat = 1,
  kUint8 = 2,
  kInt8 = 3,
  kUint16 = 4,
  kInt16 = 5,
  kInt32 = 6,
  kInt64 = 7,
  kBool = 9,
  kFloat16 = 10,
  kDouble = 11,
  kBfloat16 = 16,
  kFloat8E4M3 = 17,
  kFloat8E5M2 = 19,
  kUint4 = 21,
  kInt4 = 22,
  kFloat4E2M1 = 23,
  kUint2 = 25,
  kInt2 = 26,
};

struct OnnxTensor {
  std::string name;
  OnnxType type = OnnxType::kFloat;
  std::vector<int64_t> dims;
  // Every element, exact as a double (int64 up to 2^53). 8- and 4-bit floats are left as their bit
  // patterns.
  std::vector<double> values;

  int64_t elements() const {
    int64_t product = 1;
    for (const int64_t dim : dims) product *= dim;
    return product;
  }
  template <typename T>
  std::vector<T> As() const {
    std::vector<T> out;
    out.reserve(values.size());
    for (const double value : values) out.push_back(static_cast<T>(value));
    return out;
  }
};

namespace onnx_wire {

// One field of a protobuf message: a number (varint, fixed) or bytes.
struct Field {
  uint64_t number = 0;
  int wire = 0;
  uint64_t value = 0;
  std::string_view bytes;
};

class Reader {
 public:
  explicit Reader(std::string_view bytes) : rest_(bytes) {}
  bool done() const { return rest_.empty(); }

  uint64_t Varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const auto byte = static_cast<uint8_t>(Take(1)[0]);
      value |= static_cast<uint64_t>(byte & 0x7f) << shift;
      if ((byte & 0x80) == 0) return value;
    }
    throw std::runtime_error("varint is too long");
  }
  template <typename T>
  T Fixed() {
    T value;
    std::memcpy(&value, Take(sizeof(T)).data(), sizeof(T));
    return value;
  }
  Field Next() {
    const uint64_t key = Varint();
    Field field{.number = key >> 3, .wire = static_cast<int>(key & 7), .value = 0, .bytes = {}};
    if (field.wire == 0) field.value = Varint();
    if (field.wire == 1) field.value = Fixed<uint64_t>();
    if (field.wire == 2) field.bytes = Take(Varint());
    if (field.wire == 5) field.value = Fixed<uint32_t>();
    if (field.wire > 5 || field.wire == 3 || field.wire == 4)
      throw std::runtime_error("bad wire type");
    return field;
  }

 private:
  std::string_view Take(uint64_t count) {
    if (count > rest_.size()) throw std::runtime_error("message is cut short");
    const std::string_view taken = rest_.substr(0, count);
    rest_.remove_prefix(count);
    return taken;
  }
  std::string_view rest_;
};

inline double HalfToDouble(uint16_t bits) {
  const int exponent = (bits >> 10) & 31, fraction = bits & 1023;
  double value = exponent == 0    ? std::ldexp(fraction, -24)
                 : exponent == 31 ? (fraction != 0 ? std::nan("") : HUGE_VAL)
                                  : std::ldexp(fraction + 1024, exponent - 25);
  return (bits & 0x8000) != 0 ? -value : value;
}

// The value of one element from its bits.
inline double Decode(OnnxType type, uint64_t bits) {
  switch (type) {
    case OnnxType::kFloat:
      return std::bit_cast<float>(static_cast<uint32_t>(bits));
    case OnnxType::kDouble:
      return std::bit_cast<double>(bits);
    case OnnxType::kInt8:
      return static_cast<int8_t>(bits);
    case OnnxType::kInt16:
      return static_cast<int16_t>(bits);
    case OnnxType::kInt32:
      return static_cast<int32_t>(bits);
    case OnnxType::kInt64:
      return static_cast<double>(static_cast<int64_t>(bits));
    case OnnxType::kFloat16:
      return HalfToDouble(static_cast<uint16_t>(bits));
    case OnnxType::kBfloat16:
      return std::bit_cast<float>(static_cast<uint32_t>(bits << 16));
    case OnnxType::kInt4:
      return static_cast<double>(static_cast<int8_t>((bits & 15) << 4) / 16);
    case OnnxType::kInt2:
      return static_cast<double>(static_cast<int8_t>((bits & 3) << 6) / 64);
    default:
      return static_cast<double>(bits);
  }
}

inline int BitsOf(OnnxType type) {
  switch (type) {
    case OnnxType::kUint2:
    case OnnxType::kInt2:
      return 2;
    case OnnxType::kUint4:
    case OnnxType::kInt4:
    case OnnxType::kFloat4E2M1:
      return 4;
    case OnnxType::kUint8:
    case OnnxType::kInt8:
    case OnnxType::kBool:
    case OnnxType::kFloat8E4M3:
    case OnnxType::kFloat8E5M2:
      return 8;
    case OnnxType::kUint16:
    case OnnxType::kInt16:
    case OnnxType::kFloat16:
    case OnnxType::kBfloat16:
      return 16;
    case OnnxType::kFloat:
    case OnnxType::kInt32:
      return 32;
    case OnnxType::kInt64:
    case OnnxType::kDouble:
      return 64;
  }
  throw std::runtime_error("unknown ONNX data type");
}

// Little-endian elements; those under 8 bits are packed, the first in the low bits of each byte.
inline void DecodeRaw(std::string_view raw, OnnxTensor& tensor) {
  const int bits = BitsOf(tensor.type);
  for (int64_t i = 0; i < tensor.elements(); ++i) {
    uint64_t value = 0;
    if (bits < 8) {
      const auto byte = static_cast<uint8_t>(raw.at(static_cast<size_t>(i * bits / 8)));
      value = (byte >> (i * bits % 8)) & ((1U << bits) - 1);
    } else {
      const auto size = static_cast<size_t>(bits / 8);
      std::memcpy(&value, raw.substr(static_cast<size_t>(i) * size, size).data(), size);
    }
    tensor.values.push_back(Decode(tensor.type, value));
  }
}

// int32_data: one element per entry, but for packed types, where an entry holds a byte of them.
inline void DecodeInt32(Reader data, OnnxTensor& tensor) {
  const int bits = BitsOf(tensor.type);
  while (!data.done()) {
    const uint64_t entry = data.Varint();
    const int count = bits < 8 ? 8 / bits : 1;
    for (int i = 0; i < count; ++i) {
      if (static_cast<int64_t>(tensor.values.size()) == tensor.elements()) break;
      const uint64_t mask = bits < 8 ? (1U << bits) - 1 : ~uint64_t{0};
      tensor.values.push_back(Decode(tensor.type, (entry >> (i * bits)) & mask));
    }
  }
}

inline std::string ReadAll(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("cannot open " + path);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

}  // namespace onnx_wire

// Throws std::runtime_error (or std::out_of_range) when the file is not there or not a TensorProto.
inline OnnxTensor ReadOnnxTensor(const std::string& path) {
  const std::string file = onnx_wire::ReadAll(path);
  OnnxTensor tensor;
  std::vector<onnx_wire::Field>
      data;  // decoded once dims and type are known, in whichever order they came
  for (onnx_wire::Reader reader(file); !reader.done();) {
    const onnx_wire::Field field = reader.Next();
    if (field.number == 1 && field.wire == 0)
      tensor.dims.push_back(static_cast<int64_t>(field.value));
    if (field.number == 1 && field.wire == 2) {
      for (onnx_wire::Reader dims(field.bytes); !dims.done();) {
        tensor.dims.push_back(static_cast<int64_t>(dims.Varint()));
      }
    }
    if (field.number == 2) tensor.type = static_cast<OnnxType>(field.value);
    if (field.number == 8) tensor.name = std::string(field.bytes);
    if (field.wire == 2 && field.number != 1 && field.number != 8) data.push_back(field);
  }
  for (const onnx_wire::Field& field : data) {
    onnx_wire::Reader reader(field.bytes);
    if (field.number == 4)
      while (!reader.done()) tensor.values.push_back(reader.Fixed<float>());
    if (field.number == 5) onnx_wire::DecodeInt32(reader, tensor);
    if (field.number == 7) {
      while (!reader.done())
        tensor.values.push_back(static_cast<double>(static_cast<int64_t>(reader.Varint())));
    }
    if (field.number == 9) onnx_wire::DecodeRaw(field.bytes, tensor);
    if (field.number == 10)
      while (!reader.done()) tensor.values.push_back(reader.Fixed<double>());
  }
  if (static_cast<int64_t>(tensor.values.size()) != tensor.elements()) {
    throw std::runtime_error(path + ": the data do not match dims");
  }
  return tensor;
}

// The int and float attributes of the first node of model.onnx.
inline std::map<std::string, double> ReadOnnxAttributes(const std::string& path) {
  const std::string file = onnx_wire::ReadAll(path);
  const auto inside = [](std::string_view bytes, uint64_t number) {
    std::vector<std::string_view> found;
    for (onnx_wire::Reader reader(bytes); !reader.done();) {
      const onnx_wire::Field field = reader.Next();
      if (field.number == number && field.wire == 2) found.push_back(field.bytes);
    }
    return found;
  };
  std::map<std::string, double> attributes;
  const std::string_view node = inside(inside(file, 7).at(0), 1).at(0);  // ModelProto.graph.node
  for (const std::string_view bytes : inside(node, 5)) {
    std::string name;
    double value = 0;
    for (onnx_wire::Reader reader(bytes); !reader.done();) {
      const onnx_wire::Field field = reader.Next();
      if (field.number == 1) name = std::string(field.bytes);
      if (field.number == 2) value = std::bit_cast<float>(static_cast<uint32_t>(field.value));
      if (field.number == 3) value = static_cast<double>(static_cast<int64_t>(field.value));
    }
    attributes[name] = value;
  }
  return attributes;
}

}  // namespace quantd
