// How an error is told to a person: what, where, got, wanted, and what to do about it.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "client/cli/session.h"

namespace quantd {

// "quantctl: refused: the recipe does not fit\n  --bits: got 9, wanted 2 to 8\n". One line per
// violation.
std::string ErrorText(const absl::Status& status);

// The same with advice, to err(); with --json, {"error": {...}} to out() as well.
void PrintError(Session& session, const absl::Status& status);

// {code, reason, message, violations: [{where, got, wanted}]}.
Json ErrorJson(const absl::Status& status);

}  // namespace quantd
