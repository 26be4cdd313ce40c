// Tells webhooks what there is to tell: takes due deliveries from the store, signs and posts them,
// and notes how that went. At least once each; those of one webhook of one job in order.
#pragma once

#include <atomic>
#include <functional>
#include <random>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "server/executor.h"
#include "server/limits.h"
#include "server/metrics.h"
#include "server/store/store.h"
#include "server/webhooks/hosts.h"
#include "server/webhooks/http_post.h"

namespace quantd {

// The header by which a receiver knows that the body is ours and when it was sent:
// "t=1700000000,v1=<hex of HMAC-SHA256(secret, '1700000000.' + body)>".
std::string SignatureHeader(std::string_view secret, absl::Time now, std::string_view body);

// What becomes of a delivery whose try has ended so. `fraction`, 0 to 1, draws the wait: half of it
// is fixed, so that it never vanishes.
void NoteOutcome(const PostOutcome& outcome, const Limits& limits, absl::Time now, double fraction,
                 Delivery& delivery);

struct SenderOptions {
  WebhookHosts hosts = {};
  std::string secret = {};
  int lanes = 8;  // posts at a time
  uint64_t seed = 0;
};

// Thread-safe.
class WebhookSender {
 public:
  // The body of a delivery about a job.
  using Body = std::function<absl::StatusOr<std::string>(const Delivery&, const Job&)>;
  // All must outlive the sender.
  WebhookSender(Store& store, const Clock& clock, const Limits& limits, Metrics& metrics,
                SenderOptions options, Body body);
  ~WebhookSender();
  WebhookSender(const WebhookSender&) = delete;
  WebhookSender& operator=(const WebhookSender&) = delete;

  // Looks each `period` for what is due, on a thread of its own, until Stop.
  void Start(absl::Duration period);
  // Breaks off posts under way: they are tried again by the next server.
  void Stop();

 private:
  void Loop(absl::Duration period);
  absl::Status Tick();
  absl::StatusOr<std::vector<Delivery>> Claim(int limit);
  void Send(Delivery delivery);
  absl::StatusOr<PostOutcome> Try(const Delivery& delivery);
  absl::Status Note(const PostOutcome& outcome, Delivery& delivery);

  Store& store_;
  const Clock& clock_;
  const Limits& limits_;
  Metrics& metrics_;
  const SenderOptions options_;
  const Body body_;
  Executor lanes_;
  std::atomic<bool> stopping_ = false;
  absl::Mutex mutex_;
  std::mt19937_64 random_ ABSL_GUARDED_BY(mutex_);
  int busy_ ABSL_GUARDED_BY(mutex_) = 0;
  bool look_ ABSL_GUARDED_BY(mutex_) = false;  // a lane is free again
  std::thread thread_;
};

}  // namespace quantd
