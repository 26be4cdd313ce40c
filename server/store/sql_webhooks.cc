#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "server/store/failure_text.h"
#include "server/store/sql_transaction.h"

namespace quantd {
namespace {

constexpr char kDeliveryColumns[] =
    "number, id, job_id, webhook, url, job_state, time, job_attempt, failure, state, attempts, "
    "last_status, last_error, create_time, last_attempt_time, next_attempt_time";

// A bit for each state.
int64_t BitsOf(const std::vector<JobState>& states) {
  int64_t bits = 0;
  for (const JobState state : states) bits |= int64_t{1} << static_cast<int>(state);
  return bits;
}

std::vector<JobState> StatesOf(int64_t bits) {
  std::vector<JobState> states;
  for (const JobState state : kJobStates) {
    if (((bits >> static_cast<int>(state)) & 1) != 0) states.push_back(state);
  }
  return states;
}

}  // namespace

absl::StatusOr<std::vector<Webhook>> SqlTransaction::ListWebhooks(const Job& job) {
  QD_ASSIGN_OR_RETURN(
      SqlStatement statement,
      connection_.Prepare("SELECT url, states FROM webhooks WHERE job = ? ORDER BY place"));
  statement.Bind(job.number);
  std::vector<Webhook> webhooks;
  while (true) {
    QD_ASSIGN_OR_RETURN(const bool found, statement.Step());
    if (!found) return webhooks;
    Webhook& webhook = webhooks.emplace_back();
    webhook.url = statement.Text();
    webhook.states = StatesOf(statement.Int());
  }
}

absl::Status SqlTransaction::AddWebhook(const Job& job, const Webhook& webhook) {
  QD_ASSIGN_OR_RETURN(SqlStatement statement,
                      connection_.Prepare("INSERT INTO webhooks (job, place, url, states) "
                                          "SELECT ?, COUNT(*), ?, ? FROM webhooks WHERE job = ?"));
  return statement.Bind(job.number)
      .Bind(std::string_view(webhook.url))
      .Bind(BitsOf(webhook.states))
      .Bind(job.number)
      .Run();
}

absl::StatusOr<std::vector<Delivery>> SqlTransaction::ReadDeliveries(SqlStatement& statement) {
  std::vector<Delivery> deliveries;
  while (true) {
    QD_ASSIGN_OR_RETURN(const bool found, statement.Step());
    if (!found) return deliveries;
    Delivery& delivery = deliveries.emplace_back();
    delivery.number = statement.Int();
    delivery.id = statement.Text();
    delivery.job_id = statement.Text();
    delivery.webhook = statement.Int();
    delivery.url = statement.Text();
    delivery.job_state = static_cast<JobState>(statement.Int());
    delivery.time = statement.Time();
    delivery.job_attempt = static_cast<int>(statement.Int());
    if (const std::string failure = statement.Text(); !failure.empty()) {
      QD_ASSIGN_OR_RETURN(delivery.failure, FailureFromText(failure));
    }
    delivery.state = static_cast<DeliveryState>(statement.Int());
    delivery.attempts = static_cast<int>(statement.Int());
    delivery.last_status = static_cast<int>(statement.Int());
    delivery.last_error = statement.Text();
    delivery.create_time = statement.Time();
    delivery.last_attempt_time = statement.OptionalTime();
    delivery.next_attempt_time = statement.Time();
  }
}

absl::StatusOr<std::vector<Delivery>> SqlTransaction::ListDeliveries(const Job& job, int64_t after,
                                                                     int limit) {
  static const std::string kSql =
      absl::StrCat("SELECT ", kDeliveryColumns,
                   " FROM deliveries WHERE job = ? AND number > ? ORDER BY number LIMIT ?");
  QD_ASSIGN_OR_RETURN(SqlStatement statement, connection_.Prepare(kSql));
  statement.Bind(job.number).Bind(after).Bind(int64_t{limit});
  return ReadDeliveries(statement);
}

absl::StatusOr<std::vector<Delivery>> SqlTransaction::DueDeliveries(absl::Time now, int limit) {
  static const std::string kSql = absl::StrCat(
      "SELECT ", kDeliveryColumns,
      " FROM deliveries AS due WHERE state = 0 AND next_attempt_time <= ? AND NOT EXISTS "
      "(SELECT 1 FROM deliveries AS earlier WHERE earlier.job = due.job AND "
      "earlier.webhook = due.webhook AND earlier.number < due.number AND earlier.state = 0) "
      "ORDER BY next_attempt_time, number LIMIT ?");
  QD_ASSIGN_OR_RETURN(SqlStatement statement, connection_.Prepare(kSql));
  statement.Bind(now).Bind(int64_t{limit});
  return ReadDeliveries(statement);
}

absl::Status SqlTransaction::InsertDelivery(const Job& job, Delivery& delivery) {
  QD_ASSIGN_OR_RETURN(
      SqlStatement statement,
      connection_.Prepare(
          "INSERT INTO deliveries (id, job, job_id, webhook, url, job_state, time, job_attempt, "
          "failure, state, attempts, last_status, last_error, create_time, last_attempt_time, "
          "next_attempt_time) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
          "RETURNING number"));
  const std::string failure =
      delivery.failure.has_value() ? FailureToText(*delivery.failure) : std::string();
  QD_RETURN_IF_ERROR(statement.Bind(std::string_view(delivery.id))
                         .Bind(job.number)
                         .Bind(std::string_view(delivery.job_id))
                         .Bind(delivery.webhook)
                         .Bind(std::string_view(delivery.url))
                         .Bind(static_cast<int64_t>(delivery.job_state))
                         .Bind(delivery.time)
                         .Bind(int64_t{delivery.job_attempt})
                         .Bind(std::string_view(failure))
                         .Bind(static_cast<int64_t>(delivery.state))
                         .Bind(int64_t{delivery.attempts})
                         .Bind(int64_t{delivery.last_status})
                         .Bind(std::string_view(delivery.last_error))
                         .Bind(delivery.create_time)
                         .Bind(delivery.last_attempt_time)
                         .Bind(delivery.next_attempt_time)
                         .Run());
  delivery.number = statement.Int();
  return absl::OkStatus();
}

absl::Status SqlTransaction::UpdateDelivery(const Delivery& delivery) {
  QD_ASSIGN_OR_RETURN(
      SqlStatement statement,
      connection_.Prepare(
          "UPDATE deliveries SET state = ?, attempts = ?, last_status = ?, last_error = ?, "
          "last_attempt_time = ?, next_attempt_time = ? WHERE number = ?"));
  return statement.Bind(static_cast<int64_t>(delivery.state))
      .Bind(int64_t{delivery.attempts})
      .Bind(int64_t{delivery.last_status})
      .Bind(std::string_view(delivery.last_error))
      .Bind(delivery.last_attempt_time)
      .Bind(delivery.next_attempt_time)
      .Bind(delivery.number)
      .Run();
}

}  // namespace quantd
