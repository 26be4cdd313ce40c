#include "client/cli/errors.h"

#include <filesystem>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "base/error.h"
#include "client/cli/exit_code.h"
#include "terminal/table.h"

namespace quantd {
namespace {

// The message without the violations that MakeError appended to it.
std::string WhatOf(const absl::Status& status, const std::vector<Violation>& violations) {
  std::string message(status.message());
  if (!violations.empty()) {
    const Violation& first = violations.front();
    const std::string tail =
        ": " + (first.where.empty() ? (first.got.empty() ? "wanted " : "got ") : first.where);
    const size_t cut = message.find(tail);
    if (cut != std::string::npos && cut > 0) message.resize(cut);
  }
  return message;
}

std::string LineOf(const Violation& violation) {
  std::string line = violation.where;
  if (!violation.got.empty()) {
    absl::StrAppend(&line, line.empty() ? "got " : ": got ", violation.got);
  }
  if (!violation.wanted.empty()) {
    absl::StrAppend(&line, line.empty() ? "wanted " : ", wanted ", violation.wanted);
  }
  return Printable(line);
}

// What gRPC says about a connection that cannot be made names its own parts, not the trouble.
std::string UnreachableText(Session& session, const absl::Status& status) {
  const std::string message(status.message());
  const bool of_transport = message.starts_with("failed to connect");
  return absl::StrCat("quantctl: no answer from ", session.connection().server(),
                      of_transport ? "" : " (" + Printable(message) + ")",
                      "\nIs quantd running? Start one with `quantd --local-workers 1`, or name "
                      "another with --server or QUANTD_SERVER.\n");
}

std::string AdviceFor(Session& session, const absl::Status& status) {
  if (ReasonOf(status) == Reason::kModelOutsideRoots) {
    std::string advice =
        "The server reads models only below the folders that its operator allowed: start it with "
        "--model-root DIR for the folder that holds the model, or move the model.\n";
    const auto capabilities = session.connection().GetCapabilities();
    if (capabilities.ok()) {
      absl::StrAppend(&advice, "Allowed now: ",
                      capabilities->model_roots().empty()
                          ? "nothing"
                          : absl::StrJoin(capabilities->model_roots(), ", "),
                      "\n");
    }
    return advice;
  }
  if (ReasonOf(status) == Reason::kUnauthenticated) {
    return "Log in with `quantctl login`, or name a token with --token-file or QUANTD_TOKEN; the "
           "operator makes one with `quantd tokens create`.\n";
  }
  return "";
}

}  // namespace

std::string ErrorText(const absl::Status& status) {
  const std::vector<Violation> violations = ViolationsOf(status);
  std::string text = absl::StrCat("quantctl: ", Printable(WhatOf(status, violations)), "\n");
  for (const Violation& violation : violations) {
    absl::StrAppend(&text, "  ", LineOf(violation), "\n");
  }
  return text;
}

void PrintError(Session& session, const absl::Status& status) {
  if (session.json()) session.PrintJson(Json{{"error", ErrorJson(status)}});
  if (status.code() == absl::StatusCode::kCancelled && session.cancellation().cancelled()) {
    session.err() << "quantctl: interrupted\n";
  } else if (ExitCodeOf(status) == ExitCode::kUnreachable) {
    session.err() << UnreachableText(session, status);
  } else {
    session.err() << ErrorText(status) << AdviceFor(session, status);
  }
}

Json ErrorJson(const absl::Status& status) {
  Json violations = Json::array();
  for (const Violation& violation : ViolationsOf(status)) {
    violations.push_back(
        {{"where", violation.where}, {"got", violation.got}, {"wanted", violation.wanted}});
  }
  const auto reason = ReasonOf(status);
  return {{"code", absl::StatusCodeToString(status.code())},
          {"reason", reason.has_value() ? std::string(RowOf(*reason).name) : ""},
          {"message", std::string(status.message())},
          {"violations", std::move(violations)}};
}

}  // namespace quantd
