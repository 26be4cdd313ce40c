// Models and datasets that users bring: named sets of files, each content held once per tenant.
// Plain data; the wire's shapes are in proto/quantd/v1/uploads.proto.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/time/time.h"
#include "server/caller.h"

namespace quantd {

inline constexpr std::string_view kModelCollection = "models/";
inline constexpr std::string_view kDatasetCollection = "datasets/";

struct UploadFile {
  std::string path;  // a plain name
  int64_t bytes = 0;
  std::string sha256;
  bool operator==(const UploadFile&) const = default;
};

// Immutable but for `ready` and change_time.
struct Upload {
  std::string tenant = kDefaultTenant;
  std::string name;    // "models/{id}" or "datasets/{id}"
  bool ready = false;  // committed: jobs may use it
  absl::Time create_time;
  absl::Time change_time;              // when bytes last came
  std::vector<UploadFile> files = {};  // in order of path
};

// The bytes that files of a tenant's uploads name by their digest. Its row is there before its
// blob: a blob that no row names is nobody's.
struct Content {
  std::string tenant = kDefaultTenant;
  std::string sha256;
  int64_t bytes = 0;
  std::string blob;   // its name in the blob store
  bool held = false;  // the blob is there, with that digest
};

}  // namespace quantd
