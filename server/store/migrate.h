// Brings the tables of a database up to date.
#pragma once

#include <span>
#include <string_view>

#include "absl/status/status.h"
#include "server/store/sql.h"

namespace quantd {

// Applies the steps that the database lacks, each in its own transaction with the new version.
// `begin` is the SQL that begins one and keeps other servers out. WRONG_STATE if the database has
// more steps than there are.
absl::Status Migrate(SqlConnection& connection, std::span<const char* const> steps,
                     std::string_view begin);

}  // namespace quantd
