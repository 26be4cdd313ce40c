#include "engine/backend/backend.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "engine/backend/cpu/cpu_backend.h"

namespace quantd {
namespace {

struct Row {
  std::string_view name;
  Backend* (*get)();  // null when this machine cannot run it
};

// Best first: "any" takes the first that works. The names of all that exist, built in or not, so
// that a request for one that is missing says so.
constexpr Row kBackends[] = {
    {"cuda", []() -> Backend* { return nullptr; }},
    {"cpu", []() -> Backend* { return &CpuBackend(); }},
};

std::string Known() {
  std::string text = "\"any\"";
  for (const std::string_view name : AvailableBackends()) {
    absl::StrAppend(&text, ", \"", ToAbsl(name), "\"");
  }
  return text;
}

}  // namespace

absl::StatusOr<Backend*> FindBackend(std::string_view name) {
  for (const Row& row : kBackends) {
    if (name != "any" && name != row.name) continue;
    if (Backend* backend = row.get(); backend != nullptr) return backend;
    if (name == row.name) {
      return MakeError(Reason::kUnavailable, "this build or machine does not have the backend",
                       Violation{"resources.backend", std::string(name), Known()});
    }
  }
  return MakeError(Reason::kInvalidField, "no such backend",
                   Violation{"resources.backend", std::string(name), Known()});
}

std::vector<std::string_view> AvailableBackends() {
  std::vector<std::string_view> names;
  for (const Row& row : kBackends) {
    if (row.get() != nullptr) names.push_back(row.name);
  }
  return names;
}

}  // namespace quantd
