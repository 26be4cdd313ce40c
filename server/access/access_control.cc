#include "server/access/access_control.h"

#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/log.h"
#include "server/access/token_secret.h"
#include "server/id.h"

namespace quantd {
namespace {

constexpr absl::string_view kScheme = "Bearer ";
constexpr absl::Duration kUseIsNotedEvery = absl::Hours(1);
constexpr std::string_view kEverybody = "*";
// No name of a token reads so.
constexpr char kAnonymous[] = "(no token)";
constexpr char kLocalWorkers[] = "(local workers)";

absl::Status Unauthenticated(std::string got) {
  return MakeError(Reason::kUnauthenticated, "who calls is not known",
                   Violation{.where = "authorization",
                             .got = std::move(got),
                             .wanted = "Bearer TOKEN, as `quantd tokens create` made it"});
}

// The tenant that the call is about. An admin may name another, or all.
absl::Status ChooseTenant(const std::string& asked, Caller& caller) {
  if (asked.empty() || asked == caller.tenant) return absl::OkStatus();
  if (!caller.roles.Has(Role::kAdmin)) {
    return MakeError(Reason::kPermissionDenied, "refused",
                     Violation{.where = "quantd-tenant",
                               .got = "another tenant, as " + caller.roles.Text(),
                               .wanted = "the role admin"});
  }
  if (asked == kEverybody) {
    caller.all_tenants = true;
    return absl::OkStatus();
  }
  if (!IsId(asked)) {
    return MakeError(Reason::kInvalidField, "refused",
                     Violation{.where = "quantd-tenant",
                               .got = asked.substr(0, 100),
                               .wanted = "the name of a tenant, or *"});
  }
  caller.tenant = asked;
  return absl::OkStatus();
}

}  // namespace

AccessControl::AccessControl(Store& store, const Clock& clock, TokenRule rule,
                             std::function<void(std::function<void()>)> later)
    : store_(store),
      clock_(clock),
      rule_(rule),
      later_(std::move(later)),
      local_secret_(NewTokenSecret()),
      local_digest_(DigestOfSecret(local_secret_)) {}

absl::StatusOr<Caller> AccessControl::Admit(const RpcRow& rpc, const Credentials& credentials) {
  QD_ASSIGN_OR_RETURN(Caller caller, Identify(credentials));
  QD_RETURN_IF_ERROR(Authorize(rpc, credentials, caller));
  return caller;
}

absl::Status AccessControl::Authorize(const RpcRow& rpc, const Credentials& credentials,
                                      Caller& caller) {
  if (!caller.roles.HasAnyOf(rpc.roles)) {
    return MakeError(Reason::kPermissionDenied, "the caller may not do this",
                     Violation{.where = std::string(rpc.method),
                               .got = "the role " + caller.roles.Text(),
                               .wanted = rpc.roles.Text()});
  }
  return ChooseTenant(credentials.tenant, caller);
}

absl::StatusOr<Caller> AccessControl::Identify(const Credentials& credentials) {
  if (credentials.authorization.empty()) return Anonymous();
  if (!absl::StartsWithIgnoreCase(credentials.authorization, kScheme)) {
    return Unauthenticated("another scheme than Bearer");
  }
  const std::string secret(absl::StripAsciiWhitespace(
      absl::string_view(credentials.authorization).substr(kScheme.size())));
  if (!LooksLikeSecret(secret)) return Unauthenticated("what is no token");
  const std::string digest = DigestOfSecret(secret);
  if (digest == local_digest_) {
    return Caller{.name = kLocalWorkers, .token_id = kLocalWorkers, .roles = {Role::kWorker}};
  }
  QD_ASSIGN_OR_RETURN(const std::optional<Token> token, ReadResult(store_, [&](StoreReader& store) {
                        return store.FindToken(digest);
                      }));
  if (!token.has_value()) return Unauthenticated("a token that is not known here");
  QD_RETURN_IF_ERROR(CheckValid(*token));
  NoteUse(*token);
  return Caller{
      .tenant = token->tenant, .name = token->name, .token_id = token->id, .roles = token->roles};
}

absl::StatusOr<Caller> AccessControl::Anonymous() {
  const auto nobody = [] { return Unauthenticated("no token"); };
  if (rule_ == TokenRule::kAlways) return nobody();
  {
    absl::MutexLock lock(&mutex_);
    if (has_tokens_) return nobody();
  }
  QD_ASSIGN_OR_RETURN(const bool has_tokens,
                      ReadResult(store_, [](StoreReader& store) { return store.HasTokens(); }));
  if (has_tokens) {
    absl::MutexLock lock(&mutex_);
    has_tokens_ = true;
    return nobody();
  }
  return Caller{.name = kAnonymous, .roles = {Role::kUser, Role::kWorker, Role::kAdmin}};
}

absl::Status AccessControl::CheckValid(const Token& token) const {
  if (token.revoke_time.has_value()) return Unauthenticated("a token that was revoked");
  if (token.expire_time.has_value() && *token.expire_time <= clock_.Now()) {
    return Unauthenticated(
        absl::StrCat("a token that expired at ",
                     absl::FormatTime(absl::RFC3339_sec, *token.expire_time, absl::UTCTimeZone())));
  }
  return absl::OkStatus();
}

void AccessControl::NoteUse(const Token& token) {
  const absl::Time now = clock_.Now();
  const auto recent = [&](absl::Time time) { return now - time < kUseIsNotedEvery; };
  if (token.last_used_time.has_value() && recent(*token.last_used_time)) return;
  {
    absl::MutexLock lock(&mutex_);
    const auto [noted, is_new] = noted_.try_emplace(token.id, now);
    if (!is_new && recent(noted->second)) return;
    noted->second = now;
  }
  later_([this, id = token.id, now] {
    const absl::Status status =
        store_.Write([&](StoreTransaction& store) { return store.NoteTokenUse(id, now); });
    if (!status.ok()) spdlog::warn("use of token {}: {}", id, std::string(status.message()));
  });
}

}  // namespace quantd
