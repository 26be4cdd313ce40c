// The part of the store that knows what users have uploaded.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/upload.h"

namespace quantd {

class UploadReader {
 public:
  virtual ~UploadReader() = default;

  virtual absl::StatusOr<std::optional<Upload>> FindUpload(std::string_view tenant,
                                                           std::string_view name) = 0;
  // Of the tenant's, those whose name begins with `collection` and is after `after`, in order of
  // name.
  virtual absl::StatusOr<std::vector<Upload>> ListUploads(std::string_view tenant,
                                                          std::string_view collection,
                                                          std::string_view after, int limit) = 0;
  // Not ready, and without a byte since. Without their files.
  virtual absl::StatusOr<std::vector<Upload>> StaleUploads(absl::Time changed_before,
                                                           int limit) = 0;
  virtual absl::StatusOr<std::optional<Content>> FindContent(std::string_view tenant,
                                                             std::string_view sha256) = 0;
  // Of the tenant's contents, those that are still to come included.
  virtual absl::StatusOr<int64_t> UploadedBytes(std::string_view tenant) = 0;
  // Whether a content has its bytes in this blob.
  virtual absl::StatusOr<bool> IsBlobOfContent(std::string_view blob) = 0;
  // A job that uses the upload and is not final.
  virtual absl::StatusOr<std::optional<std::string>> OpenJobUsing(std::string_view tenant,
                                                                  std::string_view name) = 0;
};

class UploadWriter {
 public:
  virtual ~UploadWriter() = default;

  // ALREADY_EXISTS if the tenant has one of that name.
  virtual absl::Status InsertUpload(const Upload& upload) = 0;
  // `ready` and change_time.
  virtual absl::Status UpdateUpload(const Upload& upload) = 0;
  // With its files. Returns the contents that no upload of the tenant names any more; they are
  // gone from the store, and their blobs are the caller's to delete.
  virtual absl::StatusOr<std::vector<Content>> DeleteUpload(std::string_view tenant,
                                                            std::string_view name) = 0;
  virtual absl::Status PutContent(const Content& content) = 0;
  // Until the job is deleted, the store knows that it uses the upload.
  virtual absl::Status PutUploadUse(std::string_view tenant, std::string_view name,
                                    int64_t job_number) = 0;
};

}  // namespace quantd
