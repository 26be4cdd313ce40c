#include "engine/gguf_source/shown_weights.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/checked.h"
#include "base/error.h"
#include "engine/tensor/shard_writer.h"

namespace quantd {
namespace {

// Elements that are decoded at a time: what is held beside the reader's own memory.
constexpr int64_t kPieceElements = 32 << 10;

class WeightsFile : public RandomAccessFile {
 public:
  explicit WeightsFile(std::shared_ptr<const ShownWeights> weights)
      : weights_(std::move(weights)) {}

  absl::Status Read(int64_t offset, std::span<std::byte> out) const override {
    QD_RETURN_IF_ERROR(CheckRange(*this, offset, out.size()));
    return weights_->Read(offset, out);
  }
  int64_t size() const override { return weights_->size(); }
  const std::string& name() const override { return weights_->name(); }

 private:
  const std::shared_ptr<const ShownWeights> weights_;
};

}  // namespace

ShownWeights::ShownWeights(LaidOutFile file, std::vector<GgufPart> parts,
                           std::vector<ShownTensor> tensors)
    : file_(std::move(file)), tensors_(std::move(tensors)), by_place_(tensors_.size()) {
  for (GgufPart& part : parts) parts_.push_back(std::move(part.file));
  std::iota(by_place_.begin(), by_place_.end(), size_t{0});
  std::sort(by_place_.begin(), by_place_.end(),
            [&](size_t a, size_t b) { return file_.places[a].begin < file_.places[b].begin; });
}

absl::StatusOr<std::shared_ptr<const ShownWeights>> ShownWeights::Create(
    std::string name, std::vector<GgufPart> parts, std::vector<ShownTensor> tensors) {
  std::vector<TensorInfo> infos;
  infos.reserve(tensors.size());
  for (const ShownTensor& tensor : tensors) infos.push_back(tensor.info);
  QD_ASSIGN_OR_RETURN(LaidOutFile file, ShardWriter::LayOut(name, std::move(infos)));
  return std::shared_ptr<const ShownWeights>(
      new ShownWeights(std::move(file), std::move(parts), std::move(tensors)));
}

absl::Status ShownWeights::Read(int64_t offset, std::span<std::byte> out) const {
  const auto header_bytes = static_cast<int64_t>(file_.header.size());
  while (!out.empty()) {
    int64_t count = static_cast<int64_t>(out.size());
    if (offset < header_bytes) {
      count = std::min(count, header_bytes - offset);
      std::memcpy(out.data(), file_.header.data() + offset, static_cast<size_t>(count));
    } else {
      // The last tensor that begins at or before the offset; data have no holes.
      const auto after = std::upper_bound(
          by_place_.begin(), by_place_.end(), offset,
          [&](int64_t at, size_t index) { return at < file_.places[index].begin; });
      const size_t index = *(after - 1);
      const TensorPlace& place = file_.places[index];
      count = std::min(count, place.begin + place.bytes - offset);
      QD_RETURN_IF_ERROR(
          ReadTensor(tensors_[index], offset - place.begin, out.first(static_cast<size_t>(count))));
    }
    offset += count;
    out = out.subspan(static_cast<size_t>(count));
  }
  return absl::OkStatus();
}

absl::Status ShownWeights::ReadTensor(const ShownTensor& tensor, int64_t begin,
                                      std::span<std::byte> out) const {
  const int64_t size = SizeOf(tensor.info.dtype);
  const int64_t end = begin + static_cast<int64_t>(out.size());
  // Rows that keep their order are as good as one.
  const auto rows = std::max<int64_t>(1, static_cast<int64_t>(tensor.places.size()));
  const int64_t width = tensor.info.elements() / rows;
  std::vector<float> values;
  for (int64_t done = begin; done < end;) {
    const int64_t element = done / size, row = element / width, column = element % width;
    const int64_t stored_row =
        tensor.places.empty() ? row : tensor.places[static_cast<size_t>(row)];
    const int64_t stored = stored_row * width + column;
    const int64_t skipped = done % size;  // bytes of the first element
    const int64_t left_in_row = (width - column) * size - skipped;
    int64_t count = std::min(end - done, left_in_row);
    if (!tensor.as_stored()) count = std::min(count, kPieceElements * size - skipped);
    const auto piece = out.subspan(static_cast<size_t>(done - begin), static_cast<size_t>(count));
    if (tensor.as_stored()) {
      QD_RETURN_IF_ERROR(parts_[tensor.part]->Read(tensor.offset + stored * size + skipped, piece));
    } else {
      QD_RETURN_IF_ERROR(Decode(tensor, stored, DivideRoundingUp(skipped + count, size), values));
      std::memcpy(piece.data(), reinterpret_cast<const std::byte*>(values.data()) + skipped,
                  piece.size());
    }
    done += count;
  }
  return absl::OkStatus();
}

absl::Status ShownWeights::Decode(const ShownTensor& tensor, int64_t first, int64_t count,
                                  std::vector<float>& to) const {
  const BlockType& type = *tensor.type;
  const int64_t first_block = first / type.elements;
  const int64_t blocks = DivideRoundingUp(first + count, type.elements) - first_block;
  std::vector<std::byte> bytes(static_cast<size_t>(blocks * type.bytes));
  QD_RETURN_IF_ERROR(parts_[tensor.part]->Read(tensor.offset + first_block * type.bytes, bytes));
  to.resize(static_cast<size_t>(blocks * type.elements));
  type.decode(type, bytes.data(), blocks, to.data());
  to.erase(to.begin(), to.begin() + (first - first_block * type.elements));
  if (tensor.added != 0) {
    for (float& value : to) value -= tensor.added;
  }
  return absl::OkStatus();
}

absl::Status CheckRange(const RandomAccessFile& file, int64_t offset, size_t bytes) {
  const int64_t size = file.size();
  if (offset >= 0 && offset <= size && static_cast<int64_t>(bytes) <= size - offset) {
    return absl::OkStatus();
  }
  return MakeError(Reason::kModelCorrupt, "cannot read",
                   Violation{.where = file.name(),
                             .got = absl::StrCat("the end after ", size, " bytes"),
                             .wanted = absl::StrCat(bytes, " bytes at ", offset)});
}

std::unique_ptr<RandomAccessFile> OpenShownWeights(std::shared_ptr<const ShownWeights> weights) {
  return std::make_unique<WeightsFile>(std::move(weights));
}

}  // namespace quantd
