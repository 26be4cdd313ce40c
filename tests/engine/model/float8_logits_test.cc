// A model in FP8 and the dense one that it stands for are the same model.
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/engine/float8_models.h"
#include "tests/engine/model/whole_model.h"

namespace quantd {
namespace {

class Float8LogitsTest : public testing::TestWithParam<std::string> {};

TEST_P(Float8LogitsTest, LogitsAreThoseOfTheDequantizedModel) {
  const auto folder = TemporaryFolder::Create("float8-logits");
  ASSERT_TRUE(folder.ok());
  const auto stored = WholeModel::Open(Float8Folder(GetParam()));
  const auto dense = WholeModel::Open(WriteDequantized(GetParam(), *folder));
  ASSERT_TRUE(stored.ok()) << stored.status();
  ASSERT_TRUE(dense.ok()) << dense.status();
  EXPECT_EQ((*stored)->spec().parameters, (*dense)->spec().parameters);
  EXPECT_EQ((*stored)->spec().dtype, (*dense)->spec().dtype);
  std::vector<int32_t> ids;
  for (int i = 0; i < 24; ++i) ids.push_back(i * 11 % 64);
  const auto got = (*stored)->Logits(ids, ComputeType::kF32);
  const auto wanted = (*dense)->Logits(ids, ComputeType::kF32);
  ASSERT_TRUE(got.ok()) << got.status();
  ASSERT_TRUE(wanted.ok()) << wanted.status();
  EXPECT_EQ(*got, *wanted);
  EXPECT_GT(*std::ranges::max_element(*wanted), 0.1);
}

INSTANTIATE_TEST_SUITE_P(Models, Float8LogitsTest, testing::ValuesIn(Float8Models()),
                         [](const auto& model) { return Float8TestName(model.param); });

}  // namespace
}  // namespace quantd
