#include "engine/plan/refusals.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/error.h"

namespace quantd {
namespace {

constexpr size_t kShown = 20;
constexpr size_t kNames = 3;  // of a group, by which it is called

// "model.layers.0.mlp.experts.7.up_proj" -> "model.layers.*.mlp.experts.*.up_proj".
std::string Starred(const std::string& name) {
  std::vector<std::string> parts = absl::StrSplit(name, '.');
  for (std::string& part : parts) {
    if (!part.empty() && std::all_of(part.begin(), part.end(), absl::ascii_isdigit)) part = "*";
  }
  return absl::StrJoin(parts, ".");
}

struct Group {
  Violation first;
  std::vector<std::string> names = {};  // starred, each once
  int64_t members = 0;

  bool Takes(const Violation& other) const {
    return other.got == first.got && other.wanted == first.wanted;
  }
  void Add(const Violation& violation) {
    ++members;
    std::string name = Starred(violation.where);
    if (std::find(names.begin(), names.end(), name) == names.end()) {
      names.push_back(std::move(name));
    }
  }
  Violation Told() && {
    if (members == 1) return std::move(first);
    const size_t more = names.size() > kNames ? names.size() - kNames : 0;
    names.resize(names.size() - more);
    first.where = absl::StrCat(members, " linears (", absl::StrJoin(names, ", "),
                               more > 0 ? absl::StrCat(" and ", more, " more names") : "", ")");
    return std::move(first);
  }
};

}  // namespace

absl::Status Together(const absl::Status& status) {
  const std::vector<Violation> violations = ViolationsOf(status);
  if (violations.size() < 2) return status;
  std::vector<Group> groups;
  for (const Violation& violation : violations) {
    const bool module = Starred(violation.where) != violation.where;
    auto group = std::find_if(groups.begin(), groups.end(), [&](const Group& candidate) {
      return module && candidate.Takes(violation) &&
             Starred(candidate.first.where) != candidate.first.where;
    });
    if (group == groups.end()) group = groups.insert(groups.end(), {.first = violation});
    group->Add(violation);
  }
  std::vector<Violation> told;
  for (Group& group : groups) {
    if (told.size() < kShown) told.push_back(std::move(group).Told());
  }
  if (groups.size() > kShown) {
    told.push_back({.where = "recipe",
                    .got = absl::StrCat(groups.size() - kShown, " more problems"),
                    .wanted = "those above mended first"});
  }
  const std::string_view what =
      *ReasonOf(status) == Reason::kRecipeInvalid ? "the recipe does not fit the model" : "refused";
  return MakeError(*ReasonOf(status), what, std::move(told));
}

}  // namespace quantd
