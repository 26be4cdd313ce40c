// The flags of `quantize` about its journal: going on with a run that died, and runs in parts.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/statusor.h"
#include "engine/plan/plan.h"
#include "engine/run/quantize.h"

namespace quantd {

class JournalFlags {
 public:
  explicit JournalFlags(CLI::App& command);

  // Where the journal of a request lies: --journal, or in the output folder.
  std::string FolderOf(const QuantizeRequest& request) const;
  // What a whole run does with it. Without a flag, runs with a forward pass keep one and go on with
  // their own; others, which are as fast as the disk, keep none. A parent process, which gives the
  // folder to every run that it drives, gets one where a person would without asking.
  RunOptions OptionsFor(const PlannedQuantization& planned, bool driven) const;

  // The part of a run that is asked for; neither: the whole. INVALID_FIELD for what is no range or
  // list.
  absl::StatusOr<std::optional<BlockRange>> Blocks() const;
  absl::StatusOr<std::optional<std::vector<int64_t>>> Cuts() const;
  // Whether only a part is asked for, which makes no artifact.
  bool part() const { return !blocks_.empty() || !cuts_.empty(); }
  // Whether an earlier choice of method auto may be taken.
  bool keeps(bool driven) const { return !none_ && (!driven || !folder_.empty()); }

 private:
  std::string folder_, blocks_, cuts_;
  std::vector<std::string> assembled_;
  bool resume_ = false, none_ = false;
  double share_ = RunOptions{}.journal_share;
};

}  // namespace quantd
