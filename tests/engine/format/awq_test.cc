#include "engine/format/awq.h"

#include "base/error.h"
#include "gmock/gmock.h"
#include "tests/engine/format/packing.h"

namespace quantd {
namespace {

TEST(Awq, PacksAsAutoawqDoes) {
  const auto golden = GoldenPacking("autoawq");
  const LinearSpec linear = PackedLinear(golden["rows"], golden["columns"]);
  for (const auto& one : golden["cases"]) {
    const Scheme scheme = PackedScheme(4, golden["group_size"], one["symmetric"]);
    const QuantizedRows rows = GoldenRows(golden, one);
    const PackedTensors tensors = PackAllStripes(kAwqFormat, linear, scheme, rows);
    EXPECT_EQ(ValuesIn<int32_t>(tensors[0]), one["qweight"].get<std::vector<int32_t>>());
    EXPECT_EQ(ValuesIn<int32_t>(tensors[1]), one["qzeros"].get<std::vector<int32_t>>());
    EXPECT_EQ(FloatsIn(tensors[2], DType::kF16), one["stored_scales"].get<std::vector<float>>());
  }
  EXPECT_EQ(golden["cases"].size(), 2U);
}

TEST(Awq, EveryShapeComesBack) {
  for (const int64_t outputs : {8, 24, 264}) {
    for (const int64_t group_size : {int64_t{0}, int64_t{8}, int64_t{192}}) {
      for (const bool symmetric : {true, false}) {
        const LinearSpec linear = PackedLinear(outputs, 576);
        const Scheme scheme = PackedScheme(4, group_size, symmetric);
        const QuantizedRows rows = RandomRows(linear, scheme);
        const auto back =
            UnpackAll(kAwqFormat, linear, scheme, PackAllStripes(kAwqFormat, linear, scheme, rows));
        ASSERT_TRUE(back.ok()) << back.status();
        EXPECT_EQ(back->codes, rows.codes);
        EXPECT_EQ(back->zeros, rows.zeros);
        EXPECT_EQ(back->scales, rows.scales);
      }
    }
  }
}

TEST(Awq, RefusesBytesThatAreNoSuchLinear) {
  const LinearSpec linear = PackedLinear(8, 64);
  const Scheme scheme = PackedScheme(4, 32, true);
  const PackedTensors tensors =
      PackAllStripes(kAwqFormat, linear, scheme, RandomRows(linear, scheme));
  for (size_t part = 0; part < tensors.size(); ++part) {
    PackedTensors changed = tensors;
    changed[part].pop_back();
    EXPECT_EQ(ReasonOf(UnpackAll(kAwqFormat, linear, scheme, changed).status()),
              Reason::kModelCorrupt);
  }
  PackedTensors changed = tensors;
  changed[1][0] ^= std::byte{1};
  EXPECT_EQ(ReasonOf(UnpackAll(kAwqFormat, linear, scheme, changed).status()),
            Reason::kModelCorrupt);
}

TEST(Awq, HoldsFourBitsAndOneGroupSize) {
  LinearSpec q = PackedLinear(256, 256), down = PackedLinear(256, 512);
  q.name = "q";
  down.name = "down";
  ModelSpec model;
  const auto accepts = [&](const Scheme& a, const Scheme& b, std::string_view loader) {
    const std::vector<ResolvedLinear> linears = {{&q, a}, {&down, b}};
    return kAwqFormat.accepts(linears, model, {.name = loader});
  };
  const Scheme usual = PackedScheme(4, 128, false);
  for (const LoaderRow& loader : kAwqFormat.loaders) {
    EXPECT_TRUE(accepts(usual, PackedScheme(4, 128, true), loader.name).ok());
  }
  EXPECT_EQ(ReasonOf(accepts(usual, PackedScheme(4, 64, false), "")), Reason::kFormatCannotHold);
  EXPECT_EQ(ReasonOf(accepts(PackedScheme(8, 128, false), usual, "")), Reason::kFormatCannotHold);
  const Scheme small = PackedScheme(4, 16, false);
  EXPECT_TRUE(accepts(small, small, "transformers").ok());
  EXPECT_EQ(ReasonOf(accepts(small, small, "vllm")), Reason::kLoaderRefuses);
  q.out_features = 252;
  EXPECT_EQ(ReasonOf(accepts(usual, usual, "")), Reason::kFormatCannotHold);
}

TEST(Awq, TheConfigurationNamesWhatWasSkipped) {
  LinearSpec q = PackedLinear(256, 256), head = PackedLinear(512, 256);
  q.name = "model.layers.0.self_attn.q_proj";
  head.name = "lm_head";
  head.role = LinearRole::kHead;
  LinearSpec o = q;
  o.name = "model.layers.0.self_attn.o_proj";
  std::vector<ResolvedLinear> linears = {
      {&q, PackedScheme(4, 0, true)}, {&o, std::nullopt}, {&head, std::nullopt}};
  const Json config = kAwqFormat.config(linears, ModelSpec());
  EXPECT_EQ(config["group_size"], -1);
  EXPECT_EQ(config["zero_point"], true);
  EXPECT_EQ(config["modules_to_not_convert"], Json::array({o.name}));
  linears[1].scheme = linears[0].scheme;
  EXPECT_TRUE(kAwqFormat.config(linears, ModelSpec())["modules_to_not_convert"].is_null());
}

}  // namespace
}  // namespace quantd
