#include <map>

#include "base/error.h"
#include "engine/format/hqq.h"
#include "gmock/gmock.h"
#include "tests/engine/format/packing.h"

namespace quantd {
namespace {

using ::testing::HasSubstr;

Scheme HqqScheme(int bits, int64_t group_size, int axis) {
  Scheme scheme = PackedScheme(bits, group_size, false);
  scheme.method = "hqq";
  scheme.real_zero = true;
  scheme.scale_dtype = DType::kF32;
  scheme.options.Set("axis", int64_t{axis});
  return scheme;
}

// As method hqq leaves them: with axis 0, scale and zero beside every weight.
QuantizedRows RowsOf(const LinearSpec& linear, const Scheme& scheme,
                     const std::vector<int8_t>& codes, const std::vector<float>& scales,
                     const std::vector<float>& zeros) {
  QuantizedRows rows;
  rows.rows = linear.out_features;
  rows.columns = linear.in_features;
  rows.codes = codes;
  const bool across = scheme.options.Integer("axis") == 0;
  rows.groups = across ? linear.in_features : scheme.GroupsPerRow(linear.in_features);
  const int64_t copies = across ? scheme.group_size : 1;
  for (int64_t copy = 0; copy < copies; ++copy) {
    rows.scales.insert(rows.scales.end(), scales.begin(), scales.end());
    rows.real_zeros.insert(rows.real_zeros.end(), zeros.begin(), zeros.end());
  }
  return rows;
}

void ExpectTensor(const TensorInfo& info, const std::vector<std::byte>& bytes,
                  const nlohmann::json& wanted) {
  SCOPED_TRACE(info.name);
  static const std::map<std::string, DType> kTypes = {{"uint8", DType::kU8},
                                                      {"int32", DType::kI32},
                                                      {"int64", DType::kI64},
                                                      {"float32", DType::kF32}};
  EXPECT_EQ(info.dtype, kTypes.at(wanted["dtype"].get<std::string>()));
  EXPECT_EQ(info.shape, wanted["shape"].get<std::vector<int64_t>>());
  const nlohmann::json& values = wanted["values"];
  switch (info.dtype) {
    case DType::kU8:
      EXPECT_EQ(ValuesIn<uint8_t>(bytes), values.get<std::vector<uint8_t>>());
      break;
    case DType::kI32:
      EXPECT_EQ(ValuesIn<int32_t>(bytes), values.get<std::vector<int32_t>>());
      break;
    case DType::kI64:
      EXPECT_EQ(ValuesIn<int64_t>(bytes), values.get<std::vector<int64_t>>());
      break;
    default:
      EXPECT_EQ(ValuesIn<float>(bytes), values.get<std::vector<float>>());
  }
}

TEST(HqqFormat, PacksAsHqqDoes) {
  const auto golden = GoldenPacking("hqq");
  const LinearSpec linear = PackedLinear(golden["rows"], golden["columns"]);
  for (const auto& one : golden["cases"]) {
    const int bits = one["bits"];
    const Scheme scheme = HqqScheme(bits, golden["group_size"], one["axis"]);
    SCOPED_TRACE(one["bits"].dump() + " bits, axis " + one["axis"].dump());
    std::vector<float> zeros = one["zeros"].get<std::vector<float>>();
    for (float& zero : zeros) zero -= static_cast<float>(1 << (bits - 1));
    const QuantizedRows rows = RowsOf(linear, scheme, SignedCodes(one["codes"], bits),
                                      one["scales"].get<std::vector<float>>(), zeros);
    const PackedTensors tensors = PackAllStripes(kHqqFormat, linear, scheme, rows);
    const std::vector<TensorInfo> infos = kHqqFormat.tensors(linear, scheme);
    ASSERT_EQ(infos.size(), one["tensors"].size());
    for (size_t i = 0; i < infos.size(); ++i) {
      ASSERT_TRUE(one["tensors"].contains(infos[i].name)) << infos[i].name;
      ExpectTensor(infos[i], tensors[i], one["tensors"][infos[i].name]);
    }
    const auto back = UnpackAll(kHqqFormat, linear, scheme, tensors);
    ASSERT_TRUE(back.ok()) << back.status();
    EXPECT_EQ(back->codes, rows.codes);
    EXPECT_EQ(back->scales, rows.scales);
    EXPECT_EQ(back->real_zeros, rows.real_zeros);
  }
  EXPECT_EQ(golden["cases"].size(), 14U);
}

// More weights than one stripe packs; groups whose number no tenth divides.
TEST(HqqFormat, EveryShapeComesBack) {
  for (const int bits : {1, 2, 3, 4, 5, 6, 8}) {
    for (const int64_t group_size : {int64_t{0}, int64_t{24}}) {
      const LinearSpec linear = PackedLinear(bits == 3 ? 7000 : 2000, 408);
      const Scheme scheme = HqqScheme(bits, group_size, 1);
      const QuantizedRows rows = RandomRows(linear, scheme);
      const auto back =
          UnpackAll(kHqqFormat, linear, scheme, PackAllStripes(kHqqFormat, linear, scheme, rows));
      ASSERT_TRUE(back.ok()) << back.status();
      EXPECT_EQ(DequantizeAll(*back), DequantizeAll(rows)) << bits << " " << group_size;
    }
  }
}

TEST(HqqFormat, IntegerZeroPointsAndNoneAreRealOnesToo) {
  const LinearSpec linear = PackedLinear(32, 64);
  for (const bool symmetric : {true, false}) {
    Scheme scheme = PackedScheme(4, 32, symmetric);
    const QuantizedRows rows = RandomRows(linear, scheme);
    const PackedTensors tensors = PackAllStripes(kHqqFormat, linear, scheme, rows);
    const auto back = UnpackAll(kHqqFormat, linear, scheme, tensors);
    ASSERT_TRUE(back.ok()) << back.status();
    EXPECT_EQ(DequantizeAll(*back), DequantizeAll(rows));
  }
}

TEST(HqqFormat, RefusesWhatTheLibraryCannotCut) {
  const ModelSpec model;
  const auto accepts = [&](const LinearSpec& linear, const Scheme& scheme,
                           std::string_view loader) {
    const std::vector<ResolvedLinear> linears = {{&linear, scheme}};
    return ReasonOf(kHqqFormat.accepts(linears, model, {.name = loader}));
  };
  const LinearSpec even = PackedLinear(64, 64), odd = PackedLinear(3, 64);
  EXPECT_EQ(kHqqFormat.accepts(std::vector<ResolvedLinear>{{&even, HqqScheme(1, 64, 1)}}, model,
                               {.name = "transformers4"}),
            absl::OkStatus());
  EXPECT_EQ(accepts(odd, HqqScheme(4, 64, 1), ""), Reason::kFormatCannotHold);
  EXPECT_EQ(accepts(even, HqqScheme(7, 64, 1), ""), Reason::kFormatCannotHold);
  EXPECT_EQ(accepts(even, HqqScheme(4, 64, 1), "vllm"), Reason::kLoaderRefuses);
  Scheme w8a8 = PackedScheme(8, 0, true);
  w8a8.activations = ActivationScheme::kDynamicToken;
  EXPECT_EQ(accepts(even, w8a8, ""), Reason::kFormatCannotHold);
}

TEST(HqqFormat, TellsWhoDoesNotReadItAndWhatHoldsTheSame) {
  const LinearSpec linear = PackedLinear(64, 64);
  const ModelSpec model;
  const std::vector<ResolvedLinear> real = {{&linear, HqqScheme(4, 64, 1)}};
  const std::vector<ResolvedLinear> whole = {{&linear, PackedScheme(4, 64, false)}};
  for (const std::string_view loader : {"transformers", "vllm", "sglang"}) {
    const absl::Status status = kHqqFormat.accepts(real, model, {.name = loader});
    EXPECT_EQ(ReasonOf(status), Reason::kLoaderRefuses) << loader;
    EXPECT_THAT(std::string(status.message()), HasSubstr("random weights"));
    EXPECT_THAT(ViolationsOf(status)[0].wanted, HasSubstr("format dequantized holds the same"));
  }
  EXPECT_THAT(ViolationsOf(kHqqFormat.accepts(whole, model, {.name = "vllm"}))[0].wanted,
              HasSubstr("compressed-tensors (2 to 8 bits) or gptq"));
  ASSERT_EQ(kHqqFormat.caveats(real, {}).size(), 1U);
  EXPECT_THAT(kHqqFormat.caveats(real, {})[0], HasSubstr("transformers below 5"));
  EXPECT_TRUE(kHqqFormat.caveats(real, {.name = "hqq"}).empty());
}

TEST(HqqFormat, RefusesBytesThatAreNoSuchLinear) {
  const LinearSpec linear = PackedLinear(32, 64);
  const Scheme scheme = HqqScheme(3, 32, 1);
  const PackedTensors tensors =
      PackAllStripes(kHqqFormat, linear, scheme, RandomRows(linear, scheme));
  for (size_t part = 0; part < 3; ++part) {
    PackedTensors changed = tensors;
    changed[part].pop_back();
    EXPECT_EQ(ReasonOf(UnpackAll(kHqqFormat, linear, scheme, changed).status()),
              Reason::kModelCorrupt);
  }
}

}  // namespace
}  // namespace quantd
