#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "server/store/sql_transaction.h"

namespace quantd {
namespace {

constexpr char kTokenColumns[] =
    "id, digest, name, tenant, roles, create_time, expire_time, revoke_time, last_used_time";

Token ReadToken(SqlStatement& row) {
  Token token;
  token.id = row.Text();
  token.digest = row.Text();
  token.name = row.Text();
  token.tenant = row.Text();
  token.roles = Roles::FromBits(row.Int());
  token.create_time = row.Time();
  token.expire_time = row.OptionalTime();
  token.revoke_time = row.OptionalTime();
  token.last_used_time = row.OptionalTime();
  return token;
}

}  // namespace

absl::StatusOr<Job> SqlTransaction::GetJobIn(const TenantScope& scope, std::string_view id) {
  if (!scope.tenant().has_value()) return GetJob(id);
  // By this index a name of another tenant is looked for, and missed, like one that never was; by
  // that of the ids its row would be read first.
  QD_ASSIGN_OR_RETURN(SqlStatement statement,
                      connection_.Prepare(absl::StrCat("SELECT ", kJobColumns, " FROM jobs",
                                                       connection_.ByIndex("jobs_of_tenant"),
                                                       " WHERE tenant = ? AND id = ?")));
  statement.Bind(std::string_view(*scope.tenant())).Bind(id);
  QD_ASSIGN_OR_RETURN(const bool found, statement.Step());
  if (!found) return NoSuchJob(id);
  return ReadJob(statement);
}

absl::StatusOr<std::optional<Token>> SqlTransaction::FindToken(std::string_view digest) {
  static const std::string kSql =
      absl::StrCat("SELECT ", kTokenColumns, " FROM tokens WHERE digest = ?");
  QD_ASSIGN_OR_RETURN(SqlStatement statement, connection_.Prepare(kSql));
  QD_ASSIGN_OR_RETURN(const bool found, statement.Bind(digest).Step());
  if (!found) return std::optional<Token>();
  return std::optional<Token>(ReadToken(statement));
}

absl::StatusOr<std::vector<Token>> SqlTransaction::ListTokens() {
  static const std::string kSql =
      absl::StrCat("SELECT ", kTokenColumns, " FROM tokens ORDER BY create_time, id");
  QD_ASSIGN_OR_RETURN(SqlStatement statement, connection_.Prepare(kSql));
  std::vector<Token> tokens;
  while (true) {
    QD_ASSIGN_OR_RETURN(const bool found, statement.Step());
    if (!found) return tokens;
    tokens.push_back(ReadToken(statement));
  }
}

absl::StatusOr<bool> SqlTransaction::HasTokens() {
  QD_ASSIGN_OR_RETURN(SqlStatement statement,
                      connection_.Prepare("SELECT EXISTS (SELECT 1 FROM tokens)"));
  QD_RETURN_IF_ERROR(statement.Step().status());
  return statement.Int() != 0;
}

absl::StatusOr<std::optional<std::string>> SqlTransaction::FindWorkerOwner(
    std::string_view worker) {
  QD_ASSIGN_OR_RETURN(SqlStatement statement,
                      connection_.Prepare("SELECT owner FROM worker_owners WHERE worker = ?"));
  QD_ASSIGN_OR_RETURN(const bool found, statement.Bind(worker).Step());
  if (!found) return std::optional<std::string>();
  return std::optional<std::string>(statement.Text());
}

absl::Status SqlTransaction::InsertToken(const Token& token) {
  static const std::string kSql =
      absl::StrCat("INSERT INTO tokens (", kTokenColumns, ") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)");
  QD_ASSIGN_OR_RETURN(SqlStatement statement, connection_.Prepare(kSql));
  return statement.Bind(std::string_view(token.id))
      .Bind(std::string_view(token.digest))
      .Bind(std::string_view(token.name))
      .Bind(std::string_view(token.tenant))
      .Bind(token.roles.bits())
      .Bind(token.create_time)
      .Bind(token.expire_time)
      .Bind(token.revoke_time)
      .Bind(token.last_used_time)
      .Run();
}

absl::StatusOr<bool> SqlTransaction::RevokeToken(std::string_view id, absl::Time now) {
  QD_ASSIGN_OR_RETURN(
      SqlStatement statement,
      connection_.Prepare("UPDATE tokens SET revoke_time = COALESCE(revoke_time, ?) WHERE id = ?"));
  QD_RETURN_IF_ERROR(statement.Bind(now).Bind(id).Run());
  return connection_.RowsChanged() > 0;
}

absl::Status SqlTransaction::NoteTokenUse(std::string_view id, absl::Time now) {
  QD_ASSIGN_OR_RETURN(SqlStatement statement,
                      connection_.Prepare("UPDATE tokens SET last_used_time = ? WHERE id = ?"));
  return statement.Bind(now).Bind(id).Run();
}

absl::Status SqlTransaction::PutWorkerOwner(std::string_view worker, std::string_view owner) {
  static const std::string kSql = UpsertSql("worker_owners", {"worker"}, {"owner"});
  QD_ASSIGN_OR_RETURN(SqlStatement statement, connection_.Prepare(kSql));
  return statement.Bind(worker).Bind(owner).Run();
}

}  // namespace quantd
