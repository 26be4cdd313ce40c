// The folder that is being written: shards, config.json, files carried over, model card, report,
// manifest.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "base/threads.h"
#include "engine/plan/plan.h"
#include "engine/tensor/tensor_file.h"
#include "engine/types/progress.h"
#include "engine/types/report.h"

namespace quantd {

// Opens shards when their first byte arrives and seals them when their last one is there.
// Thread-safe.
class ArtifactWriter {
 public:
  // Makes the folder. `sink` is told of every sealed file; large tensors are copied on `pool`.
  static absl::StatusOr<std::unique_ptr<ArtifactWriter>> Create(const PlannedQuantization& planned,
                                                                ThreadPool& pool,
                                                                ProgressSink& sink);

  // Bytes of the planned tensor `name` at `offset`. Each byte once.
  absl::Status Write(std::string_view name, int64_t offset, std::span<const std::byte> bytes);
  // Copies a tensor of the checkpoint as it is, if the plan writes one of that name.
  // MODEL_NOT_FINITE if it holds NaN or infinity.
  absl::Status CopyTensor(const Checkpoint& checkpoint, std::string_view name);
  // Writes a planned tensor from f32, rounded to its stored type.
  absl::Status WriteValues(std::string_view name, std::span<const float> values);
  // Copies every tensor of the plan that is still missing: those of the checkpoint that the model
  // does not use.
  absl::Status CopyRest(const Checkpoint& checkpoint);
  // A small text file; path is relative to the folder.
  absl::Status WriteText(const std::string& path, std::string_view text);
  // Beside the weights: configuration, tokenizer and generation files; with a container, which has
  // all of these inside, only what a licence asks for.
  absl::Status WriteModelFiles();
  // The model card, quantd/report.json, the page of it and, last, quantd/manifest.json. Fills
  // report.files.
  absl::Status WriteReport(Report& report);

  int64_t bytes_written() const;
  std::string PathOf(std::string_view relative) const;
  absl::Status AddFile(SealedFile file);

 private:
  struct Place {
    size_t shard = 0, index = 0;
    int64_t bytes_left = 0;
  };
  struct OpenShard {
    std::unique_ptr<TensorFile> writer;
    int64_t bytes_left = 0;
  };
  ArtifactWriter(const PlannedQuantization& planned, ThreadPool& pool, ProgressSink& sink)
      : planned_(planned), pool_(pool), sink_(sink) {}
  absl::StatusOr<TensorFile*> WriterOf(size_t shard);
  absl::StatusOr<std::unique_ptr<TensorFile>> OpenContainer(const LaidOutFile& file,
                                                            Durability durability);
  enum class Content { kFinite, kAny };
  absl::Status Copy(const Checkpoint& checkpoint, std::string_view name, Content content);
  absl::Status WriteAs(std::string_view name, int64_t row, int64_t row_bytes, DType dtype,
                       const AlignedBuffer<std::byte>& bytes);
  // The index of several shards, config.json with its quantization_config.
  absl::Status WriteConfiguration();

  const PlannedQuantization& planned_;
  ThreadPool& pool_;
  ProgressSink& sink_;
  mutable std::mutex mutex_;
  std::map<std::string, Place, std::less<>> places_;
  std::vector<OpenShard> shards_;
  std::vector<SealedFile> files_;
  int64_t bytes_written_ = 0;
};

}  // namespace quantd
