// Floating number formats from weights to bytes, against what compressed-tensors makes of the same
// weights (tests/golden/make_floating_golden.py).

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "engine/backend/number_kernels.h"
#include "engine/format/compressed_tensors.h"
#include "engine/method/registry.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/engine/method/method_context.h"
#include "tests/paths.h"

namespace quantd {
namespace {

const nlohmann::json& Golden() {
  static const auto* const golden = [] {
    std::ifstream file(SourcePath("tests/golden/floating_compressed_tensors.json"));
    return new nlohmann::json(nlohmann::json::parse(file));
  }();
  return *golden;
}

float AbsmaxOf(const std::vector<float>& values) {
  float absmax = 0;
  for (const float value : values) absmax = std::max(absmax, std::fabs(value));
  return absmax;
}

// Whatever the order of its keys.
nlohmann::json Sorted(const Json& json) { return nlohmann::json::parse(json.dump()); }

struct Case {
  const nlohmann::json& wanted;
  LinearSpec linear;
  Scheme scheme;
  std::vector<float> weights, inputs;
  QuantizedRows rows;

  explicit Case(const nlohmann::json& json) : wanted(json) {
    linear.name = "model.layers.0.mlp.down_proj";
    linear.role = LinearRole::kDown;
    linear.out_features = Golden()["rows"];
    linear.in_features = Golden()["columns"];
    weights = Golden()["weights"].get<std::vector<float>>();
    inputs = Golden()["inputs"].get<std::vector<float>>();
    SchemeRequest request;
    request.number_format = json["number_format"].get<std::string>();
    request.scale_rule = ScaleRule::kAbsmax;
    if (json["granularity"] == "tensor") request.granularity = Granularity::kTensor;
    if (json["activations"] == "static") request.activations = ActivationScheme::kStatic;
    if (json["activations"] == "dynamic") request.activations = ActivationScheme::kDynamicToken;
    const auto resolved = FindMethod("rtn")->resolve(request, linear, DType::kF32);
    EXPECT_TRUE(resolved.ok()) << resolved.status();
    scheme = *resolved;
    const bool second = scheme.number->scale == ScaleKind::kE4M3;
    if (second) scheme.tensor_scale = TensorScaleOf(AbsmaxOf(weights));
    const WeightRows source = {weights.data(), DType::kF32, linear.out_features,
                               linear.in_features};
    EXPECT_TRUE(FindMethod("rtn")->quantize(source, scheme, nullptr, TestContext(), &rows).ok());
    if (scheme.activations != ActivationScheme::kStatic) return;
    const float absmax = AbsmaxOf(inputs);
    rows.input =
        StaticInput{.scale = second ? TensorScaleOf(absmax) : ScaleOfRange(absmax, scheme)};
  }

  // The tensors by name, as bytes.
  std::map<std::string, std::string> Packed() const {
    const std::vector<TensorInfo> infos = kCompressedTensors.tensors(linear, scheme);
    std::vector<std::string> bytes;
    for (const TensorInfo& info : infos) {
      bytes.emplace_back(static_cast<size_t>(info.bytes()), '\0');
    }
    auto pieces = kCompressedTensors.pack(linear, scheme, 0, rows);
    for (auto& piece : kCompressedTensors.constants(linear, scheme, rows.input)) {
      pieces.push_back(std::move(piece));
    }
    for (const PackedPiece& piece : pieces) {
      std::copy_n(reinterpret_cast<const char*>(piece.bytes.data()), piece.bytes.size(),
                  bytes[piece.index].begin() + piece.offset);
    }
    std::map<std::string, std::string> named;
    for (size_t i = 0; i < infos.size(); ++i) named[infos[i].name] = bytes[i];
    return named;
  }
};

class FloatingGolden : public ::testing::TestWithParam<size_t> {
 protected:
  FloatingGolden() : case_(Golden()["cases"][GetParam()]) {}
  Case case_;
};

TEST_P(FloatingGolden, TensorsHaveTheNamesTypesShapesAndBytesOfCompressedTensors) {
  const auto packed = case_.Packed();
  ASSERT_EQ(packed.size(), case_.wanted["tensors"].size());
  const auto infos = kCompressedTensors.tensors(case_.linear, case_.scheme);
  for (const nlohmann::json& wanted : case_.wanted["tensors"]) {
    const std::string name = wanted["name"];
    const auto info = std::find_if(infos.begin(), infos.end(),
                                   [&](const TensorInfo& one) { return one.name == name; });
    ASSERT_NE(info, infos.end()) << name;
    EXPECT_EQ("torch." + std::string(TorchNameOf(info->dtype)), wanted["dtype"].get<std::string>())
        << name;
    EXPECT_EQ(info->shape, wanted["shape"].get<std::vector<int64_t>>()) << name;
    std::string bytes;
    ASSERT_TRUE(absl::Base64Unescape(wanted["bytes"].get<std::string>(), &bytes));
    EXPECT_EQ(packed.at(name), bytes) << name;
  }
}

// It decompresses to bfloat16 unless scales are of the model's type.
TEST_P(FloatingGolden, DequantizedIsWhatItDecompressesTo) {
  const auto wanted = case_.wanted["decompressed"].get<std::vector<float>>();
  const bool narrow = case_.wanted["decompressed_dtype"] == "torch.bfloat16";
  std::vector<float> row(static_cast<size_t>(case_.linear.in_features));
  for (int64_t n = 0; n < case_.linear.out_features; ++n) {
    case_.rows.Dequantize(n, row.data());
    for (size_t k = 0; k < row.size(); ++k) {
      float got = row[k];
      if (narrow) {
        const float rounded = rules::RoundToBF16(std::fabs(got));
        got = std::signbit(got) ? -rounded : rounded;
      }
      EXPECT_EQ(got, wanted[static_cast<size_t>(n) * row.size() + k]) << n << ", " << k;
    }
  }
}

TEST_P(FloatingGolden, InputsAreRoundedAsItDoesAtRunTime) {
  if (case_.wanted["inputs"].is_null()) {
    EXPECT_EQ(case_.scheme.activations, ActivationScheme::kNone);
    return;
  }
  const auto wanted = case_.wanted["inputs"].get<std::vector<float>>();
  const int64_t columns = case_.linear.in_features;
  std::vector<float> got(wanted.size());
  for (int64_t t = 0; t < case_.linear.out_features; ++t) {
    RoundInputs(case_.inputs.data() + t * columns, columns, case_.scheme,
                case_.rows.input.has_value() ? &*case_.rows.input : nullptr,
                got.data() + t * columns);
  }
  EXPECT_EQ(got, wanted);
}

TEST_P(FloatingGolden, ConfigurationSaysWhatItsOwnSays) {
  const ResolvedLinear resolved = {&case_.linear, case_.scheme};
  const Json config = kCompressedTensors.config(std::span(&resolved, 1), ModelSpec{});
  EXPECT_EQ(config["format"], case_.wanted["layout"]);
  EXPECT_EQ(config["version"], "0.20.0");
  const Json& group = config["config_groups"]["group_0"];
  EXPECT_EQ(group["format"], case_.wanted["layout"]);
  EXPECT_EQ(Sorted(group["weights"]), case_.wanted["weight_arguments"]);
  EXPECT_EQ(Sorted(group["input_activations"]), case_.wanted["input_arguments"]);
}

// The scales of several rows, and of a block that has few; the linear in panels as it is written.
TEST(FloatingBlocks, CodesAndScalesAreThoseOfTheLibrary) {
  const nlohmann::json& golden = Golden()["blocks"];
  LinearSpec linear;
  linear.name = "model.layers.0.mlp.down_proj";
  linear.out_features = golden["rows"];
  linear.in_features = golden["columns"];
  const int64_t n = linear.out_features, k = linear.in_features;
  std::vector<float> weights;
  for (int64_t row = 0; row < n; ++row) {
    for (int64_t column = 0; column < k; ++column) {
      const int64_t drawn = (row * 37 + column * 101 + row * column * 7) % 251 - 125;
      const int64_t times = 1 + row / 128 + 2 * (column / 128);
      weights.push_back(static_cast<float>(drawn) / 1024 * static_cast<float>(times));
    }
  }
  SchemeRequest request;
  request.number_format = "fp8-block";
  request.scale_rule = ScaleRule::kAbsmax;
  const auto scheme = FindMethod("rtn")->resolve(request, linear, DType::kF32);
  ASSERT_TRUE(scheme.ok()) << scheme.status();
  ASSERT_EQ(scheme->RowsPerScale(), 128);
  std::string codes;
  ASSERT_TRUE(absl::Base64Unescape(golden["codes"].get<std::string>(), &codes));
  std::string stored_codes(codes.size(), '\0');
  std::vector<float> stored_scales(4), last_row(static_cast<size_t>(k));
  for (const auto& [begin, rows] : {std::pair(int64_t{0}, int64_t{128}), {128, n - 128}}) {
    const WeightRows panel = {weights.data() + begin * k, DType::kF32, rows, k};
    QuantizedRows quantized;
    ASSERT_TRUE(
        FindMethod("rtn")->quantize(panel, *scheme, nullptr, TestContext(), &quantized).ok());
    for (const PackedPiece& piece : kCompressedTensors.pack(linear, *scheme, begin, quantized)) {
      char* to =
          piece.index == 0 ? stored_codes.data() : reinterpret_cast<char*>(stored_scales.data());
      std::memcpy(to + piece.offset, piece.bytes.data(), piece.bytes.size());
    }
    quantized.Dequantize(rows - 1, last_row.data());
  }
  EXPECT_EQ(stored_codes, codes);
  EXPECT_EQ(stored_scales, golden["scales"].get<std::vector<float>>());
  EXPECT_EQ(last_row, golden["last_row"].get<std::vector<float>>());
  // What the library makes for a linear of bfloat16.
  const auto bf16 = FindMethod("rtn")->resolve(request, linear, DType::kBF16);
  const TensorInfo scale = kCompressedTensors.tensors(linear, *bf16)[1];
  EXPECT_EQ("torch." + std::string(TorchNameOf(scale.dtype)),
            golden["scale_of_linear"]["dtype"].get<std::string>());
  EXPECT_EQ(scale.shape, golden["scale_of_linear"]["shape"].get<std::vector<int64_t>>());
}

// What the search finds is never worse than the range, whatever the scale can be.
TEST_P(FloatingGolden, SearchedScalesAreStoredExactlyAndErrLess) {
  if (case_.scheme.granularity == Granularity::kTensor) return;  // by range alone
  Scheme searched = case_.scheme;
  searched.scale_rule = ScaleRule::kMse;
  const WeightRows source = {case_.weights.data(), DType::kF32, case_.linear.out_features,
                             case_.linear.in_features};
  QuantizedRows rows;
  ASSERT_TRUE(FindMethod("rtn")->quantize(source, searched, nullptr, TestContext(), &rows).ok());
  EXPECT_LE(rows.error_energy, case_.rows.error_energy);
  // E4M3 under another power of two has the same values, but for those at its ends.
  if (case_.scheme.number->name != "mxfp8") {
    EXPECT_LT(rows.error_energy, case_.rows.error_energy);
  }
  for (const float scale : rows.scales) EXPECT_EQ(StoredScale(scale, searched), scale);
}

INSTANTIATE_TEST_SUITE_P(All, FloatingGolden, ::testing::Range(size_t{0}, size_t{9}));

}  // namespace
}  // namespace quantd
