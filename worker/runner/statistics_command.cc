#include "worker/runner/statistics_command.h"

#include <fmt/format.h>

#include <cstdio>
#include <string>
#include <vector>

#include "base/error.h"
#include "engine/calibrate/statistics_folder.h"
#include "terminal/table.h"
#include "worker/runner/exit_codes.h"

namespace quantd {
namespace {

class StatisticsCommand : public WorkerCommand {
 public:
  explicit StatisticsCommand(CLI::App& app)
      : command_(*app.add_subcommand("statistics", "Work on saved calibration statistics")),
        merge_(*command_.add_subcommand(
            "merge", "Add the statistics of two folders, made from different texts")) {
    command_.require_subcommand(1);
    merge_.add_option("FIRST", first_, "Folder that quantize --save-statistics made")->required();
    merge_.add_option("SECOND", second_, "Another, of the same model and recipe")->required();
    merge_.add_option("-o,--out", out_, "Folder for the sum; made if missing")->required();
  }

  bool chosen() const override { return command_.parsed(); }

  int Run() override {
    const absl::Status status = Merge();
    if (status.ok()) return kExitDone;
    const Reason reason = ReasonOf(status).value_or(Reason::kInternal);
    fmt::print(stderr, "quantd-worker: {}: {}\n", RowOf(reason).name,
               Printable(ToStd(status.message())));
    return RowOf(reason).fault == Fault::kUser ? kExitRefused : kExitFailed;
  }

 private:
  absl::Status Merge() const {
    QD_ASSIGN_OR_RETURN(const StatisticsFolder first, StatisticsFolder::Open(first_));
    QD_ASSIGN_OR_RETURN(const StatisticsFolder second, StatisticsFolder::Open(second_));
    return MergeStatistics(first, second, out_);
  }

  CLI::App& command_;
  CLI::App& merge_;
  std::string first_, second_, out_;
};

}  // namespace

std::unique_ptr<WorkerCommand> MakeStatisticsCommand(CLI::App& app) {
  return std::make_unique<StatisticsCommand>(app);
}

}  // namespace quantd
