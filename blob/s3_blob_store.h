// A blob store in a bucket of an S3-compatible server: blob/s3, or blob/no_s3 where the service is
// not built.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "blob/blob_store.h"

namespace quantd {

// `uri`: "s3://bucket/prefix?endpoint=http://host:port&region=us-east-1". Without an endpoint
// AWS_ENDPOINT_URL counts, then Amazon's of the region; without a region AWS_REGION, then
// us-east-1. Keys: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN of the environment.
// Objects are addressed as endpoint/bucket/prefix/name. Requests are tried again, with waits that
// double, when the server is away or says that it is busy. Errors: INVALID_FIELD for a URI or keys
// that are missing; UNAVAILABLE, PERMISSION_DENIED and IO_ERROR by what the server answers.
absl::StatusOr<std::unique_ptr<BlobStore>> OpenS3BlobStore(const std::string& uri);

}  // namespace quantd
