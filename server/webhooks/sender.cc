#include "server/webhooks/sender.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/exceptions.h"
#include "base/hmac.h"
#include "base/log.h"

namespace quantd {
namespace {

// For so long a delivery is its taker's: longer than a post can take. A server that died with it
// holds it up no longer than that.
constexpr absl::Duration kClaim = absl::Seconds(15);
constexpr size_t kMostErrorCharacters = 300;

// Whether an answer may be another one later: the receiver's faults, and its "not now".
bool MayChange(const PostOutcome& outcome) {
  if (outcome.refused_here) return false;
  return outcome.status == 0 || outcome.status == 408 || outcome.status == 429 ||
         outcome.status >= 500;
}

std::string ErrorOf(const PostOutcome& outcome) {
  if (!outcome.error.empty()) return outcome.error.substr(0, kMostErrorCharacters);
  const bool redirect = outcome.status >= 300 && outcome.status < 400;
  return absl::StrCat("HTTP ", outcome.status, redirect ? ": redirects are not followed" : "");
}

}  // namespace

std::string SignatureHeader(std::string_view secret, absl::Time now, std::string_view body) {
  const int64_t seconds = absl::ToUnixSeconds(now);
  return absl::StrCat("t=", seconds,
                      ",v1=", HmacSha256Hex(secret, absl::StrCat(seconds, ".", ToAbsl(body))));
}

void NoteOutcome(const PostOutcome& outcome, const Limits& limits, absl::Time now, double fraction,
                 Delivery& delivery) {
  ++delivery.attempts;
  delivery.last_status = outcome.status;
  delivery.last_attempt_time = now;
  delivery.last_error = outcome.delivered() ? "" : ErrorOf(outcome);
  if (outcome.delivered()) {
    delivery.state = DeliveryState::kDelivered;
    return;
  }
  absl::Duration wait = limits.webhook_retry_delay;
  for (int i = 1; i < delivery.attempts && wait < limits.longest_webhook_delay; ++i) wait *= 2;
  wait = std::min(wait, limits.longest_webhook_delay) * (0.5 + 0.5 * fraction);
  delivery.next_attempt_time = now + wait;
  const bool patient = delivery.next_attempt_time <= delivery.create_time + limits.webhook_patience;
  if (!MayChange(outcome) || !patient) delivery.state = DeliveryState::kFailed;
}

WebhookSender::WebhookSender(Store& store, const Clock& clock, const Limits& limits,
                             Metrics& metrics, SenderOptions options, Body body)
    : store_(store),
      clock_(clock),
      limits_(limits),
      metrics_(metrics),
      options_(std::move(options)),
      body_(std::move(body)),
      lanes_(options_.lanes),
      random_(options_.seed) {}

WebhookSender::~WebhookSender() { Stop(); }

void WebhookSender::Start(absl::Duration period) {
  thread_ = std::thread([this, period] { Loop(period); });
}

void WebhookSender::Stop() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  if (thread_.joinable()) thread_.join();
  lanes_.Stop();
}

void WebhookSender::Loop(absl::Duration period) {
  while (!stopping_) {
    const absl::Status status = CatchExceptions("webhooks", [this] { return Tick(); });
    if (!status.ok()) spdlog::error("webhooks: {}", std::string(status.message()));
    absl::MutexLock lock(&mutex_);
    const auto wake = [this] { return stopping_.load() || look_; };
    mutex_.AwaitWithTimeout(absl::Condition(&wake), period);
    look_ = false;
  }
}

absl::Status WebhookSender::Tick() {
  int free = 0;
  {
    absl::MutexLock lock(&mutex_);
    free = options_.lanes - busy_;
  }
  if (free == 0) return absl::OkStatus();
  // Most looks find nothing, and need not wait for those who write.
  QD_ASSIGN_OR_RETURN(const auto due, ReadResult(store_, [&](StoreReader& store) {
                        return store.DueDeliveries(clock_.Now(), 1);
                      }));
  if (due.empty()) return absl::OkStatus();
  QD_ASSIGN_OR_RETURN(const std::vector<Delivery> taken, Claim(free));
  for (const Delivery& delivery : taken) {
    {
      absl::MutexLock lock(&mutex_);
      ++busy_;
    }
    lanes_.Run([this, delivery] { Send(delivery); });
  }
  return absl::OkStatus();
}

// Due deliveries, which nobody else takes meanwhile.
absl::StatusOr<std::vector<Delivery>> WebhookSender::Claim(int limit) {
  return WriteResult(store_, [&](StoreTransaction& store) -> absl::StatusOr<std::vector<Delivery>> {
    const absl::Time now = clock_.Now();
    QD_ASSIGN_OR_RETURN(std::vector<Delivery> due, store.DueDeliveries(now, limit));
    for (Delivery& delivery : due) {
      delivery.next_attempt_time = now + kClaim;
      QD_RETURN_IF_ERROR(store.UpdateDelivery(delivery));
    }
    return due;
  });
}

void WebhookSender::Send(Delivery delivery) {
  const absl::Status status = CatchExceptions("webhooks", [&]() -> absl::Status {
    QD_ASSIGN_OR_RETURN(const PostOutcome outcome, Try(delivery));
    return Note(outcome, delivery);
  });
  // Its job may have been deleted.
  if (!status.ok() && ReasonOf(status) != Reason::kJobNotFound) {
    spdlog::error("webhook delivery {}: {}", delivery.id, std::string(status.message()));
  }
  absl::MutexLock lock(&mutex_);
  --busy_;
  look_ = true;
}

absl::StatusOr<PostOutcome> WebhookSender::Try(const Delivery& delivery) {
  // The operator may have changed his mind since the job was made.
  const auto target = options_.hosts.Check("url", delivery.url);
  if (!target.ok()) {
    return PostOutcome{.error = "the operator does not allow the host", .refused_here = true};
  }
  QD_ASSIGN_OR_RETURN(const Job job, ReadResult(store_, [&](StoreReader& store) {
                        return store.GetJob(delivery.job_id);
                      }));
  QD_ASSIGN_OR_RETURN(const std::string body, body_(delivery, job));
  return Post({.url = target->url,
               .headers = {"Content-Type: application/json", "User-Agent: quantd",
                           "Expect:",  // the body is small: sent at once
                           absl::StrCat("Quantd-Delivery: ", delivery.id),
                           absl::StrCat("Quantd-Signature: ",
                                        SignatureHeader(options_.secret, clock_.Now(), body))},
               .body = body,
               .allow_internal = target->internal},
              stopping_);
}

absl::Status WebhookSender::Note(const PostOutcome& outcome, Delivery& delivery) {
  const absl::Time now = clock_.Now();
  if (outcome.stopped) {
    delivery.next_attempt_time = now;  // not a try: the next server makes it
  } else {
    double fraction = 0;
    {
      absl::MutexLock lock(&mutex_);
      fraction = std::uniform_real_distribution<double>(0, 1)(random_);
    }
    NoteOutcome(outcome, limits_, now, fraction, delivery);
  }
  QD_RETURN_IF_ERROR(
      store_.Write([&](StoreTransaction& store) { return store.UpdateDelivery(delivery); }));
  if (outcome.stopped) return absl::OkStatus();
  switch (delivery.state) {
    case DeliveryState::kDelivered:
      metrics_.WebhookTried("delivered");
      break;
    case DeliveryState::kPending:
      metrics_.WebhookTried("retry");
      break;
    case DeliveryState::kFailed:
      metrics_.WebhookTried("failed");
      spdlog::warn("webhook delivery {} of job {} is given up after {} tries: {}", delivery.id,
                   delivery.job_id, delivery.attempts, delivery.last_error);
      break;
  }
  return absl::OkStatus();
}

}  // namespace quantd
