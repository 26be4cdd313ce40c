#include "server/access/access_control.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "base/error.h"
#include "base/files.h"
#include "server/access/token_secret.h"
#include "server/store/sqlite_store.h"

namespace quantd {
namespace {

using testing::HasSubstr;

constexpr const RpcRow& kCreate = RpcNamed(kUserService, "CreateJob");
constexpr const RpcRow& kWork = RpcNamed(kWorkerService, "Synchronize");
constexpr const RpcRow& kListWorkers = RpcNamed(kUserService, "ListWorkers");

TEST(TokenSecretTest, IsLongAndNewEachTime) {
  std::set<std::string> seen;
  for (int i = 0; i < 100; ++i) {
    const std::string secret = NewTokenSecret();
    EXPECT_TRUE(LooksLikeSecret(secret)) << secret;
    EXPECT_TRUE(seen.insert(secret).second);
    EXPECT_EQ(DigestOfSecret(secret).size(), 64);
    EXPECT_THAT(NewTokenId(), testing::MatchesRegex("[a-z2-7]{12}"));
  }
  EXPECT_FALSE(LooksLikeSecret(""));
  EXPECT_FALSE(LooksLikeSecret("quantd_short"));
  EXPECT_FALSE(LooksLikeSecret("quantd_" + std::string(43, '!')));
  EXPECT_FALSE(LooksLikeSecret(std::string(50, 'a')));
}

TEST(RolesTest, AreReadAndWritten) {
  EXPECT_EQ(Roles::FromText("admin,user")->Text(), "user,admin");
  EXPECT_EQ(Roles::FromBits(Roles({Role::kWorker}).bits() | 64).Text(), "worker");
  for (const char* wrong : {"", ",", "root", "user admin", "user,root"}) {
    EXPECT_EQ(ReasonOf(Roles::FromText(wrong).status()), Reason::kInvalidField) << wrong;
  }
}

class AccessControlTest : public testing::Test {
 protected:
  void SetUp() override {
    auto folder = TemporaryFolder::Create("access");
    ASSERT_TRUE(folder.ok());
    folder_ = std::make_unique<TemporaryFolder>(*std::move(folder));
    auto store = OpenSqliteStore({.path = folder_->path() + "/quantd.db", .readers = 1});
    ASSERT_TRUE(store.ok()) << store.status();
    store_ = *std::move(store);
    Make(TokenRule::kOnceThereAreAny);
  }
  void Make(TokenRule rule) {
    access_ = std::make_unique<AccessControl>(*store_, clock_, rule,
                                              [](const std::function<void()>& work) { work(); });
  }
  // The secret of a token with this id.
  std::string Add(const std::string& id, Roles roles, const std::string& tenant = "red",
                  std::optional<absl::Time> expires = std::nullopt) {
    std::string secret = NewTokenSecret();
    const Token token = {.id = id,
                         .digest = DigestOfSecret(secret),
                         .name = "name-of-" + id,
                         .tenant = tenant,
                         .roles = roles,
                         .create_time = clock_.Now(),
                         .expire_time = expires,
                         .revoke_time = std::nullopt,
                         .last_used_time = std::nullopt};
    EXPECT_TRUE(
        store_->Write([&](StoreTransaction& store) { return store.InsertToken(token); }).ok());
    return secret;
  }
  absl::StatusOr<Caller> Admit(const RpcRow& rpc, const std::string& authorization,
                               const std::string& tenant = "") {
    return access_->Admit(rpc, {.authorization = authorization, .tenant = tenant});
  }
  absl::Time LastUse() {
    return ReadResult(*store_, [](StoreReader& store) { return store.ListTokens(); })
        ->front()
        .last_used_time.value_or(absl::InfinitePast());
  }

  ManualClock clock_{absl::FromUnixSeconds(1'000'000)};
  std::unique_ptr<TemporaryFolder> folder_;
  std::unique_ptr<Store> store_;
  std::unique_ptr<AccessControl> access_;
};

TEST_F(AccessControlTest, WithoutTokensEverybodyIsTheDefaultTenant) {
  for (const RpcRow* rpc : {&kCreate, &kWork, &kListWorkers}) {
    const auto caller = Admit(*rpc, "");
    ASSERT_TRUE(caller.ok()) << caller.status();
    EXPECT_EQ(caller->tenant, "default");
    EXPECT_EQ(caller->scope().tenant(), "default");
  }
  // A token that is wrong is refused even then: it was not meant for here.
  EXPECT_EQ(ReasonOf(Admit(kCreate, "Bearer " + NewTokenSecret()).status()),
            Reason::kUnauthenticated);
}

TEST_F(AccessControlTest, OnceThereIsATokenNobodyGetsInWithout) {
  EXPECT_TRUE(Admit(kCreate, "").ok());
  Add("a", {Role::kUser});
  EXPECT_EQ(ReasonOf(Admit(kCreate, "").status()), Reason::kUnauthenticated);
  // Not even when all are revoked, and after a restart.
  ASSERT_TRUE(store_
                  ->Write([&](StoreTransaction& store) {
                    return store.RevokeToken("a", clock_.Now()).status();
                  })
                  .ok());
  EXPECT_EQ(ReasonOf(Admit(kCreate, "").status()), Reason::kUnauthenticated);
  Make(TokenRule::kOnceThereAreAny);
  EXPECT_EQ(ReasonOf(Admit(kCreate, "").status()), Reason::kUnauthenticated);
}

TEST_F(AccessControlTest, TokensCanBeAskedForFromTheStart) {
  Make(TokenRule::kAlways);
  EXPECT_EQ(ReasonOf(Admit(kCreate, "").status()), Reason::kUnauthenticated);
}

TEST_F(AccessControlTest, ATokenSaysWhoCalls) {
  const std::string secret = Add("a", {Role::kUser});
  for (const std::string& header : {"Bearer " + secret, "bearer  " + secret + " "}) {
    const auto caller = Admit(kCreate, header);
    ASSERT_TRUE(caller.ok()) << caller.status();
    EXPECT_EQ(caller->tenant, "red");
    EXPECT_EQ(caller->name, "name-of-a");
    EXPECT_EQ(caller->token_id, "a");
    EXPECT_EQ(caller->scope().tenant(), "red");
  }
}

TEST_F(AccessControlTest, WhatIsNoGoodTokenIsRefusedWithoutAWordOfIt) {
  const std::string secret = Add("a", {Role::kUser});
  const std::string late = Add("b", {Role::kUser}, "red", clock_.Now() + absl::Minutes(1));
  EXPECT_TRUE(Admit(kCreate, "Bearer " + late).ok());
  clock_.Advance(absl::Minutes(1));
  const std::string other = NewTokenSecret();
  using Headers = std::vector<std::string>;
  for (const std::string& header :
       Headers{"Basic " + secret, secret, "Bearer", "Bearer ", "Bearer " + secret + "x",
               "Bearer " + other, "Bearer " + late, std::string("given twice")}) {
    const absl::Status refused = Admit(kCreate, header).status();
    EXPECT_EQ(ReasonOf(refused), Reason::kUnauthenticated) << refused;
    for (const std::string& word : {secret, late, other}) {
      EXPECT_THAT(std::string(refused.message()), testing::Not(HasSubstr(word.substr(7))));
    }
  }
  EXPECT_THAT(std::string(Admit(kCreate, "Bearer " + late).status().message()),
              HasSubstr("expired"));
}

TEST_F(AccessControlTest, ARevokedTokenIsRefusedAtOnce) {
  const std::string secret = Add("a", {Role::kUser});
  EXPECT_TRUE(Admit(kCreate, "Bearer " + secret).ok());
  ASSERT_TRUE(store_
                  ->Write([&](StoreTransaction& store) {
                    return store.RevokeToken("a", clock_.Now()).status();
                  })
                  .ok());
  EXPECT_EQ(ReasonOf(Admit(kCreate, "Bearer " + secret).status()), Reason::kUnauthenticated);
}

TEST_F(AccessControlTest, ARoleIsNeededForEachRpc) {
  const std::string user = "Bearer " + Add("a", {Role::kUser});
  const std::string worker = "Bearer " + Add("b", {Role::kWorker});
  const std::string admin = "Bearer " + Add("c", {Role::kAdmin});
  for (const RpcRow& rpc : kRpcs) {
    if (rpc.roles.bits() == 0) continue;
    for (const auto& [header, role] :
         {std::pair(user, Role::kUser), {worker, Role::kWorker}, {admin, Role::kAdmin}}) {
      const absl::Status status = Admit(rpc, header).status();
      const auto wanted =
          rpc.roles.Has(role) ? std::nullopt : std::optional(Reason::kPermissionDenied);
      EXPECT_EQ(ReasonOf(status), wanted) << rpc.method << status;
    }
  }
}

TEST_F(AccessControlTest, AnAdminSeesOtherTenantsWhenItSaysSo) {
  const std::string admin = "Bearer " + Add("a", {Role::kAdmin});
  EXPECT_EQ(Admit(kCreate, admin)->scope().tenant(), "red");
  EXPECT_EQ(Admit(kCreate, admin, "blue")->scope().tenant(), "blue");
  const auto all = Admit(kCreate, admin, "*");
  EXPECT_FALSE(all->scope().tenant().has_value());
  EXPECT_EQ(all->tenant, "red");
  EXPECT_EQ(ReasonOf(Admit(kCreate, admin, "no name").status()), Reason::kInvalidField);
  const std::string user = "Bearer " + Add("b", {Role::kUser});
  EXPECT_TRUE(Admit(kCreate, user, "red").ok());
  for (const char* tenant : {"blue", "*", "no name"}) {
    EXPECT_EQ(ReasonOf(Admit(kCreate, user, tenant).status()), Reason::kPermissionDenied);
  }
}

TEST_F(AccessControlTest, LocalWorkersHaveATokenThatIsInNoStore) {
  const std::string secret = access_->LocalWorkerSecret();
  Add("a", {Role::kUser});
  EXPECT_TRUE(Admit(kWork, "Bearer " + secret).ok());
  EXPECT_EQ(ReasonOf(Admit(kCreate, "Bearer " + secret).status()), Reason::kPermissionDenied);
  Make(TokenRule::kOnceThereAreAny);
  EXPECT_EQ(ReasonOf(Admit(kWork, "Bearer " + secret).status()), Reason::kUnauthenticated);
}

TEST_F(AccessControlTest, TheLastUseIsNotedOncePerHour) {
  const std::string header = "Bearer " + Add("a", {Role::kUser});
  const absl::Time first = clock_.Now();
  ASSERT_TRUE(Admit(kCreate, header).ok());
  EXPECT_EQ(LastUse(), first);
  clock_.Advance(absl::Minutes(59));
  ASSERT_TRUE(Admit(kCreate, header).ok());
  EXPECT_EQ(LastUse(), first);
  clock_.Advance(absl::Minutes(1));
  ASSERT_TRUE(Admit(kCreate, header).ok());
  EXPECT_EQ(LastUse(), clock_.Now());
}

}  // namespace
}  // namespace quantd
