#include "blob/blob_store.h"

#include "absl/strings/str_split.h"
#include "base/error.h"
#include "blob/local_blob_store.h"
#include "blob/s3_blob_store.h"

namespace quantd {
namespace {

bool IsNameCharacter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
         c == '_' || c == '-';
}

}  // namespace

absl::Status CheckBlobName(std::string_view name) {
  const auto refuse = [&](std::string_view wanted) {
    return MakeError(
        Reason::kInvalidField, "bad blob name",
        Violation{.where = "name", .got = std::string(name), .wanted = std::string(wanted)});
  };
  if (name.empty() || name.size() > 1024) return refuse("1 to 1024 characters");
  for (const absl::string_view part : absl::StrSplit(ToAbsl(name), '/')) {
    if (part.empty() || part == "." || part == "..") return refuse("no empty part, no . and no ..");
    for (const char c : part) {
      if (!IsNameCharacter(c)) return refuse("letters, digits, '.', '_' and '-' between slashes");
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<BlobStore>> OpenBlobStore(const std::string& uri) {
  constexpr std::string_view kFile = "file://";
  if (uri.starts_with("s3://")) return OpenS3BlobStore(uri);
  if (!uri.starts_with(kFile) || uri.size() <= kFile.size() || uri[kFile.size()] != '/') {
    return MakeError(Reason::kInvalidField, "unknown blob store",
                     Violation{.where = "blob_store",
                               .got = uri,
                               .wanted = "file:///absolute/folder or s3://bucket/prefix"});
  }
  return OpenLocalBlobStore(uri.substr(kFile.size()));
}

}  // namespace quantd
