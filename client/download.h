// Artifact files from the server: resumed where the connection broke, checked chunk by chunk and as
// a whole, complete under their name or not there.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/connection.h"

namespace quantd {

struct ReadOptions {
  std::string job;   // "jobs/{id}"
  std::string path;  // ArtifactFile.path
  RetryOptions retry = {.patience = absl::Minutes(2)};
};

// Gives every byte of the file to `sink` once, in order, and returns its size and digest. A broken
// connection is taken up at the offset reached; a chunk whose crc32c is wrong is asked for again.
// Errors: the first one of `sink`; what the server refused; DATA_LOSS when the bytes are not those
// of the digest (then the sink holds rubbish); UNAVAILABLE after retry.patience without a byte;
// CANCELLED.
absl::StatusOr<v1::ArtifactFile> ReadArtifactFile(
    Connection& connection, const ReadOptions& options,
    const std::function<absl::Status(std::string_view bytes)>& sink);

// The whole file in memory. DATA_LOSS if it is larger than `max_bytes`.
absl::StatusOr<std::string> ReadArtifactText(Connection& connection, const ReadOptions& options,
                                             int64_t max_bytes);

enum class DownloadOutcome { kFetched, kAlreadyThere };

struct DownloadOptions {
  std::string job;        // "jobs/{id}"
  v1::ArtifactFile file;  // as listed: path, size and digest
  std::string folder;     // the file lands at folder/path; folders between are made
  RetryOptions retry = {.patience = absl::Minutes(2)};
};

// Fetches one file unless the folder has it with the same digest. Errors: as ReadArtifactFile;
// INVALID_FIELD for a path that leaves the folder; DATA_LOSS when the server's file is another one
// than was listed.
absl::StatusOr<DownloadOutcome> DownloadFile(Connection& connection,
                                             const DownloadOptions& options);

// Whether `folder`/file.path is there with file's size and digest.
absl::StatusOr<bool> HasFile(const std::string& folder, const v1::ArtifactFile& file);

// OK if `path` is relative, has no empty, "." or ".." part and no control character.
absl::Status CheckArtifactPath(std::string_view path);

}  // namespace quantd
