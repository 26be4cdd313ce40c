// The blobs of what users have uploaded: "contents/{tenant}/{sha256}-{nonce}". Never the same name
// twice, so that what is deleted late is never what came anew.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "blob/blob_store.h"
#include "server/staging.h"
#include "server/store/store.h"
#include "server/upload.h"

namespace quantd {

std::string NewContentBlob(std::string_view tenant, std::string_view sha256);

// Removes the bytes of contents that are gone from the store. What cannot be removed is logged, and
// swept later.
void DropContents(std::span<const Content> contents, BlobStore& blobs, Staging& staging);

// Removes blobs that no content of the store has.
absl::Status SweepContents(Store& store, BlobStore& blobs);

// Removes uploads that were begun and have got no byte since `changed_before`; at most `limit`.
absl::Status DropStaleUploads(Store& store, BlobStore& blobs, Staging& staging,
                              absl::Time changed_before, int limit);

}  // namespace quantd
