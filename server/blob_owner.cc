#include "server/blob_owner.h"

#include <random>
#include <span>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/files.h"

namespace quantd {
namespace {

constexpr char kMark[] = "store-identity";
constexpr int64_t kMostBytes = 100;

int64_t FreshIdentity() {
  std::random_device device;
  return static_cast<int64_t>(((uint64_t{device()} << 32) | device()) >> 1);
}

absl::Status Mark(BlobStore& blobs, const std::string& identity, const std::string& scratch) {
  QD_RETURN_IF_ERROR(MakeFolders(scratch));
  const std::string path = absl::StrCat(scratch, "/", kMark);
  QD_RETURN_IF_ERROR(WriteFileAtomic(path, identity).status());
  return blobs.PutFile(kMark, path);
}

}  // namespace

absl::Status ClaimBlobs(Store& store, BlobStore& blobs, const std::string& scratch) {
  const int64_t fresh = FreshIdentity();
  QD_ASSIGN_OR_RETURN(const int64_t taken, WriteResult(store, [&](StoreTransaction& transaction) {
                        return transaction.TakeIdentity(fresh);
                      }));
  const std::string identity = absl::StrCat(taken);
  const auto mark = blobs.Open(kMark);
  if (ReasonOf(mark.status()) == Reason::kArtifactNotFound) return Mark(blobs, identity, scratch);
  QD_RETURN_IF_ERROR(mark.status());
  QD_ASSIGN_OR_RETURN(const std::string owner, ReadFile(**mark, kMostBytes));
  if (owner == identity) return absl::OkStatus();
  return MakeError(
      Reason::kWrongState, "the blobs are of another service",
      Violation{.where = "blobs",
                .got = "those of store " + owner,
                .wanted = absl::StrCat("those of this store, ", identity, ", or an empty place")});
}

}  // namespace quantd
