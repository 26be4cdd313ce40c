#include "server/api/webhooks.h"

#include <google/protobuf/util/json_util.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "proto/convert_time.h"
#include "proto/field_checks.h"
#include "server/api/job_messages.h"
#include "server/api/page_token.h"
#include "server/api/request_checks.h"

namespace quantd {
namespace {

std::optional<JobState> StateFromProto(int state) {
  for (const JobState known : kJobStates) {
    if (ToProto(known) == state) return known;
  }
  return std::nullopt;
}

v1::WebhookDelivery::State StateOf(DeliveryState state) {
  switch (state) {
    case DeliveryState::kPending:
      return v1::WebhookDelivery::PENDING;
    case DeliveryState::kDelivered:
      return v1::WebhookDelivery::DELIVERED;
    case DeliveryState::kFailed:
      return v1::WebhookDelivery::FAILED;
  }
  return v1::WebhookDelivery::STATE_UNSPECIFIED;
}

v1::WebhookDelivery DeliveryMessage(const Delivery& delivery) {
  v1::WebhookDelivery message;
  message.set_id(delivery.id);
  message.set_url(delivery.url);
  message.set_job_state(ToProto(delivery.job_state));
  message.set_state(StateOf(delivery.state));
  message.set_attempts(delivery.attempts);
  message.set_last_status(delivery.last_status);
  message.set_last_error(delivery.last_error);
  *message.mutable_create_time() = ToProto(delivery.create_time);
  if (delivery.last_attempt_time) {
    *message.mutable_last_attempt_time() = ToProto(*delivery.last_attempt_time);
  }
  if (delivery.state == DeliveryState::kPending) {
    *message.mutable_next_attempt_time() = ToProto(delivery.next_attempt_time);
  }
  return message;
}

v1::WebhookResult SummaryOf(const v1::JobResult& result) {
  v1::WebhookResult figures;
  figures.set_bits_per_weight(result.bits_per_weight());
  figures.set_compression_ratio(result.compression_ratio());
  figures.set_bytes_quantized(result.bytes_quantized());
  if (result.has_evaluation()) {
    figures.set_perplexity_original(result.evaluation().perplexity_original());
    figures.set_perplexity_quantized(result.evaluation().perplexity_quantized());
    figures.set_kl_mean(result.evaluation().kl_mean());
  }
  return figures;
}

// The states that a webhook names, in the order of the enum.
std::vector<JobState> StatesOf(const v1::Webhook& webhook, const std::string& where,
                               std::vector<Violation>& violations) {
  std::vector<JobState> named;
  for (int i = 0; i < webhook.states_size(); ++i) {
    const auto state = StateFromProto(webhook.states(i));
    if (state.has_value()) {
      named.push_back(*state);
    } else {
      violations.push_back({.where = absl::StrCat(where, ".states[", i, "]"),
                            .got = absl::StrCat("value ", static_cast<int>(webhook.states(i))),
                            .wanted = "a state that jobs come to"});
    }
  }
  std::vector<JobState> states;
  for (const JobState state : kJobStates) {
    const bool wanted = webhook.states().empty()
                            ? IsFinal(state)
                            : std::find(named.begin(), named.end(), state) != named.end();
    if (wanted) states.push_back(state);
  }
  return states;
}

}  // namespace

absl::StatusOr<std::vector<Webhook>> WebhooksOf(
    const google::protobuf::RepeatedPtrField<v1::Webhook>& asked, const ApiContext& api) {
  std::vector<Violation> violations;
  std::vector<Webhook> webhooks;
  if (asked.size() > api.limits.webhooks) {
    return MakeError(Reason::kInvalidField, "refused",
                     Violation{.where = "job.webhooks",
                               .got = absl::StrCat(asked.size()),
                               .wanted = absl::StrCat("at most ", api.limits.webhooks)});
  }
  for (int i = 0; i < asked.size(); ++i) {
    const std::string where = absl::StrCat("job.webhooks[", i, "]");
    const std::string& url = asked[i].url();
    if (url.size() > static_cast<size_t>(api.limits.webhook_url_characters)) {
      violations.push_back({.where = where + ".url",
                            .got = absl::StrCat(url.size(), " characters"),
                            .wanted = absl::StrCat("at most ", api.limits.webhook_url_characters)});
    } else {
      const absl::Status status = api.webhook_hosts.Check(where + ".url", url).status();
      for (Violation& violation : ViolationsOf(status)) violations.push_back(std::move(violation));
    }
    Webhook webhook{.url = url, .states = StatesOf(asked[i], where, violations)};
    if (std::find(webhooks.begin(), webhooks.end(), webhook) == webhooks.end()) {
      webhooks.push_back(std::move(webhook));
    }
  }
  if (violations.empty()) return webhooks;
  return MakeError(Reason::kInvalidField, "refused", std::move(violations));
}

absl::StatusOr<std::string> WebhookBody(const Delivery& delivery, const Job& job) {
  v1::WebhookEvent event;
  event.set_delivery(delivery.id);
  event.set_job(JobName(job.id));
  event.set_tenant(job.tenant);
  event.set_state(ToProto(delivery.job_state));
  *event.mutable_time() = ToProto(delivery.time);
  event.set_attempt(delivery.job_attempt);
  if (delivery.failure.has_value()) {
    event.mutable_error()->set_reason(delivery.failure->reason);
    event.mutable_error()->set_message(delivery.failure->message);
  }
  if (delivery.job_state == JobState::kSucceeded) {
    v1::JobResult result;
    if (!result.ParseFromString(job.result)) {
      return MakeError(Reason::kInternal, "the result of the job cannot be read");
    }
    *event.mutable_result() = SummaryOf(result);
  }
  for (const auto& [key, value] : job.labels) (*event.mutable_labels())[key] = value;
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  std::string json;
  if (!google::protobuf::util::MessageToJsonString(event, &json, options).ok()) {
    return MakeError(Reason::kInternal, "a webhook's event cannot be written");
  }
  return json;
}

absl::Status ListWebhookDeliveries(ApiContext& api, const Caller& caller,
                                   const v1::ListWebhookDeliveriesRequest& request,
                                   v1::ListWebhookDeliveriesResponse* response) {
  QD_ASSIGN_OR_RETURN(const std::string id, JobIdFromName(request.job(), "job"));
  QD_ASSIGN_OR_RETURN(const int limit, PageSize(request.page_size(), api.limits.default_page_size,
                                                api.limits.page_size));
  int64_t after = 0;
  if (!request.page_token().empty()) {
    QD_ASSIGN_OR_RETURN(const std::string token, DecodeTextToken(request.page_token()));
    if (!absl::SimpleAtoi(token, &after)) {
      return MakeError(Reason::kInvalidField, "refused",
                       Violation{.where = "page_token",
                                 .got = request.page_token().substr(0, 100),
                                 .wanted = "next_page_token of the page before"});
    }
  }
  const auto list = [&](StoreReader& store) -> absl::StatusOr<v1::ListWebhookDeliveriesResponse> {
    v1::ListWebhookDeliveriesResponse listed;
    QD_ASSIGN_OR_RETURN(const Job job, store.GetJobIn(caller.scope(), id));
    QD_ASSIGN_OR_RETURN(const auto deliveries, store.ListDeliveries(job, after, limit + 1));
    int64_t last = after;
    for (const Delivery& delivery : deliveries) {
      if (listed.deliveries_size() == limit) {
        listed.set_next_page_token(EncodeTextToken(absl::StrCat(last)));
        break;
      }
      *listed.add_deliveries() = DeliveryMessage(delivery);
      last = delivery.number;
    }
    return listed;
  };
  QD_ASSIGN_OR_RETURN(*response, ReadResult(api.store, list));
  return absl::OkStatus();
}

}  // namespace quantd
