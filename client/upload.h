// Models and datasets to the server: what it holds already is not sent, what a broken connection
// has sent is gone on with, every piece and every whole file is checked.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/connection.h"

namespace quantd {

// A file of this machine, and the name that it gets.
struct LocalFile {
  std::string name;  // plain
  std::string path;
  int64_t bytes = 0;
  std::string sha256 = {};
};

// The files of a model folder that are worth sending, in order of name: those in the folder itself
// but for hidden ones, for empty ones, and, beside .safetensors or .gguf, for weights in other
// forms. `left_out` gets the names of the rest. MODEL_NOT_FOUND if nothing is left. A file stands
// for itself.
absl::StatusOr<std::vector<LocalFile>> ModelFilesToSend(const std::string& path,
                                                        std::vector<std::string>& left_out);
// One text file. DATASET_INVALID if it is none.
absl::StatusOr<std::vector<LocalFile>> DatasetFileToSend(const std::string& path);

struct UploadProgress {
  enum class Step { kDigest, kSend };
  Step step = Step::kDigest;
  int64_t done = 0, total = 0;  // bytes of all files
};

struct UploadOptions {
  std::string name;  // "models/{id}" or "datasets/{id}"
  std::vector<LocalFile> files;
  RetryOptions retry = {.patience = absl::Minutes(2)};
  std::function<void(const UploadProgress&)> on_progress = [](const UploadProgress&) {};
};

struct PushedUpload {
  v1::Upload upload;
  int64_t bytes_sent = 0;  // the rest was there
};

// Sends the files and seals the upload. Errors: what the server refused (ALREADY_EXISTS for a name
// that stands for other files); UNAVAILABLE after retry.patience without a byte; IO of this
// machine; CANCELLED. Called again it goes on where it was.
absl::StatusOr<PushedUpload> PushUpload(Connection& connection, UploadOptions options);

}  // namespace quantd
