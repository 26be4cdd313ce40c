#include "base/error.h"

#include <cerrno>
#include <set>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace quantd {
namespace {

using ::testing::SizeIs;

TEST(ErrorTest, MessageSaysWhatWhereGotAndWanted) {
  const absl::Status status =
      MakeError(Reason::kInvalidField, "refused",
                Violation{.where = "recipe.bits", .got = "9", .wanted = "2 to 8"});
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(), "refused: recipe.bits: got 9, wanted 2 to 8");
  EXPECT_EQ(ReasonOf(status), Reason::kInvalidField);
  ASSERT_THAT(ViolationsOf(status), SizeIs(1));
  EXPECT_EQ(ViolationsOf(status)[0].got, "9");
}

TEST(ErrorTest, ReasonNamesAreUniqueAndUpperSnake) {
  std::set<std::string_view> names;
  for (const ReasonRow& row : Reasons()) {
    EXPECT_TRUE(names.insert(row.name).second) << row.name;
    for (const char c : row.name) EXPECT_TRUE((c >= 'A' && c <= 'Z') || c == '_') << row.name;
    EXPECT_EQ(ReasonByName(row.name), row.reason);
    EXPECT_NE(row.code, absl::StatusCode::kOk);
  }
}

TEST(ErrorTest, UserFaultsAreNeverRetried) {
  for (const ReasonRow& row : Reasons()) {
    EXPECT_FALSE(row.fault == Fault::kUser && row.retryable) << row.name;
  }
}

TEST(ErrorTest, SurvivesBeingCarriedAsText) {
  const absl::Status before =
      MakeError(Reason::kModelCorrupt, "bad \"file\"\n",
                Violation{.where = "a:\xc3\xa9", .got = "\x01", .wanted = ""});
  const absl::Status after =
      ErrorFromParts(RowOf(*ReasonOf(before)).name, ToStd(before.message()), ViolationsOf(before));
  EXPECT_EQ(before.code(), after.code());
  EXPECT_EQ(before.message(), after.message());
  EXPECT_EQ(ViolationsOf(after)[0].where, "a:\xc3\xa9");
}

TEST(ErrorTest, AForeignErrorIsOurBug) {
  EXPECT_EQ(ReasonOf(absl::NotFoundError("x")), Reason::kInternal);
  EXPECT_EQ(ReasonOf(absl::OkStatus()), std::nullopt);
  EXPECT_EQ(ReasonOf(ErrorFromParts("NO_SUCH_REASON", "x", {})), Reason::kInternal);
}

TEST(ErrorTest, FullDisksAreToldFromOtherFailures) {
  EXPECT_EQ(ReasonOf(ErrnoError("cannot write", "f", ENOSPC)), Reason::kDiskFull);
  EXPECT_EQ(ReasonOf(ErrnoError("cannot write", "f", EFBIG)), Reason::kDiskFull);
  EXPECT_EQ(ReasonOf(ErrnoError("cannot write", "f", EIO)), Reason::kIo);
}

absl::StatusOr<int> Half(int number) {
  if (number % 2 != 0) return MakeError(Reason::kInvalidField, "odd");
  return number / 2;
}

absl::StatusOr<int> Quarter(int number) {
  QD_ASSIGN_OR_RETURN(const int half, Half(number));
  QD_ASSIGN_OR_RETURN(const int quarter, Half(half));
  return quarter;
}

TEST(ErrorTest, MacrosPassValuesAndErrorsOn) {
  EXPECT_EQ(*Quarter(12), 3);
  EXPECT_FALSE(Quarter(6).ok());
}

}  // namespace
}  // namespace quantd
