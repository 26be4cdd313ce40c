#include "server/contents.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/log.h"
#include "server/id.h"

namespace quantd {
namespace {

constexpr char kContents[] = "contents";

}  // namespace

std::string NewContentBlob(std::string_view tenant, std::string_view sha256) {
  return absl::StrCat(kContents, "/", ToAbsl(tenant), "/", ToAbsl(sha256), "-", NewId());
}

void DropContents(std::span<const Content> contents, BlobStore& blobs, Staging& staging) {
  for (const Content& content : contents) {
    absl::Status status = staging.Drop(content);
    if (content.held) status.Update(blobs.DeleteAll(content.blob));
    if (!status.ok()) {
      spdlog::error("cannot remove {}: {}", content.blob, std::string(status.message()));
    }
  }
}

absl::Status SweepContents(Store& store, BlobStore& blobs) {
  // Listed before the store is asked: a content has its row before it has its blob.
  QD_ASSIGN_OR_RETURN(const std::vector<std::string> names, blobs.List(kContents));
  for (const std::string& name : names) {
    QD_ASSIGN_OR_RETURN(const bool named, ReadResult(store, [&](StoreReader& reader) {
                          return reader.IsBlobOfContent(name);
                        }));
    if (named) continue;
    spdlog::info("removing {}, which no upload names", name);
    QD_RETURN_IF_ERROR(blobs.DeleteAll(name));
  }
  return absl::OkStatus();
}

absl::Status DropStaleUploads(Store& store, BlobStore& blobs, Staging& staging,
                              absl::Time changed_before, int limit) {
  QD_ASSIGN_OR_RETURN(const std::vector<Upload> stale, ReadResult(store, [&](StoreReader& reader) {
                        return reader.StaleUploads(changed_before, limit);
                      }));
  for (const Upload& upload : stale) {
    const auto drop = [&](StoreTransaction& transaction) -> absl::StatusOr<std::vector<Content>> {
      QD_ASSIGN_OR_RETURN(const auto now, transaction.FindUpload(upload.tenant, upload.name));
      // It may have got bytes, or been committed or deleted, since it was listed.
      if (!now.has_value() || now->ready || now->change_time >= changed_before) {
        return std::vector<Content>();
      }
      return transaction.DeleteUpload(upload.tenant, upload.name);
    };
    QD_ASSIGN_OR_RETURN(const std::vector<Content> unnamed, WriteResult(store, drop));
    spdlog::info("removing {} of {}, which was never finished", upload.name, upload.tenant);
    DropContents(unnamed, blobs, staging);
  }
  return absl::OkStatus();
}

}  // namespace quantd
