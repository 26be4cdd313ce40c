#include "engine/calibrate/statistics_folder.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/digest.h"
#include "base/files.h"
#include "engine/calibrate/statistics_file.h"

namespace quantd {
namespace {

constexpr int64_t kMaxIndexBytes = int64_t{64} << 20;
constexpr int64_t kMostBlocks = 1 << 20;
constexpr std::string_view kIndex = "index.json";

// The cut of a Gram matrix that is gathered when somebody asks for `asked`.
int64_t GramBlockOf(int64_t asked, int64_t channels) {
  if (asked == 0) return 0;
  return asked == kWholeGram || channels % asked != 0 ? channels : asked;
}

HeldStatistics HeldOf(const InputStatistics& input) {
  return {.channels = input.channels(),
          .gram_block = input.gram.empty() ? 0 : input.gram.block,
          .histogram = !input.histogram.empty()};
}

bool Same(const HeldStatistics& a, const HeldStatistics& b) {
  return a.channels == b.channels && a.gram_block == b.gram_block && a.histogram == b.histogram;
}

std::string TextOf(const CalibrationSource& source) {
  return absl::StrCat("text ", source.digest.substr(0, 12), ", ", source.samples, " windows of ",
                      source.tokens_per_sample, ", seed ", source.seed);
}

std::string TextOf(const std::vector<CalibrationSource>& sources) {
  std::string text;
  for (const CalibrationSource& source : sources) {
    absl::StrAppend(&text, text.empty() ? "" : " + ", TextOf(source));
  }
  return text;
}

}  // namespace

int64_t StatisticsKey::tokens() const {
  int64_t sum = 0;
  for (const CalibrationSource& source : sources) sum += source.tokens;
  return sum;
}

std::string StatisticsKey::digest() const {
  if (sources.size() == 1) return sources.front().digest;
  std::string digests;
  for (const CalibrationSource& source : sources) absl::StrAppend(&digests, source.digest, "\n");
  return Sha256Hex(digests);
}

std::vector<Violation> DifferencesOf(const StatisticsKey& got, const StatisticsKey& wanted) {
  std::vector<Violation> differences;
  const auto compare = [&](std::string_view what, const std::string& a, const std::string& b) {
    if (a != b) differences.push_back({.where = std::string(what), .got = a, .wanted = b});
  };
  compare("engine_version", got.engine_version, wanted.engine_version);
  compare("model_fingerprint", got.model_fingerprint, wanted.model_fingerprint);
  compare("compute", got.compute, wanted.compute);
  compare("calibration", TextOf(got.sources), TextOf(wanted.sources));
  return differences;
}

bool StatisticsFolder::IsOne(const std::string& folder) {
  return PathExists(folder + "/" + std::string(kIndex));
}

absl::StatusOr<StatisticsFolder> StatisticsFolder::Open(const std::string& folder) {
  if (!IsOne(folder)) {
    return MakeError(
        Reason::kInvalidField, "refused",
        Violation{
            .where = folder, .got = "no index.json", .wanted = "a folder of saved statistics"});
  }
  StatisticsFolder opened(folder);
  const std::string path = folder + "/" + std::string(kIndex);
  QD_ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxIndexBytes));
  QD_ASSIGN_OR_RETURN(const Json json, ParseJson(text, path));
  QD_RETURN_IF_ERROR(opened.ReadIndex(json));
  return opened;
}

absl::StatusOr<StatisticsFolder> StatisticsFolder::Create(const std::string& folder,
                                                          const StatisticsKey& key) {
  if (!IsOne(folder)) {
    StatisticsFolder made(folder);
    made.key_ = key;
    QD_RETURN_IF_ERROR(MakeFolders(folder));
    QD_RETURN_IF_ERROR(made.WriteIndex());
    return made;
  }
  QD_ASSIGN_OR_RETURN(StatisticsFolder opened, Open(folder));
  std::vector<Violation> differences = DifferencesOf(opened.key_, key);
  if (differences.empty()) return opened;
  for (Violation& difference : differences) difference.where = folder + ": " + difference.where;
  return MakeError(Reason::kAlreadyExists, "statistics of something else are there",
                   std::move(differences));
}

std::vector<int64_t> StatisticsFolder::blocks() const {
  std::vector<int64_t> held;
  for (const auto& [block, inputs] : blocks_) held.push_back(block);
  return held;
}

bool StatisticsFolder::Serves(int64_t block, std::span<const StatisticsNeeds> needs) const {
  const auto found = blocks_.find(block);
  const bool asked = std::any_of(needs.begin(), needs.end(),
                                 [](const StatisticsNeeds& need) { return need.any(); });
  if (!asked) return true;
  if (found == blocks_.end() || !PathExists(PathOf(block))) return false;
  for (size_t i = 0; i < needs.size(); ++i) {
    if (!needs[i].any()) continue;
    if (i >= found->second.size() || found->second[i].channels == 0) return false;
    const HeldStatistics& held = found->second[i];
    const int64_t gram = GramBlockOf(needs[i].gram_block, held.channels);
    if (gram != 0 && gram != held.gram_block) return false;
    if (needs[i].histogram && !held.histogram) return false;
  }
  return true;
}

absl::StatusOr<std::vector<InputStatistics>> StatisticsFolder::ReadAll(
    int64_t block, const std::string& scratch_folder) const {
  return ReadStatistics(PathOf(block), scratch_folder);
}

absl::StatusOr<std::vector<InputStatistics>> StatisticsFolder::Read(
    int64_t block, std::span<const StatisticsNeeds> needs,
    const std::string& scratch_folder) const {
  if (!Serves(block, needs)) return MakeError(Reason::kInternal, "statistics that are not held");
  std::vector<InputStatistics> inputs;
  if (blocks_.contains(block)) {
    QD_ASSIGN_OR_RETURN(inputs, ReadAll(block, scratch_folder));
  }
  inputs.resize(needs.size());
  for (size_t i = 0; i < needs.size(); ++i) {
    if (!needs[i].any()) {
      inputs[i] = InputStatistics();
      continue;
    }
    if (inputs[i].channels() != blocks_.at(block)[i].channels) {
      return MakeError(Reason::kModelCorrupt, "the index and a file differ",
                       Violation{.where = PathOf(block),
                                 .got = absl::StrCat(inputs[i].channels(), " channels"),
                                 .wanted = absl::StrCat(blocks_.at(block)[i].channels)});
    }
    const int64_t gram = GramBlockOf(needs[i].gram_block, inputs[i].channels());
    if (gram == 0) inputs[i].gram = Gram();
    if (!needs[i].histogram) inputs[i].histogram = Histogram();
    if (inputs[i].gram.block == gram && inputs[i].histogram.empty() != needs[i].histogram) continue;
    return MakeError(Reason::kModelCorrupt, "the index and a file differ",
                     Violation{.where = PathOf(block),
                               .got = absl::StrCat("other statistics of input ", i),
                               .wanted = "those that the index names"});
  }
  return inputs;
}

absl::Status StatisticsFolder::Write(int64_t block, std::span<const InputStatistics> inputs) {
  // An index never names what a file that is being replaced no longer holds.
  if (blocks_.erase(block) > 0) QD_RETURN_IF_ERROR(WriteIndex());
  QD_RETURN_IF_ERROR(WriteStatistics(PathOf(block), inputs));
  std::vector<HeldStatistics>& held = blocks_[block];
  for (const InputStatistics& input : inputs) held.push_back(HeldOf(input));
  return WriteIndex();
}

std::string StatisticsFolder::PathOf(int64_t block) const {
  return fmt::format("{}/block-{:05}.safetensors", folder_, block);
}

Json StatisticsFolder::Index() const {
  Json sources = Json::array();
  for (const CalibrationSource& source : key_.sources) {
    sources.push_back({{"dataset_digest", source.digest},
                       {"samples", source.samples},
                       {"tokens_per_sample", source.tokens_per_sample},
                       {"seed", source.seed},
                       {"tokens", source.tokens}});
  }
  Json blocks = Json::array();
  for (const auto& [block, inputs] : blocks_) {
    Json held = Json::array();
    for (const HeldStatistics& input : inputs) {
      held.push_back({{"channels", input.channels},
                      {"gram_block", input.gram_block},
                      {"histogram", input.histogram}});
    }
    blocks.push_back({{"block", block}, {"inputs", std::move(held)}});
  }
  return {{"schema", 1},
          {"engine_version", key_.engine_version},
          {"model_fingerprint", key_.model_fingerprint},
          {"compute", key_.compute},
          {"calibration", std::move(sources)},
          {"blocks", std::move(blocks)}};
}

absl::Status StatisticsFolder::WriteIndex() const {
  return WriteFileAtomic(folder_ + "/" + std::string(kIndex), DumpJsonPretty(Index())).status();
}

absl::Status StatisticsFolder::ReadIndex(const Json& json) {
  JsonFields fields(json, folder_ + "/" + std::string(kIndex));
  (void)fields.Integer("schema", 0, 1, 1);
  key_.engine_version = fields.String("engine_version", "");
  key_.model_fingerprint = fields.String("model_fingerprint", "");
  key_.compute = fields.String("compute", "");
  const Json* sources = fields.Value("calibration");
  const Json* blocks = fields.Value("blocks");
  if (sources == nullptr || !sources->is_array() || sources->empty()) {
    fields.Wrong("calibration", "something else", "a list of texts");
  }
  if (blocks == nullptr || !blocks->is_array()) fields.Wrong("blocks", "something else", "a list");
  QD_RETURN_IF_ERROR(fields.FinishIgnoringUnknown());
  QD_RETURN_IF_ERROR(ReadSources(*sources));
  return ReadBlocks(*blocks);
}

absl::Status StatisticsFolder::ReadSources(const Json& json) {
  for (const Json& entry : json) {
    JsonFields fields(entry, folder_ + "/index.json: calibration");
    CalibrationSource& source = key_.sources.emplace_back();
    source.digest = fields.String("dataset_digest", "");
    source.samples = fields.Integer("samples", 0, 0, INT64_MAX);
    source.tokens_per_sample = fields.Integer("tokens_per_sample", 0, 0, INT64_MAX);
    source.seed = static_cast<uint64_t>(fields.Integer("seed", 0, 0, INT64_MAX));
    source.tokens = fields.Integer("tokens", 0, 0, int64_t{1} << 48);
    QD_RETURN_IF_ERROR(fields.FinishIgnoringUnknown());
  }
  return absl::OkStatus();
}

absl::Status StatisticsFolder::ReadBlocks(const Json& json) {
  for (const Json& entry : json) {
    JsonFields fields(entry, folder_ + "/index.json: blocks");
    const int64_t block = fields.Integer("block", -1, 0, kMostBlocks);
    const Json* inputs = fields.Value("inputs");
    if (inputs == nullptr || !inputs->is_array()) {
      fields.Wrong("inputs", "something else", "a list");
    }
    QD_RETURN_IF_ERROR(fields.FinishIgnoringUnknown());
    std::vector<HeldStatistics>& held = blocks_[block];
    held.clear();
    for (const Json& input : *inputs) {
      JsonFields members(input, folder_ + "/index.json: blocks.inputs");
      HeldStatistics& one = held.emplace_back();
      one.channels = members.Integer("channels", 0, 0, INT32_MAX);
      one.gram_block = members.Integer("gram_block", 0, 0, INT32_MAX);
      one.histogram = members.Bool("histogram", false);
      QD_RETURN_IF_ERROR(members.FinishIgnoringUnknown());
    }
  }
  return absl::OkStatus();
}

namespace {

// What of two folders cannot be added.
std::vector<Violation> NotAddable(const StatisticsFolder& first, const StatisticsFolder& second) {
  StatisticsKey like_first = second.key();
  like_first.sources = first.key().sources;
  std::vector<Violation> wrong = DifferencesOf(like_first, first.key());
  for (const CalibrationSource& source : second.key().sources) {
    for (const CalibrationSource& other : first.key().sources) {
      if (source.digest != other.digest) continue;
      wrong.push_back({.where = "calibration",
                       .got = absl::StrCat("a text that is in both: ", TextOf(source)),
                       .wanted = "different texts"});
    }
  }
  if (first.blocks() != second.blocks()) {
    wrong.push_back({.where = "blocks",
                     .got = absl::StrCat(second.blocks().size(), " blocks"),
                     .wanted = absl::StrCat("the same ", first.blocks().size())});
  }
  for (Violation& violation : wrong) violation.where = second.folder() + ": " + violation.where;
  return wrong;
}

}  // namespace

absl::Status MergeStatistics(const StatisticsFolder& first, const StatisticsFolder& second,
                             const std::string& to) {
  std::vector<Violation> wrong = NotAddable(first, second);
  if (StatisticsFolder::IsOne(to)) {
    wrong.push_back({.where = to, .got = "statistics", .wanted = "a new folder"});
  }
  if (!wrong.empty()) return MakeError(Reason::kInvalidField, "refused", std::move(wrong));
  StatisticsKey key = first.key();
  const std::vector<CalibrationSource>& more = second.key().sources;
  key.sources.insert(key.sources.end(), more.begin(), more.end());
  QD_ASSIGN_OR_RETURN(StatisticsFolder merged, StatisticsFolder::Create(to, key));
  for (const int64_t block : first.blocks()) {
    QD_ASSIGN_OR_RETURN(std::vector<InputStatistics> sum, first.ReadAll(block));
    QD_ASSIGN_OR_RETURN(const std::vector<InputStatistics> added, second.ReadAll(block));
    bool alike = sum.size() == added.size();
    for (size_t i = 0; alike && i < sum.size(); ++i) alike = Same(HeldOf(sum[i]), HeldOf(added[i]));
    if (!alike) {
      return MakeError(Reason::kInvalidField, "refused",
                       Violation{.where = absl::StrCat(second.folder(), ": block ", block),
                                 .got = "other statistics",
                                 .wanted = "those of " + first.folder()});
    }
    for (size_t i = 0; i < sum.size(); ++i) sum[i].Merge(added[i]);
    QD_RETURN_IF_ERROR(merged.Write(block, sum));
  }
  return absl::OkStatus();
}

}  // namespace quantd
