#include "engine/tensor/shown_file.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "engine/tensor/shard_writer.h"

namespace quantd {
namespace {

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

class TextFile : public RandomAccessFile {
 public:
  TextFile(std::string name, std::string text) : name_(std::move(name)), text_(std::move(text)) {}

  absl::Status Read(int64_t offset, std::span<std::byte> out) const override {
    QD_RETURN_IF_ERROR(CheckRange(*this, offset, out.size()));
    std::memcpy(out.data(), text_.data() + offset, out.size());
    return absl::OkStatus();
  }
  int64_t size() const override { return static_cast<int64_t>(text_.size()); }
  const std::string& name() const override { return name_; }

 private:
  const std::string name_;
  const std::string text_;
};

class TensorsFile : public RandomAccessFile {
 public:
  explicit TensorsFile(std::shared_ptr<const ShownTensors> tensors)
      : tensors_(std::move(tensors)) {}

  absl::Status Read(int64_t offset, std::span<std::byte> out) const override {
    QD_RETURN_IF_ERROR(CheckRange(*this, offset, out.size()));
    return tensors_->Read(offset, out);
  }
  int64_t size() const override { return tensors_->size(); }
  const std::string& name() const override { return tensors_->name(); }

 private:
  const std::shared_ptr<const ShownTensors> tensors_;
};

}  // namespace

std::unique_ptr<RandomAccessFile> ShowText(std::string name, std::string text) {
  return std::make_unique<TextFile>(std::move(name), std::move(text));
}

ShownTensors::ShownTensors(LaidOutFile file, ReadTensor read)
    : file_(std::move(file)), read_(std::move(read)), by_place_(file_.places.size()) {
  std::iota(by_place_.begin(), by_place_.end(), size_t{0});
  std::sort(by_place_.begin(), by_place_.end(),
            [&](size_t a, size_t b) { return file_.places[a].begin < file_.places[b].begin; });
}

absl::StatusOr<std::shared_ptr<const ShownTensors>> ShownTensors::Create(
    const std::string& name, std::vector<TensorInfo> tensors, ReadTensor read) {
  QD_ASSIGN_OR_RETURN(LaidOutFile file, ShardWriter::LayOut(name, std::move(tensors)));
  return std::shared_ptr<const ShownTensors>(new ShownTensors(std::move(file), std::move(read)));
}

absl::Status ShownTensors::Read(int64_t offset, std::span<std::byte> out) const {
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
      QD_RETURN_IF_ERROR(read_(index, offset - place.begin, out.first(static_cast<size_t>(count))));
    }
    offset += count;
    out = out.subspan(static_cast<size_t>(count));
  }
  return absl::OkStatus();
}

std::unique_ptr<RandomAccessFile> Open(std::shared_ptr<const ShownTensors> tensors) {
  return std::make_unique<TensorsFile>(std::move(tensors));
}

}  // namespace quantd
