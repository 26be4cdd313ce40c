// A folder of statistics: index.json says what they are of, and one safetensors file per decoder
// block holds them. Each file has its name when it is whole, so what a killed run leaves is of use.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/error.h"
#include "base/json.h"
#include "engine/calibrate/statistics.h"

namespace quantd {

// The windows of one text.
struct CalibrationSource {
  std::string digest;  // SHA-256 of the text
  int64_t samples = 0, tokens_per_sample = 0;
  uint64_t seed = 0;
  int64_t tokens = 0;  // that were there, at most samples x tokens_per_sample
};

// What statistics depend on beside the weights of their block.
struct StatisticsKey {
  std::string engine_version, model_fingerprint;
  std::string compute;                     // precision of the forward pass, "f32"
  std::vector<CalibrationSource> sources;  // several: merged

  int64_t tokens() const;
  // SHA-256 of the text; of the digests of all texts if they are several.
  std::string digest() const;
};

// How `got` is not `wanted`, one violation per field; the tokens that were there do not count.
std::vector<Violation> DifferencesOf(const StatisticsKey& got, const StatisticsKey& wanted);

// What is held of one input of a block.
struct HeldStatistics {
  int64_t channels = 0;    // 0: nothing
  int64_t gram_block = 0;  // `channels` if whole, 0 if there is none
  bool histogram = false;
};

// Thread-compatible.
class StatisticsFolder {
 public:
  static bool IsOne(const std::string& folder);
  // Reads the index. Errors: INVALID_FIELD if there is none, MODEL_CORRUPT.
  static absl::StatusOr<StatisticsFolder> Open(const std::string& folder);
  // Makes the folder and its index, or goes on with one of the same key. Errors: ALREADY_EXISTS if
  // it holds statistics of something else; DISK_FULL, IO.
  static absl::StatusOr<StatisticsFolder> Create(const std::string& folder,
                                                 const StatisticsKey& key);

  const StatisticsKey& key() const { return key_; }
  const std::string& folder() const { return folder_; }
  std::vector<int64_t> blocks() const;  // that are held, ascending
  // Whether all that `needs` (by LinearSpec::input) asks for is held of a block, with the Gram
  // matrix in the blocks asked for: the sums of another cut would be rounded otherwise.
  bool Serves(int64_t block, std::span<const StatisticsNeeds> needs) const;
  // By LinearSpec::input, as long as `needs`; what is held beyond those is left out. Memory: the
  // file, less whole Gram matrices where a `scratch_folder` takes those. Errors: INTERNAL unless it
  // serves them; MODEL_CORRUPT, IO.
  absl::StatusOr<std::vector<InputStatistics>> Read(int64_t block,
                                                    std::span<const StatisticsNeeds> needs,
                                                    const std::string& scratch_folder) const;
  // All that is held of the block.
  absl::StatusOr<std::vector<InputStatistics>> ReadAll(
      int64_t block, const std::string& scratch_folder = "") const;
  // Replaces the block's file, then the index.
  absl::Status Write(int64_t block, std::span<const InputStatistics> inputs);

 private:
  explicit StatisticsFolder(std::string folder) : folder_(std::move(folder)) {}
  std::string PathOf(int64_t block) const;
  Json Index() const;
  absl::Status WriteIndex() const;
  absl::Status ReadIndex(const Json& json);
  absl::Status ReadSources(const Json& json);
  absl::Status ReadBlocks(const Json& json);

  std::string folder_;
  StatisticsKey key_;
  std::map<int64_t, std::vector<HeldStatistics>> blocks_;
};

// Adds the statistics of two folders, made from different texts, into a new one: counts and extrema
// exactly, sums in f64, Gram matrices in f32. Errors: INVALID_FIELD naming what differs: the model,
// the engine, the blocks, what was gathered, or a text that is in both; those of Create.
absl::Status MergeStatistics(const StatisticsFolder& first, const StatisticsFolder& second,
                             const std::string& to);

}  // namespace quantd
