// Page tokens: opaque to clients, bound to the query they came from.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "server/store/store.h"

namespace quantd {

// `query` is any text that tells the query, such as filter and order.
std::string EncodeJobToken(const JobCursor& cursor, std::string_view query);
// INVALID_FIELD for a token that we did not make, or made for another query.
absl::StatusOr<JobCursor> DecodeJobToken(const std::string& token, std::string_view query);

std::string EncodeTextToken(std::string_view text);
absl::StatusOr<std::string> DecodeTextToken(const std::string& token);

}  // namespace quantd
