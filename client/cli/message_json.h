// Messages of the API as JSON: field names as in the .proto files, every field present, times as
// RFC 3339, and 64-bit integers as numbers (protobuf's own mapping makes them strings).
#pragma once

#include <google/protobuf/message.h>

#include "absl/status/statusor.h"
#include "base/json.h"

namespace quantd {

absl::StatusOr<Json> MessageJson(const google::protobuf::Message& message);

}  // namespace quantd
