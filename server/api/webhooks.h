// Webhooks on the wire: what a request asks for, what receivers are told, how that went.
#pragma once

#include <google/protobuf/repeated_ptr_field.h>

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "quantd/v1/webhooks.pb.h"
#include "server/api/context.h"
#include "server/webhook.h"

namespace quantd {

// Those of a CreateJobRequest, with their states in order and without doubles. INVALID_FIELD with
// all that is wrong.
absl::StatusOr<std::vector<Webhook>> WebhooksOf(
    const google::protobuf::RepeatedPtrField<v1::Webhook>& webhooks, const ApiContext& api);

// The WebhookEvent of a delivery, as JSON. The same bytes at each try.
absl::StatusOr<std::string> WebhookBody(const Delivery& delivery, const Job& job);

absl::Status ListWebhookDeliveries(ApiContext& api, const Caller& caller,
                                   const v1::ListWebhookDeliveriesRequest& request,
                                   v1::ListWebhookDeliveriesResponse* response);

}  // namespace quantd
