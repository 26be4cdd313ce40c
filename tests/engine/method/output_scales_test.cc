#include "engine/method/output_scales.h"

#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/engine/method/method_context.h"

namespace quantd {
namespace {

using testing::ElementsAre;

// Three channels of two groups, and what the blocks are said to have made of them.
class OutputScalesTest : public testing::Test {
 protected:
  OutputScalesTest() {
    linear_.role = LinearRole::kDown;
    scheme_.method = "gptq";
    scheme_.group_size = 4;
    scheme_.scale_dtype = DType::kBF16;
    rows_ = RoomFor(scheme_, 3, 8);
    rows_.codes.assign(24, 3);
    rows_.scales = {1, 2, 1, -2, 1, 2};
  }
  absl::Status Tune(OutputSums sums) {
    TuneRequest request;
    request.linears = {{.linear = &linear_, .scheme = &scheme_, .rows = &rows_}};
    request.compare = [&](size_t) -> absl::StatusOr<OutputSums> {
      ++compared_;
      return sums;
    };
    return TuneOutputScales(request, TestContext());
  }

  LinearSpec linear_;
  Scheme scheme_;
  QuantizedRows rows_;
  int compared_ = 0;
};

TEST_F(OutputScalesTest, TheLeastSquaresFactorGoesIntoTheScalesOfItsRow) {
  // The last channel's factor lies beyond what is believed, so it stays.
  ASSERT_TRUE(Tune({.product = {3, 5, 9}, .energy = {4, 4, 4}}).ok());
  EXPECT_THAT(rows_.scales, ElementsAre(0.75f, 1.5f, 1.25f, -2.5f, 1, 2));
  EXPECT_EQ(rows_.codes, std::vector<int8_t>(24, 3));
}

TEST_F(OutputScalesTest, ScalesStayRepresentable) {
  ASSERT_TRUE(Tune({.product = {1.001, 1, 1}, .energy = {1, 1, 1}}).ok());
  EXPECT_EQ(rows_.scales[0], 1);  // the next BF16 is 1.0078
}

TEST_F(OutputScalesTest, AChannelThatGivesNothingStays) {
  ASSERT_TRUE(Tune({.product = {0, 4, 4}, .energy = {0, 4, 4}}).ok());
  EXPECT_THAT(rows_.scales, ElementsAre(1, 2, 1, -2, 1, 2));
}

TEST_F(OutputScalesTest, OnlyWhatWritesIntoTheResidualStreamIsCompared) {
  linear_.role = LinearRole::kGate;
  ASSERT_TRUE(Tune({.product = {3, 3, 3}, .energy = {4, 4, 4}}).ok());
  linear_.role = LinearRole::kDown;
  linear_.expert = 2;
  ASSERT_TRUE(Tune({.product = {3, 3, 3}, .energy = {4, 4, 4}}).ok());
  EXPECT_EQ(compared_, 0);
  EXPECT_THAT(rows_.scales, ElementsAre(1, 2, 1, -2, 1, 2));
}

}  // namespace
}  // namespace quantd
