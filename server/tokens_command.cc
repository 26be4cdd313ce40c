#include "server/tokens_command.h"

#include <algorithm>
#include <cstdio>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "base/error.h"
#include "base/files.h"
#include "base/json.h"
#include "base/secret_file.h"
#include "server/access/access_control.h"
#include "server/access/audit_log.h"
#include "server/access/token_secret.h"
#include "server/id.h"
#include "server/store/open_store.h"

namespace quantd {
namespace {

constexpr int kExitDone = 0, kExitRefused = 2;
constexpr absl::Duration kLongest = absl::Hours(24 * 3650);

std::string TimeText(const std::optional<absl::Time>& time) {
  if (!time.has_value()) return "-";
  return absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", *time, absl::UTCTimeZone());
}

std::string_view StateOf(const Token& token, absl::Time now) {
  if (token.revoke_time.has_value()) return "revoked";
  return token.expire_time.has_value() && *token.expire_time <= now ? "expired" : "good";
}

// "90d", or what absl reads: "12h".
absl::StatusOr<absl::Duration> ParseLifetime(const std::string& text) {
  absl::Duration duration;
  int days = 0;
  const bool in_days = text.ends_with("d") &&
                       absl::SimpleAtoi(absl::string_view(text).substr(0, text.size() - 1), &days);
  if (in_days) duration = absl::Hours(24) * days;
  if ((in_days || absl::ParseDuration(text, &duration)) && duration > absl::ZeroDuration() &&
      duration <= kLongest) {
    return duration;
  }
  return MakeError(
      Reason::kInvalidField, "refused",
      Violation{.where = "--expires", .got = text, .wanted = "a time like 90d or 12h"});
}

absl::Status CheckName(const char* flag, const std::string& name) {
  if (IsId(name)) return absl::OkStatus();
  return MakeError(
      Reason::kInvalidField, "refused",
      Violation{.where = flag, .got = name.substr(0, 100), .wanted = "^[a-z0-9][a-z0-9-]{0,62}$"});
}

Json JsonOf(const Token& token, absl::Time now) {
  return {{"id", token.id},
          {"name", token.name},
          {"tenant", token.tenant},
          {"roles", token.roles.Text()},
          {"state", std::string(StateOf(token, now))},
          {"created", TimeText(token.create_time)},
          {"expires", TimeText(token.expire_time)},
          {"revoked", TimeText(token.revoke_time)},
          {"last_used", TimeText(token.last_used_time)}};
}

class Tokens final : public TokensCommand {
 public:
  explicit Tokens(CLI::App& app)
      : command_(*app.add_subcommand("tokens", "Make, list and revoke the tokens of callers")),
        create_(*command_.add_subcommand("create", "Make a token; its secret is shown once")),
        list_(*command_.add_subcommand("list", "List tokens, without their secrets")),
        revoke_(*command_.add_subcommand("revoke", "Make a token worthless, at once")) {
    command_.require_subcommand(1);
    for (CLI::App* one : {&create_, &list_, &revoke_}) {
      one->add_option("--store", store_, "The server's store, if it is not in its folder")
          ->envname("QUANTD_STORE");
      one->add_option("--data", data_, "The server's folder")
          ->envname("QUANTD_DATA")
          ->type_name("DIR")
          ->capture_default_str();
    }
    create_.add_option("--tenant", tenant_, "Whose jobs it makes and sees")->capture_default_str();
    create_.add_option("--roles", roles_, "Some of user, worker, admin, joined by commas")
        ->capture_default_str();
    create_.add_option("--name", name_, "For people and logs; default: the roles");
    create_.add_option("--expires", expires_, "How long it is good, as 90d or 12h; default: ever")
        ->type_name("TIME");
    create_.add_option("--file", file_, "Write the secret there (mode 0600) and not to stdout")
        ->type_name("FILE");
    list_.add_flag("--json", json_, "As JSON");
    revoke_.add_option("ID", id_, "As list shows it")->required();
  }

  bool chosen() const override { return command_.parsed(); }

  int Run() override {
    const absl::Status status = create_.parsed() ? Create() : (list_.parsed() ? List() : Revoke());
    if (status.ok()) return kExitDone;
    std::fprintf(stderr, "quantd: %s\n", std::string(status.message()).c_str());
    return kExitRefused;
  }

 private:
  std::string database() const { return data_ + "/quantd.db"; }

  void NoteInAuditLog(const char* action, const std::string& token_id) const {
    const Caller operator_here = {.tenant = tenant_, .name = "(operator)"};
    AuditLog(data_ + "/audit.log", Clock::System())
        .Note({.caller = operator_here,
               .action = action,
               .resource = "tokens/" + token_id,
               .outcome = absl::OkStatus()});
  }

  absl::StatusOr<std::unique_ptr<Store>> OpenExisting() const {
    if (store_ == "sqlite" && !PathExists(database())) {
      return MakeError(Reason::kInvalidField, "refused",
                       Violation{.where = "--data",
                                 .got = data_ + ", without a database",
                                 .wanted = "the folder that quantd was given as --data"});
    }
    return OpenStore(store_, database());
  }

  absl::StatusOr<Token> Asked(const std::string& secret) const {
    Token token;
    QD_ASSIGN_OR_RETURN(token.roles, Roles::FromText(roles_));
    QD_RETURN_IF_ERROR(CheckName("--tenant", tenant_));
    token.tenant = tenant_;
    token.name = name_;
    if (name_.empty()) {
      token.name = token.roles.Text();
      std::replace(token.name.begin(), token.name.end(), ',', '-');
    }
    QD_RETURN_IF_ERROR(CheckName("--name", token.name));
    token.id = NewTokenId();
    token.digest = DigestOfSecret(secret);
    token.create_time = absl::Now();
    if (!expires_.empty()) {
      QD_ASSIGN_OR_RETURN(const absl::Duration lifetime, ParseLifetime(expires_));
      token.expire_time = token.create_time + lifetime;
    }
    return token;
  }

  absl::Status Create() const {
    const std::string secret = NewTokenSecret();
    QD_ASSIGN_OR_RETURN(const Token token, Asked(secret));
    // May be made before the server first runs.
    QD_RETURN_IF_ERROR(MakeFolders(data_));
    QD_ASSIGN_OR_RETURN(const auto store, OpenStore(store_, database()));
    if (!file_.empty()) QD_RETURN_IF_ERROR(WriteSecretFile(file_, secret + "\n"));
    QD_RETURN_IF_ERROR(
        store->Write([&](StoreTransaction& write) { return write.InsertToken(token); }));
    NoteInAuditLog("tokens create", token.id);
    std::fprintf(stderr, "token %s: %s of tenant %s, %s\n", token.id.c_str(),
                 token.roles.Text().c_str(), token.tenant.c_str(),
                 token.expire_time.has_value()
                     ? ("good until " + TimeText(token.expire_time)).c_str()
                     : "good until it is revoked");
    if (file_.empty()) std::printf("%s\n", secret.c_str());
    return absl::OkStatus();
  }

  absl::Status List() const {
    QD_ASSIGN_OR_RETURN(const auto store, OpenExisting());
    QD_ASSIGN_OR_RETURN(const std::vector<Token> tokens,
                        ReadResult(*store, [](StoreReader& read) { return read.ListTokens(); }));
    const absl::Time now = absl::Now();
    if (json_) {
      Json rows = Json::array();
      for (const Token& token : tokens) rows.push_back(JsonOf(token, now));
      std::fputs(DumpJsonPretty(rows).c_str(), stdout);
      return absl::OkStatus();
    }
    constexpr char kRow[] = "%-12s  %-7s  %-20s  %-16s  %-18s  %-20s  %-20s\n";
    absl::PrintF(kRow, "ID", "STATE", "NAME", "TENANT", "ROLES", "EXPIRES", "LAST USED");
    for (const Token& token : tokens) {
      absl::PrintF(kRow, token.id, std::string(StateOf(token, now)), token.name, token.tenant,
                   token.roles.Text(), TimeText(token.expire_time), TimeText(token.last_used_time));
    }
    return absl::OkStatus();
  }

  absl::Status Revoke() const {
    QD_ASSIGN_OR_RETURN(const auto store, OpenExisting());
    QD_ASSIGN_OR_RETURN(const bool found, WriteResult(*store, [&](StoreTransaction& write) {
                          return write.RevokeToken(id_, absl::Now());
                        }));
    if (found) {
      NoteInAuditLog("tokens revoke", id_);
      return absl::OkStatus();
    }
    return MakeError(Reason::kInvalidField, "refused",
                     Violation{.where = "ID",
                               .got = id_.substr(0, 100),
                               .wanted = "an id that `quantd tokens list` shows"});
  }

  CLI::App& command_;
  CLI::App& create_;
  CLI::App& list_;
  CLI::App& revoke_;
  std::string store_ = "sqlite", data_ = "quantd-data", tenant_ = kDefaultTenant, roles_ = "user";
  std::string name_, expires_, file_, id_;
  bool json_ = false;
};

}  // namespace

std::unique_ptr<TokensCommand> MakeTokensCommand(CLI::App& app) {
  return std::make_unique<Tokens>(app);
}

}  // namespace quantd
