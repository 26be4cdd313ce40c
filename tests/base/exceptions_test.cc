#include "base/exceptions.h"

#include <stdexcept>

#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace quantd {
namespace {

using testing::HasSubstr;

TEST(CatchExceptionsTest, AnExceptionBecomesAnErrorThatSaysWhere) {
  const absl::Status thrown = CatchExceptions(
      "planning", []() -> absl::Status { throw std::length_error("vector::reserve"); });
  EXPECT_EQ(ReasonOf(thrown), Reason::kInternal);
  EXPECT_THAT(std::string(thrown.message()), HasSubstr("planning: vector::reserve"));
  const absl::StatusOr<int> no_memory =
      CatchExceptions("planning", []() -> absl::StatusOr<int> { throw std::bad_alloc(); });
  EXPECT_EQ(ReasonOf(no_memory.status()), Reason::kInternal);
  const absl::Status odd = CatchExceptions("planning", []() -> absl::Status { throw 3; });
  EXPECT_EQ(ReasonOf(odd), Reason::kInternal);
}

TEST(CatchExceptionsTest, WhatDoesNotThrowIsPassedOn) {
  EXPECT_EQ(*CatchExceptions("x", []() -> absl::StatusOr<int> { return 7; }), 7);
}

}  // namespace
}  // namespace quantd
