// The rpcs of models and datasets that users bring, but for the one that takes the bytes
// (write_upload_file.h).
#pragma once

#include <google/protobuf/empty.pb.h>

#include "absl/status/status.h"
#include "quantd/v1/uploads.pb.h"
#include "server/api/context.h"

namespace quantd {

absl::Status CreateUpload(ApiContext& api, const Caller& caller,
                          const v1::CreateUploadRequest& request, v1::Upload* response);
absl::Status GetUpload(ApiContext& api, const Caller& caller, const v1::GetUploadRequest& request,
                       v1::Upload* response);
absl::Status CommitUpload(ApiContext& api, const Caller& caller,
                          const v1::CommitUploadRequest& request, v1::Upload* response);
absl::Status ListUploads(ApiContext& api, const Caller& caller,
                         const v1::ListUploadsRequest& request, v1::ListUploadsResponse* response);
absl::Status DeleteUpload(ApiContext& api, const Caller& caller,
                          const v1::DeleteUploadRequest& request,
                          google::protobuf::Empty* response);

}  // namespace quantd
