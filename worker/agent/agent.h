// The loop of a worker that works for a server.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <string_view>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "quantd/v1/worker_service.pb.h"
#include "worker/agent/leased_task.h"
#include "worker/agent/synchronizer.h"

namespace quantd {

struct AgentOptions {
  std::string worker;   // name, unique among workers of the server
  std::string session;  // random, new for each start of the process
  v1::WorkerCapabilities capabilities;
  TaskResources resources;

  absl::Duration long_poll = absl::Seconds(30);          // idle calls wait so long for work
  absl::Duration call_timeout = absl::Seconds(10);       // beyond the long poll
  absl::Duration batch_events = absl::Milliseconds(50);  // least time between two calls with events
  absl::Duration longest_silence = absl::Seconds(1);     // with a task, between two calls
  absl::Duration first_retry = absl::Milliseconds(100);  // doubled for each failure in a row …
  absl::Duration last_retry = absl::Seconds(5);          // … up to this, each with jitter
  absl::Duration shutdown_grace = absl::Seconds(20);     // to hand back a task
  int events_per_call = 500;
  uint64_t jitter_seed = 0;  // another for each worker
};

// A state machine of three variables: the task (or none), whether the worker is leaving, and when
// to call next. Each Run is one turn of it. One thread runs the agent; Shutdown may be called from
// any thread.
class Agent {
 public:
  // `synchronizer` and `clock` must outlive the agent. The clock measures leases and every wait but
  // the deadlines of calls, which are gRPC's.
  Agent(AgentOptions options, Synchronizer& synchronizer, const Clock& clock = Clock::System());
  ~Agent();

  // One turn:
  //   1. waits until there is something to say: news of the task, the heartbeat, the end of a
  //      back-off, or a shutdown; without a task there always is ("I am idle")
  //   2. says what is, hears what should be. The server holds the call of a worker that is idle or
  //      whose task has no news, until it wants something else; news of the task end such a call
  //   3. makes it so: begins a task, stops one, forgets one; or, without an answer, keeps the task
  //      running until its lease has certainly passed to somebody else
  // An exception in a turn counts as no answer. False when the worker has left: after Shutdown, a
  // drain by the server, or when another session has its name.
  bool Run();

  // Take no more work, hand back the task. Run returns false within the shutdown grace.
  void Shutdown();

  // Why Run returned false: OK, or LEASE_LOST when another session has taken the name.
  absl::Status exit_status() const { return exit_status_; }
  bool busy() const { return task_ != nullptr; }

 private:
  absl::Status Turn();
  void WaitUntilDue();
  v1::SynchronizeRequest WhatIs();
  absl::StatusOr<v1::SynchronizeResponse> Call(const v1::SynchronizeRequest& request);
  void MakeItSo(const v1::SynchronizeResponse& response);
  void Obey(const v1::SynchronizeResponse& response);
  void Begin(const v1::SynchronizeResponse& response);
  void WithoutAnswer(const absl::Status& status);
  void BackOff();
  void Forget(std::string_view why);
  bool Left();
  bool leaving() const;
  void Wake();
  void Hold(bool held);
  void HangUp() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool HungUp();

  const AgentOptions options_;
  Synchronizer& synchronizer_;
  const Clock& clock_;

  std::unique_ptr<LeasedTask> task_;
  std::string blob_store_uri_;
  absl::Time lease_expires_ = absl::InfiniteFuture();
  absl::Duration heartbeat_ = absl::ZeroDuration();  // the server holds a silent call so long
  absl::Time next_call_ = absl::InfinitePast();
  absl::Time last_call_ = absl::InfinitePast();
  absl::Time leave_by_ = absl::InfiniteFuture();
  bool backing_off_ = false;
  bool drained_ = false;        // the server gives no more work: leave when idle
  bool farewell_said_ = false;  // or tried
  int failures_ = 0;            // in a row
  int sessions_lost_ = 0;       // idle calls refused in a row
  absl::Status exit_status_;
  std::mt19937_64 random_;

  mutable absl::Mutex mutex_;
  bool leaving_ ABSL_GUARDED_BY(mutex_) = false;
  bool leaving_is_new_ ABSL_GUARDED_BY(mutex_) = false;  // no turn has seen it yet
  bool held_ ABSL_GUARDED_BY(mutex_) = false;     // the call under way says nothing: news end it
  bool hung_up_ ABSL_GUARDED_BY(mutex_) = false;  // a call was ended by us, and has not told yet
};

}  // namespace quantd
