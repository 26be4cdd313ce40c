// Where an artifact is downloaded to.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "quantd/v1/job.pb.h"

namespace quantd {

// "./<model>-<method>-<bits>bit"; the model's name is the last part of its path.
std::string DefaultOutFolder(std::string_view model, std::string_view method, int bits);

// OK when `folder` is not there, is empty, or holds nothing but `files` with their sizes and
// digests. Else INVALID_FIELD, naming what is in the way. Temporary files of a download that was
// cut off do not count.
absl::Status CheckOutFolder(const std::string& folder, std::span<const v1::ArtifactFile> files);
// What --force does: an older result or model goes, but for what is the same as in `files`.
absl::Status ReplaceOlderResult(const std::string& folder, std::span<const v1::ArtifactFile> files);

}  // namespace quantd
