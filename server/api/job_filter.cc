#include "server/api/job_filter.h"

#include <algorithm>
#include <array>
#include <string>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/error.h"

namespace quantd {
namespace {

constexpr size_t kMaxFilter = 2048;
constexpr size_t kMaxConditions = 16;

using Field = JobCondition::Field;
using Comparison = JobCondition::Comparison;

// Longer signs before their beginnings.
constexpr std::array<std::pair<std::string_view, Comparison>, 6> kComparisons = {
    {{"!=", Comparison::kNotEqual},
     {"<=", Comparison::kLessOrEqual},
     {">=", Comparison::kGreaterOrEqual},
     {"=", Comparison::kEqual},
     {"<", Comparison::kLess},
     {">", Comparison::kGreater}}};

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  absl::StatusOr<std::vector<JobCondition>> Parse() {
    std::vector<JobCondition> conditions;
    if (text_.size() > kMaxFilter)
      return Wrong(absl::StrCat("at most ", kMaxFilter, " characters"));
    SkipSpace();
    while (at_ < text_.size()) {
      if (!conditions.empty() && Word() != "AND") return Wrong("AND");
      SkipSpace();
      if (conditions.size() == kMaxConditions) {
        return Wrong(absl::StrCat("at most ", kMaxConditions, " conditions"));
      }
      QD_ASSIGN_OR_RETURN(JobCondition condition, ParseCondition());
      conditions.push_back(std::move(condition));
      SkipSpace();
    }
    return conditions;
  }

 private:
  absl::StatusOr<JobCondition> ParseCondition() {
    JobCondition condition;
    const std::string field(Word());
    if (field == "state") {
      condition.field = Field::kState;
    } else if (field == "method") {
      condition.field = Field::kMethod;
    } else if (field == "model") {
      condition.field = Field::kModel;
    } else if (field == "create_time") {
      condition.field = Field::kCreateTime;
    } else if (field.starts_with("labels.") && field.size() > 7) {
      condition.field = Field::kLabel;
      condition.key = field.substr(7);
    } else {
      return Wrong("state, method, model, create_time or labels.KEY");
    }
    SkipSpace();
    QD_ASSIGN_OR_RETURN(condition.comparison, ParseComparison(condition.field));
    SkipSpace();
    QD_ASSIGN_OR_RETURN(condition.text, ParseValue());
    QD_RETURN_IF_ERROR(Interpret(condition));
    return condition;
  }

  absl::StatusOr<Comparison> ParseComparison(Field field) {
    for (const auto& [sign, comparison] : kComparisons) {
      if (!text_.substr(at_).starts_with(sign)) continue;
      const bool ordered = comparison != Comparison::kEqual && comparison != Comparison::kNotEqual;
      if (ordered && field != Field::kCreateTime) return Wrong("= or != for this field");
      at_ += sign.size();
      return comparison;
    }
    return Wrong("a comparison: = != < <= > >=");
  }

  absl::StatusOr<std::string> ParseValue() {
    if (at_ < text_.size() && text_[at_] == '"') return ParseQuoted();
    std::string value(Word());
    if (value.empty()) return Wrong("a value");
    return value;
  }

  absl::StatusOr<std::string> ParseQuoted() {
    std::string value;
    for (++at_; at_ < text_.size(); ++at_) {
      if (text_[at_] == '"') {
        ++at_;
        return value;
      }
      if (text_[at_] == '\\') {
        ++at_;
        if (at_ == text_.size() || (text_[at_] != '"' && text_[at_] != '\\')) {
          return Wrong("\\\" or \\\\");
        }
      }
      value.push_back(text_[at_]);
    }
    return Wrong("a closing quote");
  }

  // Values that are not plain text.
  absl::Status Interpret(JobCondition& condition) {
    if (condition.field == Field::kState) {
      const auto state = JobStateByName(condition.text);
      if (!state.has_value()) return Wrong("a state before this: PENDING, RUNNING, …");
      condition.state = *state;
    }
    if (condition.field == Field::kCreateTime) {
      std::string problem;
      if (!absl::ParseTime(absl::RFC3339_full, condition.text, &condition.time, &problem)) {
        return Wrong("a time like \"2026-01-31T12:00:00Z\" before this");
      }
    }
    return absl::OkStatus();
  }

  // The longest run of characters that names and bare values are made of.
  std::string_view Word() {
    const size_t begin = at_;
    const auto part = [](char c) {
      return absl::ascii_isalnum(static_cast<unsigned char>(c)) ||
             std::string_view("_.:/+-").find(c) != std::string_view::npos;
    };
    while (at_ < text_.size() && part(text_[at_])) ++at_;
    return text_.substr(begin, at_ - begin);
  }

  void SkipSpace() {
    while (at_ < text_.size() && text_[at_] == ' ') ++at_;
  }

  absl::Status Wrong(std::string_view wanted) const {
    return MakeError(
        Reason::kInvalidField, "refused",
        Violation{
            .where = absl::StrCat("filter at character ", at_ + 1),
            .got = absl::StrCat("\"", ToAbsl(text_.substr(std::min(at_, text_.size()), 40)), "\""),
            .wanted = std::string(wanted)});
  }

  std::string_view text_;
  size_t at_ = 0;
};

}  // namespace

absl::StatusOr<std::vector<JobCondition>> ParseJobFilter(std::string_view filter) {
  return Parser(filter).Parse();
}

absl::StatusOr<JobOrder> ParseJobOrder(std::string_view order_by) {
  if (order_by.empty() || order_by == "create_time desc") return JobOrder::kNewestFirst;
  if (order_by == "create_time" || order_by == "create_time asc") return JobOrder::kOldestFirst;
  return MakeError(Reason::kInvalidField, "refused",
                   Violation{.where = "order_by",
                             .got = std::string(order_by.substr(0, 100)),
                             .wanted = "\"create_time\" or \"create_time desc\""});
}

}  // namespace quantd
