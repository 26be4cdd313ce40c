#include "proto/convert_time.h"

#include <google/protobuf/util/time_util.h>
#include <gtest/gtest.h>

#include <limits>

namespace quantd {
namespace {

using google::protobuf::util::TimeUtil;

TEST(Durations, GoToTheWireAndBackToTheNanosecond) {
  for (const absl::Duration duration :
       {absl::ZeroDuration(), absl::Nanoseconds(1), absl::Milliseconds(1500), absl::Hours(9000),
        -absl::Milliseconds(1500)}) {
    EXPECT_EQ(FromProto(ToProto(duration)), duration);
  }
  EXPECT_EQ(TimeUtil::ToString(ToProto(absl::Milliseconds(1500))), "1.500s");
}

TEST(Durations, WhatIsTooLongIsTheLongestThatJsonCanSay) {
  for (const absl::Duration duration : {absl::InfiniteDuration(), absl::Seconds(1e300),
                                        absl::Seconds(std::numeric_limits<double>::infinity())}) {
    EXPECT_EQ(ToProto(duration).seconds(), TimeUtil::kDurationMaxSeconds);
    EXPECT_EQ(ToProto(-duration).seconds(), TimeUtil::kDurationMinSeconds);
  }
}

TEST(Times, AreToldToTheMicrosecond) {
  EXPECT_EQ(TimeUtil::ToString(ToProto(absl::FromUnixMicros(1'700'000'000'000'001))),
            "2023-11-14T22:13:20.000001Z");
}

}  // namespace
}  // namespace quantd
