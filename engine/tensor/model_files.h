// The files of one model, by name, wherever they lie: configuration, weights, tokenizer. The only
// way to them: what reads a model knows nothing of folders.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "base/files.h"
#include "base/random_access_file.h"

namespace quantd {

// What weights are stored as where the files only show them in another way.
struct StoredWeights {
  std::string quantized_as;  // for people: "GGUF, Q4_1 and F32"; empty: floats, as they are shown
  int64_t bytes = 0;         // of the tensors
};

// Names are plain: no folders. Thread-safe.
class ModelFiles {
 public:
  virtual ~ModelFiles() = default;

  // What people call the model: the path of its folder, the prefix of its blobs. For messages, and
  // for the name that results carry; no file is opened by it.
  virtual const std::string& location() const = 0;
  // Every file, sorted. Folders are none.
  virtual absl::StatusOr<std::vector<std::string>> List() const = 0;
  // Whether there is anything of that name, readable or not: a link to nowhere is damage, not
  // absence.
  virtual bool Has(std::string_view name) const = 0;
  // Errors: MODEL_CORRUPT if there is no such file or it is not a regular one; those of the place.
  virtual absl::StatusOr<std::unique_ptr<RandomAccessFile>> Open(std::string_view name) const = 0;

  // Nothing: the files are what is stored.
  virtual std::optional<StoredWeights> stored() const { return std::nullopt; }

  // What the contents are known by where the files only show them in another way, and reading them
  // costs more than reading does. Nothing: by what is read.
  virtual std::optional<std::string> identity() const { return std::nullopt; }

  // "location/name", as errors say it.
  std::string Where(std::string_view name) const;
  // The whole file as text. MODEL_CORRUPT if it is larger than `max_bytes`.
  absl::StatusOr<std::string> ReadText(std::string_view name, int64_t max_bytes) const;
  // A copy at `path`, with the digest.
  absl::StatusOr<SealedFile> CopyTo(std::string_view name, const std::string& path) const;
  // SHA-256, lower-case hex.
  absl::StatusOr<std::string> Digest(std::string_view name) const;

 protected:
  // MODEL_CORRUPT: no file of that name.
  absl::Status NoSuchFile(std::string_view name) const;
  // MODEL_CORRUPT unless the name is plain.
  absl::Status CheckName(std::string_view name) const;
};

}  // namespace quantd
