// From what a call brought along to who calls and whether it may.
#pragma once

#include <functional>
#include <map>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "server/access/rpc_table.h"
#include "server/caller.h"
#include "server/store/store.h"

namespace quantd {

// The headers of a call, as they came.
struct Credentials {
  std::string authorization = {};  // "Bearer quantd_…"; empty: none
  std::string tenant = {};         // whose jobs an admin wants: a name, or "*" for all; empty: own
};

enum class TokenRule {
  kOnceThereAreAny,  // without tokens everybody may do everything, in the default tenant
  kAlways,
};

// Thread-safe. Reads the store at each call: a token that is made or revoked by another process
// counts at once.
class AccessControl {
 public:
  // `later` runs work that the call need not wait for.
  AccessControl(Store& store, const Clock& clock, TokenRule rule,
                std::function<void(std::function<void()>)> later);

  // Who calls, if the caller may call `rpc`. UNAUTHENTICATED without a token that is good,
  // PERMISSION_DENIED without the role. Blocks on the store.
  absl::StatusOr<Caller> Admit(const RpcRow& rpc, const Credentials& credentials);

  // The two halves of Admit: who calls, and whether that caller may. Authorize also turns `caller`
  // to the tenant that the headers ask for.
  absl::StatusOr<Caller> Identify(const Credentials& credentials);
  static absl::Status Authorize(const RpcRow& rpc, const Credentials& credentials, Caller& caller);

  // The secret of a worker's token that is good as long as this object lives and is in no store.
  // The same at each call.
  const std::string& LocalWorkerSecret() const { return local_secret_; }

 private:
  absl::StatusOr<Caller> Anonymous();
  absl::Status CheckValid(const Token& token) const;
  void NoteUse(const Token& token);

  Store& store_;
  const Clock& clock_;
  const TokenRule rule_;
  const std::function<void(std::function<void()>)> later_;
  const std::string local_secret_, local_digest_;
  absl::Mutex mutex_;
  bool has_tokens_ ABSL_GUARDED_BY(mutex_) = false;  // one was seen: that never changes back
  std::map<std::string, absl::Time> noted_ ABSL_GUARDED_BY(mutex_);  // uses, by token id
};

}  // namespace quantd
