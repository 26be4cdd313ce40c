// A Hugging Face checkpoint: model.safetensors, or shards with model.safetensors.index.json, or all
// safetensors files of the folder where neither is there.
// Format: the safetensors README (u64 LE header length, JSON header {name: {dtype, shape,
// data_offsets}}, then the bytes).
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/random_access_file.h"
#include "engine/tensor/float8_source.h"
#include "engine/tensor/model_files.h"
#include "engine/tensor/tensor.h"

namespace quantd {

// Reads the header of one safetensors file of `file_bytes` bytes and checks everything that can
// lie: header length (at most 100 MB and inside the file), JSON, dtypes, shapes (no overflow),
// offsets (begin <= end, equal to the bytes of the shape, inside the file, no overlap, no hole).
// Errors: MODEL_CORRUPT naming file and tensor.
struct SafetensorsHeader {
  struct Entry {
    TensorInfo info;
    int64_t offset = 0;  // from the start of the file
  };
  std::vector<Entry> entries;  // in file order
  std::map<std::string, std::string> metadata;
};
absl::StatusOr<SafetensorsHeader> ReadSafetensorsHeader(const RandomAccessFile& file);
// The same on bytes in memory (the file's first bytes, header included): what the fuzzer calls.
absl::StatusOr<SafetensorsHeader> ParseSafetensorsHeader(std::span<const std::byte> prefix,
                                                         int64_t file_bytes,
                                                         const std::string& path);

// Thread-safe once open. Weights that are stored as FP8 with scales are seen and read as the floats
// that they stand for (float8_source.h); their scales are not seen at all.
class Checkpoint {
 public:
  // Opens every shard and reads the headers; no weight is read. Errors: MODEL_NOT_FOUND,
  // MODEL_CORRUPT (also when the index says another shard than the one that holds a tensor, two
  // shards hold one, a shard name is not a plain file name, or FP8 weights lack scales of a shape
  // that fits), MODEL_UNSUPPORTED for tensors under Mistral's own names.
  static absl::StatusOr<Checkpoint> Open(std::shared_ptr<const ModelFiles> files);

  // nullptr if there is none.
  const TensorInfo* Find(std::string_view name) const;
  // All tensors in the order of their names.
  std::vector<const TensorInfo*> Tensors() const;
  // Of the tensors as they are stored.
  int64_t total_bytes() const;
  // How the weights are stored, where they are quantized already: "fp8, blocks of 128 x 128",
  // "GGUF, Q4_1 and F32".
  const std::string& stored_as() const { return stored_as_; }
  const std::vector<std::string>& files() const;  // plain names of the shards
  // Where the index and the shards differ in what does no harm.
  const std::vector<std::string>& warnings() const { return warnings_; }

  // MODEL_CORRUPT if the tensor is missing. Reads with pread.
  absl::StatusOr<Tensor> Read(std::string_view name) const;
  // Rows [begin, begin + count) of a 2-D tensor (or elements of a 1-D one) into `out`, which has
  // exactly their size.
  absl::Status ReadRows(std::string_view name, int64_t begin, int64_t count,
                        std::span<std::byte> out) const;
  // Columns [begin, begin + count) of a 2-D tensor [R, C], transposed: out[count, R].
  absl::Status ReadColumns(std::string_view name, int64_t begin, int64_t count,
                           std::span<std::byte> out) const;
  // The rows widened to f32, out[count * width].
  absl::Status ReadRowsF32(std::string_view name, int64_t begin, int64_t count, float* out) const;
  // A 1-D or 2-D tensor widened to f32.
  absl::StatusOr<AlignedBuffer<float>> ReadF32(std::string_view name) const;

  // SHA-256 over config.json, the size of every shard and, per tensor in name order, name, dtype,
  // shape, file offsets and the 512 bytes in its middle: tells models apart, fine-tunings of one
  // model too, without reading all weights. The exact bytes are in README.md. What knows its files
  // in another way says so (ModelFiles::identity). Errors: those of reading; MODEL_CORRUPT without
  // a config.json.
  absl::StatusOr<std::string> Fingerprint() const;

 private:
  struct Location {
    TensorInfo info;    // as it is seen
    TensorInfo stored;  // as it lies in the file
    size_t file = 0;
    int64_t offset = 0;
    bool hidden = false;               // a scale
    const Location* scales = nullptr;  // of FP8 weights
    Float8Scales layout;
  };
  absl::StatusOr<const Location*> Locate(std::string_view name) const;
  // Where config.json says that weights are FP8: their tensors become those of the floats.
  absl::Status AdoptFloat8();
  absl::Status AdoptFloat8Weight(const Float8Source& source, Location& weight);
  // Rows of FP8 weights as they are seen.
  absl::Status ReadFloat8Rows(const Location& weight, int64_t begin, int64_t count,
                              std::span<std::byte> out) const;

  std::shared_ptr<const ModelFiles> model_;
  std::vector<std::string> file_names_;
  std::vector<std::unique_ptr<RandomAccessFile>> files_;
  std::map<std::string, Location, std::less<>> tensors_;
  std::string stored_as_;
  std::vector<std::string> warnings_;
};

}  // namespace quantd
