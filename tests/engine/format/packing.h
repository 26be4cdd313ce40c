// A linear packed and unpacked by a format whose tensors lie in stripes, for tests.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "engine/format/registry.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/paths.h"

namespace quantd {

inline nlohmann::json GoldenPacking(const std::string& library) {
  std::ifstream file(SourcePath("tests/golden/packing_") + library + ".json");
  return nlohmann::json::parse(file);
}

inline LinearSpec PackedLinear(int64_t outputs, int64_t inputs) {
  LinearSpec linear;
  linear.name = "l";
  linear.out_features = outputs;
  linear.in_features = inputs;
  return linear;
}

inline Scheme PackedScheme(int bits, int64_t group_size, bool symmetric) {
  Scheme scheme;
  scheme.method = "rtn";
  scheme.bits = bits;
  scheme.symmetric = symmetric;
  scheme.scale_dtype = DType::kF16;
  scheme.granularity = group_size > 0 ? Granularity::kGroup : Granularity::kChannel;
  scheme.group_size = group_size;
  return scheme;
}

// Random rows that a scheme can have; scales of both signs.
inline QuantizedRows RandomRows(const LinearSpec& linear, const Scheme& scheme) {
  std::mt19937 random(static_cast<uint32_t>(linear.parameters() + scheme.bits));
  std::uniform_int_distribution<int> code(scheme.qmin(), scheme.qmax()), step(-64, 64);
  QuantizedRows rows = RoomFor(scheme, linear.out_features, linear.in_features);
  for (int8_t& value : rows.codes) value = static_cast<int8_t>(code(random));
  for (int8_t& value : rows.zeros) value = static_cast<int8_t>(code(random));
  for (float& value : rows.real_zeros) value = static_cast<float>(step(random)) / 16;
  for (float& value : rows.scales) value = static_cast<float>(step(random) * 2 + 1) / 512;
  return rows;
}

using PackedTensors = std::vector<std::vector<std::byte>>;

// Every tensor of a linear; each byte must be written exactly once.
inline PackedTensors PackAllStripes(const Format& format, const LinearSpec& linear,
                                    const Scheme& scheme, const QuantizedRows& rows) {
  const std::vector<TensorInfo> infos = format.tensors(linear, scheme);
  PackedTensors tensors;
  std::vector<std::vector<int>> writes;
  for (const TensorInfo& info : infos) {
    tensors.emplace_back(static_cast<size_t>(info.bytes()));
    writes.emplace_back(static_cast<size_t>(info.bytes()), 0);
  }
  const auto put = [&](const std::vector<PackedPiece>& pieces) {
    for (const PackedPiece& piece : pieces) {
      const auto offset = static_cast<size_t>(piece.offset);
      ASSERT_LE(offset + piece.bytes.size(), tensors[piece.index].size())
          << infos[piece.index].name;
      for (size_t i = 0; i < piece.bytes.size(); ++i) {
        tensors[piece.index][offset + i] = piece.bytes[i];
        ++writes[piece.index][offset + i];
      }
    }
  };
  const int64_t stripes = format.stripes(linear, scheme);
  for (int64_t stripe = 0; stripe < stripes; ++stripe) {
    put(format.pack_stripe(linear, scheme, rows, stripe));
  }
  put(format.constants(linear, scheme, std::nullopt));
  for (size_t i = 0; i < infos.size(); ++i) {
    for (const int count : writes[i]) {
      EXPECT_EQ(count, 1) << infos[i].name;
      if (count != 1) break;
    }
  }
  return tensors;
}

inline absl::StatusOr<QuantizedRows> UnpackAll(const Format& format, const LinearSpec& linear,
                                               const Scheme& scheme, const PackedTensors& tensors) {
  const std::vector<std::span<const std::byte>> spans(tensors.begin(), tensors.end());
  return format.unpack(linear, scheme, spans);
}

inline std::vector<float> DequantizeAll(const QuantizedRows& rows) {
  std::vector<float> values(rows.codes.size());
  for (int64_t n = 0; n < rows.rows; ++n) {
    rows.Dequantize(n, values.data() + n * rows.columns);
  }
  return values;
}

template <typename T>
std::vector<T> ValuesIn(const std::vector<std::byte>& bytes) {
  std::vector<T> values(bytes.size() / sizeof(T));
  if (!bytes.empty()) std::memcpy(values.data(), bytes.data(), values.size() * sizeof(T));
  return values;
}

inline std::vector<float> FloatsIn(const std::vector<std::byte>& bytes, DType dtype) {
  std::vector<float> values(bytes.size() / static_cast<size_t>(SizeOf(dtype)));
  WidenToF32(bytes.data(), dtype, static_cast<int64_t>(values.size()), values.data());
  return values;
}

// Codes or zero points that count from 0, as signed ones.
inline std::vector<int8_t> SignedCodes(const nlohmann::json& stored, int bits) {
  std::vector<int8_t> codes;
  for (const int value : stored.get<std::vector<int>>()) {
    codes.push_back(static_cast<int8_t>(value - (1 << (bits - 1))));
  }
  return codes;
}

// The rows that a case of GoldenPacking stands for, with integer zero points.
inline QuantizedRows GoldenRows(const nlohmann::json& golden, const nlohmann::json& one) {
  QuantizedRows rows;
  rows.rows = golden["rows"];
  rows.columns = golden["columns"];
  rows.groups = rows.columns / golden["group_size"].get<int64_t>();
  rows.codes = SignedCodes(one["codes"], one["bits"]);
  if (!one["symmetric"].get<bool>()) rows.zeros = SignedCodes(one["zeros"], one["bits"]);
  rows.scales = one["scales"].get<std::vector<float>>();
  return rows;
}

}  // namespace quantd
