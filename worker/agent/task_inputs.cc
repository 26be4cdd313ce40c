#include "worker/agent/task_inputs.h"

#include <algorithm>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/error.h"
#include "base/files.h"

namespace quantd {
namespace {

// What the server says is checked before it becomes a path: a worker does not trust one more than
// it must.
absl::Status CheckPart(std::string_view part) {
  const bool plain = !part.empty() && part != "." && part != ".." && part.find('/') == part.npos &&
                     part.find('\0') == part.npos;
  if (plain) return absl::OkStatus();
  return MakeError(Reason::kInvalidField, "refused",
                   Violation{.where = "assignment.inputs",
                             .got = std::string(part),
                             .wanted = "names without folders"});
}

absl::Status FetchFile(const BlobStore& blobs, const v1::TaskInput::File& file,
                       const std::string& path) {
  QD_RETURN_IF_ERROR(blobs.GetCopy(file.blob(), path));
  QD_ASSIGN_OR_RETURN(const auto fetched, RandomAccessFile::Open(path));
  if (fetched->size() == file.bytes()) return absl::OkStatus();
  return MakeError(Reason::kUploadCorrupt, "a file of the upload has changed its size",
                   Violation{.where = file.path(),
                             .got = absl::StrCat(fetched->size()),
                             .wanted = absl::StrCat(file.bytes())});
}

}  // namespace

absl::Status FetchInputs(const BlobStore& blobs, const v1::TaskAssignment& assignment,
                         const std::string& folder, QuantizeRequest& request) {
  if (assignment.inputs().empty()) return absl::OkStatus();
  for (const v1::TaskInput& input : assignment.inputs()) {
    for (const absl::string_view part : absl::StrSplit(input.name(), '/')) {
      QD_RETURN_IF_ERROR(CheckPart(ToStd(part)));
    }
    const std::string place = absl::StrCat(folder, "/", input.name());
    QD_RETURN_IF_ERROR(MakeFolders(place));
    for (const v1::TaskInput::File& file : input.files()) {
      QD_RETURN_IF_ERROR(CheckPart(file.path()));
      const std::string path = absl::StrCat(place, "/", file.path());
      QD_RETURN_IF_ERROR(FetchFile(blobs, file, path));
      // A dataset is its one file.
      if (request.calibration.text == input.name()) request.calibration.text = path;
      if (request.evaluation.text == input.name()) request.evaluation.text = path;
    }
    if (request.model_folder == input.name()) request.model_folder = place;
  }
  QD_ASSIGN_OR_RETURN(const std::string root, RealPath(folder));
  request.model_roots.push_back(root);
  return absl::OkStatus();
}

}  // namespace quantd
