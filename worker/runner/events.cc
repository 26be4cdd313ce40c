#include "worker/runner/events.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "base/error.h"

namespace quantd {
namespace {

constexpr size_t kShownBytes = 120;
constexpr size_t kMaxPathBytes = 512;

absl::Status Bad(std::string_view got, std::string_view wanted) {
  return MakeError(Reason::kInternal, "the runner sent something that is no event",
                   Violation{.where = "event",
                             .got = std::string(got.substr(0, kShownBytes)),
                             .wanted = std::string(wanted)});
}

// The agent joins this path to folders of its own: it must stay inside them.
bool StaysInside(std::string_view path) {
  if (path.empty() || path.size() > kMaxPathBytes || path.front() == '/') return false;
  while (!path.empty()) {
    const size_t slash = path.find('/');
    const std::string_view part = path.substr(0, slash);
    if (part.empty() || part == "." || part == ".." || part.find('\0') != std::string_view::npos) {
      return false;
    }
    if (slash == std::string_view::npos) return true;
    path.remove_prefix(slash + 1);
  }
  return false;  // ended in '/'
}

std::string StringAt(const Json& json, const char* key) {
  const auto found = json.find(key);
  return found != json.end() && found->is_string() ? found->get<std::string>() : "";
}

absl::StatusOr<RunnerEvent> ParseProgress(const Json& json) {
  QD_ASSIGN_OR_RETURN(const ProgressReport report, ProgressReportFromJson(json));
  return RunnerEvent(report);
}

absl::StatusOr<RunnerEvent> ParseLayer(const Json& json) {
  QD_ASSIGN_OR_RETURN(LayerReport report, LayerReportFromJson(json));
  return RunnerEvent(std::move(report));
}

absl::StatusOr<RunnerEvent> ParseFile(const Json& json) {
  QD_ASSIGN_OR_RETURN(SealedFile file, SealedFileFromJson(json));
  if (!StaysInside(file.path)) return Bad(file.path, "a path inside the output folder");
  return RunnerEvent(std::move(file));
}

absl::StatusOr<RunnerEvent> ParseWarning(const Json& json) {
  return RunnerEvent(RunnerWarning{.text = StringAt(json, "text")});
}

absl::StatusOr<RunnerEvent> ParseResult(const Json& json) {
  const auto found = json.find("report");
  if (found == json.end()) return Bad("a result without a report", "a report");
  QD_ASSIGN_OR_RETURN(Report report, ReportFromJson(*found));
  return RunnerEvent(RunnerResult{.report = std::move(report)});
}

absl::StatusOr<RunnerEvent> ParseError(const Json& json) {
  std::vector<Violation> violations;
  const auto listed = json.find("violations");
  if (listed != json.end() && listed->is_array()) {
    for (const Json& entry : *listed) {
      if (!entry.is_object()) return Bad("a violation that is no object", "an object");
      violations.push_back({.where = StringAt(entry, "where"),
                            .got = StringAt(entry, "got"),
                            .wanted = StringAt(entry, "wanted")});
    }
  }
  return RunnerEvent(
      RunnerError{.reason = ReasonByName(StringAt(json, "reason")).value_or(Reason::kInternal),
                  .message = StringAt(json, "message"),
                  .violations = std::move(violations)});
}

struct EventKind {
  std::string_view name;
  absl::StatusOr<RunnerEvent> (*parse)(const Json& json);
};

// The order of RunnerEvent's alternatives.
constexpr std::array<EventKind, 6> kKinds = {{{"progress", &ParseProgress},
                                              {"layer", &ParseLayer},
                                              {"file", &ParseFile},
                                              {"warning", &ParseWarning},
                                              {"result", &ParseResult},
                                              {"error", &ParseError}}};
static_assert(kKinds.size() == std::variant_size_v<RunnerEvent>);

Json FieldsOf(const ProgressReport& report) { return ToJson(report); }
Json FieldsOf(const LayerReport& report) { return ToJson(report); }
Json FieldsOf(const SealedFile& file) { return ToJson(file); }
Json FieldsOf(const RunnerWarning& warning) { return {{"text", warning.text}}; }
Json FieldsOf(const RunnerResult& result) { return {{"report", ToJson(result.report)}}; }
Json FieldsOf(const RunnerError& error) {
  Json violations = Json::array();
  for (const Violation& violation : error.violations) {
    violations.push_back(
        {{"where", violation.where}, {"got", violation.got}, {"wanted", violation.wanted}});
  }
  return {{"reason", RowOf(error.reason).name},
          {"message", error.message},
          {"violations", std::move(violations)}};
}

}  // namespace

RunnerError RunnerError::Of(const absl::Status& status) {
  return {.reason = ReasonOf(status).value_or(Reason::kInternal),
          .message = std::string(status.message()),
          .violations = ViolationsOf(status)};
}

absl::Status RunnerError::status() const {
  return ErrorFromParts(RowOf(reason).name, message, violations);
}

std::string ToLine(const RunnerEvent& event) {
  Json json = {{"event", kKinds[event.index()].name}};
  json.update(std::visit([](const auto& value) { return FieldsOf(value); }, event));
  return DumpJson(json) + "\n";
}

absl::StatusOr<RunnerEvent> ParseEvent(std::string_view line) {
  auto json = ParseJson(line, "event");
  if (!json.ok()) return Bad(line, "JSON");
  if (!json->is_object()) return Bad(line, "an object");
  const std::string name = StringAt(*json, "event");
  const auto kind = std::find_if(kKinds.begin(), kKinds.end(),
                                 [&](const EventKind& known) { return known.name == name; });
  if (kind == kKinds.end()) return Bad(name, "progress, layer, file, warning, result or error");
  auto event = kind->parse(*json);
  if (!event.ok() && ReasonOf(event.status()) != Reason::kInternal) {
    return Bad(std::string(event.status().message()), "the fields of a " + name);
  }
  return event;
}

void EventWriter::Write(const RunnerEvent& event) {
  if (broken_) return;
  const std::string line = ToLine(event);
  std::string_view rest = line;
  while (!rest.empty()) {
    const ssize_t written = write(descriptor_, rest.data(), rest.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) {
      broken_ = true;
      return;
    }
    rest.remove_prefix(static_cast<size_t>(written));
  }
}

absl::Status EventReader::Feed(std::string_view bytes, std::vector<RunnerEvent>& events) {
  while (error_.ok() && !bytes.empty()) {
    const size_t end = bytes.find('\n');
    const std::string_view piece = bytes.substr(0, end);
    if (static_cast<int64_t>(partial_.size() + piece.size()) > max_line_bytes_) {
      error_ = Bad(partial_.empty() ? piece : partial_,
                   "at most " + std::to_string(max_line_bytes_) + " bytes in a line");
      break;
    }
    partial_ += piece;
    if (end == std::string_view::npos) break;
    bytes.remove_prefix(end + 1);
    if (partial_.empty()) continue;  // an error that had to begin on a line of its own
    auto event = ParseEvent(partial_);
    partial_.clear();
    if (!event.ok()) {
      error_ = event.status();
      break;
    }
    events.push_back(*std::move(event));
  }
  if (!error_.ok()) partial_ = std::string();
  return error_;
}

absl::Status EventReader::Finish() const {
  QD_RETURN_IF_ERROR(error_);
  if (partial_.empty()) return absl::OkStatus();
  return Bad(partial_, "a whole line");
}

}  // namespace quantd
