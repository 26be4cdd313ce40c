// Every limit that a request can meet: set in the config, shown by GetCapabilities.
#pragma once

#include <cstdint>

#include "absl/time/time.h"

namespace quantd {

struct Limits {
  int64_t message_bytes = int64_t{4} << 20;
  int page_size = 1000;
  int default_page_size = 50;
  int64_t page_bytes = int64_t{3} << 20;  // a page ends early rather than pass the message limit
  int64_t queue_length = 20000;           // jobs waiting
  int64_t open_jobs = 20000;              // jobs not final, per tenant
  int64_t spec_bytes = int64_t{256} << 10;
  int labels = 64;
  int label_characters = 63;
  int overrides = 1000;
  absl::Duration max_run_time = absl::Hours(24);
  int max_attempts = 3;                                   // that fail and seal nothing new
  absl::Duration retry_delay = absl::Seconds(2);          // after the first, doubled for each more
  absl::Duration longest_retry_delay = absl::Minutes(5);  // at most
  absl::Duration stall_time = absl::Minutes(15);          // least time without progress: stuck
  int64_t tenant_queue = 20000;                           // jobs waiting, per tenant
  int64_t tenant_running = 20000;                         // tasks running, per tenant
  absl::Duration retention = absl::InfiniteDuration();    // of jobs that have ended
  int64_t upload_bytes = int64_t{1} << 40;                // per tenant; what is shared counts once
  int upload_files = 10000;                               // of one upload
  absl::Duration upload_expiry = absl::Hours(24);         // of an unfinished one, without a byte
  int webhooks = 8;                                       // of one request
  int job_webhooks = 64;                                  // of one job that several requests share
  int webhook_url_characters = 2048;
  absl::Duration webhook_retry_delay = absl::Seconds(5);  // after the first try, then doubled
  absl::Duration longest_webhook_delay = absl::Hours(1);  // at most
  absl::Duration webhook_patience = absl::Hours(24);      // with one delivery
  int streams = 1000;
  int chunk_bytes = 1 << 20;
  int events_per_call = 1000;
  absl::Duration lease = absl::Seconds(30);
  absl::Duration long_poll = absl::Seconds(20);
};

}  // namespace quantd
