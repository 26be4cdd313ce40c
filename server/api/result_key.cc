#include "server/api/result_key.h"

#include <algorithm>
#include <filesystem>
#include <string_view>
#include <system_error>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/digest.h"
#include "base/error.h"
#include "base/files.h"
#include "server/api/job_messages.h"

namespace quantd {
namespace {

namespace fs = std::filesystem;

// Configurations and tokenizers are smaller, weights seldom are.
constexpr int64_t kReadWholeBytes = int64_t{32} << 20;

// Size and time of the last change, without which a large file is not known again.
absl::Status AddStamp(const std::string& path, Sha256& sha) {
  std::error_code error;
  const auto size = fs::file_size(path, error);
  if (error) return ErrnoError("cannot look at", path, error.value());
  const auto changed = fs::last_write_time(path, error);
  if (error) return ErrnoError("cannot look at", path, error.value());
  sha.Update(absl::StrCat("stamp ", size, " ", changed.time_since_epoch().count(), "\n"));
  return absl::OkStatus();
}

absl::Status AddFile(const std::string& path, Sha256& sha) {
  QD_ASSIGN_OR_RETURN(const auto file, RandomAccessFile::Open(path));
  if (file->size() > kReadWholeBytes) return AddStamp(path, sha);
  QD_ASSIGN_OR_RETURN(const std::string digest, DigestOf(*file));
  sha.Update(absl::StrCat("content ", digest, "\n"));
  return absl::OkStatus();
}

// A folder, or a GGUF file with those beside it, of which it may be the first part.
absl::Status AddModelPath(const PlannedQuantization& planned, Sha256& sha) {
  const std::string& path = planned.request.model_folder;
  const bool folder = IsFolder(path);
  const std::string place = folder ? path : fs::path(path).parent_path().string();
  QD_ASSIGN_OR_RETURN(const std::string samples, planned.checkpoint.Fingerprint());
  sha.Update(absl::StrCat("model ", path, " ", samples, "\n"));
  QD_ASSIGN_OR_RETURN(const std::vector<std::string> names, ListFolder(place));
  for (const std::string& name : names) {
    const std::string file = absl::StrCat(place, "/", name);
    if (IsFolder(file) || (!folder && !name.ends_with(".gguf"))) continue;
    sha.Update(absl::StrCat("file ", name, "\n"));
    QD_RETURN_IF_ERROR(AddFile(file, sha));
  }
  return absl::OkStatus();
}

void AddUpload(const Upload& upload, Sha256& sha) {
  sha.Update(absl::StrCat("upload ", upload.name, "\n"));
  for (const UploadFile& file : upload.files) {
    sha.Update(absl::StrCat("file ", file.path, " ", file.sha256, "\n"));
  }
}

absl::Status AddText(const v1::DatasetSource& dataset, Sha256& sha) {
  if (!dataset.has_path()) return absl::OkStatus();
  sha.Update(absl::StrCat("text ", dataset.path(), "\n"));
  return AddStamp(dataset.path(), sha);
}

}  // namespace

absl::StatusOr<std::string> ResultKey(const v1::JobSpec& spec, const PlannedQuantization& planned,
                                      const std::vector<Upload>& uploads) {
  v1::JobSpec deciding = spec;
  v1::Resources& resources = *deciding.mutable_resources();
  for (const auto clear : {&v1::Resources::clear_max_memory_bytes, &v1::Resources::clear_priority,
                           &v1::Resources::clear_max_run_time, &v1::Resources::clear_max_queue_time,
                           &v1::Resources::clear_threads}) {
    (resources.*clear)();
  }
  Sha256 sha;
  sha.Update("quantd result 1 of " QUANTD_VERSION "\n");
  sha.Update(DeterministicBytes(deciding));
  sha.Update("\n");
  if (spec.model().has_path()) QD_RETURN_IF_ERROR(AddModelPath(planned, sha));
  for (const Upload& upload : uploads) AddUpload(upload, sha);
  QD_RETURN_IF_ERROR(AddText(spec.calibration().dataset(), sha));
  QD_RETURN_IF_ERROR(AddText(spec.evaluation().dataset(), sha));
  return sha.FinishHex();
}

}  // namespace quantd
