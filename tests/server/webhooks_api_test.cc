// Webhooks over the wire, without a receiver: what CreateJob takes, what deliveries come of it, how
// they are listed. tests/integration/test_webhooks.py has receivers.
#include <gmock/gmock.h>

#include "tests/server/running_server.h"

namespace quantd {
namespace {

using testing::HasSubstr;
using Stub = v1::QuantizationService::Stub;

constexpr char kUrl[] = "https://hooks.example.com/a";

class WebhooksApiTest : public RunningServerTest {
 protected:
  void SetUp() override {
    auto hosts = WebhookHosts::Parse({"hooks.example.com"});
    ASSERT_TRUE(hosts.ok()) << hosts.status();
    options_.webhook_hosts = *hosts;
    options_.webhook_secret = "secret";
    RunningServerTest::SetUp();
    // Deliveries are made, and none is tried: nothing here goes to a network.
    options_.reaper_period = absl::Hours(1);
    StartOnManualClock();
  }
  static v1::CreateJobRequest Told(std::initializer_list<v1::Job::State> states,
                                   const char* url = kUrl) {
    v1::CreateJobRequest request = NewJob();
    v1::Webhook* webhook = request.mutable_job()->add_webhooks();
    webhook->set_url(url);
    for (const v1::Job::State state : states) webhook->add_states(state);
    return request;
  }
  absl::StatusOr<v1::ListWebhookDeliveriesResponse> ListOf(const std::string& job, int page_size,
                                                           const std::string& token = "") {
    v1::ListWebhookDeliveriesRequest request;
    request.set_job(job);
    request.set_page_size(page_size);
    request.set_page_token(token);
    return User(&Stub::ListWebhookDeliveries, request);
  }
};

TEST_F(WebhooksApiTest, EachChangeOfStateThatIsAskedForIsADelivery) {
  const auto job = Create(Told({v1::Job::RUNNING, v1::Job::PENDING, v1::Job::RUNNING}));
  ASSERT_TRUE(job.ok()) << job.status();
  ASSERT_EQ(job->webhooks(0).states_size(), 2) << "in order, without doubles";
  EXPECT_EQ(job->webhooks(0).states(0), v1::Job::PENDING);
  EXPECT_EQ(Get(job->name())->webhooks(0).url(), kUrl);
  const v1::TaskAssignment task = Take();
  ASSERT_TRUE(Finish(task, "weights", nullptr).ok());
  const auto first = ListOf(job->name(), 1);
  ASSERT_TRUE(first.ok()) << first.status();
  ASSERT_EQ(first->deliveries_size(), 1);
  EXPECT_EQ(first->deliveries(0).job_state(), v1::Job::PENDING);
  EXPECT_EQ(first->deliveries(0).state(), v1::WebhookDelivery::PENDING);
  EXPECT_EQ(first->deliveries(0).url(), kUrl);
  const auto second = ListOf(job->name(), 1, first->next_page_token());
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_EQ(second->deliveries(0).job_state(), v1::Job::RUNNING);
  EXPECT_NE(second->deliveries(0).id(), first->deliveries(0).id());
  EXPECT_EQ(second->next_page_token(), "") << "SUCCEEDED was not asked for";
  EXPECT_EQ(ReasonOf(ListOf(job->name(), 1, "nonsense").status()), Reason::kInvalidField);
}

TEST_F(WebhooksApiTest, WhatIsRefusedNamesTheField) {
  v1::CreateJobRequest request = Told({}, "https://other.test/");
  request.mutable_job()->mutable_webhooks(0)->add_states(static_cast<v1::Job::State>(0));
  request.mutable_job()->add_webhooks()->set_url(kUrl + std::string(2048, 'a'));
  const absl::Status refused = Create(request).status();
  EXPECT_EQ(ReasonOf(refused), Reason::kInvalidField);
  std::vector<std::string> fields;
  for (const Violation& violation : ViolationsOf(refused)) fields.push_back(violation.where);
  EXPECT_THAT(fields, testing::ElementsAre("job.webhooks[0].url", "job.webhooks[0].states[0]",
                                           "job.webhooks[1].url"));
  options_.webhook_hosts = WebhookHosts();
  StartServer();
  EXPECT_THAT(std::string(Create(Told({})).status().message()), HasSubstr("webhook-host"));
}

TEST_F(WebhooksApiTest, ARequestIdIsOfOneSetOfWebhooks) {
  v1::CreateJobRequest request = Told({});
  request.set_request_id("3f2a1b4c-0000-4000-8000-000000000001");
  const auto job = Create(request);
  ASSERT_TRUE(job.ok()) << job.status();
  const auto again = Create(request);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->name(), job->name());
  EXPECT_EQ(again->webhooks_size(), 1);
  request.mutable_job()->clear_webhooks();
  EXPECT_EQ(ReasonOf(Create(request).status()), Reason::kAlreadyExists);
}

TEST_F(WebhooksApiTest, AReusedJobHasSoManyWebhooksAndNoMore) {
  options_.result_cache = true;
  options_.limits.job_webhooks = 2;
  StartServer();
  const auto job = Create(Told({}));
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_TRUE(Create(Told({}))->reused()) << "the same once more is not one more";
  EXPECT_EQ(Create(Told({v1::Job::FAILED}))->webhooks_size(), 2);
  EXPECT_EQ(ReasonOf(Create(Told({v1::Job::RUNNING})).status()), Reason::kInvalidField);
  EXPECT_EQ(Get(job->name())->webhooks_size(), 2);
  ASSERT_TRUE(Cancel(job->name()).ok());
  EXPECT_EQ(ListOf(job->name(), 10)->deliveries_size(), 1);
}

}  // namespace
}  // namespace quantd
