#include "engine/run/journal.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/digest.h"
#include "base/error.h"
#include "base/partial_files.h"
#include "engine/run/journal_names.h"
#include "engine/run/kept_rows.h"
#include "engine/run/tensor_bundle.h"
#include "engine/tensor/shard_writer.h"
#include "engine/text/windows.h"

namespace quantd {
namespace {

constexpr int64_t kMaxRecordBytes = 64 << 20;

std::string NameOf(std::string_view kind, int64_t number, std::string_view suffix) {
  return fmt::format("{}-{:05}{}", kind, number, suffix);
}

// A record carries the digest of itself: half a record, or an edited one, is none.
absl::Status WriteRecord(const std::string& path, const Json& body) {
  const std::string text = DumpJson(body);
  const Json record = {{"sha256", Sha256Hex(text)}, {"body", body}};
  QD_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::Create(path, Durability::kNamed));
  const std::string all = DumpJson(record);
  QD_RETURN_IF_ERROR(file.Append(std::as_bytes(std::span(all))));
  return file.Seal().status();
}

// Null for a record that is not whole.
Json ReadRecord(const std::string& path) {
  const auto text = ReadFile(path, kMaxRecordBytes);
  if (!text.ok()) return nullptr;
  const auto record = ParseJson(*text, path);
  if (!record.ok() || !record->is_object() || !record->contains("body")) return nullptr;
  const auto digest = record->find("sha256");
  if (digest == record->end() || *digest != Sha256Hex(DumpJson((*record)["body"]))) return nullptr;
  return (*record)["body"];
}

Json FileRecord(const SealedFile& file) { return {{"bytes", file.bytes}, {"sha256", file.sha256}}; }

bool Matches(const std::string& path, const Json& record, std::string_view key) {
  const auto wanted = record.find(key);
  if (wanted == record.end()) return true;  // the block keeps no such file
  const auto found = DigestFile(path);
  return found.ok() && FileRecord(*found) == *wanted;
}

struct NamedStream {
  const char* name;
  Activations Streams::* stream;
};
constexpr std::array<NamedStream, 3> kStreams = {{{"calibration", &Streams::calibration},
                                                  {"original", &Streams::original},
                                                  {"evaluated", &Streams::evaluated}}};

// "calibration.7": the activations of window 7.
std::string PieceOf(const NamedStream& named, int64_t window) {
  return absl::StrCat(named.name, ".", window);
}

// How many windows of which stream.
Json StreamsRecord(const Streams& streams) {
  Json record = Json::object();
  for (const NamedStream& named : kStreams) record[named.name] = (streams.*named.stream).size();
  return record;
}

// Also what a process that died was writing.
bool IsOfJournal(std::string_view name) {
  for (const std::string_view kind : {std::string_view("journal"), kBlockFiles, kBoundaryFiles}) {
    if (name.starts_with(kind)) return true;
  }
  return false;
}

absl::Status RemoveFiles(const std::string& folder) {
  QD_ASSIGN_OR_RETURN(const std::vector<std::string> names, ListFolder(folder));
  size_t others = 0;
  for (const std::string& name : names) {
    if (IsOfJournal(name)) {
      QD_RETURN_IF_ERROR(RemoveTree(folder + "/" + name));
    } else {
      ++others;
    }
  }
  return others > 0 ? absl::OkStatus() : RemoveTree(folder);
}

absl::Status RefuseStranger(const std::string& folder, const Json& found, const Json& wanted) {
  std::vector<Violation> differences;
  for (const auto& [key, value] : wanted.items()) {
    const Json other = found.is_object() && found.contains(key) ? found[key] : Json(nullptr);
    if (other == value) continue;
    differences.push_back({.where = absl::StrCat(folder, ": ", key),
                           .got = DumpJson(other),
                           .wanted = DumpJson(value)});
  }
  if (differences.empty() && found == wanted) return absl::OkStatus();
  if (differences.empty()) {
    differences.push_back({.where = folder, .got = "more than is known", .wanted = "a journal"});
  }
  return MakeError(Reason::kInvalidField, "the journal is of another run", std::move(differences));
}

Json TextFingerprint(const std::string& digest, const WindowOptions& options) {
  return {{"sha256", digest},
          {"windows", options.windows},
          {"tokens", options.tokens},
          {"seed", options.seed}};
}

}  // namespace

absl::StatusOr<Json> JournalFingerprint(const PlannedQuantization& planned,
                                        std::string_view engine_version, std::string_view isa,
                                        std::string_view compute) {
  const auto& [request, model_files, checkpoint, plan] = planned;
  QD_ASSIGN_OR_RETURN(const std::string model, checkpoint.Fingerprint());
  Sha256 linears, files;
  for (const ResolvedLinear& entry : plan.linears) linears.Update(DumpJson(ToJson(entry)));
  for (const PlannedShard& shard : plan.shards) {
    for (const TensorInfo& tensor : shard.tensors) {
      files.Update(DumpJson({tensor.name, tensor.shape, tensor.bytes()}));
    }
  }
  Json fingerprint = {{"schema", 1},
                      {"engine", engine_version},
                      {"isa", isa},
                      {"compute", compute},
                      {"model", model},
                      {"format", plan.format->name},
                      {"propagate", request.recipe.propagate == Propagate::kQuantized},
                      {"linears", linears.FinishHex()},
                      {"tensors", files.FinishHex()}};
  if (request.recipe.kv_cache != KvCache::kNone) {
    fingerprint["kv_cache"] = NameOf(request.recipe.kv_cache);
  }
  if (plan.calibrates) {
    QD_ASSIGN_OR_RETURN(const Text text, CalibrationText(planned));
    QD_ASSIGN_OR_RETURN(const std::string digest, text.Digest());
    fingerprint["calibration"] = TextFingerprint(digest, CalibrationWindows(planned));
    fingerprint["statistics"] = request.calibration.statistics_folder;
  }
  if (request.evaluation.enabled) {
    QD_ASSIGN_OR_RETURN(const Text text, EvaluationText(planned));
    QD_ASSIGN_OR_RETURN(const std::string digest, text.Digest());
    fingerprint["evaluation"] = TextFingerprint(digest, EvaluationWindows(planned));
    fingerprint["analyze"] = request.evaluation.analyze;
  }
  return fingerprint;
}

const TensorInfo* BlockFile::Planned(std::string_view name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : &tensors_[found->second];
}

absl::Status BlockFile::Write(std::string_view name, int64_t offset,
                              std::span<const std::byte> bytes) {
  const auto found = index_.find(name);
  if (found == index_.end()) {
    return MakeError(Reason::kInternal, "a tensor that was not planned for the block",
                     Violation{.where = std::string(name), .got = "", .wanted = ""});
  }
  QD_RETURN_IF_ERROR(file_->Write(found->second, offset, bytes));
  return beside_ == nullptr ? absl::OkStatus() : beside_->Write(name, offset, bytes);
}

absl::StatusOr<std::unique_ptr<Journal>> Journal::Create(const std::string& folder,
                                                         const Json& fingerprint) {
  if (IsIn(folder)) QD_RETURN_IF_ERROR(RemoveFiles(folder));
  QD_RETURN_IF_ERROR(MakeFolders(folder));
  QD_RETURN_IF_ERROR(WriteRecord(absl::StrCat(folder, "/", ToAbsl(kFingerprintFile)), fingerprint));
  auto journal = std::make_unique<Journal>();
  journal->folders_ = {folder};
  return journal;
}

absl::StatusOr<std::unique_ptr<Journal>> Journal::Open(const std::vector<std::string>& folders,
                                                       const Json& fingerprint, ThreadPool& pool) {
  if (!IsIn(folders.front())) {
    QD_RETURN_IF_ERROR(Create(folders.front(), fingerprint).status());
  }
  QD_RETURN_IF_ERROR(RemoveDeadPartials(folders.front()));
  auto journal = std::make_unique<Journal>();
  journal->folders_ = folders;
  for (const std::string& folder : folders) {
    const std::string path = absl::StrCat(folder, "/", ToAbsl(kFingerprintFile));
    QD_RETURN_IF_ERROR(RefuseStranger(folder, ReadRecord(path), fingerprint));
    QD_RETURN_IF_ERROR(journal->ReadFolder(folder, pool));
  }
  return journal;
}

bool Journal::IsIn(const std::string& folder) {
  return PathExists(absl::StrCat(folder, "/", ToAbsl(kFingerprintFile)));
}

absl::Status Journal::RemoveIfEmpty(const std::string& folder) {
  if (!IsFolder(folder)) return absl::OkStatus();
  QD_ASSIGN_OR_RETURN(const std::vector<std::string> names, ListFolder(folder));
  const bool holds = std::any_of(names.begin(), names.end(), [](const std::string& name) {
    return NumberInRecord(name, kBlockFiles).has_value() || name.starts_with("journal-");
  });
  return holds ? absl::OkStatus() : RemoveFiles(folder);
}

// Files are read in any order, and taken in that of their names.
absl::Status Journal::ReadFolder(const std::string& folder, ThreadPool& pool) {
  QD_ASSIGN_OR_RETURN(const std::vector<std::string> names, ListFolder(folder));
  std::vector<Json> records(names.size());
  QD_RETURN_IF_ERROR(pool.ForEach(static_cast<int64_t>(names.size()), [&](int64_t piece) {
    const auto i = static_cast<size_t>(piece);
    const bool block = NumberInRecord(names[i], kBlockFiles).has_value();
    if (!block && !NumberInRecord(names[i], kBoundaryFiles).has_value()) return absl::OkStatus();
    const std::string path = folder + "/" + names[i];
    const std::string stem = path.substr(0, path.size() - kRecordEnding.size());
    const Json record = ReadRecord(path);
    if (!record.is_object() ||
        !Matches(absl::StrCat(stem, ToAbsl(kTensorsEnding)), record, "tensors") ||
        !Matches(absl::StrCat(stem, ToAbsl(kRowsEnding)), record, "rows")) {
      return absl::OkStatus();
    }
    records[i] = record;
    return absl::OkStatus();
  }));
  for (size_t i = 0; i < names.size(); ++i) {
    if (records[i].is_null()) continue;
    if (const auto block = NumberInRecord(names[i], kBlockFiles)) {
      blocks_[*block] = {.folder = folder, .record = std::move(records[i])};
    } else if (const auto boundary = NumberInRecord(names[i], kBoundaryFiles)) {
      boundaries_[*boundary] = {.folder = folder, .record = std::move(records[i])};
    }
  }
  return absl::OkStatus();
}

int64_t Journal::FirstMissing(int64_t first, int64_t last) const {
  while (first < last && Has(first)) ++first;
  return first;
}

absl::StatusOr<std::unique_ptr<BlockFile>> Journal::Begin(int64_t block,
                                                          std::vector<TensorInfo> tensors,
                                                          PackedTensors* beside, ThreadPool& pool) {
  std::unique_ptr<BlockFile> file(new BlockFile(pool, beside));
  std::vector<TensorInfo> stored;
  for (size_t i = 0; i < tensors.size(); ++i) {
    file->index_[tensors[i].name] = i;
    // Bytes: containers know types that safetensors does not.
    stored.push_back({tensors[i].name, DType::kU8, {tensors[i].bytes()}});
  }
  file->tensors_ = std::move(tensors);
  const std::string path = folders_.front() + "/" + NameOf(kBlockFiles, block, kTensorsEnding);
  QD_ASSIGN_OR_RETURN(file->file_,
                      ShardWriter::Create(path, std::move(stored), Durability::kNamed));
  return file;
}

absl::Status Journal::Seal(const BlockResult& result, BlockFile& file, ThreadPool& pool) {
  const std::string& folder = folders_.front();
  QD_ASSIGN_OR_RETURN(const SealedFile tensors, file.file_->Seal());
  Json record = {{"result", ToJson(result)}, {"tensors", FileRecord(tensors)}};
  if (!result.rows.empty()) {
    const std::string path = folder + "/" + NameOf(kBlockFiles, result.block, kRowsEnding);
    QD_ASSIGN_OR_RETURN(const SealedFile rows, WriteKeptRows(path, result, pool));
    record["rows"] = FileRecord(rows);
  }
  QD_RETURN_IF_ERROR(
      WriteRecord(folder + "/" + NameOf(kBlockFiles, result.block, kRecordEnding), record));
  blocks_[result.block] = {.folder = folder, .record = std::move(record)};
  return absl::OkStatus();
}

absl::StatusOr<BlockResult> Journal::Read(int64_t block, const PlannedQuantization& planned,
                                          ThreadPool& pool) const {
  const Sealed& sealed = blocks_.at(block);
  QD_ASSIGN_OR_RETURN(BlockResult result, BlockResultFromJson(sealed.record.at("result")));
  if (!sealed.record.contains("rows")) return result;
  const std::string path = sealed.folder + "/" + NameOf(kBlockFiles, block, kRowsEnding);
  QD_RETURN_IF_ERROR(ReadKeptRows(path, planned, result, pool));
  return result;
}

absl::Status Journal::CopyTensors(int64_t block, PackedTensors& to) const {
  const Sealed& sealed = blocks_.at(block);
  const std::string path = sealed.folder + "/" + NameOf(kBlockFiles, block, kTensorsEnding);
  QD_ASSIGN_OR_RETURN(const auto file, RandomAccessFile::Open(path));
  QD_ASSIGN_OR_RETURN(const SafetensorsHeader header, ReadSafetensorsHeader(*file));
  for (const SafetensorsHeader::Entry& entry : header.entries) {
    if (entry.info.bytes() == 0) continue;
    AlignedBuffer<std::byte> bytes(entry.info.bytes());
    QD_RETURN_IF_ERROR(file->Read(entry.offset, bytes.span()));
    QD_RETURN_IF_ERROR(to.Write(entry.info.name, 0, bytes.span()));
  }
  return absl::OkStatus();
}

absl::Status Journal::SaveBoundary(int64_t block, const Streams& streams, ThreadPool& pool) {
  const std::string& folder = folders_.front();
  std::vector<BundlePiece> pieces;
  for (const NamedStream& named : kStreams) {
    const Activations& stream = streams.*named.stream;
    for (int64_t window = 0; window < stream.size(); ++window) {
      pieces.push_back({PieceOf(named, window), std::as_bytes(stream.values(window))});
    }
  }
  QD_ASSIGN_OR_RETURN(
      const SealedFile file,
      WriteBundle(folder + "/" + NameOf(kBoundaryFiles, block, kTensorsEnding), pieces, pool));
  const Json record = {{"streams", StreamsRecord(streams)}, {"tensors", FileRecord(file)}};
  QD_RETURN_IF_ERROR(
      WriteRecord(folder + "/" + NameOf(kBoundaryFiles, block, kRecordEnding), record));
  boundaries_[block] = {.folder = folder, .record = record};
  return absl::OkStatus();
}

absl::Status Journal::DropBoundariesBefore(int64_t block) {
  for (auto at = boundaries_.begin(); at != boundaries_.end() && at->first < block;) {
    const std::string stem = at->second.folder + "/" + NameOf(kBoundaryFiles, at->first, "");
    QD_RETURN_IF_ERROR(RemoveTree(absl::StrCat(stem, ToAbsl(kRecordEnding))));
    QD_RETURN_IF_ERROR(RemoveTree(absl::StrCat(stem, ToAbsl(kTensorsEnding))));
    at = boundaries_.erase(at);
  }
  return absl::OkStatus();
}

std::optional<int64_t> Journal::LastBoundary(int64_t first, int64_t last,
                                             const Streams& streams) const {
  const Json wanted = StreamsRecord(streams);
  for (auto at = boundaries_.rbegin(); at != boundaries_.rend(); ++at) {
    if (at->first >= first && at->first <= last && at->second.record.at("streams") == wanted) {
      return at->first;
    }
  }
  return std::nullopt;
}

absl::Status Journal::ReadBoundary(int64_t block, Streams& streams, ThreadPool& pool) const {
  std::map<std::string, std::span<std::byte>, std::less<>> places;
  for (const NamedStream& named : kStreams) {
    Activations& stream = streams.*named.stream;
    for (int64_t window = 0; window < stream.size(); ++window) {
      places[PieceOf(named, window)] = std::as_writable_bytes(stream.values(window));
    }
  }
  const auto place = [&](std::string_view name, int64_t /*bytes*/) {
    const auto found = places.find(name);
    return found == places.end() ? std::span<std::byte>() : found->second;
  };
  const std::string& folder = boundaries_.at(block).folder;
  return ReadBundle(folder + "/" + NameOf(kBoundaryFiles, block, kTensorsEnding), place, pool);
}

absl::Status Journal::Remove() {
  for (const std::string& folder : folders_) QD_RETURN_IF_ERROR(RemoveFiles(folder));
  return absl::OkStatus();
}

}  // namespace quantd
