// What attempts of a task have sealed, in the blob store: the runner's journal is stored as it
// grows, and an attempt on any worker of the same kind begins with what those before it left.
//
// Each attempt writes below its own fencing token, so one that is thought dead harms none. Blocks
// of several attempts are taken together where their fingerprints are the same to the byte. Nothing
// here is trusted: the engine checks fingerprint and digests of all that it finds.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "blob/blob_store.h"
#include "worker/runner/journal_files.h"

namespace quantd {

// Thread-compatible.
class TaskCheckpoint {
 public:
  // `prefix`: of all attempts of the task, ends in '/'. `folder`: where the runner keeps its
  // journal. Made for one attempt; `blobs` outlives it.
  TaskCheckpoint(BlobStore& blobs, std::string prefix, int64_t fencing_token, std::string folder,
                 std::string_view engine_version, std::string_view isa);

  // Fills the folder, which is made, with what earlier attempts have left. An error leaves less
  // there than there could be, nothing wrong.
  absl::Status Fetch();
  // Stores what the runner has sealed since the last time, and removes what it needs no longer. An
  // error leaves the rest for the next time.
  absl::Status Store();

  // Blocks and choices of a recipe that are stored, by this attempt and those before it.
  int64_t sealed() const { return sealed_; }

 private:
  // What of one attempt is in the store.
  struct Attempt {
    std::string prefix;  // ends in '/'
    std::vector<JournalRecord> records;
  };
  absl::Status Get(const std::string& prefix, const JournalRecord& record);
  absl::Status Put(const JournalRecord& record);
  absl::Status NoticeNewJournal();
  // Newest first.
  absl::StatusOr<std::vector<Attempt>> EarlierAttempts() const;
  bool IsStored(const std::string& name) const;
  void Count();

  BlobStore& blobs_;
  const std::string prefix_, own_prefix_, folder_;
  const int64_t fencing_token_;
  const std::string engine_version_, isa_;
  std::string fingerprint_;                     // text of its file, once it is known
  std::map<std::string, JournalRecord> known_;  // records that are in the store, by name
  std::map<std::string, ino_t> fetched_;  // the files of those that were there before, as fetched
  std::set<std::string> own_;             // those of them that this attempt has put there
  int64_t sealed_ = 0;
};

}  // namespace quantd
