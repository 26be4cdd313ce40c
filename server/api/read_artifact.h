// ReadArtifactFile: chunks of a sealed file, one in memory at a time.
#pragma once

#include <grpcpp/grpcpp.h>

#include "quantd/v1/quantization_service.pb.h"
#include "server/api/context.h"

namespace quantd {

grpc::ServerWriteReactor<v1::ArtifactChunk>* ReadArtifactFile(
    ApiContext& api, Credentials credentials, const v1::ReadArtifactFileRequest& request);

}  // namespace quantd
