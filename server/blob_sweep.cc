#include "server/blob_sweep.h"

#include <charconv>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_split.h"
#include "base/error.h"
#include "base/log.h"
#include "server/lifecycle.h"

namespace quantd {
namespace {

// What of a job's blobs is wanted.
struct Wanted {
  bool job = false;              // it is there
  bool open = false;             // and has not ended
  std::optional<int64_t> token;  // of the attempt whose files stay
};

absl::StatusOr<Wanted> WantedOf(StoreReader& store, const std::string& id) {
  const auto job = store.GetJob(id);
  if (ReasonOf(job.status()) == Reason::kJobNotFound) return Wanted{};
  if (!job.ok()) return job.status();
  Wanted wanted{.job = true, .open = !IsFinal(job->state), .token = {}};
  QD_ASSIGN_OR_RETURN(const auto task, store.FindTaskOfJob(id));
  if (!task.has_value()) return MakeError(Reason::kInternal, "a job without its task");
  QD_ASSIGN_OR_RETURN(const auto lease, store.FindLease(task->id));
  QD_ASSIGN_OR_RETURN(const auto files, store.ListArtifactFiles(*job, "", 1));
  if (lease.has_value() || !files.empty()) wanted.token = task->fencing_token;
  return wanted;
}

std::optional<int64_t> TokenOf(const std::string& text) {
  int64_t token = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), token);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return token;
}

}  // namespace

absl::Status SweepBlobs(Store& store, BlobStore& blobs) {
  // Listed before the store is asked: a blob of a lease that is given in the meantime is not in it.
  QD_ASSIGN_OR_RETURN(const std::vector<std::string> names, blobs.List("jobs"));
  std::map<std::string, std::set<int64_t>> tokens;
  std::set<std::string> checkpoints;
  for (const std::string& name : names) {
    const std::vector<std::string> parts = absl::StrSplit(name, absl::MaxSplits('/', 3));
    if (parts.size() < 3) continue;
    std::set<int64_t>& of_job = tokens[parts[1]];
    if (const auto token = TokenOf(parts[2])) of_job.insert(*token);
    if (name.starts_with(CheckpointPrefix(parts[1]) + "/")) checkpoints.insert(parts[1]);
  }
  for (const auto& [id, there] : tokens) {
    QD_ASSIGN_OR_RETURN(const Wanted wanted, ReadResult(store, [&, &job = id](StoreReader& reader) {
                          return WantedOf(reader, job);
                        }));
    if (!wanted.job) {
      spdlog::info("removing the files of job {}, which was deleted", id);
      QD_RETURN_IF_ERROR(blobs.DeleteAll(BlobPrefix(id)));
      continue;
    }
    if (!wanted.open && checkpoints.contains(id)) {
      spdlog::info("removing what was kept for attempts of job {}, which has ended", id);
      QD_RETURN_IF_ERROR(blobs.DeleteAll(CheckpointPrefix(id)));
    }
    for (const int64_t token : there) {
      if (token == wanted.token) continue;
      spdlog::info("removing what is left of job {}'s attempt with token {}", id, token);
      QD_RETURN_IF_ERROR(blobs.DeleteAll(BlobPrefix(id, token)));
    }
  }
  return absl::OkStatus();
}

}  // namespace quantd
