// FP8 checkpoints against the values that ml_dtypes has for their codes and makes of their weights.
#include "engine/tensor/float8.h"

#include <bit>
#include <cmath>

#include "base/error.h"
#include "engine/tensor/checkpoint.h"
#include "engine/tensor/float8_source.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/engine/float8_models.h"
#include "tests/engine/open_model.h"
#include "tests/engine/tensor/safetensors_file.h"
#include "tests/paths.h"

namespace quantd {
namespace {

using ::testing::HasSubstr;

TEST(Float8Test, EveryCodeHasTheValueOfMlDtypes) {
  const std::string path = SourcePath("tests/golden/float8.json");
  const Json golden = *ParseJson(*ReadFile(path, 1 << 20), path);
  std::string codes;
  for (int code = 0; code < 256; ++code) codes.push_back(static_cast<char>(code));
  for (const DType dtype : {DType::kF8E4M3, DType::kF8E5M2, DType::kF8E8M0}) {
    ASSERT_TRUE(IsFloat8(dtype));
    std::vector<float> values(256);
    WidenToF32(codes.data(), dtype, 256, values.data());
    const Json& wanted = golden.at(std::string(NameOf(dtype)));
    for (size_t code = 0; code < 256; ++code) {
      const auto bits = wanted[code].get<int64_t>();
      if (bits < 0) {
        EXPECT_TRUE(std::isnan(values[code])) << NameOf(dtype) << " " << code;
      } else {
        EXPECT_EQ(std::bit_cast<uint32_t>(values[code]), bits) << NameOf(dtype) << " " << code;
      }
    }
  }
  EXPECT_FALSE(IsFloat8(DType::kI8));
}

class Float8CheckpointTest : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    const auto dense = OpenCheckpoint(WriteDequantized(GetParam(), folder_));
    ASSERT_TRUE(dense.ok()) << dense.status();
  }
  TemporaryFolder folder_ = *TemporaryFolder::Create("float8-test");
  const Checkpoint stored_ = *OpenCheckpoint(Float8Folder(GetParam()));
  const Checkpoint dense_ = *OpenCheckpoint(WriteDequantized(GetParam(), folder_));
};

TEST_P(Float8CheckpointTest, LooksLikeTheDenseModel) {
  EXPECT_THAT(stored_.stored_as(), HasSubstr("fp8"));
  EXPECT_EQ(dense_.stored_as(), "");
  const auto seen = stored_.Tensors(), wanted = dense_.Tensors();
  ASSERT_EQ(seen.size(), wanted.size());
  for (size_t i = 0; i < seen.size(); ++i) EXPECT_EQ(*seen[i], *wanted[i]) << wanted[i]->name;
  EXPECT_EQ(stored_.Find("model.layers.0.mlp.up_proj.weight_scale"), nullptr);
  EXPECT_EQ(stored_.Find("model.layers.0.mlp.up_proj.weight_scale_inv"), nullptr);
  EXPECT_FALSE(stored_.Read("model.layers.0.mlp.up_proj.input_scale").ok());
  EXPECT_LT(stored_.total_bytes(), dense_.total_bytes());
}

TEST_P(Float8CheckpointTest, EveryWayOfReadingGivesItsBytes) {
  for (const TensorInfo* info : dense_.Tensors()) {
    const Tensor whole = *dense_.Read(info->name);
    const auto got = stored_.Read(info->name);
    ASSERT_TRUE(got.ok()) << got.status();
    ASSERT_TRUE(std::ranges::equal(got->bytes.span(), whole.bytes.span())) << info->name;
    if (info->shape.size() != 2) continue;
    const int64_t rows = info->shape[0], width = info->shape[1], size = SizeOf(info->dtype);
    // Across the border of a block, where there is one.
    const int64_t begin = rows > 130 ? 127 : 3, count = 5;
    std::vector<std::byte> part(static_cast<size_t>(count * width * size));
    ASSERT_TRUE(stored_.ReadRows(info->name, begin, count, part).ok());
    EXPECT_TRUE(std::ranges::equal(
        part, whole.bytes.span().subspan(static_cast<size_t>(begin * width * size), part.size())));
    std::vector<std::byte> columns(static_cast<size_t>(count * rows * size)), wanted = columns;
    ASSERT_TRUE(stored_.ReadColumns(info->name, width - count, count, columns).ok());
    ASSERT_TRUE(dense_.ReadColumns(info->name, width - count, count, wanted).ok());
    EXPECT_EQ(columns, wanted) << info->name;
    const auto floats = stored_.ReadF32(info->name), as_dense = dense_.ReadF32(info->name);
    ASSERT_TRUE(floats.ok()) << floats.status();
    EXPECT_TRUE(std::ranges::equal(floats->span(), as_dense->span())) << info->name;
  }
}

INSTANTIATE_TEST_SUITE_P(Models, Float8CheckpointTest, ::testing::ValuesIn(Float8Models()),
                         [](const auto& model) { return Float8TestName(model.param); });

std::optional<Float8Source> SourceOf(const std::string& quantization) {
  return ReadFloat8Source(*ParseJson(
      R"({"torch_dtype": "bfloat16", "quantization_config": )" + quantization + "}", "config"));
}

TEST(Float8SourceTest, KnowsWhatItReads) {
  EXPECT_FALSE(ReadFloat8Source(Json::object()).has_value());
  const auto blocks = SourceOf(R"({"quant_method": "fp8", "weight_block_size": [128, 64]})");
  ASSERT_TRUE(blocks.has_value());
  EXPECT_EQ(blocks->block_rows, 128);
  EXPECT_EQ(blocks->block_columns, 64);
  EXPECT_EQ(blocks->dtype, DType::kBF16);
  EXPECT_EQ(blocks->description, "fp8, blocks of 128 x 64");
  EXPECT_TRUE(SourceOf(R"({"quant_method": "fbgemm_fp8", "activation_scale_ub": 1200.0})"));
  for (const char* other :
       {R"({"quant_method": "gptq", "bits": 4})", R"({"quant_method": "mxfp4"})",
        R"({"quant_method": "fp8", "weight_block_size": [128]})",
        R"({"quant_method": "fp8", "weight_block_size": [0, 128]})",
        R"({"quant_method": "fp8", "weight_block_size": ["a", 1.5]})",
        R"({"quant_method": "compressed-tensors"})",
        R"({"quant_method": "compressed-tensors", "config_groups": {"g": {"weights":
            {"type": "int", "num_bits": 8, "strategy": "channel"}}}})",
        R"({"quant_method": "compressed-tensors", "config_groups": {"g": {"weights":
            {"type": "float", "num_bits": 4, "strategy": "tensor_group"}}}})",
        R"({"quant_method": "compressed-tensors", "config_groups": {"g": {"weights":
            {"type": "float", "num_bits": 8, "strategy": "block"}}}})",
        R"({"quant_method": "compressed-tensors", "config_groups": {
            "a": {"weights": {"type": "float", "num_bits": 8, "strategy": "channel"}},
            "b": {"weights": {"type": "int", "num_bits": 4, "strategy": "group"}}}})",
        R"([1])", R"("fp8")", "null"}) {
    EXPECT_FALSE(SourceOf(other).has_value()) << other;
  }
}

TEST(Float8SourceTest, ShapesOfScales) {
  const TensorInfo weight = {"w", DType::kF8E4M3, {256, 384}};
  const Float8Source source = {.description = "", .block_rows = 128, .block_columns = 128};
  struct Row {
    std::vector<int64_t> shape;
    int64_t block_rows, block_columns, per_row;
  };
  for (const Row& row : {Row{{2, 3}, 128, 128, 3}, Row{{256, 1}, 1, 384, 1}, Row{{256}, 1, 384, 1},
                         Row{{}, 256, 384, 1}, Row{{1}, 256, 384, 1}, Row{{1, 1}, 256, 384, 1}}) {
    const auto scales = MeasureFloat8Scales(weight, {"s", DType::kF32, row.shape}, source, "s");
    ASSERT_TRUE(scales.ok()) << scales.status();
    EXPECT_EQ(scales->block_rows, row.block_rows);
    EXPECT_EQ(scales->block_columns, row.block_columns);
    EXPECT_EQ(scales->per_row, row.per_row);
  }
  for (const std::vector<int64_t>& shape :
       {std::vector<int64_t>{3, 2}, {384}, {1, 384}, {2, 3, 1}, {0}, {1, 1, 1}, {256, 3}}) {
    const auto scales = MeasureFloat8Scales(weight, {"s", DType::kF32, shape}, source, "s");
    EXPECT_EQ(ReasonOf(scales.status()), Reason::kModelCorrupt);
  }
  EXPECT_EQ(ReasonOf(MeasureFloat8Scales(weight, {"s", DType::kI32, {2, 3}}, source, "s").status()),
            Reason::kModelCorrupt);
}

// Scales that are powers of two, and weights in the other type of eight bits.
TEST(Float8SourceTest, PowersOfTwoScaleE5M2) {
  const auto folder = TemporaryFolder::Create("float8-test");
  std::string file = SafetensorsFile(
      R"({"a.weight":{"dtype":"F8_E5M2","shape":[2,2],"data_offsets":[0,4]},)"
      R"("a.weight_scale_inv":{"dtype":"F8_E8M0","shape":[1,2],"data_offsets":[4,6]}})",
      6);
  // 1, -2, 0.5, 65536 * 0; times 2^-1 and 2^3.
  const unsigned char data[] = {0x3C, 0xC0, 0x38, 0x00, 126, 130};
  std::copy_n(reinterpret_cast<const char*>(data), 6, file.end() - 6);
  ASSERT_TRUE(WriteFileAtomic(folder->path() + "/model.safetensors", file).ok());
  ASSERT_TRUE(WriteFileAtomic(folder->path() + "/config.json",
                              R"({"dtype": "float32", "quantization_config":
                                  {"quant_method": "fp8", "weight_block_size": [2, 1]}})")
                  .ok());
  const auto checkpoint = OpenCheckpoint(folder->path());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  EXPECT_THAT(checkpoint->ReadF32("a.weight")->span(), ::testing::ElementsAre(0.5, -16, 0.25, 0));
}

TEST(Float8SourceTest, WeightsWithoutScalesAreCorrupt) {
  const auto folder = TemporaryFolder::Create("float8-test");
  const std::string file =
      SafetensorsFile(R"({"a.weight":{"dtype":"F8_E4M3","shape":[2,2],"data_offsets":[0,4]}})", 4);
  ASSERT_TRUE(WriteFileAtomic(folder->path() + "/model.safetensors", file).ok());
  ASSERT_TRUE(WriteFileAtomic(folder->path() + "/config.json",
                              R"({"quantization_config": {"quant_method": "fp8"}})")
                  .ok());
  const auto status = OpenCheckpoint(folder->path()).status();
  EXPECT_EQ(ReasonOf(status), Reason::kModelCorrupt);
  EXPECT_THAT(std::string(status.message()), HasSubstr("a.weight_scale"));
}

}  // namespace
}  // namespace quantd
