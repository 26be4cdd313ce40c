// FP8 weights as a checkpoint shows them: floats, made row by row as they are read.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "engine/tensor/checkpoint.h"
#include "engine/tensor/config_json.h"
#include "engine/tensor/float8.h"

namespace quantd {
namespace {

constexpr std::string_view kConfig = "config.json";
constexpr int64_t kMaxConfigBytes = 16 << 20;
constexpr std::string_view kWeight = ".weight";

}  // namespace

absl::Status Checkpoint::AdoptFloat8() {
  if (!model_->Has(kConfig)) return absl::OkStatus();
  // A configuration that cannot be read is refused by who needs it.
  const auto text = model_->ReadText(kConfig, kMaxConfigBytes);
  const auto config = text.ok() ? ParseConfigJson(*text, kConfig) : text.status();
  if (!config.ok()) return absl::OkStatus();
  const std::optional<Float8Source> source = ReadFloat8Source(*config);
  if (!source.has_value()) return absl::OkStatus();
  stored_as_ = source->description;
  for (auto& [name, location] : tensors_) location.hidden = IsFloat8Companion(name);
  for (auto& [name, location] : tensors_) {
    const bool weight = IsFloat8(location.stored.dtype) && location.stored.shape.size() == 2 &&
                        name.ends_with(kWeight) && location.stored.dtype != DType::kF8E8M0;
    if (weight) QD_RETURN_IF_ERROR(AdoptFloat8Weight(*source, location));
  }
  return absl::OkStatus();
}

absl::Status Checkpoint::AdoptFloat8Weight(const Float8Source& source, Location& weight) {
  const std::string& name = weight.info.name;
  for (const char* ending : {"_scale_inv", "_scale"}) {
    const auto scales = tensors_.find(name + ending);
    if (scales == tensors_.end()) continue;
    const Location& found = scales->second;
    const std::string where = absl::StrCat(files_[found.file]->name(), ":", found.info.name);
    QD_ASSIGN_OR_RETURN(weight.layout,
                        MeasureFloat8Scales(weight.stored, found.stored, source, where));
    weight.scales = &found;
    weight.info.dtype = source.dtype;
    return absl::OkStatus();
  }
  return MakeError(Reason::kModelCorrupt, "FP8 weights without scales",
                   Violation{.where = absl::StrCat(files_[weight.file]->name(), ":", name),
                             .got = "no scales",
                             .wanted = absl::StrCat(name, "_scale_inv or ", name, "_scale")});
}

absl::Status Checkpoint::ReadFloat8Rows(const Location& weight, int64_t begin, int64_t count,
                                        std::span<std::byte> out) const {
  if (count == 0) return absl::OkStatus();
  const Float8Scales& layout = weight.layout;
  const int64_t width = weight.info.shape[1];
  const TensorInfo& stored = weight.scales->stored;
  // The scales of these rows alone.
  const int64_t first = begin / layout.block_rows;
  const int64_t scale_count =
      ((begin + count - 1) / layout.block_rows - first + 1) * layout.per_row;
  AlignedBuffer<std::byte> bytes(scale_count * SizeOf(stored.dtype));
  QD_RETURN_IF_ERROR(files_[weight.scales->file]->Read(
      weight.scales->offset + first * layout.per_row * SizeOf(stored.dtype), bytes.span()));
  AlignedBuffer<float> scales(scale_count);
  WidenToF32(bytes.data(), stored.dtype, scale_count, scales.data());

  AlignedBuffer<std::byte> codes(width);
  AlignedBuffer<float> row(width);
  const int64_t row_bytes = width * SizeOf(weight.info.dtype);
  for (int64_t i = 0; i < count; ++i) {
    QD_RETURN_IF_ERROR(
        files_[weight.file]->Read(weight.offset + (begin + i) * width, codes.span()));
    WidenToF32(codes.data(), weight.stored.dtype, width, row.data());
    const float* const own =
        scales.data() + ((begin + i) / layout.block_rows - first) * layout.per_row;
    for (int64_t column = 0; column < width; column += layout.block_columns) {
      const float scale = own[column / layout.block_columns];
      const int64_t end = std::min(width, column + layout.block_columns);
      for (int64_t k = column; k < end; ++k) row.data()[k] *= scale;
    }
    NarrowFromF32(row.data(), width, weight.info.dtype, out.data() + i * row_bytes);
  }
  return absl::OkStatus();
}

}  // namespace quantd
