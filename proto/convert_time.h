// Times and durations on the wire.
#pragma once

#include <google/protobuf/duration.pb.h>
#include <google/protobuf/timestamp.pb.h>

#include "absl/time/time.h"

namespace quantd {

// To the microsecond.
google::protobuf::Timestamp ToProto(absl::Time time);
// To the nanosecond. What a Duration may not hold (10,000 years, infinity) becomes the longest that
// it may.
google::protobuf::Duration ToProto(absl::Duration duration);
absl::Duration FromProto(const google::protobuf::Duration& duration);

}  // namespace quantd
