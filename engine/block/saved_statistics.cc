#include "engine/block/saved_statistics.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "engine/method/registry.h"

namespace quantd {
namespace {

bool AnyOf(const std::vector<StatisticsNeeds>& all) {
  return std::any_of(all.begin(), all.end(),
                     [](const StatisticsNeeds& needs) { return needs.any(); });
}

// What a norm before a mixture is folded by comes of all tokens: of what the router reads.
void AskForRouter(std::span<const ResolvedLinear> linears, std::vector<StatisticsNeeds>& needs) {
  StatisticsNeeds wanted;
  const LinearSpec* router = nullptr;
  for (const ResolvedLinear& entry : linears) {
    const LinearSpec& linear = *entry.linear;
    if (linear.role == LinearRole::kRouter) router = &linear;
    const bool reads = linear.expert >= 0 && linear.role != LinearRole::kDown;
    if (reads) wanted = wanted | needs[static_cast<size_t>(linear.input)];
  }
  if (router != nullptr) {
    StatisticsNeeds& of_router = needs[static_cast<size_t>(router->input)];
    of_router = of_router | wanted;  // a shared expert reads the same
  }
}

}  // namespace

bool BlockNeeds::gathers_again() const { return AnyOf(transformed); }

BlockNeeds NeedsOf(std::span<const ResolvedLinear> linears) {
  BlockNeeds all;
  for (const ResolvedLinear& entry : linears) {
    const auto input = static_cast<size_t>(entry.linear->input);
    if (all.gathered.size() <= input) {
      all.gathered.resize(input + 1);
      all.transformed.resize(input + 1);
    }
    if (!entry.scheme.has_value()) continue;
    const Method& method = *FindMethod(entry.scheme->method);
    StatisticsNeeds needs = method.needs(*entry.scheme);
    if (method.transform != nullptr && needs.histogram) {
      needs.histogram = false;
      all.transformed[input].histogram = true;
    }
    all.gathered[input] = all.gathered[input] | needs;
  }
  AskForRouter(linears, all.gathered);
  return all;
}

absl::StatusOr<SavedStatistics> SavedStatistics::Open(const PlannedQuantization& planned,
                                                      const StatisticsKey& wanted) {
  SavedStatistics saved;
  saved.save_folder_ = planned.request.calibration.save_statistics_folder;
  if (!planned.plan.statistics.any()) {  // a cache alone is calibrated; its ranges have no file
    saved.save_folder_.clear();
    saved.key_ = wanted;
    return saved;
  }
  const auto blocks = static_cast<int64_t>(planned.plan.model.blocks.size());
  for (int64_t block = 0; block < blocks; ++block) {
    saved.needs_.push_back(NeedsOf(LinearsOf(planned.plan, block)));
  }
  QD_RETURN_IF_ERROR(saved.OpenFrom(planned, wanted));
  saved.key_ = saved.reads() ? saved.from_->key() : wanted;
  QD_RETURN_IF_ERROR(saved.FindLast(planned));
  return saved;
}

absl::Status SavedStatistics::OpenFrom(const PlannedQuantization& planned,
                                       const StatisticsKey& wanted) {
  const std::string& folder = planned.request.calibration.statistics_folder;
  if (folder.empty()) return absl::OkStatus();
  // The first run of those that go on with each other's statistics.
  if (folder == save_folder_ && !StatisticsFolder::IsOne(folder)) return absl::OkStatus();
  QD_ASSIGN_OR_RETURN(StatisticsFolder opened, StatisticsFolder::Open(folder));
  StatisticsKey expected = wanted;
  if (opened.key().sources.size() > 1) expected.sources = opened.key().sources;
  std::vector<Violation> differences = DifferencesOf(opened.key(), expected);
  if (!differences.empty()) {
    for (Violation& difference : differences) difference.where = folder + ": " + difference.where;
    return MakeError(Reason::kInvalidField, "statistics of something else", std::move(differences));
  }
  from_ = std::move(opened);
  return absl::OkStatus();
}

absl::Status SavedStatistics::FindLast(const PlannedQuantization& planned) {
  if (!reads()) return absl::OkStatus();
  last_that_runs_ = -1;
  const bool caches = planned.request.recipe.kv_cache != KvCache::kNone;
  for (int64_t block = 0; block < static_cast<int64_t>(needs_.size()); ++block) {
    const bool again = caches || needs_[static_cast<size_t>(block)].gathers_again();
    if (!Has(block) || again) last_that_runs_ = block;
    if (key_.sources.size() < 2 || (Has(block) && !again)) continue;
    return MakeError(
        Reason::kInvalidField, "refused",
        Violation{
            .where = absl::StrCat(planned.request.calibration.statistics_folder, ": block ", block),
            .got = caches  ? "a cache, whose ranges are not saved"
                   : again ? "a method that looks at histograms of scaled inputs"
                           : "none, or others than the recipe asks for",
            .wanted = "merged statistics that have all: there is no one text to run again"});
  }
  return absl::OkStatus();
}

absl::Status SavedStatistics::Begin(int64_t tokens) {
  if (key_.sources.size() == 1) key_.sources.front().tokens = tokens;
  if (save_folder_.empty()) return absl::OkStatus();
  QD_ASSIGN_OR_RETURN(to_, StatisticsFolder::Create(save_folder_, key_));
  return absl::OkStatus();
}

bool SavedStatistics::Has(int64_t block) const {
  return reads() && from_->Serves(block, needs_[static_cast<size_t>(block)].gathered);
}

int64_t SavedStatistics::missing() const {
  int64_t count = 0;
  for (int64_t block = 0; block < static_cast<int64_t>(needs_.size()); ++block) {
    if (!Has(block)) ++count;
  }
  return count;
}

absl::StatusOr<std::vector<InputStatistics>> SavedStatistics::Read(
    int64_t block, const std::string& scratch_folder) const {
  return from_->Read(block, needs_[static_cast<size_t>(block)].gathered, scratch_folder);
}

absl::Status SavedStatistics::Save(int64_t block, std::span<const InputStatistics> statistics) {
  if (!to_.has_value()) return absl::OkStatus();
  if (to_->Serves(block, needs_[static_cast<size_t>(block)].gathered)) return absl::OkStatus();
  return to_->Write(block, statistics);
}

}  // namespace quantd
