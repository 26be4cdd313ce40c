// Checks of what requests carry before anything is done with it.
#pragma once

#include <google/protobuf/map.h>

#include <map>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/error.h"
#include "server/limits.h"

namespace quantd {

// The id in "workers/{id}", with "workers/" as the collection. INVALID_FIELD, naming `field`.
absl::StatusOr<std::string> IdFromName(std::string_view collection, std::string_view name,
                                       std::string_view field = "name");
// The id in "jobs/{id}".
absl::StatusOr<std::string> JobIdFromName(std::string_view name, std::string_view field = "name");

// INVALID_FIELD unless it is a UUID (any case).
absl::Status CheckRequestId(std::string_view request_id);

// Number and form of labels; all problems at once.
absl::StatusOr<std::map<std::string, std::string>> CheckLabels(
    const google::protobuf::Map<std::string, std::string>& labels, const Limits& limits);

// The page size to use. INVALID_FIELD if negative.
absl::StatusOr<int> PageSize(int32_t asked, int fallback, int most);

// An absolute path of the server's machine, resolved, if it is at or below one of the roots (which
// are resolved). MODEL_OUTSIDE_ROOTS, saying how the operator allows a folder; `missing` if it
// would be allowed but is not there.
absl::StatusOr<std::string> ResolveAllowedPath(std::string_view field, const std::string& path,
                                               std::span<const std::string> roots, Reason missing);

}  // namespace quantd
