#include "server/store/migrate.h"

#include "absl/strings/str_cat.h"
#include "base/error.h"

namespace quantd {
namespace {

absl::StatusOr<int64_t> Version(SqlConnection& connection) {
  QD_ASSIGN_OR_RETURN(SqlStatement statement,
                      connection.Prepare("SELECT COALESCE(MAX(version), 0) FROM schema_version"));
  QD_RETURN_IF_ERROR(statement.Step().status());
  return statement.Int();
}

// Nothing to do where another server was quicker.
absl::Status Apply(SqlConnection& connection, int64_t step, std::string_view sql) {
  QD_ASSIGN_OR_RETURN(const int64_t version, Version(connection));
  if (version > step) return absl::OkStatus();
  return connection.Execute(
      absl::StrCat(ToAbsl(sql), ";INSERT INTO schema_version VALUES (", step + 1, ")"));
}

}  // namespace

absl::Status Migrate(SqlConnection& connection, std::span<const char* const> steps,
                     std::string_view begin) {
  QD_RETURN_IF_ERROR(connection.Execute(absl::StrCat(
      ToAbsl(begin),
      ";CREATE TABLE IF NOT EXISTS schema_version (version INTEGER NOT NULL);COMMIT")));
  QD_ASSIGN_OR_RETURN(const int64_t version, Version(connection));
  if (version > static_cast<int64_t>(steps.size())) {
    return MakeError(Reason::kWrongState, "the database is of a newer quantd",
                     Violation{.where = "schema_version",
                               .got = absl::StrCat(version),
                               .wanted = absl::StrCat("at most ", steps.size())});
  }
  for (size_t step = static_cast<size_t>(version); step < steps.size(); ++step) {
    absl::Status done = connection.Execute(std::string(begin));
    if (done.ok()) done = Apply(connection, static_cast<int64_t>(step), steps[step]);
    if (done.ok()) done = connection.Execute("COMMIT");
    if (!done.ok()) {
      connection.Execute("ROLLBACK").IgnoreError();
      return done;
    }
  }
  return absl::OkStatus();
}

}  // namespace quantd
