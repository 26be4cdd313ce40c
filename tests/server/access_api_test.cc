// Tokens, tenants and owners of workers' names, over gRPC. The refusal of every rpc is tested on
// the program: tests/integration/test_access.py.
#include <gmock/gmock.h>

#include <thread>

#include "server/access/token_secret.h"
#include "server/store/sqlite_store.h"
#include "tests/server/running_server.h"

namespace quantd {
namespace {

using testing::HasSubstr;
using Stub = v1::QuantizationService::Stub;

class AccessApiTest : public RunningServerTest {
 protected:
  // As `quantd tokens create` does it: in the store, beside the running server.
  std::string Add(const std::string& id, Roles roles, const std::string& tenant) {
    std::string secret = NewTokenSecret();
    auto store = OpenSqliteStore({.path = options_.data + "/quantd.db", .readers = 1});
    EXPECT_TRUE(store.ok()) << store.status();
    const Token token = {.id = id,
                         .digest = DigestOfSecret(secret),
                         .name = "name-" + id,
                         .tenant = tenant,
                         .roles = roles,
                         .create_time = absl::Now(),
                         .expire_time = std::nullopt,
                         .revoke_time = std::nullopt,
                         .last_used_time = std::nullopt};
    EXPECT_TRUE(
        (*store)->Write([&](StoreTransaction& write) { return write.InsertToken(token); }).ok());
    return secret;
  }
  void Revoke(const std::string& id) {
    auto store = OpenSqliteStore({.path = options_.data + "/quantd.db", .readers = 1});
    ASSERT_TRUE(store.ok()) << store.status();
    ASSERT_TRUE((*store)
                    ->Write([&](StoreTransaction& write) {
                      return write.RevokeToken(id, absl::Now()).status();
                    })
                    .ok());
  }

  static void Say(grpc::ClientContext& context, const std::string& secret,
                  const std::string& tenant = "") {
    SetDeadline(context);
    if (!secret.empty()) context.AddMetadata("authorization", "Bearer " + secret);
    if (!tenant.empty()) context.AddMetadata("quantd-tenant", tenant);
  }
  template <typename Request, typename Response>
  absl::StatusOr<Response> As(const std::string& secret,
                              grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&,
                                                           Response*),
                              const Request& request, const std::string& tenant = "") {
    grpc::ClientContext context;
    Say(context, secret, tenant);
    Response response;
    QD_RETURN_IF_ERROR(FromGrpc((users_.get()->*method)(&context, request, &response)));
    return response;
  }
  absl::StatusOr<v1::Job> CreateAs(const std::string& secret, const std::string& id = "",
                                   const std::string& tenant = "") {
    v1::CreateJobRequest request = NewJob();
    request.set_request_id(id);
    return As(secret, &Stub::CreateJob, request, tenant);
  }
  absl::StatusOr<v1::Job> GetAs(const std::string& secret, const std::string& name,
                                const std::string& tenant = "") {
    v1::GetJobRequest request;
    request.set_name(name);
    return As(secret, &Stub::GetJob, request, tenant);
  }
  std::vector<std::string> ListAs(const std::string& secret, const std::string& tenant = "") {
    const auto listed = As(secret, &Stub::ListJobs, v1::ListJobsRequest(), tenant);
    EXPECT_TRUE(listed.ok()) << listed.status();
    std::vector<std::string> names;
    for (const v1::Job& job : listed->jobs()) names.push_back(job.name());
    return names;
  }
  absl::StatusOr<v1::SynchronizeResponse> WorkAs(const std::string& secret,
                                                 const v1::SynchronizeRequest& request) {
    grpc::ClientContext context;
    Say(context, secret);
    v1::SynchronizeResponse response;
    QD_RETURN_IF_ERROR(FromGrpc(workers_->Synchronize(&context, request, &response)));
    return response;
  }
};

TEST_F(AccessApiTest, AJobMadeBeforeTheFirstTokenIsTheDefaultTenants) {
  const auto made = Create(NewJob());
  ASSERT_TRUE(made.ok()) << made.status();
  EXPECT_EQ(made->tenant(), "default");
  const std::string secret = Add("a", {Role::kUser}, "default");
  EXPECT_EQ(ReasonOf(Get(made->name()).status()), Reason::kUnauthenticated);
  EXPECT_TRUE(GetAs(secret, made->name()).ok());
}

TEST_F(AccessApiTest, TenantsSeeTheirOwnJobsAlone) {
  const std::string red = Add("a", {Role::kUser}, "red"), blue = Add("b", {Role::kUser}, "blue");
  const std::string admin = Add("c", {Role::kAdmin}, "ops");
  const std::string mine = CreateAs(red)->name(), theirs = CreateAs(blue)->name();
  EXPECT_EQ(GetAs(red, mine)->tenant(), "red");
  EXPECT_EQ(ReasonOf(GetAs(red, theirs).status()), Reason::kJobNotFound);
  EXPECT_EQ(ListAs(red), std::vector<std::string>{mine});
  EXPECT_EQ(ListAs(blue), std::vector<std::string>{theirs});
  EXPECT_TRUE(ListAs(admin).empty());
  EXPECT_EQ(ListAs(admin, "red"), std::vector<std::string>{mine});
  EXPECT_EQ(ListAs(admin, "*"), (std::vector<std::string>{theirs, mine}));
  EXPECT_EQ(ReasonOf(GetAs(admin, mine).status()), Reason::kJobNotFound);
  EXPECT_TRUE(GetAs(admin, mine, "*").ok());
  EXPECT_EQ(CreateAs(admin, "", "red")->tenant(), "red");
  // A page of one tenant continues no list of another.
  v1::ListJobsRequest first;
  first.set_page_size(1);
  const auto page = As(red, &Stub::ListJobs, first);
  ASSERT_FALSE(page->next_page_token().empty());
  first.set_page_token(page->next_page_token());
  EXPECT_TRUE(As(red, &Stub::ListJobs, first).ok());
  EXPECT_EQ(ReasonOf(As(blue, &Stub::ListJobs, first).status()), Reason::kInvalidField);
}

TEST_F(AccessApiTest, ARequestIdOfAnotherTenantIsFree) {
  constexpr char kUuid[] = "123e4567-e89b-12d3-a456-426614174000";
  const std::string red = Add("a", {Role::kUser}, "red"), blue = Add("b", {Role::kUser}, "blue");
  const auto first = CreateAs(red, kUuid), again = CreateAs(red, kUuid);
  const auto other = CreateAs(blue, kUuid);
  ASSERT_TRUE(other.ok()) << other.status();
  EXPECT_EQ(first->name(), again->name());
  EXPECT_NE(first->name(), other->name());
  EXPECT_EQ(other->tenant(), "blue");
}

TEST_F(AccessApiTest, AStreamEndsAtItsNextEventOnceTheTokenIsRevoked) {
  const std::string red = Add("a", {Role::kUser}, "red");
  const std::string other = Add("b", {Role::kUser}, "red");
  v1::WatchJobRequest watch;
  watch.set_name(CreateAs(red)->name());
  grpc::ClientContext context;
  Say(context, red);
  const auto reader = users_->WatchJob(&context, watch);
  v1::JobEvent event;
  ASSERT_TRUE(reader->Read(&event));
  Revoke("a");
  v1::CancelJobRequest cancel;
  cancel.set_name(watch.name());
  ASSERT_TRUE(As(other, &Stub::CancelJob, cancel).ok());
  EXPECT_FALSE(reader->Read(&event));
  EXPECT_EQ(ReasonOf(FromGrpc(reader->Finish())), Reason::kUnauthenticated);
}

TEST_F(AccessApiTest, AWorkersNameAndTaskAreItsTokens) {
  const std::string user = Add("a", {Role::kUser}, "red");
  const std::string one = Add("b", {Role::kWorker}, "default");
  const std::string two = Add("c", {Role::kWorker}, "default");
  ASSERT_TRUE(CreateAs(user).ok());
  EXPECT_EQ(ReasonOf(WorkAs("", Idle()).status()), Reason::kUnauthenticated);
  EXPECT_EQ(ReasonOf(WorkAs(user, Idle()).status()), Reason::kPermissionDenied);
  const auto given = WorkAs(one, Idle());
  ASSERT_TRUE(given.ok()) << given.status();
  const auto report = Report(given->assignment(), v1::TaskReport::RUNNING);
  ASSERT_TRUE(WorkAs(one, report).ok());
  // Neither with the session, should it have leaked, nor with one of its own.
  for (const auto& stolen : {report, Idle("w1", "s1"), Idle("w1", "s2")}) {
    EXPECT_EQ(ReasonOf(WorkAs(two, stolen).status()), Reason::kPermissionDenied);
  }
  auto elsewhere = report;
  elsewhere.set_worker("w2");
  EXPECT_EQ(ReasonOf(WorkAs(two, elsewhere).status()), Reason::kLeaseLost);
  // Nothing of that has touched the task.
  EXPECT_TRUE(WorkAs(one, report).ok());
  // The token's own process may come back in a new session.
  EXPECT_TRUE(WorkAs(one, Idle("w1", "s3")).ok());
}

TEST_F(AccessApiTest, AWaitingWorkerWhoseTokenIsRevokedGetsNoWork) {
  const std::string user = Add("a", {Role::kUser}, "red");
  const std::string worker = Add("b", {Role::kWorker}, "default");
  absl::Status waited;
  std::thread waiting([&] {
    v1::SynchronizeRequest request = Idle();
    request.mutable_long_poll()->set_seconds(20);
    waited = WorkAs(worker, request).status();
  });
  const std::string admin = Add("c", {Role::kAdmin}, "red");
  ASSERT_TRUE(Eventually([&] {
    const auto workers = As(admin, &Stub::ListWorkers, v1::ListWorkersRequest());
    return workers.ok() && workers->workers_size() == 1;
  }));
  Revoke("b");
  const auto made = CreateAs(user);
  waiting.join();
  EXPECT_EQ(ReasonOf(waited), Reason::kUnauthenticated) << waited;
  EXPECT_EQ(GetAs(user, made->name())->state(), v1::Job::PENDING);
}

TEST_F(AccessApiTest, ListWorkersNamesTheJobsOfTheScopeAlone) {
  const std::string red = Add("a", {Role::kUser}, "red");
  const std::string worker = Add("b", {Role::kWorker}, "default");
  const std::string admin = Add("c", {Role::kAdmin}, "blue");
  const std::string name = CreateAs(red)->name();
  ASSERT_TRUE(WorkAs(worker, Idle()).ok());
  const auto job = [&](const std::string& tenant) {
    return As(admin, &Stub::ListWorkers, v1::ListWorkersRequest(), tenant)->workers(0).job();
  };
  EXPECT_EQ(job(""), "");
  EXPECT_EQ(job("red"), name);
  EXPECT_EQ(job("*"), name);
}

TEST_F(AccessApiTest, TheHeaderIsReadOnceOrNotAtAll) {
  const std::string red = Add("a", {Role::kUser}, "red");
  grpc::ClientContext context;
  Say(context, red);
  context.AddMetadata("authorization", "Bearer " + red);
  v1::ListJobsResponse response;
  EXPECT_EQ(ReasonOf(FromGrpc(users_->ListJobs(&context, v1::ListJobsRequest(), &response))),
            Reason::kUnauthenticated);
}

TEST_F(AccessApiTest, MetricsNameNoTenant) {
  const std::string red = Add("a", {Role::kUser}, "crimson-tenant");
  ASSERT_TRUE(CreateAs(red).ok());
  EXPECT_THAT(server_->MetricsPage(), testing::Not(HasSubstr("crimson")));
}

}  // namespace
}  // namespace quantd
