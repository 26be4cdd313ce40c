#include "worker/agent/task_checkpoint.h"

#include <sys/stat.h>

#include <algorithm>
#include <functional>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/error.h"
#include "base/files.h"

namespace quantd {
namespace {

constexpr int64_t kMaxFingerprintBytes = 1 << 20;

const JournalRecord* FingerprintAmong(const std::vector<JournalRecord>& records) {
  const bool is_first = !records.empty() && records.front().part == JournalPart::kFingerprint;
  return is_first ? &records.front() : nullptr;
}

// Another for a file that took the place of one that is still there, under another name.
ino_t FileNumber(const std::string& path) {
  struct stat found = {};
  return stat(path.c_str(), &found) == 0 ? found.st_ino : 0;
}

}  // namespace

TaskCheckpoint::TaskCheckpoint(BlobStore& blobs, std::string prefix, int64_t fencing_token,
                               std::string folder, std::string_view engine_version,
                               std::string_view isa)
    : blobs_(blobs),
      prefix_(std::move(prefix)),
      own_prefix_(absl::StrCat(prefix_, fencing_token, "/")),
      folder_(std::move(folder)),
      fencing_token_(fencing_token),
      engine_version_(engine_version),
      isa_(isa) {}

absl::StatusOr<std::vector<TaskCheckpoint::Attempt>> TaskCheckpoint::EarlierAttempts() const {
  QD_ASSIGN_OR_RETURN(const auto blobs,
                      blobs_.List(std::string_view(prefix_).substr(0, prefix_.size() - 1)));
  std::map<int64_t, std::vector<std::string>, std::greater<>> names;
  for (const std::string& blob : blobs) {
    const std::vector<std::string> parts = absl::StrSplit(blob.substr(prefix_.size()), '/');
    int64_t token = 0;
    if (parts.size() != 2 || !absl::SimpleAtoi(parts[0], &token)) continue;
    if (token < fencing_token_) names[token].push_back(parts[1]);
  }
  std::vector<Attempt> attempts;
  for (const auto& [token, of_attempt] : names) {
    attempts.push_back(
        {.prefix = absl::StrCat(prefix_, token, "/"), .records = JournalRecordsAmong(of_attempt)});
  }
  return attempts;
}

absl::Status TaskCheckpoint::Fetch() {
  QD_RETURN_IF_ERROR(MakeFolders(folder_));
  QD_ASSIGN_OR_RETURN(const std::vector<Attempt> attempts, EarlierAttempts());
  // The newest of each; of boundaries only the one that the engine will begin at is of use.
  using Found = std::pair<std::string, JournalRecord>;
  std::vector<Found> wanted;
  std::map<int64_t, Found> blocks, boundaries;
  bool has_choice = false;
  for (const Attempt& attempt : attempts) {
    const JournalRecord* record = FingerprintAmong(attempt.records);
    if (record != nullptr) {
      QD_ASSIGN_OR_RETURN(const auto file, blobs_.Open(attempt.prefix + record->name));
      QD_ASSIGN_OR_RETURN(std::string text, ReadFile(*file, kMaxFingerprintBytes));
      if (!IsFingerprintOf(text, engine_version_, isa_)) continue;
      if (fingerprint_.empty()) {
        wanted.emplace_back(attempt.prefix, *record);
        fingerprint_ = std::move(text);
      } else if (text != fingerprint_) {
        continue;
      }
    }
    for (const JournalRecord& found : attempt.records) {
      if (found.part == JournalPart::kChoice) {
        if (!std::exchange(has_choice, true)) wanted.emplace_back(attempt.prefix, found);
      } else if (record == nullptr) {
        continue;  // whose they are is not known
      } else if (found.part == JournalPart::kBlock) {
        blocks.try_emplace(found.number, attempt.prefix, found);
      } else if (found.part == JournalPart::kBoundary) {
        boundaries.try_emplace(found.number, attempt.prefix, found);
      }
    }
  }
  int64_t missing = 0;
  while (blocks.contains(missing)) ++missing;
  for (auto& [block, found] : blocks) wanted.push_back(std::move(found));
  const auto behind = boundaries.upper_bound(missing);
  if (behind != boundaries.begin()) wanted.push_back(std::prev(behind)->second);
  for (const auto& [prefix, record] : wanted) QD_RETURN_IF_ERROR(Get(prefix, record));
  Count();
  return absl::OkStatus();
}

absl::Status TaskCheckpoint::Get(const std::string& prefix, const JournalRecord& record) {
  for (const std::string& file : record.files) {
    QD_RETURN_IF_ERROR(blobs_.GetCopy(prefix + file, absl::StrCat(folder_, "/", file)));
  }
  QD_RETURN_IF_ERROR(blobs_.GetCopy(prefix + record.name, absl::StrCat(folder_, "/", record.name)));
  // A fingerprint is put below each token, or the blocks there would be nobody's.
  if (record.part == JournalPart::kFingerprint) return absl::OkStatus();
  known_[record.name] = record;
  fetched_[record.name] = FileNumber(absl::StrCat(folder_, "/", record.name));
  return absl::OkStatus();
}

// An engine that finds a block damaged makes it again, under its name.
bool TaskCheckpoint::IsStored(const std::string& name) const {
  if (!known_.contains(name)) return false;
  const auto fetched = fetched_.find(name);
  return fetched == fetched_.end() ||
         fetched->second == FileNumber(absl::StrCat(folder_, "/", name));
}

// An engine that refuses the journal it finds begins one of its own: then nothing is known.
absl::Status TaskCheckpoint::NoticeNewJournal() {
  const std::string path = absl::StrCat(folder_, "/", ToAbsl(kFingerprintFile));
  if (!PathExists(path)) return absl::OkStatus();
  QD_ASSIGN_OR_RETURN(std::string text, ReadFile(path, kMaxFingerprintBytes));
  if (text == fingerprint_) return absl::OkStatus();
  const bool had_one = !fingerprint_.empty();
  fingerprint_ = std::move(text);
  if (!had_one) return absl::OkStatus();
  std::erase_if(known_,
                [](const auto& entry) { return entry.second.part != JournalPart::kChoice; });
  if (!own_.empty())
    QD_RETURN_IF_ERROR(blobs_.DeleteAll(own_prefix_.substr(0, own_prefix_.size() - 1)));
  own_.clear();
  return absl::OkStatus();
}

absl::Status TaskCheckpoint::Store() {
  if (!IsFolder(folder_)) return absl::OkStatus();
  QD_RETURN_IF_ERROR(NoticeNewJournal());
  QD_ASSIGN_OR_RETURN(const std::vector<std::string> names, ListFolder(folder_));
  for (const JournalRecord& record : JournalRecordsAmong(names)) {
    if (!IsStored(record.name)) QD_RETURN_IF_ERROR(Put(record));
  }
  Count();
  for (auto own = own_.begin(); own != own_.end();) {
    const JournalRecord& record = known_.at(*own);
    const bool dropped = record.part == JournalPart::kBoundary &&
                         std::find(names.begin(), names.end(), record.name) == names.end();
    if (!dropped) {
      ++own;
      continue;
    }
    QD_RETURN_IF_ERROR(blobs_.DeleteAll(own_prefix_ + record.name));
    for (const std::string& file : record.files) {
      QD_RETURN_IF_ERROR(blobs_.DeleteAll(own_prefix_ + file));
    }
    known_.erase(*own);
    own = own_.erase(own);
  }
  return absl::OkStatus();
}

// A record that goes while it is read was of a boundary that is needed no longer.
absl::Status TaskCheckpoint::Put(const JournalRecord& record) {
  std::vector<std::string> files = record.files;
  files.push_back(record.name);
  for (const std::string& file : files) {
    const std::string path = absl::StrCat(folder_, "/", file);
    const absl::Status status = blobs_.PutCopy(own_prefix_ + file, path);
    if (!status.ok() && !PathExists(path)) return absl::OkStatus();
    QD_RETURN_IF_ERROR(status);
  }
  known_[record.name] = record;
  fetched_.erase(record.name);
  own_.insert(record.name);
  return absl::OkStatus();
}

void TaskCheckpoint::Count() {
  sealed_ = std::count_if(known_.begin(), known_.end(), [](const auto& entry) {
    return entry.second.part == JournalPart::kBlock || entry.second.part == JournalPart::kChoice;
  });
}

}  // namespace quantd
