// The part of the store that knows whom to tell of jobs, and what is still to be told.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/webhook.h"

namespace quantd {

class WebhookReader {
 public:
  virtual ~WebhookReader() = default;

  // In the order in which they were added.
  virtual absl::StatusOr<std::vector<Webhook>> ListWebhooks(const Job& job) = 0;
  // Of the job, those with a number above `after`, in order of it.
  virtual absl::StatusOr<std::vector<Delivery>> ListDeliveries(const Job& job, int64_t after,
                                                               int limit) = 0;
  // Pending ones whose time has come, the longest due first; of a job's webhook none before those
  // that came before it.
  virtual absl::StatusOr<std::vector<Delivery>> DueDeliveries(absl::Time now, int limit) = 0;
};

class WebhookWriter {
 public:
  virtual ~WebhookWriter() = default;

  // As the job's next.
  virtual absl::Status AddWebhook(const Job& job, const Webhook& webhook) = 0;
  // Sets number. Deliveries go with their job.
  virtual absl::Status InsertDelivery(const Job& job, Delivery& delivery) = 0;
  // What tries change: state, attempts, last_status, last_error, last_attempt_time,
  // next_attempt_time. Nothing if the delivery is gone.
  virtual absl::Status UpdateDelivery(const Delivery& delivery) = 0;
};

}  // namespace quantd
