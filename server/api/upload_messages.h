// Uploads as messages, and back.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "quantd/v1/uploads.pb.h"
#include "server/api/context.h"
#include "server/upload.h"

namespace quantd {

// INVALID_FIELD unless it is "models/{id}" or "datasets/{id}".
absl::Status CheckUploadName(std::string_view field, std::string_view name);

// What the user describes, its files in order of path. INVALID_FIELD with all problems of names,
// sizes and digests.
absl::StatusOr<Upload> UploadFromProto(const v1::Upload& message, const Limits& limits);

// Without files: for lists.
v1::Upload ToProto(const Upload& upload);
// With its files, and how far each is.
absl::StatusOr<v1::Upload> ToProto(const ApiContext& api, StoreReader& store, const Upload& upload);
// How far one file is.
v1::UploadFile ToProto(const ApiContext& api, const UploadFile& file, const Content& content);

// UPLOAD_NOT_FOUND if the tenant has none of that name.
absl::StatusOr<Upload> GetUpload(StoreReader& store, std::string_view tenant,
                                 std::string_view name);
// INTERNAL if there is none: every file of an upload has a content.
absl::StatusOr<Content> ContentOf(StoreReader& store, const Upload& upload, const UploadFile& file);

}  // namespace quantd
