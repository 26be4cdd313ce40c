#include "engine/tensor/checkpoint.h"

#include <algorithm>
#include <array>
#include <set>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/digest.h"
#include "base/error.h"
#include "engine/tensor/found_instead.h"
#include "engine/tensor/shard_index.h"

namespace quantd {
namespace {

constexpr const char* kSingle = "model.safetensors";
constexpr const char* kIndex = "model.safetensors.index.json";
constexpr const char* kConfig = "config.json";
constexpr int64_t kMaxIndexBytes = 256 << 20;
constexpr int64_t kMaxConfigBytes = 16 << 20;
// Bytes in the middle of every tensor that go into the fingerprint.
constexpr int64_t kSampleBytes = 512;

std::string Shown(std::string_view name) {
  return absl::Utf8SafeCEscape(ToAbsl(name.substr(0, 200)));
}

absl::Status Corrupt(std::string where, std::string got, std::string wanted) {
  return MakeError(
      Reason::kModelCorrupt, "bad checkpoint",
      Violation{.where = std::move(where), .got = std::move(got), .wanted = std::move(wanted)});
}

using WeightMap = std::map<std::string, std::string, std::less<>>;

// The safetensors files of a folder without an index, sorted. Adapters are no models, and what
// "consolidated" holds is there under other names too, where there are others.
absl::StatusOr<std::vector<std::string>> FilesWithoutIndex(const ModelFiles& files) {
  QD_ASSIGN_OR_RETURN(const std::vector<std::string> names, files.List());
  std::vector<std::string> shards, consolidated;
  for (const std::string& name : names) {
    if (!absl::EndsWith(name, ".safetensors") || absl::StartsWith(name, "adapter_")) continue;
    (absl::StartsWith(name, "consolidated") ? consolidated : shards).push_back(name);
  }
  if (shards.empty()) shards = std::move(consolidated);
  std::sort(shards.begin(), shards.end());
  return shards;
}

// The checkpoints that Mistral publishes beside those of the hub.
absl::Status RefuseMistralNames(const ModelFiles& files, const std::string& name,
                                const SafetensorsHeader& header) {
  for (const SafetensorsHeader::Entry& entry : header.entries) {
    if (entry.info.name != "tok_embeddings.weight") continue;
    return MakeError(Reason::kModelUnsupported, "tensors under Mistral's own names",
                     Violation{.where = absl::StrCat(files.Where(name), ":", entry.info.name),
                               .got = "the layout of consolidated.safetensors",
                               .wanted = "the model with the names of transformers"});
  }
  return absl::OkStatus();
}

std::string Some(const std::vector<std::string>& names) {
  return names.size() == 1 ? names.front()
                           : absl::StrCat(names.front(), " and ", names.size() - 1, " more");
}

// The names of the shards, sorted, and the index where there is one.
absl::StatusOr<std::vector<std::string>> FindShards(const ModelFiles& files, WeightMap& index) {
  if (files.Has(kSingle)) return std::vector<std::string>{kSingle};
  if (!files.Has(kIndex)) {
    QD_ASSIGN_OR_RETURN(std::vector<std::string> all, FilesWithoutIndex(files));
    if (!all.empty()) return all;
    return NoWeightsError(files);
  }
  const std::string path = files.Where(kIndex);
  QD_ASSIGN_OR_RETURN(const std::string json, files.ReadText(kIndex, kMaxIndexBytes));
  QD_ASSIGN_OR_RETURN(index, ParseShardIndex(json, path));
  if (index.empty()) return Corrupt(path, "an empty weight_map", "the names of tensors");
  std::set<std::string> shards;
  for (const auto& [tensor, shard] : index) shards.insert(shard);
  return std::vector<std::string>(shards.begin(), shards.end());
}

}  // namespace

absl::StatusOr<Checkpoint> Checkpoint::Open(std::shared_ptr<const ModelFiles> files) {
  Checkpoint checkpoint;
  checkpoint.model_ = std::move(files);
  const ModelFiles& model = *checkpoint.model_;
  WeightMap index;
  std::vector<std::string> unlisted, missing;
  QD_ASSIGN_OR_RETURN(checkpoint.file_names_, FindShards(model, index));
  for (const std::string& name : checkpoint.file_names_) {
    if (!model.Has(name)) {
      return Corrupt(model.Where(name), "no such file", "a shard that the index names");
    }
    QD_ASSIGN_OR_RETURN(auto file, model.Open(name));
    QD_ASSIGN_OR_RETURN(SafetensorsHeader header, ReadSafetensorsHeader(*file));
    QD_RETURN_IF_ERROR(RefuseMistralNames(model, name, header));
    for (SafetensorsHeader::Entry& entry : header.entries) {
      const std::string& tensor = entry.info.name;
      const auto listed = index.find(tensor);
      if (listed == index.end() && !index.empty()) unlisted.push_back(tensor);
      if (listed != index.end() && listed->second != name) {
        return Corrupt(absl::StrCat(model.Where(kIndex), ":", Shown(tensor)),
                       "shard " + Shown(listed->second),
                       absl::StrCat("shard ", Shown(name), ", which holds it"));
      }
      if (checkpoint.tensors_.contains(tensor)) {
        return Corrupt(absl::StrCat(model.Where(name), ":", Shown(tensor)),
                       "a tensor that another shard holds too", "it once");
      }
      Location location;
      location.info = entry.info;
      location.stored = std::move(entry.info);
      location.file = checkpoint.files_.size();
      location.offset = entry.offset;
      std::string key = location.info.name;
      checkpoint.tensors_.emplace(std::move(key), std::move(location));
    }
    checkpoint.files_.push_back(std::move(file));
  }
  for (const auto& [tensor, shard] : index) {
    if (!checkpoint.tensors_.contains(tensor)) missing.push_back(tensor);
  }
  // Tied tensors and buffers that some writers leave out of one or the other. What the model needs
  // is looked for by its name.
  if (!unlisted.empty()) {
    checkpoint.warnings_.push_back(
        absl::StrCat(kIndex, " does not list ", Shown(Some(unlisted)), ", which the shards hold"));
  }
  if (!missing.empty()) {
    checkpoint.warnings_.push_back(
        absl::StrCat(kIndex, " lists ", Shown(Some(missing)), ", which no shard holds"));
  }
  if (const auto stored = model.stored(); stored.has_value()) {
    checkpoint.stored_as_ = stored->quantized_as;
  }
  QD_RETURN_IF_ERROR(checkpoint.AdoptFloat8());
  return checkpoint;
}

const TensorInfo* Checkpoint::Find(std::string_view name) const {
  const auto found = tensors_.find(name);
  return found == tensors_.end() || found->second.hidden ? nullptr : &found->second.info;
}

std::vector<const TensorInfo*> Checkpoint::Tensors() const {
  std::vector<const TensorInfo*> all;
  all.reserve(tensors_.size());
  for (const auto& [name, location] : tensors_) {
    if (!location.hidden) all.push_back(&location.info);
  }
  return all;
}

int64_t Checkpoint::total_bytes() const {
  if (const auto stored = model_->stored(); stored.has_value()) return stored->bytes;
  int64_t total = 0;
  for (const auto& [name, location] : tensors_) total += location.stored.bytes();
  return total;
}

const std::vector<std::string>& Checkpoint::files() const { return file_names_; }

absl::StatusOr<const Checkpoint::Location*> Checkpoint::Locate(std::string_view name) const {
  const auto found = tensors_.find(name);
  if (found != tensors_.end() && !found->second.hidden) return &found->second;
  return Corrupt(absl::StrCat(model_->location(), ":", Shown(name)), "no such tensor",
                 "the tensor");
}

absl::StatusOr<Tensor> Checkpoint::Read(std::string_view name) const {
  QD_ASSIGN_OR_RETURN(const Location* const location, Locate(name));
  Tensor tensor{.info = location->info, .bytes = AlignedBuffer<std::byte>(location->info.bytes())};
  QD_RETURN_IF_ERROR(
      location->scales != nullptr
          ? ReadFloat8Rows(*location, 0, location->info.shape[0], tensor.bytes.span())
          : files_[location->file]->Read(location->offset, tensor.bytes.span()));
  return tensor;
}

absl::Status Checkpoint::ReadRows(std::string_view name, int64_t begin, int64_t count,
                                  std::span<std::byte> out) const {
  QD_ASSIGN_OR_RETURN(const Location* const location, Locate(name));
  const TensorInfo& info = location->info;
  const std::string where = absl::StrCat(files_[location->file]->name(), ":", Shown(name));
  if (info.shape.empty() || info.shape.size() > 2) {
    return Corrupt(where, absl::StrCat(info.shape.size(), " dimensions"), "1 or 2");
  }
  const int64_t rows = info.shape[0];
  if (begin < 0 || count < 0 || begin > rows || count > rows - begin) {
    return Corrupt(where, absl::StrCat(rows, " rows"),
                   absl::StrCat("rows ", begin, " to ", begin + count));
  }
  const int64_t row_bytes = rows == 0 ? 0 : info.bytes() / rows;
  if (static_cast<int64_t>(out.size()) != count * row_bytes) {
    return MakeError(Reason::kInternal, "wrong buffer for rows",
                     Violation{.where = where,
                               .got = absl::StrCat(out.size(), " bytes"),
                               .wanted = absl::StrCat(count * row_bytes)});
  }
  if (location->scales != nullptr) return ReadFloat8Rows(*location, begin, count, out);
  return files_[location->file]->Read(location->offset + begin * row_bytes, out);
}

absl::Status Checkpoint::ReadColumns(std::string_view name, int64_t begin, int64_t count,
                                     std::span<std::byte> out) const {
  QD_ASSIGN_OR_RETURN(const Location* const location, Locate(name));
  const TensorInfo& info = location->info;
  const int64_t rows = info.shape.size() == 2 ? info.shape[0] : 0;
  const int64_t columns = info.shape.size() == 2 ? info.shape[1] : 0;
  if (begin < 0 || count < 0 || begin > columns || count > columns - begin) {
    return Corrupt(absl::StrCat(files_[location->file]->name(), ":", Shown(name)),
                   absl::StrCat(columns, " columns"),
                   absl::StrCat("columns ", begin, " to ", begin + count));
  }
  const int64_t size = SizeOf(info.dtype);
  if (static_cast<int64_t>(out.size()) != count * rows * size) {
    return MakeError(Reason::kInternal, "wrong buffer for columns",
                     Violation{.where = std::string(name),
                               .got = absl::StrCat(out.size(), " bytes"),
                               .wanted = absl::StrCat(count * rows * size)});
  }
  AlignedBuffer<std::byte> strip(count * size);
  AlignedBuffer<std::byte> whole_row(location->scales != nullptr ? columns * size : 0);
  for (int64_t row = 0; row < rows; ++row) {
    if (location->scales != nullptr) {
      QD_RETURN_IF_ERROR(ReadFloat8Rows(*location, row, 1, whole_row.span()));
      std::copy_n(whole_row.data() + begin * size, count * size, strip.data());
    } else {
      const int64_t offset = location->offset + (row * columns + begin) * size;
      QD_RETURN_IF_ERROR(files_[location->file]->Read(offset, strip.span()));
    }
    for (int64_t column = 0; column < count; ++column) {
      std::copy_n(strip.data() + column * size, size, out.data() + (column * rows + row) * size);
    }
  }
  return absl::OkStatus();
}

absl::Status Checkpoint::ReadRowsF32(std::string_view name, int64_t begin, int64_t count,
                                     float* out) const {
  const TensorInfo* info = Find(name);
  if (info == nullptr) return Read(name).status();
  const int64_t width = info->shape.size() == 2 ? info->shape[1] : 1;
  AlignedBuffer<std::byte> bytes(count * width * SizeOf(info->dtype));
  QD_RETURN_IF_ERROR(ReadRows(name, begin, count, bytes.span()));
  WidenToF32(bytes.data(), info->dtype, count * width, out);
  return absl::OkStatus();
}

absl::StatusOr<AlignedBuffer<float>> Checkpoint::ReadF32(std::string_view name) const {
  QD_ASSIGN_OR_RETURN(const Location* const location, Locate(name));
  const TensorInfo& info = location->info;
  const RandomAccessFile& file = *files_[location->file];
  if (!IsFloat(info.dtype)) {
    return Corrupt(absl::StrCat(file.name(), ":", Shown(name)), std::string(NameOf(info.dtype)),
                   "F32, F16 or BF16");
  }
  // Piece by piece: the tensor is in memory once, widened.
  constexpr int64_t kPiece = 256 << 10;
  const int64_t elements = info.elements();
  const int64_t size = SizeOf(info.dtype);
  AlignedBuffer<float> wide(elements);
  if (location->scales != nullptr) {
    const int64_t rows = info.shape[0], width = info.shape[1];
    constexpr int64_t kPanel = 128;
    for (int64_t row = 0; row < rows; row += kPanel) {
      const int64_t count = std::min(kPanel, rows - row);
      QD_RETURN_IF_ERROR(ReadRowsF32(name, row, count, wide.data() + row * width));
    }
    return wide;
  }
  AlignedBuffer<std::byte> piece(std::min(kPiece, elements) * size);
  for (int64_t done = 0; done < elements; done += kPiece) {
    const int64_t count = std::min(kPiece, elements - done);
    const auto bytes = piece.span().first(static_cast<size_t>(count * size));
    QD_RETURN_IF_ERROR(file.Read(location->offset + done * size, bytes));
    WidenToF32(bytes.data(), info.dtype, count, wide.data() + done);
  }
  return wide;
}

absl::StatusOr<std::string> Checkpoint::Fingerprint() const {
  if (auto identity = model_->identity(); identity.has_value()) return *std::move(identity);
  if (!model_->Has(kConfig)) {
    return Corrupt(model_->Where(kConfig), "no such file", "the configuration of the model");
  }
  QD_ASSIGN_OR_RETURN(const std::string config, model_->ReadText(kConfig, kMaxConfigBytes));
  Sha256 sha;
  sha.Update("quantd model fingerprint 1\n");
  sha.Update(absl::StrCat("config ", Sha256Hex(config), "\n"));
  for (size_t i = 0; i < files_.size(); ++i) {
    sha.Update(absl::StrCat("file ", files_[i]->size(), " ", file_names_[i], "\n"));
  }
  std::array<std::byte, kSampleBytes> sample{};
  for (const auto& [name, location] : tensors_) {
    const TensorInfo& info = location.stored;
    sha.Update(absl::StrCat("tensor ", name.size(), " ", name, " ", ToAbsl(NameOf(info.dtype)),
                            " [", absl::StrJoin(info.shape, ","), "] ", location.file, " ",
                            location.offset, " ", location.offset + info.bytes(), " "));
    const int64_t size = std::min(kSampleBytes, info.bytes());
    const auto bytes = std::span(sample).first(static_cast<size_t>(size));
    QD_RETURN_IF_ERROR(
        files_[location.file]->Read(location.offset + (info.bytes() - size) / 2, bytes));
    sha.Update(bytes);
    sha.Update("\n");
  }
  return sha.FinishHex();
}

}  // namespace quantd
