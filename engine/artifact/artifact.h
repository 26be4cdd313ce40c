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
#include "engine/artifact/packed_tensors.h"
#include "engine/plan/plan.h"
#include "engine/tensor/tensor_file.h"
#include "engine/types/progress.h"
#include "engine/types/report.h"

namespace quantd {

// Opens shards when their first byte arrives and seals them when their last one is there.
// Thread-safe.
class ArtifactWriter : public PackedTensors {
 public:
  // Makes the folder. `sink` is told of every sealed file; large tensors are copied on `pool`.
  static absl::StatusOr<std::unique_ptr<ArtifactWriter>> Create(const PlannedQuantization& planned,
                                                                ThreadPool& pool,
                                                                ProgressSink& sink);

  const TensorInfo* Planned(std::string_view name) const override;
  absl::Status Write(std::string_view name, int64_t offset,
                     std::span<const std::byte> bytes) override;
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
      : PackedTensors(pool), planned_(planned), sink_(sink) {}
  absl::StatusOr<TensorFile*> WriterOf(size_t shard);
  absl::StatusOr<std::unique_ptr<TensorFile>> OpenContainer(const LaidOutFile& file,
                                                            Durability durability);
  // The index of several shards, config.json with its quantization_config.
  absl::Status WriteConfiguration();

  const PlannedQuantization& planned_;
  ProgressSink& sink_;
  mutable std::mutex mutex_;
  std::map<std::string, Place, std::less<>> places_;
  std::vector<OpenShard> shards_;
  std::vector<SealedFile> files_;
  int64_t bytes_written_ = 0;
};

}  // namespace quantd
