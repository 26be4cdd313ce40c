// One switch that stops every call and every wait of this client: Ctrl-C turns it.
#pragma once

#include <set>

#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace grpc {
class ClientContext;
}

namespace quantd {

// Thread-safe. Once cancelled it stays so.
class Cancellation {
 public:
  // Stops the calls in flight (they end with CANCELLED) and wakes every Sleep.
  void Cancel();
  bool cancelled() const;
  // Waits; false when it was cancelled before or meanwhile.
  bool Sleep(absl::Duration duration) const;

  // While it lives, Cancel reaches this call. Make it after the context and before the call.
  class Scope {
   public:
    Scope(Cancellation& cancellation, grpc::ClientContext& context);
    ~Scope();
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    Cancellation& cancellation_;
    grpc::ClientContext& context_;
  };

 private:
  mutable absl::Mutex mutex_;
  bool cancelled_ = false;
  std::set<grpc::ClientContext*> calls_;
};

}  // namespace quantd
