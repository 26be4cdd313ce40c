// Who calls, and the tokens that say so. Plain data, shared by store, rules and api.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace quantd {

// What a caller may do; server/access/rpc_table.h says which rpc wants which.
enum class Role { kUser, kWorker, kAdmin };
inline constexpr Role kRoles[] = {Role::kUser, Role::kWorker, Role::kAdmin};
std::string_view NameOf(Role role);  // "user", …

class Roles {
 public:
  constexpr Roles() = default;
  constexpr Roles(std::initializer_list<Role> roles) {
    for (const Role role : roles) bits_ |= Bit(role);
  }
  // What bits() gave; others are dropped.
  static constexpr Roles FromBits(int64_t bits) {
    Roles roles;
    for (const Role role : kRoles) roles.bits_ |= bits & Bit(role);
    return roles;
  }
  // "user,admin". INVALID_FIELD for names that there are not, and for none.
  static absl::StatusOr<Roles> FromText(std::string_view text);

  constexpr bool Has(Role role) const { return (bits_ & Bit(role)) != 0; }
  constexpr bool HasAnyOf(Roles other) const { return (bits_ & other.bits_) != 0; }
  constexpr int64_t bits() const { return bits_; }
  std::string Text() const;  // "user,admin"; "" for none

 private:
  static constexpr int64_t Bit(Role role) { return int64_t{1} << static_cast<int>(role); }
  int64_t bits_ = 0;
};

// The tenant of jobs made before there were tenants, and of who calls without a token.
inline constexpr char kDefaultTenant[] = "default";

// Whose jobs a caller sees.
class TenantScope {
 public:
  static TenantScope All() { return TenantScope(std::nullopt); }
  static TenantScope One(std::string tenant) { return TenantScope(std::move(tenant)); }
  // Nothing: those of every tenant.
  const std::optional<std::string>& tenant() const { return tenant_; }
  bool Holds(std::string_view tenant) const { return !tenant_.has_value() || *tenant_ == tenant; }

 private:
  explicit TenantScope(std::optional<std::string> tenant) : tenant_(std::move(tenant)) {}
  std::optional<std::string> tenant_;
};

// Found once per call, at gRPC's edge.
struct Caller {
  std::string tenant = kDefaultTenant;  // what it makes is this tenant's
  std::string name = {};                // of the token; people and logs
  std::string token_id = {};            // "" without a token
  Roles roles = {};
  bool all_tenants = false;  // an admin who said so

  TenantScope scope() const { return all_tenants ? TenantScope::All() : TenantScope::One(tenant); }
};

// As it is kept: the secret itself is nowhere.
struct Token {
  std::string id;      // 12 characters; no secret
  std::string digest;  // SHA-256 of the secret, hex
  std::string name;
  std::string tenant;
  Roles roles;
  absl::Time create_time;
  std::optional<absl::Time> expire_time, revoke_time;
  std::optional<absl::Time> last_used_time;  // to the hour
};

}  // namespace quantd
