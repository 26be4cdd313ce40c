// A Failure, and what else is a list, as one column of text (JSON), and back.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "server/job.h"

namespace quantd {

std::string FailureToText(const Failure& failure);
absl::StatusOr<Failure> FailureFromText(const std::string& text);

std::string ViolationsToText(const std::vector<Violation>& violations);
absl::StatusOr<std::vector<Violation>> ViolationsFromText(const std::string& text);

std::string LabelsToText(const std::map<std::string, std::string>& labels);
absl::StatusOr<std::map<std::string, std::string>> LabelsFromText(const std::string& text);

}  // namespace quantd
