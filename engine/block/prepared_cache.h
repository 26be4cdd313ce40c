// What the linears of one block share that are prepared alike.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "base/error.h"
#include "engine/method/registry.h"

namespace quantd {

// Remembers what was prepared last: q, k and v, gate and up follow each other.
class PreparedCache {
 public:
  // Null if the method prepares nothing. `statistics` may be null.
  absl::StatusOr<std::shared_ptr<const Prepared>> Get(const ResolvedLinear& entry,
                                                      const InputStatistics* statistics,
                                                      const MethodContext& context) {
    const Method& method = *FindMethod(entry.scheme->method);
    if (method.prepare == nullptr) return nullptr;
    if (entry.linear->input == input_ && *entry.scheme == scheme_) return prepared_;
    prepared_.reset();
    QD_ASSIGN_OR_RETURN(prepared_, method.prepare(*entry.scheme, statistics, context));
    input_ = entry.linear->input;
    scheme_ = *entry.scheme;
    return prepared_;
  }

 private:
  int input_ = -1;
  Scheme scheme_;
  std::shared_ptr<const Prepared> prepared_;
};

}  // namespace quantd
