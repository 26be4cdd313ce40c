#include "engine/run/tensor_bundle.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/digest.h"
#include "base/error.h"
#include "engine/tensor/checkpoint.h"
#include "engine/tensor/shard_writer.h"

namespace quantd {
namespace {

constexpr int64_t kDigestChunkBytes = 1 << 20;

}  // namespace

absl::StatusOr<SealedFile> WriteBundle(const std::string& path,
                                       const std::vector<BundlePiece>& pieces, ThreadPool& pool) {
  std::vector<TensorInfo> tensors;
  for (const BundlePiece& piece : pieces) {
    tensors.push_back({piece.name, DType::kU8, {static_cast<int64_t>(piece.bytes.size())}});
  }
  QD_ASSIGN_OR_RETURN(const auto file, ShardWriter::Create(path, tensors, Durability::kNamed));
  QD_RETURN_IF_ERROR(
      pool.ForEach(static_cast<int64_t>(pieces.size()), [&](int64_t piece) -> absl::Status {
        const auto index = static_cast<size_t>(piece);
        if (pieces[index].bytes.empty()) return absl::OkStatus();
        return file->Write(index, 0, pieces[index].bytes);
      }));
  return file->Seal();
}

absl::Status ReadBundle(const std::string& path, const BundlePlace& place, ThreadPool& pool) {
  QD_ASSIGN_OR_RETURN(const RandomAccessFile file, RandomAccessFile::Open(path));
  QD_ASSIGN_OR_RETURN(const SafetensorsHeader header, ReadSafetensorsHeader(file));
  std::vector<std::span<std::byte>> places;
  for (const SafetensorsHeader::Entry& entry : header.entries) {
    places.push_back(place(entry.info.name, entry.info.bytes()));
    if (static_cast<int64_t>(places.back().size()) == entry.info.bytes()) continue;
    return MakeError(Reason::kModelCorrupt, "cannot be read back",
                     Violation{.where = absl::StrCat(path, ":", entry.info.name),
                               .got = absl::StrCat(entry.info.bytes(), " bytes"),
                               .wanted = absl::StrCat(places.back().size())});
  }
  return pool.ForEach(static_cast<int64_t>(places.size()), [&](int64_t piece) -> absl::Status {
    const auto index = static_cast<size_t>(piece);
    if (places[index].empty()) return absl::OkStatus();
    return file.Read(header.entries[index].offset, places[index]);
  });
}

absl::StatusOr<SealedFile> DigestFile(const std::string& path) {
  QD_ASSIGN_OR_RETURN(const RandomAccessFile file, RandomAccessFile::Open(path));
  Sha256 digest;
  std::vector<std::byte> chunk;
  for (int64_t offset = 0; offset < file.size(); offset += kDigestChunkBytes) {
    chunk.resize(static_cast<size_t>(std::min(kDigestChunkBytes, file.size() - offset)));
    QD_RETURN_IF_ERROR(file.Read(offset, chunk));
    digest.Update(chunk);
  }
  return SealedFile{.path = path, .bytes = file.size(), .sha256 = digest.FinishHex()};
}

}  // namespace quantd
