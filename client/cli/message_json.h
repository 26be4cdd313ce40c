// Messages of the API as JSON: field names as in the .proto files, every field present, times as
// RFC 3339, and 64-bit integers as numbers (protobuf's own mapping makes them strings).
#pragma once

#include <google/protobuf/message.h>

#include <utility>

#include "absl/status/statusor.h"
#include "base/error.h"
#include "base/json.h"

namespace quantd {

absl::StatusOr<Json> MessageJson(const google::protobuf::Message& message);

// The same for a list of messages.
template <typename Messages>
absl::StatusOr<Json> MessagesJson(const Messages& messages) {
  Json list = Json::array();
  for (const auto& message : messages) {
    QD_ASSIGN_OR_RETURN(Json json, MessageJson(message));
    list.push_back(std::move(json));
  }
  return list;
}

}  // namespace quantd
