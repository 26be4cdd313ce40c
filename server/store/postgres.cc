#include "server/store/postgres.h"

#include <libpq-fe.h>
#include <poll.h>

#include <array>
#include <charconv>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/strings/cord.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/error.h"

namespace quantd {
namespace {

// pg_type.dat of PostgreSQL's source: the types that parameters have.
constexpr Oid kBool = 16, kBytes = 17, kInt8 = 20, kText = 25;
constexpr int kBinary = 1;
constexpr char kMetAnother[] = "quantd/met-another-transaction";
constexpr size_t kMaxStatements = 200;
// A machine that is gone in a transaction keeps its locks until the database notices, by default
// for two hours. Who waits for a lock waits longer than that takes here.
// Every query of ours has its index, and those who plan by statistics of a table that was empty a
// minute ago do not know.
constexpr char kSession[] =
    "-c idle_in_transaction_session_timeout=15s -c lock_timeout=30s -c tcp_keepalives_idle=10 "
    "-c tcp_keepalives_interval=5 -c tcp_keepalives_count=3 "
    "-c enable_seqscan=off -c enable_bitmapscan=off";

using Result = std::unique_ptr<PGresult, decltype(&PQclear)>;

// SQL with '?' as SQL with $1, $2, …; no statement of ours has a '?' in a text.
std::string Numbered(const std::string& sql) {
  std::string numbered;
  int parameter = 0;
  for (const char c : sql) {
    if (c == '?') {
      absl::StrAppend(&numbered, "$", ++parameter);
    } else {
      numbered.push_back(c);
    }
  }
  return numbered;
}

// Appendix A of PostgreSQL's manual: error codes.
absl::Status PostgresError(const PGconn* connection, const PGresult* result,
                           std::string_view what) {
  const char* code = result == nullptr ? nullptr : PQresultErrorField(result, PG_DIAG_SQLSTATE);
  const std::string_view state = code == nullptr ? "" : code;
  const char* words = result == nullptr ? PQerrorMessage(connection) : PQresultErrorMessage(result);
  const std::string text =
      absl::StrCat("store: ", ToAbsl(what), ": ", absl::StripSuffix(words, "\n"), " (",
                   state.empty() ? "no answer" : ToAbsl(state), ")");
  if (PQstatus(connection) != CONNECTION_OK || state.empty() || state.starts_with("08") ||
      state.starts_with("57P")) {
    return MakeError(Reason::kUnavailable, text);
  }
  if (state == "40001" || state == "40P01") {
    absl::Status met = MakeError(Reason::kUnavailable, text);
    met.SetPayload(kMetAnother, absl::Cord());
    return met;
  }
  // A zero byte, which only PostgreSQL's texts cannot have: no name of ours has one.
  if (state == "22021") {
    return MakeError(Reason::kInvalidField, "refused",
                     Violation{.where = "text", .got = "a zero byte", .wanted = "none"});
  }
  // Somebody else has had a lock for long.
  if (state == "55P03") return MakeError(Reason::kUnavailable, text);
  if (state.starts_with("23")) return MakeError(Reason::kAlreadyExists, text);
  if (state == "53100") return MakeError(Reason::kDiskFull, text);
  if (state.starts_with("53")) return MakeError(Reason::kUnavailable, text);
  return MakeError(Reason::kInternal, text);
}

absl::Status CannotConnect(const PGconn* connection) {
  return MakeError(
      Reason::kUnavailable, "cannot reach the database",
      Violation{.where = "store",
                .got = std::string(absl::StripSuffix(PQerrorMessage(connection), "\n")),
                .wanted = "a PostgreSQL server that lets us in"});
}

}  // namespace

class PostgresCursor final : public SqlCursor {
 public:
  PostgresCursor(PostgresConnection& connection, const std::string& sql)
      : connection_(connection), sql_(sql) {}

  void BindInt(int64_t value) override {
    std::string& bytes = Add(kInt8);
    for (int shift = 56; shift >= 0; shift -= 8) {
      bytes.push_back(static_cast<char>(static_cast<uint64_t>(value) >> shift));
    }
  }
  void BindText(std::string_view text) override { Add(kText) = text; }
  void BindBlob(std::string_view bytes) override { Add(kBytes) = bytes; }
  void BindNull() override {
    types_.push_back(0);
    values_.emplace_back(std::nullopt);
  }

  absl::StatusOr<bool> Step() override {
    if (result_ == nullptr) QD_RETURN_IF_ERROR(Send());
    return ++row_ < PQntuples(result_.get());
  }
  int64_t Int(int column) const override {
    const char* text = PQgetvalue(result_.get(), row_, column);
    if (PQftype(result_.get(), column) == kBool) return text[0] == 't' ? 1 : 0;
    int64_t value = 0;
    std::from_chars(text, text + std::strlen(text), value);
    return value;
  }
  std::string Text(int column) const override {
    const std::string_view text(PQgetvalue(result_.get(), row_, column),
                                static_cast<size_t>(PQgetlength(result_.get(), row_, column)));
    // Bytes come as "\x" and hex digits (bytea_output = hex, the default).
    if (PQftype(result_.get(), column) == kBytes && text.starts_with("\\x")) {
      return absl::HexStringToBytes(ToAbsl(text.substr(2)));
    }
    return std::string(text);
  }
  bool IsNull(int column) const override { return PQgetisnull(result_.get(), row_, column) != 0; }

 private:
  std::string& Add(Oid type) {
    types_.push_back(type);
    return *values_.emplace_back(std::string());
  }

  absl::Status Send() {
    QD_ASSIGN_OR_RETURN(const std::string name, Prepared());
    std::vector<const char*> bytes;
    std::vector<int> lengths;
    const std::vector<int> formats(values_.size(), kBinary);
    for (const auto& value : values_) {
      bytes.push_back(value.has_value() ? value->data() : nullptr);
      lengths.push_back(value.has_value() ? static_cast<int>(value->size()) : 0);
    }
    result_ = Result(
        PQexecPrepared(connection_.connection_, name.c_str(), static_cast<int>(values_.size()),
                       bytes.data(), lengths.data(), formats.data(), 0),
        &PQclear);
    const ExecStatusType status = PQresultStatus(result_.get());
    if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK) {
      return PostgresError(connection_.connection_, result_.get(), sql_);
    }
    const std::string_view changed = PQcmdTuples(result_.get());
    connection_.rows_changed_ = 0;
    std::from_chars(changed.data(), changed.data() + changed.size(), connection_.rows_changed_);
    return absl::OkStatus();
  }

  absl::StatusOr<std::string> Prepared() {
    std::map<std::string, std::string>& all = connection_.prepared_;
    if (const auto known = all.find(sql_); known != all.end()) return known->second;
    if (all.size() >= kMaxStatements) {
      QD_RETURN_IF_ERROR(connection_.Execute("DEALLOCATE ALL"));
      all.clear();
    }
    std::string name = absl::StrCat("q", all.size());
    const Result made(PQprepare(connection_.connection_, name.c_str(), Numbered(sql_).c_str(),
                                static_cast<int>(types_.size()), types_.data()),
                      &PQclear);
    if (PQresultStatus(made.get()) != PGRES_COMMAND_OK) {
      return PostgresError(connection_.connection_, made.get(), sql_);
    }
    all[sql_] = name;
    return name;
  }

  PostgresConnection& connection_;
  const std::string sql_;
  std::vector<Oid> types_;
  std::vector<std::optional<std::string>> values_;
  Result result_{nullptr, &PQclear};
  int row_ = -1;
};

bool MetAnotherTransaction(const absl::Status& status) {
  return status.GetPayload(kMetAnother).has_value();
}

absl::StatusOr<std::unique_ptr<PostgresConnection>> PostgresConnection::Open(
    const std::string& uri) {
  // What the URI says wins over what comes before it; texts are UTF-8 whatever it says. A server
  // that is gone is noticed within a minute. So are we by the server (kSession): all servers wait
  // for who has the lock of writers.
  const std::array<const char*, 8> keys = {
      "connect_timeout", "application_name", "keepalives_idle", "tcp_user_timeout",
      "options",         "dbname",           "client_encoding", nullptr};
  const std::array<const char*, 8> values = {"10",     "quantd",    "20",   "60000",
                                             kSession, uri.c_str(), "UTF8", nullptr};
  PGconn* opened = PQconnectdbParams(keys.data(), values.data(), 1);
  std::unique_ptr<PostgresConnection> connection(new PostgresConnection(opened));
  if (PQstatus(opened) != CONNECTION_OK) return CannotConnect(opened);
  const char* encoding = PQparameterStatus(opened, "server_encoding");
  if (encoding == nullptr || std::string_view(encoding) != "UTF8") {
    return MakeError(Reason::kInvalidField, "refused",
                     Violation{.where = "store",
                               .got = absl::StrCat("a database in ", encoding ? encoding : "?"),
                               .wanted = "UTF8"});
  }
  PQsetNoticeProcessor(opened, [](void*, const char*) {}, nullptr);
  return connection;
}

PostgresConnection::~PostgresConnection() { PQfinish(connection_); }

bool PostgresConnection::lost() const { return PQstatus(connection_) != CONNECTION_OK; }

absl::Status PostgresConnection::Reconnect() {
  prepared_.clear();
  PQreset(connection_);
  return lost() ? CannotConnect(connection_) : absl::OkStatus();
}

absl::StatusOr<SqlStatement> PostgresConnection::Prepare(const std::string& sql) {
  return SqlStatement(std::make_unique<PostgresCursor>(*this, sql));
}

absl::Status PostgresConnection::Check(PGresult* taken, std::string_view what) {
  const Result result(taken, &PQclear);
  const ExecStatusType status = PQresultStatus(result.get());
  if (status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK) return absl::OkStatus();
  return PostgresError(connection_, result.get(), what);
}

absl::Status PostgresConnection::Execute(const std::string& sql) {
  return Check(PQexec(connection_, sql.c_str()), std::string_view(sql).substr(0, 200));
}

absl::Status PostgresConnection::Commit() {
  Result result(PQexec(connection_, "COMMIT"), &PQclear);
  const bool committed = std::string_view(PQcmdStatus(result.get())) == "COMMIT";
  QD_RETURN_IF_ERROR(Check(result.release(), "COMMIT"));
  if (committed) return absl::OkStatus();
  return MakeError(Reason::kInternal, "store: a statement failed in a transaction that went on");
}

absl::StatusOr<bool> PostgresConnection::WaitForNotification(std::string& payload) {
  constexpr int kPatienceMs = 1000;
  for (bool waited = false;; waited = true) {
    if (PQconsumeInput(connection_) == 0 || lost()) {
      return PostgresError(connection_, nullptr, "LISTEN");
    }
    const std::unique_ptr<PGnotify, decltype(&PQfreemem)> notify(PQnotifies(connection_),
                                                                 &PQfreemem);
    if (notify != nullptr) {
      payload = notify->extra;
      return true;
    }
    if (waited) return false;
    pollfd socket = {.fd = PQsocket(connection_), .events = POLLIN, .revents = 0};
    poll(&socket, 1, kPatienceMs);
  }
}

}  // namespace quantd
