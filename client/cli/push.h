// Sends a model or a text to the server, showing how far it is.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "client/cli/session.h"
#include "client/upload.h"

namespace quantd {

// `name`: "models/ID"; empty: made of the path's last part. Errors: ModelFilesToSend and
// PushUpload.
absl::StatusOr<PushedUpload> PushModel(Session& session, const std::string& path,
                                       const std::string& name);
// The same for a text: "datasets/ID".
absl::StatusOr<PushedUpload> PushDataset(Session& session, const std::string& path,
                                         const std::string& name);

}  // namespace quantd
