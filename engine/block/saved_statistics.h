// Calibration statistics of a job that are read from a folder instead of being gathered, and
// written to one: calibration.statistics_folder and calibration.save_statistics_folder of the
// request.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/calibrate/statistics_folder.h"
#include "engine/plan/plan.h"

namespace quantd {

// What the linears of one block ask for, by LinearSpec::input.
struct BlockNeeds {
  std::vector<StatisticsNeeds> gathered;
  std::vector<StatisticsNeeds> transformed;  // of the inputs as transformed: what no division gives
  bool gathers_again() const;
};
BlockNeeds NeedsOf(std::span<const ResolvedLinear> linears);

class SavedStatistics {
 public:
  // Neither reads nor writes.
  SavedStatistics() = default;
  // As the request says; `wanted` is the key of its own text. A folder of merged statistics takes
  // the place of the text, and must have every block. Errors: INVALID_FIELD naming what the
  // folder's key differs in, or that a merged one lacks; those of StatisticsFolder.
  static absl::StatusOr<SavedStatistics> Open(const PlannedQuantization& planned,
                                              const StatisticsKey& wanted);

  // Of what the job is calibrated on; tokens are known only if something is read.
  const StatisticsKey& key() const { return key_; }
  // Opens the folder to write, if there is one. `tokens`: of the windows of the request's own text,
  // which are read here where nothing is known of them.
  absl::Status Begin(int64_t tokens);

  bool reads() const { return from_.has_value(); }
  bool Has(int64_t block) const;
  // How many blocks are not there.
  int64_t missing() const;
  // Whether a block after that one needs the activations of the calibration windows; -1: any.
  bool GoesOnAfter(int64_t block) const { return last_that_runs_ > block; }

  absl::StatusOr<std::vector<InputStatistics>> Read(int64_t block,
                                                    const std::string& scratch_folder) const;
  // Does nothing where none are to be written, or are there already.
  absl::Status Save(int64_t block, std::span<const InputStatistics> statistics);

 private:
  absl::Status OpenFrom(const PlannedQuantization& planned, const StatisticsKey& wanted);
  absl::Status FindLast(const PlannedQuantization& planned);

  StatisticsKey key_;
  std::string save_folder_;
  std::optional<StatisticsFolder> from_, to_;
  std::vector<BlockNeeds> needs_;  // by block
  int64_t last_that_runs_ = INT64_MAX;
};

}  // namespace quantd
