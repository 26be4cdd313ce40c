// What a worker sends, before anything is done with it.
#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "proto/field_checks.h"
#include "server/api/calls.h"
#include "server/api/request_checks.h"
#include "server/api/synchronize.h"
#include "server/id.h"

namespace quantd {
namespace {

constexpr std::string_view kTasks = "tasks/";

bool IsSha256(std::string_view text) {
  return text.size() == 64 && std::all_of(text.begin(), text.end(), [](char c) {
           return absl::ascii_isdigit(static_cast<unsigned char>(c)) || (c >= 'a' && c <= 'f');
         });
}

void CheckReport(const v1::TaskReport& report, const Limits& limits, FieldChecks& checks) {
  const std::string_view task = report.task();
  if (!task.starts_with(kTasks) || !IsId(task.substr(kTasks.size()))) {
    checks.Wrong("task.task", task.substr(0, 100), "tasks/{id}");
  }
  if (report.state() == v1::TaskReport::STATE_UNSPECIFIED) {
    checks.Wrong("task.state", "nothing", "a state");
  }
  checks.InRange("task.sealed_parts", report.sealed_parts(), 0, INT64_MAX);
  checks.InRange("task.events", report.events_size(), 0, limits.events_per_call);
  int64_t last = 0;
  for (int i = 0; i < report.events_size() && checks.ok(); ++i) {
    const v1::TaskEvent& event = report.events(i);
    const std::string where = absl::StrCat("task.events[", i, "]");
    if (event.number() <= last) {
      checks.Wrong(where + ".number", absl::StrCat(event.number()), "growing numbers from 1");
    }
    last = event.number();
    if (event.ByteSizeLong() > kMaxEventBody) {
      checks.Wrong(where, absl::StrCat(event.ByteSizeLong(), " bytes"),
                   absl::StrCat("at most ", kMaxEventBody));
    }
    if (!event.has_file_sealed()) continue;
    const v1::ArtifactFile& file = event.file_sealed();
    if (!CheckBlobName(file.path()).ok() || file.bytes() < 0 || !IsSha256(file.sha256())) {
      checks.Wrong(where + ".file_sealed", file.path().substr(0, 100),
                   "a relative path, a size and a sha256");
    }
  }
}

}  // namespace

absl::Status CheckSynchronize(const v1::SynchronizeRequest& request, const Limits& limits) {
  constexpr size_t kMaxSession = 64;
  constexpr int kMaxBackends = 16;
  constexpr size_t kMaxText = 256;
  FieldChecks checks("");
  if (!IsId(request.worker())) {
    checks.Wrong("worker", request.worker().substr(0, 100), "^[a-z0-9][a-z0-9-]{0,62}$");
  }
  if (request.session().empty() || request.session().size() > kMaxSession) {
    checks.Wrong("session", absl::StrCat(request.session().size(), " bytes"), "1 to 64");
  }
  const v1::WorkerCapabilities& capabilities = request.capabilities();
  checks.InRange("capabilities.backends", capabilities.backends_size(), 0, kMaxBackends);
  for (const std::string& backend : capabilities.backends()) {
    if (!IsId(backend)) checks.Wrong("capabilities.backends", backend.substr(0, 100), "a name");
  }
  if (capabilities.engine_version().size() > kMaxText || capabilities.isa().size() > kMaxText) {
    checks.Wrong("capabilities", "long texts", absl::StrCat("at most ", kMaxText, " bytes"));
  }
  checks.InRange("free_memory_bytes", request.free_memory_bytes(), 0, INT64_MAX);
  if (request.has_task()) CheckReport(request.task(), limits, checks);
  return checks.Finish();
}

}  // namespace quantd
