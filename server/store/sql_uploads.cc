#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "server/store/sql_transaction.h"

namespace quantd {
namespace {

constexpr char kUploadColumns[] = "tenant, name, ready, create_time, change_time";

Upload ReadUpload(SqlStatement& row) {
  Upload upload;
  upload.tenant = row.Text();
  upload.name = row.Text();
  upload.ready = row.Int() != 0;
  upload.create_time = row.Time();
  upload.change_time = row.Time();
  return upload;
}

}  // namespace

absl::Status SqlTransaction::ReadUploadFiles(Upload& upload) {
  QD_ASSIGN_OR_RETURN(SqlStatement statement,
                      connection_.Prepare("SELECT path, bytes, sha256 FROM upload_files "
                                          "WHERE tenant = ? AND name = ? ORDER BY path"));
  statement.Bind(std::string_view(upload.tenant)).Bind(std::string_view(upload.name));
  while (true) {
    QD_ASSIGN_OR_RETURN(const bool found, statement.Step());
    if (!found) return absl::OkStatus();
    UploadFile& file = upload.files.emplace_back();
    file.path = statement.Text();
    file.bytes = statement.Int();
    file.sha256 = statement.Text();
  }
}

absl::StatusOr<std::optional<Upload>> SqlTransaction::FindUpload(std::string_view tenant,
                                                                 std::string_view name) {
  static const std::string kSql =
      absl::StrCat("SELECT ", kUploadColumns, " FROM uploads WHERE tenant = ? AND name = ?");
  QD_ASSIGN_OR_RETURN(SqlStatement statement, connection_.Prepare(kSql));
  QD_ASSIGN_OR_RETURN(const bool found, statement.Bind(tenant).Bind(name).Step());
  if (!found) return std::optional<Upload>();
  Upload upload = ReadUpload(statement);
  QD_RETURN_IF_ERROR(ReadUploadFiles(upload));
  return std::optional<Upload>(std::move(upload));
}

absl::StatusOr<std::vector<Upload>> SqlTransaction::ListUploads(std::string_view tenant,
                                                                std::string_view collection,
                                                                std::string_view after, int limit) {
  static const std::string kSql =
      absl::StrCat("SELECT ", kUploadColumns,
                   " FROM uploads WHERE tenant = ? AND name > ? AND name < ? "
                   "ORDER BY name LIMIT ?");
  // Names that begin with "models/" lie between it and "models0", '0' being next to '/'.
  const std::string_view first = std::max(collection, after);
  const std::string end = absl::StrCat(ToAbsl(collection.substr(0, collection.size() - 1)), "0");
  std::vector<Upload> uploads;
  {
    QD_ASSIGN_OR_RETURN(SqlStatement statement, connection_.Prepare(kSql));
    statement.Bind(tenant).Bind(first).Bind(std::string_view(end)).Bind(int64_t{limit});
    while (true) {
      QD_ASSIGN_OR_RETURN(const bool found, statement.Step());
      if (!found) break;
      uploads.push_back(ReadUpload(statement));
    }
  }
  for (Upload& upload : uploads) QD_RETURN_IF_ERROR(ReadUploadFiles(upload));
  return uploads;
}

absl::StatusOr<std::vector<Upload>> SqlTransaction::StaleUploads(absl::Time changed_before,
                                                                 int limit) {
  static const std::string kSql = absl::StrCat(
      "SELECT ", kUploadColumns,
      " FROM uploads WHERE ready = 0 AND change_time < ? ORDER BY change_time LIMIT ?");
  QD_ASSIGN_OR_RETURN(SqlStatement statement, connection_.Prepare(kSql));
  statement.Bind(changed_before).Bind(int64_t{limit});
  std::vector<Upload> uploads;
  while (true) {
    QD_ASSIGN_OR_RETURN(const bool found, statement.Step());
    if (!found) return uploads;
    uploads.push_back(ReadUpload(statement));
  }
}

absl::StatusOr<std::optional<Content>> SqlTransaction::FindContent(std::string_view tenant,
                                                                   std::string_view sha256) {
  QD_ASSIGN_OR_RETURN(
      SqlStatement statement,
      connection_.Prepare(
          "SELECT bytes, blob, held FROM contents WHERE tenant = ? AND sha256 = ?"));
  QD_ASSIGN_OR_RETURN(const bool found, statement.Bind(tenant).Bind(sha256).Step());
  if (!found) return std::optional<Content>();
  Content content;
  content.tenant = std::string(tenant);
  content.sha256 = std::string(sha256);
  content.bytes = statement.Int();
  content.blob = statement.Text();
  content.held = statement.Int() != 0;
  return std::optional<Content>(std::move(content));
}

absl::StatusOr<int64_t> SqlTransaction::UploadedBytes(std::string_view tenant) {
  QD_ASSIGN_OR_RETURN(
      SqlStatement statement,
      connection_.Prepare("SELECT COALESCE(SUM(bytes), 0) FROM contents WHERE tenant = ?"));
  QD_RETURN_IF_ERROR(statement.Bind(tenant).Step().status());
  return statement.Int();
}

absl::StatusOr<bool> SqlTransaction::IsBlobOfContent(std::string_view blob) {
  QD_ASSIGN_OR_RETURN(SqlStatement statement,
                      connection_.Prepare("SELECT EXISTS (SELECT 1 FROM contents WHERE blob = ?)"));
  QD_RETURN_IF_ERROR(statement.Bind(blob).Step().status());
  return statement.Int() != 0;
}

absl::StatusOr<std::optional<std::string>> SqlTransaction::OpenJobUsing(std::string_view tenant,
                                                                        std::string_view name) {
  QD_ASSIGN_OR_RETURN(
      SqlStatement statement,
      connection_.Prepare("SELECT jobs.id FROM upload_uses JOIN jobs ON jobs.number = job "
                          "WHERE upload_uses.tenant = ? AND name = ? AND state IN (0, 1, 2) "
                          "ORDER BY jobs.number LIMIT 1"));
  QD_ASSIGN_OR_RETURN(const bool found, statement.Bind(tenant).Bind(name).Step());
  if (!found) return std::optional<std::string>();
  return std::optional<std::string>(statement.Text());
}

absl::Status SqlTransaction::InsertUpload(const Upload& upload) {
  QD_ASSIGN_OR_RETURN(const auto known, FindUpload(upload.tenant, upload.name));
  if (known.has_value()) {
    return MakeError(Reason::kAlreadyExists, "the name is taken",
                     Violation{.where = "name", .got = upload.name, .wanted = "another name"});
  }
  static const std::string kSql =
      absl::StrCat("INSERT INTO uploads (", kUploadColumns, ") VALUES (?, ?, ?, ?, ?)");
  QD_ASSIGN_OR_RETURN(SqlStatement statement, connection_.Prepare(kSql));
  QD_RETURN_IF_ERROR(statement.Bind(std::string_view(upload.tenant))
                         .Bind(std::string_view(upload.name))
                         .Bind(int64_t{upload.ready})
                         .Bind(upload.create_time)
                         .Bind(upload.change_time)
                         .Run());
  for (const UploadFile& file : upload.files) {
    QD_ASSIGN_OR_RETURN(
        SqlStatement insert,
        connection_.Prepare("INSERT INTO upload_files (tenant, name, path, bytes, sha256) "
                            "VALUES (?, ?, ?, ?, ?)"));
    QD_RETURN_IF_ERROR(insert.Bind(std::string_view(upload.tenant))
                           .Bind(std::string_view(upload.name))
                           .Bind(std::string_view(file.path))
                           .Bind(file.bytes)
                           .Bind(std::string_view(file.sha256))
                           .Run());
  }
  return absl::OkStatus();
}

absl::Status SqlTransaction::UpdateUpload(const Upload& upload) {
  QD_ASSIGN_OR_RETURN(
      SqlStatement statement,
      connection_.Prepare(
          "UPDATE uploads SET ready = ?, change_time = ? WHERE tenant = ? AND name = ?"));
  return statement.Bind(int64_t{upload.ready})
      .Bind(upload.change_time)
      .Bind(std::string_view(upload.tenant))
      .Bind(std::string_view(upload.name))
      .Run();
}

absl::StatusOr<std::vector<Content>> SqlTransaction::DeleteUpload(std::string_view tenant,
                                                                  std::string_view name) {
  for (const char* sql : {"DELETE FROM upload_uses WHERE tenant = ? AND name = ?",
                          "DELETE FROM upload_files WHERE tenant = ? AND name = ?",
                          "DELETE FROM uploads WHERE tenant = ? AND name = ?"}) {
    QD_ASSIGN_OR_RETURN(SqlStatement statement, connection_.Prepare(sql));
    QD_RETURN_IF_ERROR(statement.Bind(tenant).Bind(name).Run());
  }
  std::vector<Content> unnamed;
  {
    QD_ASSIGN_OR_RETURN(
        SqlStatement statement,
        connection_.Prepare(
            "SELECT sha256, bytes, blob, held FROM contents WHERE tenant = ? AND NOT EXISTS "
            "(SELECT 1 FROM upload_files WHERE upload_files.tenant = contents.tenant AND "
            "upload_files.sha256 = contents.sha256)"));
    statement.Bind(tenant);
    while (true) {
      QD_ASSIGN_OR_RETURN(const bool found, statement.Step());
      if (!found) break;
      Content& content = unnamed.emplace_back();
      content.tenant = std::string(tenant);
      content.sha256 = statement.Text();
      content.bytes = statement.Int();
      content.blob = statement.Text();
      content.held = statement.Int() != 0;
    }
  }
  for (const Content& content : unnamed) {
    QD_ASSIGN_OR_RETURN(
        SqlStatement statement,
        connection_.Prepare("DELETE FROM contents WHERE tenant = ? AND sha256 = ?"));
    QD_RETURN_IF_ERROR(statement.Bind(tenant).Bind(std::string_view(content.sha256)).Run());
  }
  return unnamed;
}

absl::Status SqlTransaction::PutContent(const Content& content) {
  static const std::string kSql =
      UpsertSql("contents", {"tenant", "sha256"}, {"bytes", "blob", "held"});
  QD_ASSIGN_OR_RETURN(SqlStatement statement, connection_.Prepare(kSql));
  return statement.Bind(std::string_view(content.tenant))
      .Bind(std::string_view(content.sha256))
      .Bind(content.bytes)
      .Bind(std::string_view(content.blob))
      .Bind(int64_t{content.held})
      .Run();
}

absl::Status SqlTransaction::PutUploadUse(std::string_view tenant, std::string_view name,
                                          int64_t job_number) {
  QD_ASSIGN_OR_RETURN(
      SqlStatement statement,
      connection_.Prepare("INSERT INTO upload_uses (tenant, name, job) VALUES (?, ?, ?) "
                          "ON CONFLICT DO NOTHING"));
  return statement.Bind(tenant).Bind(name).Bind(job_number).Run();
}

}  // namespace quantd
