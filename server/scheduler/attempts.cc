#include "server/scheduler/attempts.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error.h"

namespace quantd {
namespace {

// Of the share of one block in the estimate.
constexpr int kStallFactor = 20;
// What a worker has to stop by itself what runs too long.
constexpr absl::Duration kOverrunGrace = absl::Minutes(1);
constexpr int kMostDoublings = 20;

const ReasonRow& RowNamed(const std::string& name) {
  return RowOf(ReasonByName(name).value_or(Reason::kInternal));
}

double Doubled(int times) { return std::exp2(std::min(times, kMostDoublings)); }

// In [0, 1), the same for the same task and token. FNV-1a.
double ShareOf(const Task& task) {
  uint64_t hash = 14695981039346656037u;
  for (const char c : absl::StrCat(task.id, "/", task.fencing_token)) {
    hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211u;
  }
  return static_cast<double>(hash >> 11) * 0x1.0p-53;
}

Violation RecordOf(const Attempt& attempt, const Failure& failure) {
  return {.where = absl::StrCat("attempt ", attempt.number, " on ", attempt.worker),
          .got = absl::StrCat(failure.reason, ": ", failure.message),
          .wanted = "a result"};
}

// The attempt failed for `failure`.
Verdict AfterFailure(const Task& task, const Attempt& attempt, Failure failure,
                     const Limits& limits) {
  if (!RowNamed(failure.reason).retryable) {
    return {.state = JobState::kFailed, .failure = std::move(failure), .counts_as_failure = true};
  }
  Violation record = RecordOf(attempt, failure);
  const bool made_progress = attempt.sealed_parts > task.sealed_parts;
  const int failures = task.failures + (made_progress ? 0 : 1);
  if (made_progress || failures < limits.max_attempts) {
    const absl::Duration delay =
        RetryDelay(task, failure.reason, made_progress ? 1 : failures, limits);
    return {.state = JobState::kPending,
            .failure = std::move(failure),
            .counts_as_failure = !made_progress,
            .delay = delay,
            .record = std::move(record)};
  }
  std::vector<Violation> records = task.failed_attempts;
  records.push_back(std::move(record));
  return {.state = JobState::kFailed,
          .failure = Failure{.reason = std::string(RowOf(Reason::kAttemptsExhausted).name),
                             .message = absl::StrCat("failed ", failures,
                                                     " times without progress; last: ",
                                                     failure.reason, ": ", failure.message),
                             .violations = std::move(records)},
          .counts_as_failure = true};
}

Failure LostFailure(const char* what) { return FailureOf(MakeError(Reason::kLeaseLost, what)); }

}  // namespace

Verdict AfterAttempt(JobState job, const Task& task, const Attempt& attempt, const Limits& limits) {
  // Who asked for a cancel gets one, whatever the worker managed to do in the meantime.
  if (job == JobState::kCancelling) return {.state = JobState::kCancelled};
  switch (attempt.end) {
    case AttemptEnd::kSucceeded:
      return {.state = JobState::kSucceeded, .keep_files = true};
    case AttemptEnd::kGateMissed: {
      Failure missed = attempt.failure.value_or(FailureOf(
          MakeError(Reason::kQualityGate, "the result missed the quality gate of the job")));
      return {.state = JobState::kFailed, .failure = std::move(missed), .keep_files = true};
    }
    case AttemptEnd::kFailed:
      return AfterFailure(task, attempt,
                          attempt.failure.value_or(
                              FailureOf(MakeError(Reason::kInternal, "the worker gave no reason"))),
                          limits);
    case AttemptEnd::kLeaseLost:
      return AfterFailure(task, attempt, LostFailure("the worker fell silent or was replaced"),
                          limits);
    case AttemptEnd::kStuck:
      return AfterFailure(task, attempt,
                          LostFailure("the worker is there, but has made no progress for too long"),
                          limits);
    case AttemptEnd::kOverran:
      return AfterFailure(task, attempt,
                          FailureOf(MakeError(Reason::kRunnerTimeLimit,
                                              "the worker went on long after max_run_time")),
                          limits);
    case AttemptEnd::kStopped:
    case AttemptEnd::kReturned:
      return {.state = JobState::kPending};
  }
  return {.state = JobState::kPending};
}

absl::Duration RetryDelay(const Task& task, const std::string& reason, int failures,
                          const Limits& limits) {
  const Reason known = ReasonByName(reason).value_or(Reason::kInternal);
  // That took a lease already, and says nothing about the job.
  if (known == Reason::kLeaseLost && failures <= 1) return absl::ZeroDuration();
  const bool outside = known == Reason::kUnavailable || known == Reason::kIo;
  const double times = Doubled(failures - 1) * (outside ? 4 : 1);
  const absl::Duration longest = std::min(limits.longest_retry_delay, limits.retry_delay * times);
  return longest * (0.5 + 0.5 * ShareOf(task));
}

absl::Duration StallLimit(absl::Duration estimated, int64_t blocks, const Limits& limits) {
  const absl::Duration of_block = estimated / std::max<int64_t>(blocks, 1);
  return std::max(limits.stall_time, kStallFactor * of_block);
}

absl::Time StuckTime(const Task& task, absl::Time start, absl::Time now, const Limits& limits) {
  return std::min(now + task.stall_limit * Doubled(task.failures),
                  start + task.max_run_time + kOverrunGrace + limits.lease);
}

AttemptEnd StuckOrOverran(const Task& task, absl::Time start, absl::Time now) {
  return now >= start + task.max_run_time + kOverrunGrace ? AttemptEnd::kOverran
                                                          : AttemptEnd::kStuck;
}

}  // namespace quantd
