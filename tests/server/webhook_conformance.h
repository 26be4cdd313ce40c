// What every store must do for webhooks: whom to tell, what is due, in which order. Instantiate as
// StoreConformance.
#pragma once

#include "tests/server/store_conformance.h"

namespace quantd {

template <typename Factory>
class WebhookConformance : public StoreConformance<Factory> {
 protected:
  static Delivery NewDelivery(const Job& job, const std::string& id, int64_t webhook, int due) {
    return {.id = id,
            .job_id = job.id,
            .webhook = webhook,
            .url = "https://a.test/",
            .job_state = JobState::kFailed,
            .time = StoreConformance<Factory>::At(3),
            .job_attempt = 2,
            .failure = Failure{.reason = "IO", .message = "no", .violations = {{"w", "g", "x"}}},
            .create_time = StoreConformance<Factory>::At(4),
            .next_attempt_time = StoreConformance<Factory>::At(due)};
  }
  // A job in the store.
  Job Insert(const std::string& id) {
    this->Add(StoreConformance<Factory>::NewJob(id, 1));
    return this->Get(id);
  }
  Delivery Put(const Job& job, Delivery delivery) {
    const absl::Status status = this->store_->Write(
        [&](StoreTransaction& store) { return store.InsertDelivery(job, delivery); });
    EXPECT_TRUE(status.ok()) << status;
    return delivery;
  }
  void Update(const Delivery& delivery) {
    const absl::Status status = this->store_->Write(
        [&](StoreTransaction& store) { return store.UpdateDelivery(delivery); });
    EXPECT_TRUE(status.ok()) << status;
  }
  std::vector<std::string> Due(int now, int limit = 100) {
    return Ids([&](StoreReader& store) {
      return store.DueDeliveries(StoreConformance<Factory>::At(now), limit);
    });
  }
  template <typename List>
  std::vector<std::string> Ids(const List& list) {
    const auto found = ReadResult(*this->store_, list);
    EXPECT_TRUE(found.ok()) << found.status();
    std::vector<std::string> ids;
    for (const Delivery& one : found.value_or(std::vector<Delivery>())) ids.push_back(one.id);
    return ids;
  }
  using Strings = std::vector<std::string>;
};

TYPED_TEST_SUITE_P(WebhookConformance);

TYPED_TEST_P(WebhookConformance, KeepsWebhooksInOrder) {
  const Job job = this->Insert("a");
  const Job other = this->Insert("b");
  const Webhook one{.url = "https://z.test/", .states = {JobState::kPending, JobState::kFailed}};
  const Webhook two{.url = "https://a.test/", .states = {JobState::kCancelled}};
  const absl::Status added = this->store_->Write([&](StoreTransaction& store) -> absl::Status {
    QD_RETURN_IF_ERROR(store.AddWebhook(job, one));
    QD_RETURN_IF_ERROR(store.AddWebhook(other, two));
    return store.AddWebhook(job, two);
  });
  ASSERT_TRUE(added.ok()) << added;
  const auto list = [&](const Job& of) {
    return *ReadResult(*this->store_, [&](StoreReader& store) { return store.ListWebhooks(of); });
  };
  EXPECT_EQ(list(job), (std::vector<Webhook>{one, two}));
  EXPECT_EQ(list(other), (std::vector<Webhook>{two}));
}

TYPED_TEST_P(WebhookConformance, KeepsAllOfADelivery) {
  const Job job = this->Insert("a");
  Delivery put = this->Put(job, this->NewDelivery(job, "d", 1, 5));
  put.state = DeliveryState::kDelivered;
  put.attempts = 3;
  put.last_status = 503;
  put.last_error = "later";
  put.last_attempt_time = this->At(8);
  put.next_attempt_time = this->At(9);
  this->Update(put);
  const auto found = ReadResult(
      *this->store_, [&](StoreReader& store) { return store.ListDeliveries(job, 0, 10); });
  ASSERT_TRUE(found.ok()) << found.status();
  ASSERT_EQ(found->size(), 1U);
  const Delivery& got = found->front();
  EXPECT_EQ(got.number, put.number);
  EXPECT_EQ(got.id, "d");
  EXPECT_EQ(got.job_id, "a");
  EXPECT_EQ(got.webhook, 1);
  EXPECT_EQ(got.url, put.url);
  EXPECT_EQ(got.job_state, JobState::kFailed);
  EXPECT_EQ(got.time, this->At(3));
  EXPECT_EQ(got.job_attempt, 2);
  ASSERT_TRUE(got.failure.has_value());
  EXPECT_EQ(got.failure->message, "no");
  EXPECT_EQ(got.failure->violations.at(0).wanted, "x");
  EXPECT_EQ(got.state, DeliveryState::kDelivered);
  EXPECT_EQ(got.attempts, 3);
  EXPECT_EQ(got.last_status, 503);
  EXPECT_EQ(got.last_error, "later");
  EXPECT_EQ(got.create_time, this->At(4));
  EXPECT_EQ(got.last_attempt_time, this->At(8));
  EXPECT_EQ(got.next_attempt_time, this->At(9));
}

TYPED_TEST_P(WebhookConformance, GivesWhatIsDueInTheOrderOfEachWebhook) {
  const Job job = this->Insert("a");
  Delivery first = this->Put(job, this->NewDelivery(job, "first", 0, 20));
  this->Put(job, this->NewDelivery(job, "second", 0, 10));
  this->Put(job, this->NewDelivery(job, "aside", 1, 12));
  const Job other = this->Insert("b");
  this->Put(other, this->NewDelivery(other, "elsewhere", 0, 11));
  EXPECT_EQ(this->Due(9), typename TestFixture::Strings{});
  EXPECT_EQ(this->Due(19), (typename TestFixture::Strings{"elsewhere", "aside"}))
      << "the second waits for the first";
  EXPECT_EQ(this->Due(20), (typename TestFixture::Strings{"elsewhere", "aside", "first"}));
  EXPECT_EQ(this->Due(20, 1), (typename TestFixture::Strings{"elsewhere"}));
  first.state = DeliveryState::kFailed;
  this->Update(first);
  EXPECT_EQ(this->Due(20), (typename TestFixture::Strings{"second", "elsewhere", "aside"}));
}

TYPED_TEST_P(WebhookConformance, ListsAJobsDeliveriesByPagesAndForgetsThemWithIt) {
  const Job job = this->Insert("a");
  const Delivery first = this->Put(job, this->NewDelivery(job, "d1", 0, 1));
  this->Put(job, this->NewDelivery(job, "d2", 1, 1));
  const auto page = [&](int64_t after, int limit) {
    return this->Ids([&](StoreReader& store) { return store.ListDeliveries(job, after, limit); });
  };
  EXPECT_EQ(page(0, 1), (typename TestFixture::Strings{"d1"}));
  EXPECT_EQ(page(first.number, 10), (typename TestFixture::Strings{"d2"}));
  ASSERT_TRUE(
      this->store_->Write([](StoreTransaction& store) { return store.DeleteJob("a"); }).ok());
  EXPECT_EQ(this->Due(100), typename TestFixture::Strings{});
  this->Update(first);  // as a sender does that has not heard of it
  EXPECT_EQ(page(0, 10), typename TestFixture::Strings{});
}

REGISTER_TYPED_TEST_SUITE_P(WebhookConformance, KeepsWebhooksInOrder, KeepsAllOfADelivery,
                            GivesWhatIsDueInTheOrderOfEachWebhook,
                            ListsAJobsDeliveriesByPagesAndForgetsThemWithIt);

}  // namespace quantd
