// Requests to a bucket: signed, tried again while the server is away or busy, errors as ours.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "blob/s3/s3_location.h"

namespace quantd {

struct S3Call {
  std::string method;
  std::string object = {};  // its name below the location's prefix; "": the bucket
  std::map<std::string, std::string> query = {};
  std::map<std::string, std::string> headers = {};  // names in lower case
  std::string_view body = {};
};

struct S3Answer {
  int status = 0;                              // of HTTP
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;
};

struct S3RetryOptions {
  int tries = 7;
  absl::Duration first_wait = absl::Milliseconds(200);  // doubled for each, by chance shortened
  absl::Duration timeout = absl::Minutes(2);            // of a try that gets no byte any more
};

// Thread-safe.
class S3Client {
 public:
  explicit S3Client(S3Location location, S3RetryOptions options = {});
  ~S3Client();
  S3Client(const S3Client&) = delete;
  S3Client& operator=(const S3Client&) = delete;

  const S3Location& location() const { return location_; }

  // What the server answers with 2xx. ARTIFACT_NOT_FOUND for 404; PERMISSION_DENIED for 401 and
  // 403; IO_ERROR for other refusals; UNAVAILABLE where it did not answer, or was busy, at all
  // tries.
  absl::StatusOr<S3Answer> Send(const S3Call& call);

 private:
  using Handle = void;  // CURL
  absl::StatusOr<S3Answer> SendOnce(const S3Call& call);
  Handle* TakeHandle();
  void GiveBack(Handle* handle);

  const S3Location location_;
  const S3RetryOptions options_;
  absl::Mutex mutex_;
  std::vector<Handle*> idle_ ABSL_GUARDED_BY(mutex_);  // with their connections
};

}  // namespace quantd
