// When to try again, and how long to wait before.
#pragma once

#include <cstdint>
#include <optional>
#include <random>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/clock.h"

namespace quantd {

struct RetryOptions {
  absl::Duration first_wait = absl::Milliseconds(100);
  absl::Duration longest_wait = absl::Seconds(2);
  // Since the last success; after it the error is given back.
  absl::Duration patience = absl::Seconds(2);
};

// Waits that double, each shortened by chance to between half and the whole of it, so that many
// clients of a server that comes back do not arrive together. Thread-compatible.
class Backoff {
 public:
  Backoff(const RetryOptions& options, uint64_t seed, const Clock& clock = Clock::System());

  // How long to wait before the next try; nothing when patience is spent.
  std::optional<absl::Duration> Next();
  // After a success: begins anew.
  void Reset();

 private:
  const RetryOptions options_;
  const Clock& clock_;
  std::mt19937_64 random_;
  absl::Duration wait_;
  // Since when it has failed without a success between.
  std::optional<absl::Time> failing_since_;
};

// Whether the same call may succeed later without anybody changing it: the server is away or going.
bool IsTransient(const absl::Status& status);

}  // namespace quantd
