#include "proto/convert_time.h"

#include <algorithm>

namespace quantd {
namespace {

// Of google.protobuf.Duration: longer ones cannot be written as JSON.
constexpr absl::Duration kLongest = absl::Seconds(315'576'000'000);

}  // namespace

google::protobuf::Timestamp ToProto(absl::Time time) {
  google::protobuf::Timestamp message;
  const int64_t micros = absl::ToUnixMicros(time);
  message.set_seconds(micros / 1'000'000);
  message.set_nanos(static_cast<int32_t>(micros % 1'000'000) * 1000);
  return message;
}

google::protobuf::Duration ToProto(absl::Duration duration) {
  const absl::Duration held = std::clamp(duration, -kLongest, kLongest);
  google::protobuf::Duration message;
  message.set_seconds(absl::ToInt64Seconds(held));
  message.set_nanos(
      static_cast<int32_t>(absl::ToInt64Nanoseconds(held - absl::Seconds(message.seconds()))));
  return message;
}

absl::Duration FromProto(const google::protobuf::Duration& duration) {
  return absl::Seconds(duration.seconds()) + absl::Nanoseconds(duration.nanos());
}

}  // namespace quantd
