// ListJobs: conditions become SQL with parameters, pages continue after a key. Each order and
// condition has an index, so the cost of a page does not grow with the number of jobs.
#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "server/store/sql_transaction.h"

namespace quantd {
namespace {

const char* Operator(JobCondition::Comparison comparison) {
  switch (comparison) {
    case JobCondition::Comparison::kEqual:
      return "=";
    case JobCondition::Comparison::kNotEqual:
      return "<>";
    case JobCondition::Comparison::kLess:
      return "<";
    case JobCondition::Comparison::kLessOrEqual:
      return "<=";
    case JobCondition::Comparison::kGreater:
      return ">";
    case JobCondition::Comparison::kGreaterOrEqual:
      return ">=";
  }
  return "=";
}

// Only names of ours become SQL text; values are bound.
std::string ConditionSql(const JobCondition& condition) {
  const std::string compare = absl::StrCat(" ", Operator(condition.comparison), " ?");
  switch (condition.field) {
    case JobCondition::Field::kState:
      return "state" + compare;
    case JobCondition::Field::kMethod:
      return "method" + compare;
    case JobCondition::Field::kModel:
      return "model" + compare;
    case JobCondition::Field::kCreateTime:
      return "create_time" + compare;
    case JobCondition::Field::kLabel:
      // A job without the label differs from every value.
      return absl::StrCat(condition.comparison == JobCondition::Comparison::kNotEqual
                              ? "number NOT IN"
                              : "number IN",
                          " (SELECT job FROM job_labels WHERE key = ? AND value = ?)");
  }
  return "TRUE";
}

void BindCondition(const JobCondition& condition, SqlStatement& statement) {
  switch (condition.field) {
    case JobCondition::Field::kState:
      statement.Bind(static_cast<int64_t>(condition.state));
      return;
    case JobCondition::Field::kMethod:
    case JobCondition::Field::kModel:
      statement.Bind(std::string_view(condition.text));
      return;
    case JobCondition::Field::kCreateTime:
      statement.Bind(condition.time);
      return;
    case JobCondition::Field::kLabel:
      statement.Bind(std::string_view(condition.key)).Bind(std::string_view(condition.text));
      return;
  }
}

std::string ListSql(const JobQuery& query) {
  const bool newest = query.order == JobOrder::kNewestFirst;
  std::string sql = absl::StrCat("SELECT ", kJobColumns, " FROM jobs WHERE TRUE",
                                 query.scope.tenant().has_value() ? " AND tenant = ?" : "");
  for (const JobCondition& condition : query.conditions) {
    absl::StrAppend(&sql, " AND ", ConditionSql(condition));
  }
  if (query.after.has_value()) {
    absl::StrAppend(&sql, " AND (create_time, number) ", newest ? "<" : ">", " (?, ?)");
  }
  const char* direction = newest ? " DESC" : "";
  absl::StrAppend(&sql, " ORDER BY create_time", direction, ", number", direction, " LIMIT ?");
  return sql;
}

}  // namespace

absl::StatusOr<JobPage> SqlTransaction::ListJobs(const JobQuery& query) {
  QD_ASSIGN_OR_RETURN(SqlStatement statement, connection_.Prepare(ListSql(query)));
  if (query.scope.tenant().has_value()) statement.Bind(std::string_view(*query.scope.tenant()));
  for (const JobCondition& condition : query.conditions) BindCondition(condition, statement);
  if (query.after.has_value()) {
    statement.Bind(query.after->create_time).Bind(query.after->number);
  }
  statement.Bind(static_cast<int64_t>(query.limit) + 1);
  JobPage page;
  int64_t bytes = 0;
  while (true) {
    QD_ASSIGN_OR_RETURN(const bool found, statement.Step());
    if (!found) return page;
    QD_ASSIGN_OR_RETURN(Job job, ReadJob(statement));
    bytes += static_cast<int64_t>(job.spec.size() + job.plan.size() + job.result.size());
    const bool full = page.jobs.size() == static_cast<size_t>(query.limit) ||
                      (bytes > query.max_bytes && !page.jobs.empty());
    if (full) {
      page.next =
          JobCursor{.create_time = page.jobs.back().create_time, .number = page.jobs.back().number};
      return page;
    }
    page.jobs.push_back(std::move(job));
  }
}

}  // namespace quantd
