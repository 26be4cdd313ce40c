#include "blob/s3_blob_store.h"

#include "base/error.h"

namespace quantd {

absl::StatusOr<std::unique_ptr<BlobStore>> OpenS3BlobStore(const std::string& uri) {
  return MakeError(Reason::kUnimplemented, "built without the service, and so without S3",
                   Violation{.where = "blob_store", .got = uri, .wanted = "file:///folder"});
}

}  // namespace quantd
