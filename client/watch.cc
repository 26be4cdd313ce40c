#include "client/watch.h"

#include "absl/strings/str_cat.h"
#include "base/error.h"

namespace quantd {

bool IsFinal(v1::Job::State state) {
  return state == v1::Job::SUCCEEDED || state == v1::Job::FAILED || state == v1::Job::CANCELLED;
}

absl::Status WatchJob(Connection& connection, const WatchOptions& options,
                      const std::function<absl::Status(const v1::JobEvent&)>& on_event) {
  Backoff backoff(options.retry, RandomSeed());
  int64_t last = options.after_sequence;
  bool final = false;
  absl::Status refused;
  const auto take = [&](const v1::JobEvent& event) -> absl::Status {
    if (event.sequence() <= last) return absl::OkStatus();
    if (event.sequence() != last + 1) {
      return MakeError(Reason::kUnavailable,
                       absl::StrCat("event ", event.sequence(), " came after event ", last));
    }
    last = event.sequence();
    backoff.Reset();
    refused = on_event(event);
    final = event.has_state_change() && IsFinal(event.state_change().state());
    return refused;
  };
  while (true) {
    v1::WatchJobRequest request;
    request.set_name(options.job);
    request.set_after_sequence(last);
    absl::Status status = connection.StreamEvents(request, take);
    if (!refused.ok()) return refused;
    if (final) return absl::OkStatus();
    if (status.ok()) {
      // A job that was final before after_sequence has nothing more to tell.
      QD_ASSIGN_OR_RETURN(const v1::Job job, connection.GetJob(options.job, v1::JOB_VIEW_BASIC));
      if (IsFinal(job.state()) && job.last_sequence() <= last) return absl::OkStatus();
      status = MakeError(Reason::kUnavailable, "the server ended the stream");
    }
    if (!IsTransient(status)) return status;
    if (options.on_break) options.on_break(status);
    const auto wait = backoff.Next();
    if (!wait.has_value()) return status;
    if (!connection.cancellation().Sleep(*wait)) {
      return MakeError(Reason::kCancelled, "interrupted");
    }
  }
}

}  // namespace quantd
