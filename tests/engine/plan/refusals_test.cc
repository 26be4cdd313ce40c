#include "engine/plan/refusals.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace quantd {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;

absl::Status Refused(std::vector<Violation> violations) {
  return MakeError(Reason::kRecipeInvalid, "refused", std::move(violations));
}

TEST(RefusalsTest, TheSameFaultOfManyLinearsIsSaidOnce) {
  std::vector<Violation> violations;
  for (int block = 0; block < 30; ++block) {
    for (const char* name :
         {"self_attn.q_proj", "self_attn.k_proj", "mlp.up_proj", "mlp.gate_proj"}) {
      violations.push_back(
          {absl::StrCat("model.layers.", block, ".", name), "group_size 128", "64"});
    }
    violations.push_back({absl::StrCat("model.layers.", block, ".mlp.down_proj"), "bits 9", "8"});
  }
  const auto told = ViolationsOf(Together(Refused(violations)));
  ASSERT_THAT(told, SizeIs(2));
  EXPECT_EQ(told[0].where,
            "120 linears (model.layers.*.self_attn.q_proj, model.layers.*.self_attn.k_proj, "
            "model.layers.*.mlp.up_proj and 1 more names)");
  EXPECT_EQ(told[0].got, "group_size 128");
  EXPECT_EQ(told[0].wanted, "64");
  EXPECT_EQ(told[1].where, "30 linears (model.layers.*.mlp.down_proj)");
}

TEST(RefusalsTest, FieldsAndSingleModulesStayAsTheyAre) {
  const auto told = ViolationsOf(Together(Refused({{"recipe.skip[0]", "x", "y"},
                                                   {"recipe.skip[1]", "x", "y"},
                                                   {"model.layers.3.q_proj", "a", "b"}})));
  ASSERT_THAT(told, SizeIs(3));
  EXPECT_EQ(told[0].where, "recipe.skip[0]");
  EXPECT_EQ(told[2].where, "model.layers.3.q_proj");
  EXPECT_TRUE(Together(absl::OkStatus()).ok());
}

TEST(RefusalsTest, TellsHowManyMoreThereAre) {
  std::vector<Violation> violations;
  for (int i = 0; i < 33; ++i) violations.push_back({"m.0.p", absl::StrCat("got ", i), "x"});
  const auto told = ViolationsOf(Together(Refused(violations)));
  ASSERT_THAT(told, SizeIs(21));
  EXPECT_THAT(told.back().got, HasSubstr("13 more problems"));
}

TEST(RefusalsTest, KeepsTheReason) {
  const absl::Status status = Together(MakeError(
      Reason::kLoaderRefuses, "refused",
      std::vector<Violation>{{"model.layers.0.q", "a", "b"}, {"model.layers.1.q", "a", "b"}}));
  EXPECT_EQ(ReasonOf(status), Reason::kLoaderRefuses);
  EXPECT_THAT(ViolationsOf(status), SizeIs(1));
}

}  // namespace
}  // namespace quantd
