#include "engine/format/dequantized.h"

#include <cstring>
#include <vector>

#include "base/error.h"
#include "gtest/gtest.h"

namespace quantd {
namespace {

LinearSpec Linear() {
  LinearSpec linear;
  linear.name = "model.layers.0.mlp.down_proj";
  linear.out_features = 4;
  linear.in_features = 6;
  return linear;
}

Scheme GroupsOf3(bool real_zero, DType dtype) {
  Scheme scheme;
  scheme.method = "hqq";
  scheme.bits = 3;
  scheme.group_size = 3;
  scheme.symmetric = false;
  scheme.real_zero = real_zero;
  scheme.scale_dtype = dtype;
  return scheme;
}

TEST(Dequantized, WritesCodeLessZeroTimesScale) {
  const Scheme scheme = GroupsOf3(true, DType::kF32);
  QuantizedRows rows = RoomFor(scheme, 2, 6);
  for (size_t i = 0; i < rows.codes.size(); ++i) rows.codes[i] = static_cast<int8_t>(i % 8) - 4;
  rows.scales = {0.5F, -2.0F, 1.0F, 0.25F};
  rows.real_zeros = {0.5F, -1.25F, 0.0F, 3.0F};
  const auto pieces = kDequantized.pack(Linear(), scheme, 2, rows);
  ASSERT_EQ(pieces.size(), 1U);
  EXPECT_EQ(pieces[0].offset, 2 * 6 * 4);  // the panel begins at row 2
  std::vector<float> values(12);
  ASSERT_EQ(pieces[0].bytes.size(), values.size() * sizeof(float));
  std::memcpy(values.data(), pieces[0].bytes.data(), pieces[0].bytes.size());
  EXPECT_EQ(values[0], (-4 - 0.5F) * 0.5F);
  EXPECT_EQ(values[4], (0 + 1.25F) * -2.0F);
  EXPECT_EQ(values[11], (static_cast<float>(rows.codes[11]) - 3.0F) * 0.25F);
}

TEST(Dequantized, HasTheShapeAndTypeOfTheOriginal) {
  const auto tensors = kDequantized.tensors(Linear(), GroupsOf3(false, DType::kBF16));
  ASSERT_EQ(tensors.size(), 1U);
  EXPECT_EQ(tensors[0], (TensorInfo{"weight", DType::kBF16, {4, 6}}));
  EXPECT_TRUE(kDequantized.config({}, {}).is_null());
}

TEST(Dequantized, RefusesWhatALoaderWouldNotQuantize) {
  const LinearSpec linear = Linear();
  Scheme scheme = GroupsOf3(false, DType::kBF16);
  const std::vector<ResolvedLinear> weights_alone = {{&linear, scheme}};
  EXPECT_TRUE(kDequantized.accepts(weights_alone, {}, {.name = "vllm"}).ok());
  scheme.activations = ActivationScheme::kDynamicToken;
  const std::vector<ResolvedLinear> integers = {{&linear, scheme}};
  EXPECT_EQ(ReasonOf(kDequantized.accepts(integers, {}, {.name = ""})), Reason::kFormatCannotHold);
}

}  // namespace
}  // namespace quantd
