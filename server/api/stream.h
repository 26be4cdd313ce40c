// What WatchJob and ReadArtifactFile share: a server stream whose next message is found on the
// executor and written only when the one before has left, so that a slow reader costs one page or
// chunk of memory.
//
// One flow of control owns the call at any time: a step on the executor, a write under way, or a
// wait in the hub. Each ends in the next or in Finish, and whatever happens (cancel, shutdown, a
// broken connection) only wakes that flow up.
#pragma once

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <optional>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "base/exceptions.h"
#include "server/api/calls.h"
#include "server/api/context.h"

namespace quantd {

// Deletes itself when the call is over.
template <typename Response>
class Stream : public grpc::ServerWriteReactor<Response> {
 public:
  Stream(ApiContext& api, const RpcRow& rpc, Credentials credentials)
      : api_(api), rpc_(rpc), credentials_(std::move(credentials)), timer_(api, rpc.method) {
    ++api_.streams;
  }

  // Begins; call once, after construction is complete.
  void Start() {
    if (api_.streams.load() > api_.limits.streams) {
      return End(MakeError(Reason::kQuotaExceeded, "too many streams are open; try again later"));
    }
    if (const absl::Status busy = CheckLoad(api_.executor); !busy.ok()) return End(busy);
    Continue();
  }

  void OnWriteDone(bool ok) final {
    if (!ok) return End(MakeError(Reason::kCancelled, "the client is gone"));
    if (api_.hub.stopped()) return End(ShuttingDown());
    if (const Response* next = NextReady()) return this->StartWrite(next);
    Continue();
  }

  void OnCancel() final {
    cancelled_.store(true);
    absl::MutexLock lock(&mutex_);
    if (ticket_.has_value()) api_.hub.WakeNow(*ticket_);
  }

  // gRPC calls it when OnCancel has returned; by the lock that order is ours as well.
  void OnDone() final {
    {
      absl::MutexLock lock(&mutex_);
    }
    --api_.streams;
    delete this;
  }

 protected:
  // The next message that needs no work, or nullptr. The message stays until the next call.
  virtual const Response* NextReady() { return nullptr; }
  // On the executor: writes (Write), waits (WaitFor) or ends (End); exactly one of them, as the
  // last thing it does. The caller is looked at anew for each step: a token that is revoked or
  // expires ends its streams at their next message.
  virtual void Step(const Caller& caller) = 0;

  void Write(const Response* message) { this->StartWrite(message); }

  void WaitFor(const std::string& topic, uint64_t seen) {
    absl::MutexLock lock(&mutex_);
    ticket_ = api_.hub.Wait(topic, seen, absl::InfiniteDuration(), [this] { RunStep(); });
    if (cancelled_.load()) api_.hub.WakeNow(*ticket_);
  }

  void End(const absl::Status& status) { this->Finish(timer_.End(status)); }

  ApiContext& api_;

 private:
  const RpcRow& rpc_;
  const Credentials credentials_;

  void Continue() {
    api_.executor.Run([this] { RunStep(); });
  }
  void RunStep() {
    {
      absl::MutexLock lock(&mutex_);
      ticket_.reset();
    }
    if (cancelled_.load()) return End(MakeError(Reason::kCancelled, "the client is gone"));
    if (api_.hub.stopped()) return End(ShuttingDown());
    // What throws does so before the step ends in a write, a wait or an end.
    const absl::Status status = CatchExceptions("a stream", [this]() -> absl::Status {
      QD_ASSIGN_OR_RETURN(const Caller caller, api_.access.Admit(rpc_, credentials_));
      Step(caller);
      return absl::OkStatus();
    });
    if (!status.ok()) End(status);
  }

  const CallTimer timer_;
  std::atomic<bool> cancelled_ = false;
  absl::Mutex mutex_;
  std::optional<EventHub::Ticket> ticket_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace quantd
