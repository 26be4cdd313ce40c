// WriteUploadFile: bytes of one file of an upload, taken one message after the other.
#pragma once

#include <grpcpp/grpcpp.h>

#include "quantd/v1/uploads.pb.h"
#include "server/api/context.h"

namespace quantd {

grpc::ServerReadReactor<v1::WriteUploadFileRequest>* WriteUploadFile(
    ApiContext& api, Credentials credentials, v1::WriteUploadFileResponse* response);

}  // namespace quantd
