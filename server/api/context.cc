#include "server/api/context.h"

#include "base/log.h"

namespace quantd {

void ApiContext::Committed(const AfterCommit& after) {
  for (const std::string& topic : after.topics) hub.Announce(topic);
  if (!after.topics.empty()) {
    executor.Run([this, topics = after.topics] { store.Announce(topics); });
  }
  if (after.blob_prefixes.empty()) return;
  executor.Run([this, prefixes = after.blob_prefixes] {
    for (const std::string& prefix : prefixes) {
      // What is left behind is swept when the server starts.
      if (const absl::Status status = blobs.DeleteAll(prefix); !status.ok()) {
        spdlog::error("cannot remove blobs {}: {}", prefix, std::string(status.message()));
      }
    }
  });
}

}  // namespace quantd
