// The shape rules of the engines, on what a folder stores. The rules are the formats' own.

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "engine/format/registry.h"
#include "engine/inspect/model_check.h"
#include "engine/inspect/stored_linears.h"

namespace quantd {
namespace {

std::string_view FormatOf(Layout layout) {
  switch (layout) {
    case Layout::kPackQuantized:
    case Layout::kIntQuantized:
      return "compressed-tensors";
    case Layout::kAwqGemm:
      return "awq";
    case Layout::kGptq:
      return "gptq";
    case Layout::kHqq:
      return "hqq";
    default:
      return "";
  }
}

// One line of a refusal that may name hundreds of modules.
std::string Summary(const absl::Status& status) {
  const std::vector<Violation> violations = ViolationsOf(status);
  if (violations.empty()) return std::string(status.message());
  const Violation& first = violations.front();
  std::string text = absl::StrCat(first.where, ": ", first.got, ", wanted ", first.wanted);
  if (violations.size() > 1) absl::StrAppend(&text, "; and ", violations.size() - 1, " more");
  return text;
}

}  // namespace

void CheckLoaders(std::span<const StoredModule> modules, const Json& config,
                  std::string_view loader, Findings* findings) {
  const Format* format = nullptr;
  for (const StoredModule& module : modules) {
    if (format == nullptr && module.usable) format = FindFormat(FormatOf(module.layout));
  }
  if (format == nullptr) return;
  const StoredLinears stored(modules, config);
  for (const LoaderRow& row : format->loaders) {
    const absl::Status accepted =
        format->accepts(stored.linears(), stored.model(), {.name = row.name});
    if (accepted.ok()) continue;
    const std::string where = absl::StrCat("loader ", ToAbsl(row.name));
    if (row.name == loader) {
      findings->Problem(where, Summary(accepted));
    } else {
      findings->Note(where, "would refuse: " + Summary(accepted));
    }
  }
  const bool known = std::any_of(format->loaders.begin(), format->loaders.end(),
                                 [&](const LoaderRow& row) { return row.name == loader; });
  if (!loader.empty() && !known) {
    const absl::Status refused =
        format->accepts(stored.linears(), stored.model(), {.name = loader});
    findings->Problem(
        absl::StrCat("loader ", ToAbsl(loader)),
        absl::StrCat("does not load ", ToAbsl(format->name), ": ", ToAbsl(Summary(refused))));
  }
}

}  // namespace quantd
