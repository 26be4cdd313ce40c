#include "engine/format/compressed_tensors.h"

#include <cstring>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "engine/convert/stored_rows.h"
#include "engine/format/serving_rules.h"
#include "engine/method/registry.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/engine/format/packing.h"
#include "tests/paths.h"

// What a test does not name keeps its default: that is the point of naming.
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"

namespace quantd {
namespace {

using ::testing::HasSubstr;

LinearSpec Linear(const std::string& name, LinearRole role, int64_t outputs, int64_t inputs,
                  int block = 0) {
  LinearSpec linear;
  linear.name = name;
  linear.role = role;
  linear.out_features = outputs;
  linear.in_features = inputs;
  linear.block = block;
  return linear;
}

Scheme Int4(int64_t group_size = 128, bool symmetric = true) {
  Scheme scheme;
  scheme.method = "rtn";
  scheme.group_size = group_size;
  scheme.symmetric = symmetric;
  return scheme;
}

Scheme W8A8() {
  Scheme scheme;
  scheme.method = "int8";
  scheme.bits = 8;
  scheme.granularity = Granularity::kChannel;
  scheme.group_size = 0;
  scheme.activations = ActivationScheme::kDynamicToken;
  return scheme;
}

// Every tensor of a linear, packed panel by panel.
std::vector<std::vector<std::byte>> PackAll(const LinearSpec& linear, const Scheme& scheme,
                                            const QuantizedRows& rows, int64_t panel) {
  const std::vector<TensorInfo> infos = kCompressedTensors.tensors(linear, scheme);
  std::vector<std::vector<std::byte>> bytes;
  std::vector<int64_t> written(infos.size(), 0);
  for (const TensorInfo& info : infos) bytes.emplace_back(static_cast<size_t>(info.bytes()));
  const auto put = [&](const std::vector<PackedPiece>& pieces) {
    for (const PackedPiece& piece : pieces) {
      const size_t end = static_cast<size_t>(piece.offset) + piece.bytes.size();
      ASSERT_LE(end, bytes[piece.index].size());
      std::memcpy(bytes[piece.index].data() + piece.offset, piece.bytes.data(), piece.bytes.size());
      written[piece.index] += static_cast<int64_t>(piece.bytes.size());
    }
  };
  for (int64_t begin = 0; begin < rows.rows; begin += panel) {
    const int64_t count = std::min(panel, rows.rows - begin);
    const auto slice = [&](const auto& all, int64_t width) {
      return std::decay_t<decltype(all)>(all.begin() + begin * width,
                                         all.begin() + (begin + count) * width);
    };
    QuantizedRows part = {.rows = count, .columns = rows.columns, .groups = rows.groups};
    part.codes = slice(rows.codes, rows.columns);
    part.scales = slice(rows.scales, rows.groups);
    if (!rows.zeros.empty()) part.zeros = slice(rows.zeros, rows.groups);
    put(kCompressedTensors.pack(linear, scheme, begin, part));
  }
  put(kCompressedTensors.constants(linear, scheme, std::nullopt));
  for (size_t i = 0; i < infos.size(); ++i) {
    EXPECT_EQ(written[i], infos[i].bytes()) << infos[i].name << ": every byte once";
  }
  return bytes;
}

template <typename T>
std::vector<T> As(const std::vector<std::byte>& bytes) {
  std::vector<T> values(bytes.size() / sizeof(T));
  std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

// The golden cases of 4 and 8 bits: codes in, words out.
TEST(CompressedTensors, PacksAsTheLibraryDoes) {
  std::ifstream file(SourcePath("tests/golden/rtn_compressed_tensors.json"));
  const auto golden = nlohmann::json::parse(file);
  const LinearSpec linear =
      Linear("l", LinearRole::kOther, golden["rows"].get<int64_t>(), golden["columns"]);
  int compared = 0;
  for (const auto& wanted : golden["cases"]) {
    if (!wanted.contains("packed")) continue;
    Scheme scheme = Int4(golden["group_size"], wanted["symmetric"]);
    scheme.bits = wanted["bits"];
    scheme.scale_dtype = DType::kF32;
    if (wanted["strategy"] != "group") {
      scheme.granularity =
          wanted["strategy"] == "channel" ? Granularity::kChannel : Granularity::kTensor;
      scheme.group_size = 0;
    }
    if (scheme.granularity == Granularity::kTensor && !scheme.symmetric) continue;
    SCOPED_TRACE(wanted["strategy"].get<std::string>() + " " + wanted["bits"].dump());
    QuantizedRows rows = {.rows = linear.out_features,
                          .columns = linear.in_features,
                          .groups = scheme.GroupsPerRow(linear.in_features)};
    rows.codes = wanted["codes"].get<std::vector<int8_t>>();
    rows.scales = wanted["scales"].get<std::vector<float>>();
    const std::vector<float> stored_scales = rows.scales;
    if (!scheme.symmetric) rows.zeros = wanted["zeros"].get<std::vector<int8_t>>();
    rows.scales.resize(static_cast<size_t>(rows.rows * rows.groups), rows.scales[0]);
    for (const int64_t panel : {int64_t{8}, int64_t{16}}) {
      const auto bytes = PackAll(linear, scheme, rows, panel);
      EXPECT_EQ(As<int32_t>(bytes[0]), wanted["packed"].get<std::vector<int32_t>>());
      EXPECT_EQ(As<float>(bytes[1]), stored_scales);
      if (!scheme.symmetric) {
        EXPECT_EQ(As<int32_t>(bytes[2]), wanted["packed_zeros"].get<std::vector<int32_t>>());
      }
      EXPECT_EQ(As<int64_t>(bytes.back()), (std::vector<int64_t>{10, 96}));
    }
    ++compared;
  }
  EXPECT_EQ(compared, 10);
}

// Every width, symmetric and not, in whole words and not (make_packing_golden.py), and back.
TEST(CompressedTensors, EveryWidthIsPackedAsTheLibraryDoes) {
  const nlohmann::json golden = GoldenPacking("compressed_tensors");
  ASSERT_EQ(golden["cases"].size(), 28U);
  for (const nlohmann::json& wanted : golden["cases"]) {
    const int bits = wanted["bits"];
    const QuantizedRows rows = GoldenRows(wanted, wanted);
    const bool symmetric = wanted["symmetric"];
    Scheme scheme =
        PackedScheme(bits, rows.groups > 1 ? wanted["group_size"].get<int64_t>() : 0, symmetric);
    scheme.scale_dtype = DType::kF32;
    SCOPED_TRACE(absl::StrCat(bits, symmetric ? " symmetric " : " asymmetric ", rows.columns));
    const LinearSpec linear = PackedLinear(rows.rows, rows.columns);
    const int64_t alignment = kCompressedTensors.row_alignment(scheme);
    for (const int64_t panel : {alignment, rows.rows}) {
      const auto bytes = PackAll(linear, scheme, rows, panel);
      EXPECT_EQ(As<int32_t>(bytes[0]), wanted["weight_packed"].get<std::vector<int32_t>>());
      EXPECT_EQ(As<float>(bytes[1]), wanted["weight_scale"].get<std::vector<float>>());
      if (!symmetric) {
        EXPECT_EQ(As<int32_t>(bytes[2]), wanted["weight_zero_point"].get<std::vector<int32_t>>());
      }
      EXPECT_EQ(As<int64_t>(bytes.back()), wanted["weight_shape"].get<std::vector<int64_t>>());
      const std::vector<std::span<const std::byte>> spans(bytes.begin(), bytes.end());
      const auto back = UnpackPackQuantized(linear, scheme, spans);
      ASSERT_TRUE(back.ok()) << back.status();
      EXPECT_EQ(back->codes, rows.codes);
      EXPECT_EQ(back->zeros, rows.zeros);
      EXPECT_EQ(back->scales, rows.scales);
    }
  }
}

TEST(CompressedTensors, RowsThatAreNotWholeWordsArePadded) {
  const LinearSpec linear = Linear("l", LinearRole::kOther, 3, 13);
  for (const int bits : {4, 8}) {
    Scheme scheme = Int4(0);
    scheme.bits = bits;
    scheme.granularity = Granularity::kChannel;
    QuantizedRows rows = {.rows = 3, .columns = 13, .groups = 1};
    for (int i = 0; i < 39; ++i) rows.codes.push_back(static_cast<int8_t>(i % 16 - 8));
    rows.scales = {1, 2, -3};
    const auto bytes = PackAll(linear, scheme, rows, 1);
    const int64_t row_bytes = (13 * bits + 31) / 32 * 4;
    ASSERT_EQ(static_cast<int64_t>(bytes[0].size()), 3 * row_bytes);
    for (int64_t n = 0; n < 3; ++n) {
      for (int64_t k = 0; k < row_bytes * 8 / bits; ++k) {
        const auto byte =
            static_cast<int>(bytes[0][static_cast<size_t>(n * row_bytes + k * bits / 8)]);
        const int stored = bits == 8 ? byte : (byte >> (k % 2 * 4)) & 15;
        const int wanted =
            k < 13 ? rows.codes[static_cast<size_t>(n * 13 + k)] + (1 << (bits - 1)) : 0;
        ASSERT_EQ(stored, wanted) << bits << " bits, row " << n << ", column " << k;
      }
    }
  }
}

TEST(CompressedTensors, W8A8KeepsPlainInt8) {
  const LinearSpec linear = Linear("l", LinearRole::kOther, 2, 3);
  const std::vector<TensorInfo> infos = kCompressedTensors.tensors(linear, W8A8());
  ASSERT_EQ(infos.size(), 2u);
  EXPECT_EQ(infos[0], (TensorInfo{"weight", DType::kI8, {2, 3}}));
  EXPECT_EQ(infos[1], (TensorInfo{"weight_scale", DType::kBF16, {2, 1}}));
  QuantizedRows rows = {.rows = 2, .columns = 3, .groups = 1};
  rows.codes = {-128, 127, 0, 1, -1, 5};
  rows.scales = {0.5f, -2.0f};
  const auto bytes = PackAll(linear, W8A8(), rows, 1);
  EXPECT_EQ(As<int8_t>(bytes[0]), rows.codes);
  EXPECT_EQ(As<uint16_t>(bytes[1]), (std::vector<uint16_t>{0x3f00, 0xc000}));
}

TEST(CompressedTensors, OnlyPackedZerosNeedAlignedPanels) {
  EXPECT_EQ(kCompressedTensors.row_alignment(Int4(128, true)), 1);
  EXPECT_EQ(kCompressedTensors.row_alignment(Int4(128, false)), 8);
  EXPECT_EQ(kCompressedTensors.row_alignment(W8A8()), 1);
  for (const auto& [bits, rows] : {std::pair(2, 16), {3, 32}, {5, 32}, {6, 16}, {7, 32}, {8, 4}}) {
    Scheme scheme = Int4(128, false);
    scheme.bits = bits;
    EXPECT_EQ(kCompressedTensors.row_alignment(scheme), rows) << bits;
  }
}

struct SmallModel {
  ModelSpec model;
  std::vector<LinearSpec> linears = {
      Linear("model.layers.0.self_attn.q_proj", LinearRole::kQ, 256, 256),
      Linear("model.layers.0.self_attn.k_proj", LinearRole::kK, 128, 256),
      Linear("model.layers.0.self_attn.v_proj", LinearRole::kV, 128, 256),
      Linear("model.layers.0.mlp.gate_proj", LinearRole::kGate, 640, 256),
      Linear("model.layers.0.mlp.up_proj", LinearRole::kUp, 640, 256),
      Linear("model.layers.0.mlp.down_proj", LinearRole::kDown, 256, 640),
      Linear("lm_head", LinearRole::kHead, 2048, 256, -1)};

  std::vector<ResolvedLinear> Resolved(const Scheme& scheme) const {
    std::vector<ResolvedLinear> resolved;
    for (const LinearSpec& linear : linears) {
      resolved.push_back({&linear, linear.role == LinearRole::kHead
                                       ? std::nullopt
                                       : std::optional<Scheme>(scheme)});
    }
    return resolved;
  }
};

absl::Status Accepts(const SmallModel& small, const std::vector<ResolvedLinear>& linears,
                     std::string_view loader) {
  return kCompressedTensors.accepts(linears, small.model, {.name = loader});
}

TEST(CompressedTensors, EveryLoaderTakesTheCommonSchemes) {
  const SmallModel small;
  for (const LoaderRow& loader : kCompressedTensors.loaders) {
    for (const Scheme& scheme : {Int4(), Int4(64, false), W8A8()}) {
      const absl::Status status = Accepts(small, small.Resolved(scheme), loader.name);
      EXPECT_TRUE(status.ok()) << loader.name << ": " << status;
    }
  }
  EXPECT_EQ(ReasonOf(Accepts(small, small.Resolved(Int4()), "tensorrt")), Reason::kLoaderRefuses);
}

TEST(CompressedTensors, WidthsThatCrossWordsAreForThoseWhoKnowThem) {
  SmallModel small;
  for (const int bits : {2, 3, 5, 6, 7}) {
    Scheme scheme = Int4(32, false);
    scheme.bits = bits;
    EXPECT_TRUE(Accepts(small, small.Resolved(scheme), "transformers").ok());
    EXPECT_TRUE(Accepts(small, small.Resolved(scheme), "vllm").ok());
    const absl::Status status = Accepts(small, small.Resolved(scheme), "sglang");
    EXPECT_EQ(ReasonOf(status), Reason::kLoaderRefuses);
    ASSERT_EQ(ViolationsOf(status).size(), 6u);
    EXPECT_THAT(ViolationsOf(status)[0].wanted, HasSubstr("4 bits"));
    const Json config = kCompressedTensors.config(small.Resolved(scheme), small.model);
    EXPECT_EQ(config["version"], "0.20.0");
    EXPECT_EQ(config["config_groups"]["group_0"]["weights"]["num_bits"], bits);
  }
  Scheme one = Int4(32, true);
  one.bits = 1;
  EXPECT_EQ(ReasonOf(Accepts(small, small.Resolved(one), "")), Reason::kFormatCannotHold);

  // 40 zero points of 3 bits are no whole words, and k lies behind them in the fused operator.
  Scheme three = Int4(32, false);
  three.bits = 3;
  small.linears[1].out_features = 40;
  const absl::Status status = Accepts(small, small.Resolved(three), "vllm");
  ASSERT_EQ(ViolationsOf(status).size(), 1u) << status;
  EXPECT_THAT(ViolationsOf(status)[0].got, HasSubstr("40 outputs with zero points of 3 bits"));
  three.symmetric = true;
  EXPECT_TRUE(Accepts(small, small.Resolved(three), "vllm").ok());
}

TEST(CompressedTensors, CannotHoldAHeadThatIsTheEmbedding) {
  SmallModel small;
  std::vector<ResolvedLinear> linears = small.Resolved(Int4());
  linears.back().scheme = Int4();
  EXPECT_TRUE(Accepts(small, linears, "").ok());
  EXPECT_EQ(ReasonOf(Accepts(small, linears, "sglang")), Reason::kLoaderRefuses);
  small.model.tied_embeddings = true;
  EXPECT_EQ(ReasonOf(Accepts(small, linears, "")), Reason::kFormatCannotHold);
}

TEST(CompressedTensors, ServersWantFusedLinearsAlike) {
  const SmallModel small;
  std::vector<ResolvedLinear> linears = small.Resolved(Int4());
  linears[1].scheme = W8A8();
  linears[4].scheme.reset();
  EXPECT_TRUE(Accepts(small, linears, "transformers").ok());
  for (const std::string_view loader : {"vllm", "sglang"}) {
    const absl::Status status = Accepts(small, linears, loader);
    EXPECT_EQ(ReasonOf(status), Reason::kLoaderRefuses);
    const std::vector<Violation> violations = ViolationsOf(status);
    ASSERT_EQ(violations.size(), 2u);
    EXPECT_EQ(violations[0].where, "model.layers.0.self_attn.k_proj");
    EXPECT_THAT(violations[0].wanted, HasSubstr("q_proj"));
    EXPECT_EQ(violations[1].where, "model.layers.0.mlp.up_proj");
    EXPECT_EQ(violations[1].got, "skipped");
  }
  // Down is fused with nothing.
  linears = small.Resolved(Int4());
  linears[5].scheme = W8A8();
  EXPECT_TRUE(Accepts(small, linears, "vllm").ok());
}

TEST(CompressedTensors, ServersHaveShapeRules) {
  SmallModel small;
  small.linears[5].in_features = 672;  // not a multiple of 128
  std::vector<ResolvedLinear> linears = small.Resolved(Int4(32));
  absl::Status status = Accepts(small, linears, "sglang");
  ASSERT_EQ(ViolationsOf(status).size(), 1u) << status;
  EXPECT_EQ(ViolationsOf(status)[0].got, "672 inputs");
  EXPECT_TRUE(Accepts(small, linears, "vllm").ok()) << "it fills tiles up";
  EXPECT_TRUE(Accepts(small, linears, "transformers").ok());

  small = SmallModel();
  // 32 + 16 + 16 outputs fuse to 64.
  small.linears[0].out_features = 32;
  small.linears[1].out_features = small.linears[2].out_features = 16;
  EXPECT_TRUE(Accepts(small, small.Resolved(Int4()), "sglang").ok());
  small.linears[2].out_features = 32;
  EXPECT_THAT(ViolationsOf(Accepts(small, small.Resolved(Int4()), "sglang"))[0].got,
              HasSubstr("80 outputs of the fused operator"));
  EXPECT_TRUE(Accepts(small, small.Resolved(Int4()), "vllm").ok());

  const SmallModel plain;
  EXPECT_EQ(ReasonOf(Accepts(plain, plain.Resolved(Int4(16)), "vllm")), Reason::kLoaderRefuses);
  Scheme wide = Int4(128, false);
  wide.bits = 8;
  EXPECT_EQ(ReasonOf(Accepts(plain, plain.Resolved(wide), "sglang")), Reason::kLoaderRefuses);
  EXPECT_TRUE(Accepts(plain, plain.Resolved(wide), "vllm").ok());
  EXPECT_TRUE(Accepts(plain, plain.Resolved(wide), "transformers").ok());
}

TEST(CompressedTensors, OneSchemeGoesByClass) {
  const SmallModel small;
  const Json config = kCompressedTensors.config(small.Resolved(Int4()), small.model);
  EXPECT_EQ(config["quant_method"], "compressed-tensors");
  EXPECT_EQ(config["format"], "pack-quantized");
  EXPECT_EQ(config["ignore"], Json::array({"lm_head"}));
  ASSERT_EQ(config["config_groups"].size(), 1u);
  const Json& group = config["config_groups"]["group_0"];
  EXPECT_EQ(group["targets"], Json::array({"Linear"}));
  EXPECT_EQ(group["weights"]["group_size"], 128);
  EXPECT_TRUE(group["input_activations"].is_null());
}

TEST(CompressedTensors, SeveralSchemesGoByName) {
  const SmallModel small;
  std::vector<ResolvedLinear> linears = small.Resolved(Int4());
  linears[5].scheme = W8A8();
  // Found by another rule, stored alike: no group of its own.
  linears[3].scheme->scale_rule = ScaleRule::kAbsmax;
  const Json config = kCompressedTensors.config(linears, small.model);
  EXPECT_EQ(config["format"], "mixed-precision");
  ASSERT_EQ(config["config_groups"].size(), 2u);
  EXPECT_EQ(config["config_groups"]["group_0"]["targets"].size(), 5u);
  const Json& w8a8 = config["config_groups"]["group_1"];
  EXPECT_EQ(w8a8["targets"], Json::array({"model.layers.0.mlp.down_proj"}));
  EXPECT_EQ(w8a8["format"], "int-quantized");
  EXPECT_EQ(w8a8["weights"]["strategy"], "channel");
  EXPECT_EQ(w8a8["input_activations"]["strategy"], "token");
  EXPECT_EQ(w8a8["input_activations"]["dynamic"], true);
}

TEST(CompressedTensors, StaticInputsStoreTheirScaleAndZero) {
  const LinearSpec linear = Linear("l", LinearRole::kOther, 4, 16);
  for (const bool symmetric : {true, false}) {
    Scheme scheme = W8A8();
    scheme.activations = ActivationScheme::kStatic;
    scheme.options.Set("activation_symmetric", symmetric);
    const std::vector<TensorInfo> infos = kCompressedTensors.tensors(linear, scheme);
    ASSERT_EQ(infos.size(), symmetric ? 3U : 4U);
    EXPECT_EQ(infos[2].name, "input_scale");
    EXPECT_EQ(infos[2].dtype, DType::kBF16);
    EXPECT_EQ(infos[2].shape, std::vector<int64_t>{1});
    const auto pieces =
        kCompressedTensors.constants(linear, scheme, StaticInput{.scale = 0.5F, .zero = -3});
    ASSERT_EQ(pieces.size(), symmetric ? 1U : 2U);
    EXPECT_EQ(As<uint16_t>(pieces[0].bytes), std::vector<uint16_t>{0x3f00});
    if (!symmetric) {
      EXPECT_EQ(infos[3].name, "input_zero_point");
      EXPECT_EQ(infos[3].dtype, DType::kI8);
      EXPECT_EQ(pieces[1].index, 3U);
      EXPECT_EQ(As<int8_t>(pieces[1].bytes), std::vector<int8_t>{-3});
    }
    const SmallModel small;
    const Json config = kCompressedTensors.config(small.Resolved(scheme), small.model);
    const Json& inputs = config["config_groups"]["group_0"]["input_activations"];
    EXPECT_EQ(config["format"], "int-quantized");
    EXPECT_EQ(inputs["strategy"], "tensor");
    EXPECT_EQ(inputs["dynamic"], false);
    EXPECT_EQ(inputs["symmetric"], symmetric);
    EXPECT_EQ(inputs["observer"], "minmax");
  }
  Scheme one = W8A8(), other = W8A8();
  one.activations = other.activations = ActivationScheme::kStatic;
  one.options.Set("activation_symmetric", false);
  EXPECT_FALSE(StoredAlike(one, other));
}

// One tensor holds all experts of a block there: it is filled by the scheme of the first group.
TEST(CompressedTensors, TransformersTakesExpertsOfOneSymmetricScheme) {
  SmallModel small;
  for (size_t i = 3; i < 6; ++i) small.linears[i].expert = static_cast<int>(i) - 3;
  EXPECT_TRUE(Accepts(small, small.Resolved(Int4()), "transformers").ok());
  EXPECT_TRUE(Accepts(small, small.Resolved(Int4(128, false)), "").ok());
  const auto asymmetric =
      ViolationsOf(Accepts(small, small.Resolved(Int4(128, false)), "transformers"));
  ASSERT_EQ(asymmetric.size(), 3U);
  EXPECT_EQ(asymmetric[0].wanted, "symmetric true");
  const auto int8 = ViolationsOf(Accepts(small, small.Resolved(W8A8()), "transformers"));
  ASSERT_EQ(int8.size(), 3U);
  EXPECT_EQ(int8[0].wanted, "activations none");
  std::vector<ResolvedLinear> mixed = small.Resolved(Int4());
  mixed[4].scheme->bits = 8;
  mixed[5].scheme.reset();
  EXPECT_TRUE(Accepts(small, mixed, "").ok());
  const auto violations = ViolationsOf(Accepts(small, mixed, "transformers"));
  ASSERT_EQ(violations.size(), 2U);
  EXPECT_THAT(violations[0].wanted, HasSubstr("as model.layers.0.self_attn.q_proj has"));
  EXPECT_EQ(violations[1].got, "an expert in 16 bit");
}

TEST(CompressedTensors, TransformersDoesNotLoadFalconByDefault) {
  SmallModel small;
  small.model.family = "falcon";
  EXPECT_TRUE(Accepts(small, small.Resolved(Int4()), "").ok());
  EXPECT_TRUE(Accepts(small, small.Resolved(Int4()), "vllm").ok());
  EXPECT_THAT(ViolationsOf(Accepts(small, small.Resolved(Int4()), "transformers"))[0].wanted,
              HasSubstr("dequantize=True"));
}

TEST(CompressedTensors, TellsWhatTransformersDoesNotLoadByDefault) {
  const SmallModel small;
  const auto caveats = [&](const Scheme& scheme, std::string_view loader) {
    return kCompressedTensors.caveats(small.Resolved(scheme), {.name = loader});
  };
  EXPECT_TRUE(caveats(Int4(), "transformers").empty());
  EXPECT_TRUE(caveats(Int4(128, false), "vllm").empty());
  ASSERT_EQ(caveats(Int4(128, false), "transformers").size(), 1u);
  EXPECT_THAT(
      caveats(Int4(128, false), "transformers")[0],
      testing::AllOf(HasSubstr("0.18 to 0.20"), HasSubstr("dequantize=True"), HasSubstr("0.17.1")));
}

TEST(FormatRegistry, RowsAreComplete) {
  for (const Format& format : Formats()) {
    EXPECT_EQ(FindFormat(format.name), &format);
    EXPECT_FALSE(format.summary.empty());
    EXPECT_FALSE(format.loaders.empty());
    for (const LoaderRow& row : format.loaders) {
      EXPECT_FALSE(row.versions.empty()) << format.name << " " << row.name;
      EXPECT_FALSE(row.shape_rules.empty()) << format.name << " " << row.name;
    }
    // Nobody of that name, whatever the recipe.
    EXPECT_EQ(ReasonOf(format.accepts({}, ModelSpec(), {.name = "excel"})), Reason::kLoaderRefuses);
    EXPECT_NE(format.accepts, nullptr);
    EXPECT_NE(format.tensors, nullptr);
    // Panels or stripes.
    EXPECT_NE(format.pack == nullptr, format.pack_stripe == nullptr);
    EXPECT_EQ(format.pack == nullptr, format.row_alignment == nullptr);
    EXPECT_EQ(format.stripes == nullptr, format.pack_stripe == nullptr);
    EXPECT_NE(format.constants, nullptr);
    EXPECT_NE(format.config, nullptr);
  }
  EXPECT_EQ(FindFormat("gguf3"), nullptr);
  EXPECT_THAT(LoaderNames(), testing::ElementsAre("transformers", "vllm", "sglang", "transformers4",
                                                  "hqq", "llama.cpp"));
}

}  // namespace
}  // namespace quantd
