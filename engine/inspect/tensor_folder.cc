#include "engine/inspect/tensor_folder.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "engine/tensor/checkpoint.h"
#include "engine/tensor/shard_index.h"

namespace quantd {
namespace {

constexpr std::string_view kIndex = "model.safetensors.index.json";
constexpr std::string_view kSuffix = ".safetensors";
constexpr int64_t kMaxIndexBytes = 256 << 20;

// What an error says, for a finding: "data: got 12, wanted 20".
std::string TextOf(const absl::Status& status) {
  const std::vector<Violation> violations = ViolationsOf(status);
  if (violations.empty()) return std::string(status.message());
  return absl::StrCat(violations.front().got, ", wanted ", violations.front().wanted);
}

std::vector<std::string> SafetensorsIn(const std::vector<std::string>& names) {
  std::vector<std::string> found;
  for (const std::string& name : names) {
    if (name.ends_with(kSuffix)) found.push_back(name);
  }
  return found;
}

}  // namespace

absl::StatusOr<TensorFolder> TensorFolder::Open(const ModelFiles& files, Findings* findings) {
  TensorFolder opened;
  QD_ASSIGN_OR_RETURN(const std::vector<std::string> names, files.List());
  const std::vector<std::string> present = SafetensorsIn(names);
  std::map<std::string, std::string, std::less<>> index;
  std::vector<std::string> shards = present;
  if (std::find(names.begin(), names.end(), kIndex) != names.end()) {
    opened.has_index_ = true;
    QD_ASSIGN_OR_RETURN(const std::string text, files.ReadText(kIndex, kMaxIndexBytes));
    auto parsed = ParseShardIndex(text, files.Where(kIndex));
    if (parsed.ok()) {
      index = *std::move(parsed);
      std::set<std::string> named;
      for (const auto& [tensor, shard] : index) named.insert(shard);
      for (const std::string& name : present) {
        if (!named.contains(name)) findings->Note(name, "the index does not name this file");
      }
      shards.assign(named.begin(), named.end());
    } else {
      findings->Problem(std::string(kIndex), TextOf(parsed.status()));
    }
  }
  if (shards.empty()) {
    const auto is_gguf = [](const std::string& name) { return name.ends_with(".gguf"); };
    const bool several = std::ranges::any_of(names, is_gguf);
    return MakeError(
        Reason::kModelNotFound, "nothing to inspect",
        Violation{.where = files.location(),
                  .got = several ? "several GGUF models" : "no weights",
                  .wanted = several ? "the path of one of them" : "safetensors or a GGUF file"});
  }
  for (const std::string& shard : shards) opened.AddFile(files, shard, findings);
  opened.CheckIndex(index, findings);
  return opened;
}

void TensorFolder::AddFile(const ModelFiles& files, const std::string& name, Findings* findings) {
  auto opened = files.Open(name);
  if (!opened.ok()) {
    ++unreadable_;
    findings->Problem(name, files.Has(name) ? TextOf(opened.status()) : "no such file");
    return;
  }
  const RandomAccessFile& file = **opened;
  files_.push_back({name, file.size()});
  const absl::StatusOr<SafetensorsHeader> header = ReadSafetensorsHeader(file);
  if (!header.ok()) {
    ++unreadable_;
    const std::vector<Violation> violations = ViolationsOf(header.status());
    const std::string where = violations.empty() ? file.name() : violations.front().where;
    // Paths of files begin with the model's place, which the reader knows.
    const bool below = where.starts_with(files.Where(""));
    findings->Problem(below ? where.substr(files.Where("").size()) : where,
                      "damaged or cut short: " + TextOf(header.status()));
    open_.push_back(*std::move(opened));
    return;
  }
  const auto format = header->metadata.find("format");
  if (format == header->metadata.end()) {
    findings->Note(name, "no format in the metadata: older transformers refuse the file");
  }
  for (const SafetensorsHeader::Entry& entry : header->entries) {
    const auto [place, added] = tensors_.emplace(
        entry.info.name,
        FolderTensor{.info = entry.info, .file = files_.size() - 1, .offset = entry.offset});
    if (!added) {
      findings->Problem(entry.info.name, absl::StrCat("in ", files_[place->second.file].name,
                                                      " and again in ", name));
    }
  }
  open_.push_back(*std::move(opened));
}

void TensorFolder::CheckIndex(const std::map<std::string, std::string, std::less<>>& index,
                              Findings* findings) const {
  if (index.empty()) return;
  for (const auto& [tensor, shard] : index) {
    const FolderTensor* found = Find(tensor);
    if (found == nullptr && unreadable_ == 0) {
      findings->Problem(tensor, absl::StrCat("missing: the index has it in ", shard));
    } else if (found != nullptr && files_[found->file].name != shard) {
      findings->Problem(tensor, absl::StrCat("the index has it in ", shard, ", it is in ",
                                             files_[found->file].name));
    }
  }
  for (const auto& [name, tensor] : tensors_) {
    if (!index.contains(name)) {
      findings->Problem(name, absl::StrCat("in ", files_[tensor.file].name,
                                           ", but not in the index: loaders pass it over"));
    }
  }
}

const FolderTensor* TensorFolder::Find(std::string_view name) const {
  const auto found = tensors_.find(name);
  return found == tensors_.end() ? nullptr : &found->second;
}

absl::Status TensorFolder::Read(const FolderTensor& tensor, int64_t offset,
                                std::span<std::byte> out) const {
  const auto size = static_cast<int64_t>(out.size());
  if (offset < 0 || size > tensor.info.bytes() || offset > tensor.info.bytes() - size) {
    return MakeError(Reason::kInternal, "a read outside of a tensor",
                     Violation{.where = tensor.info.name,
                               .got = absl::StrCat(offset, " + ", size),
                               .wanted = absl::StrCat("below ", tensor.info.bytes())});
  }
  return open_[tensor.file]->Read(tensor.offset + offset, out);
}

absl::StatusOr<AlignedBuffer<std::byte>> TensorFolder::ReadAll(const FolderTensor& tensor) const {
  AlignedBuffer<std::byte> bytes(tensor.info.bytes());
  QD_RETURN_IF_ERROR(Read(tensor, 0, bytes.span()));
  return bytes;
}

}  // namespace quantd
