// What every store must do for access: tokens, whose a job and a request id is, whose a worker's
// name is. Instantiate as StoreConformance.
#pragma once

#include "tests/server/store_conformance.h"

namespace quantd {

template <typename Factory>
class AccessConformance : public StoreConformance<Factory> {
 protected:
  static Token NewToken(const std::string& id) {
    return {.id = id,
            .digest = "digest of " + id,
            .name = "robot",
            .tenant = "red",
            .roles = {Role::kUser, Role::kAdmin},
            .create_time = StoreConformance<Factory>::At(1),
            .expire_time = StoreConformance<Factory>::At(9),
            .revoke_time = std::nullopt,
            .last_used_time = std::nullopt};
  }
  absl::Status Insert(const Token& token) {
    return this->store_->Write([&](StoreTransaction& store) { return store.InsertToken(token); });
  }
  std::optional<Token> Find(const std::string& digest) {
    const auto found =
        ReadResult(*this->store_, [&](StoreReader& store) { return store.FindToken(digest); });
    EXPECT_TRUE(found.ok()) << found.status();
    return found.value_or(std::nullopt);
  }
  void AddOf(const std::string& tenant, const std::string& id, int64_t second) {
    Job job = this->NewJob(id, second);
    job.tenant = tenant;
    this->Add(job);
  }
  absl::Status GetIn(const TenantScope& scope, const std::string& id) {
    return this->store_->Read(
        [&](StoreReader& store) { return store.GetJobIn(scope, id).status(); });
  }
};

TYPED_TEST_SUITE_P(AccessConformance);

TYPED_TEST_P(AccessConformance, KeepsATokenAsItIs) {
  EXPECT_FALSE(
      ReadResult(*this->store_, [](StoreReader& store) { return store.HasTokens(); }).value());
  ASSERT_TRUE(this->Insert(this->NewToken("a")).ok());
  this->Reopen();
  const auto found = this->Find("digest of a");
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ(found->id, "a");
  EXPECT_EQ(found->name, "robot");
  EXPECT_EQ(found->tenant, "red");
  EXPECT_EQ(found->roles.Text(), "user,admin");
  EXPECT_EQ(found->create_time, this->At(1));
  EXPECT_EQ(found->expire_time, this->At(9));
  EXPECT_FALSE(found->revoke_time.has_value());
  EXPECT_FALSE(found->last_used_time.has_value());
  EXPECT_FALSE(this->Find("digest of b").has_value());
  EXPECT_EQ(ReasonOf(this->Insert(this->NewToken("a"))), Reason::kAlreadyExists);
}

TYPED_TEST_P(AccessConformance, ARevokedTokenStaysAndKeepsItsTime) {
  ASSERT_TRUE(this->Insert(this->NewToken("a")).ok());
  const auto revoke = [&](const std::string& id, int64_t second) {
    return WriteResult(*this->store_, [&](StoreTransaction& store) {
      return store.RevokeToken(id, this->At(second));
    });
  };
  EXPECT_TRUE(revoke("a", 5).value());
  EXPECT_TRUE(revoke("a", 6).value());
  EXPECT_FALSE(revoke("b", 6).value());
  EXPECT_EQ(this->Find("digest of a")->revoke_time, this->At(5));
  EXPECT_TRUE(
      ReadResult(*this->store_, [](StoreReader& store) { return store.HasTokens(); }).value());
  ASSERT_TRUE(
      this->store_
          ->Write([&](StoreTransaction& store) { return store.NoteTokenUse("a", this->At(7)); })
          .ok());
  EXPECT_EQ(this->Find("digest of a")->last_used_time, this->At(7));
}

TYPED_TEST_P(AccessConformance, AJobOfAnotherTenantIsMissedInTheSameWords) {
  this->AddOf("red", "a", 1);
  EXPECT_TRUE(this->GetIn(TenantScope::One("red"), "a").ok());
  EXPECT_TRUE(this->GetIn(TenantScope::All(), "a").ok());
  const absl::Status foreign = this->GetIn(TenantScope::One("blue"), "a");
  EXPECT_EQ(ReasonOf(foreign), Reason::kJobNotFound);
  std::string never(this->GetIn(TenantScope::One("blue"), "b").message());
  never.back() = 'a';
  EXPECT_EQ(foreign.message(), never);
}

TYPED_TEST_P(AccessConformance, AListHasTheJobsOfItsScope) {
  this->AddOf("red", "a", 1);
  this->AddOf("blue", "b", 2);
  this->AddOf("red", "c", 3);
  using Ids = std::vector<std::string>;
  EXPECT_EQ(this->List({.scope = TenantScope::One("red")}), (Ids{"c", "a"}));
  EXPECT_EQ(this->List({.scope = TenantScope::One("green")}), Ids{});
  EXPECT_EQ(this->List({.scope = TenantScope::All()}), (Ids{"c", "b", "a"}));
  EXPECT_EQ(this->List({.scope = TenantScope::One("red"),
                        .conditions = {{.field = JobCondition::Field::kMethod, .text = "rtn"}},
                        .order = JobOrder::kOldestFirst,
                        .after = JobCursor{.create_time = this->At(1), .number = 1}}),
            Ids{"c"});
}

TYPED_TEST_P(AccessConformance, ARequestIdIsItsTenantsOwn) {
  this->AddOf("red", "a", 1);
  this->AddOf("blue", "b", 2);
  const absl::Status status = this->store_->Write([&](StoreTransaction& store) -> absl::Status {
    for (const auto& [tenant, job] :
         {std::pair<std::string, std::string>("red", "a"), {"blue", "b"}}) {
      QD_RETURN_IF_ERROR(store.InsertRequest(
          {.tenant = tenant, .request_id = "r", .job_id = job, .body_sha256 = "d"}));
    }
    QD_ASSIGN_OR_RETURN(const auto red, store.FindRequest("red", "r"));
    QD_ASSIGN_OR_RETURN(const auto blue, store.FindRequest("blue", "r"));
    QD_ASSIGN_OR_RETURN(const auto green, store.FindRequest("green", "r"));
    EXPECT_EQ(red->job_id, "a");
    EXPECT_EQ(blue->job_id, "b");
    EXPECT_FALSE(green.has_value());
    return absl::OkStatus();
  });
  EXPECT_TRUE(status.ok()) << status;
}

TYPED_TEST_P(AccessConformance, AWorkersNameHasAnOwnerUntilTheWorkerIsForgotten) {
  const auto owner = [&] {
    return ReadResult(*this->store_, [](StoreReader& store) { return store.FindWorkerOwner("w"); })
        .value();
  };
  const auto write = [&](const auto& work) { EXPECT_TRUE(this->store_->Write(work).ok()); };
  EXPECT_FALSE(owner().has_value());
  write([&](StoreTransaction& store) -> absl::Status {
    Worker worker;
    worker.name = "w";
    worker.last_seen = this->At(5);
    QD_RETURN_IF_ERROR(store.PutWorker(worker));
    return store.PutWorkerOwner("w", "red/robot");
  });
  write([&](StoreTransaction& store) { return store.ForgetWorkers(this->At(4)); });
  EXPECT_EQ(owner(), "red/robot");
  write([&](StoreTransaction& store) { return store.ForgetWorkers(this->At(6)); });
  EXPECT_FALSE(owner().has_value());
}

REGISTER_TYPED_TEST_SUITE_P(AccessConformance, KeepsATokenAsItIs, ARevokedTokenStaysAndKeepsItsTime,
                            AJobOfAnotherTenantIsMissedInTheSameWords, AListHasTheJobsOfItsScope,
                            ARequestIdIsItsTenantsOwn,
                            AWorkersNameHasAnOwnerUntilTheWorkerIsForgotten);

}  // namespace quantd
