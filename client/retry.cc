#include "client/retry.h"

#include <algorithm>

namespace quantd {

Backoff::Backoff(const RetryOptions& options, uint64_t seed, const Clock& clock)
    : options_(options), clock_(clock), random_(seed), wait_(options.first_wait) {}

std::optional<absl::Duration> Backoff::Next() {
  const absl::Time now = clock_.Now();
  if (!failing_since_.has_value()) failing_since_ = now;
  if (now - *failing_since_ >= options_.patience) return std::nullopt;
  const double share = std::uniform_real_distribution<double>(0.5, 1.0)(random_);
  const absl::Duration wait = wait_ * share;
  wait_ = std::min(wait_ * 2, options_.longest_wait);
  return wait;
}

void Backoff::Reset() {
  wait_ = options_.first_wait;
  failing_since_.reset();
}

bool IsTransient(const absl::Status& status) {
  return status.code() == absl::StatusCode::kUnavailable;
}

}  // namespace quantd
