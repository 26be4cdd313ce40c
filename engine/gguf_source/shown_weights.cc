#include "engine/gguf_source/shown_weights.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/checked.h"
#include "base/error.h"

namespace quantd {
namespace {

// Elements that are decoded at a time: what is held beside the reader's own memory.
constexpr int64_t kPieceElements = 32 << 10;

// Thread-safe.
class Weights {
 public:
  Weights(std::vector<GgufPart> parts, std::vector<ShownTensor> tensors)
      : tensors_(std::move(tensors)) {
    for (GgufPart& part : parts) parts_.push_back(std::move(part.file));
  }

  // Bytes [begin, begin + out.size()) of the tensor as it is shown.
  absl::Status Read(size_t index, int64_t begin, std::span<std::byte> out) const;

 private:
  // Elements [first, first + count) as they are stored, decoded.
  absl::Status Decode(const ShownTensor& tensor, int64_t first, int64_t count,
                      std::vector<float>& to) const;

  std::vector<std::unique_ptr<RandomAccessFile>> parts_;
  std::vector<ShownTensor> tensors_;
};

absl::Status Weights::Read(size_t index, int64_t begin, std::span<std::byte> out) const {
  const ShownTensor& tensor = tensors_[index];
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

absl::Status Weights::Decode(const ShownTensor& tensor, int64_t first, int64_t count,
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

}  // namespace

absl::StatusOr<std::shared_ptr<const ShownTensors>> ShowWeights(const std::string& name,
                                                                std::vector<GgufPart> parts,
                                                                std::vector<ShownTensor> tensors) {
  std::vector<TensorInfo> infos;
  infos.reserve(tensors.size());
  for (const ShownTensor& tensor : tensors) infos.push_back(tensor.info);
  const auto weights = std::make_shared<const Weights>(std::move(parts), std::move(tensors));
  return ShownTensors::Create(name, std::move(infos),
                              [weights](size_t index, int64_t begin, std::span<std::byte> out) {
                                return weights->Read(index, begin, out);
                              });
}

}  // namespace quantd
