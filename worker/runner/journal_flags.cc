#include "worker/runner/journal_flags.h"

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "base/error.h"

namespace quantd {
namespace {

absl::Status Refused(const char* flag, const std::string& got, const char* wanted) {
  return MakeError(Reason::kInvalidField, "refused",
                   Violation{.where = flag, .got = got, .wanted = wanted});
}

}  // namespace

JournalFlags::JournalFlags(CLI::App& command) {
  CLI::App& group = *command.add_option_group("Journal");
  group.add_option("--journal", folder_,
                   "Folder that keeps what is done, until the run has ended well; default: "
                   ".quantd-journal in the output folder, for runs with a forward pass");
  auto* resume = group.add_flag("--resume", resume_,
                                "Go on with the run whose journal is there; refuse another's");
  auto* none = group.add_flag("--no-journal", none_, "Keep none: a run that dies starts again");
  none->excludes(resume);
  group
      .add_option("--journal-share", share_,
                  "Share of the time that saving activations may take; 1: at every block")
      ->capture_default_str()
      ->check(CLI::Range(0.0, 1.0));
  auto* blocks =
      group.add_option("--blocks", blocks_,
                       "Quantize only these blocks, \"0:11\" (the end not included), into the "
                       "journal; no artifact is made");
  auto* cuts = group.add_option("--relay", cuts_,
                                "Leave the activations at these blocks, \"11,22\", in the journal, "
                                "so that each range can start at its own");
  auto* assemble =
      group.add_option("--assemble", assembled_,
                       "Make the artifact of the sealed blocks in these journals; repeatable");
  for (CLI::Option* option : {blocks, cuts, assemble}) option->excludes(none);
  blocks->excludes(cuts)->excludes(assemble);
  cuts->excludes(assemble);
}

std::string JournalFlags::FolderOf(const QuantizeRequest& request) const {
  return folder_.empty() ? request.output_folder + "/.quantd-journal" : folder_;
}

RunOptions JournalFlags::OptionsFor(const PlannedQuantization& planned, bool driven) const {
  if (!assembled_.empty()) {
    return {.journaling = Journaling::kAssemble, .journal_folders = assembled_};
  }
  const std::vector<std::string> folders = {FolderOf(planned.request)};
  if (resume_) {
    return {.journaling = Journaling::kResume, .journal_folders = folders, .journal_share = share_};
  }
  const bool asked = !folder_.empty();
  const bool forward = planned.plan.needs_forward;
  if (none_ || !(driven ? asked && forward : asked || forward)) return {};
  return {.journaling = Journaling::kGoOn, .journal_folders = folders, .journal_share = share_};
}

absl::StatusOr<std::optional<BlockRange>> JournalFlags::Blocks() const {
  if (blocks_.empty()) return std::optional<BlockRange>();
  const std::vector<std::string> ends = absl::StrSplit(blocks_, ':');
  BlockRange range;
  if (ends.size() != 2 || !absl::SimpleAtoi(ends[0], &range.first) ||
      !absl::SimpleAtoi(ends[1], &range.last)) {
    return Refused("--blocks", blocks_, "FIRST:END, such as 0:11");
  }
  return std::optional(range);
}

absl::StatusOr<std::optional<std::vector<int64_t>>> JournalFlags::Cuts() const {
  if (cuts_.empty()) return std::optional<std::vector<int64_t>>();
  std::vector<int64_t> cuts;
  for (const absl::string_view text : absl::StrSplit(cuts_, ',')) {
    if (!absl::SimpleAtoi(text, &cuts.emplace_back())) {
      return Refused("--relay", cuts_, "numbers of blocks, such as 11,22");
    }
  }
  return std::optional(std::move(cuts));
}

}  // namespace quantd
