#include "server/store/failure_text.h"

#include "base/json.h"

namespace quantd {
namespace {

Json ToJson(const std::vector<Violation>& violations) {
  Json json = Json::array();
  for (const Violation& violation : violations) {
    json.push_back(
        {{"where", violation.where}, {"got", violation.got}, {"wanted", violation.wanted}});
  }
  return json;
}

std::vector<Violation> FromJson(const Json& json) {
  std::vector<Violation> violations;
  for (const Json& entry : json) {
    JsonFields violation(entry, "violation");
    violations.push_back({.where = violation.String("where", ""),
                          .got = violation.String("got", ""),
                          .wanted = violation.String("wanted", "")});
  }
  return violations;
}

}  // namespace

std::string FailureToText(const Failure& failure) {
  return DumpJson({{"reason", failure.reason},
                   {"message", failure.message},
                   {"violations", ToJson(failure.violations)}});
}

std::string ViolationsToText(const std::vector<Violation>& violations) {
  return DumpJson(ToJson(violations));
}

absl::StatusOr<std::vector<Violation>> ViolationsFromText(const std::string& text) {
  QD_ASSIGN_OR_RETURN(const Json json, ParseJson(text, "violations"));
  return FromJson(json);
}

absl::StatusOr<Failure> FailureFromText(const std::string& text) {
  QD_ASSIGN_OR_RETURN(const Json json, ParseJson(text, "failure"));
  JsonFields fields(json, "failure");
  Failure failure{.reason = fields.String("reason", ""), .message = fields.String("message", "")};
  if (const Json* violations = fields.Value("violations")) {
    failure.violations = FromJson(*violations);
  }
  QD_RETURN_IF_ERROR(fields.FinishIgnoringUnknown());
  return failure;
}

std::string LabelsToText(const std::map<std::string, std::string>& labels) {
  Json json = Json::object();
  for (const auto& [key, value] : labels) json[key] = value;
  return DumpJson(json);
}

absl::StatusOr<std::map<std::string, std::string>> LabelsFromText(const std::string& text) {
  QD_ASSIGN_OR_RETURN(const Json json, ParseJson(text, "labels"));
  std::map<std::string, std::string> labels;
  for (const auto& [key, value] : json.items()) {
    if (value.is_string()) labels[key] = value.get<std::string>();
  }
  return labels;
}

}  // namespace quantd
