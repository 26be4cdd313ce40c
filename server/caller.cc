#include "server/caller.h"

#include <algorithm>
#include <array>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/error.h"

namespace quantd {
namespace {

constexpr std::array<std::string_view, 3> kNames = {"user", "worker", "admin"};

}  // namespace

std::string_view NameOf(Role role) { return kNames[static_cast<size_t>(role)]; }

absl::StatusOr<Roles> Roles::FromText(std::string_view text) {
  Roles roles;
  for (const absl::string_view piece : absl::StrSplit(ToAbsl(text), ',', absl::SkipEmpty())) {
    const auto known = std::find(kNames.begin(), kNames.end(), ToStd(piece));
    if (known == kNames.end()) {
      return MakeError(Reason::kInvalidField, "refused",
                       Violation{.where = "roles",
                                 .got = std::string(piece),
                                 .wanted = "some of user, worker, admin, joined by commas"});
    }
    roles.bits_ |= Bit(static_cast<Role>(known - kNames.begin()));
  }
  if (roles.bits() != 0) return roles;
  return MakeError(
      Reason::kInvalidField, "refused",
      Violation{.where = "roles", .got = "none", .wanted = "some of user, worker, admin"});
}

std::string Roles::Text() const {
  std::vector<std::string> names;
  for (const Role role : kRoles) {
    if (Has(role)) names.emplace_back(NameOf(role));
  }
  return absl::StrJoin(names, ",");
}

}  // namespace quantd
