// The filter and order of ListJobs: a small part of AIP-160.
//
//   state = RUNNING AND labels.team = "x" AND create_time > "2026-01-01T00:00:00Z"
//
// Fields: state, method, model, labels.KEY (= and !=) and create_time (= != < <= > >=). Values are
// bare words or quoted strings with \" and \\.
#pragma once

#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "server/store/store.h"

namespace quantd {

// INVALID_FIELD with the place where it stops to make sense.
absl::StatusOr<std::vector<JobCondition>> ParseJobFilter(std::string_view filter);

// "", "create_time", "create_time asc" or "create_time desc".
absl::StatusOr<JobOrder> ParseJobOrder(std::string_view order_by);

}  // namespace quantd
