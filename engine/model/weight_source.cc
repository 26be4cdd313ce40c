#include "engine/model/weight_source.h"

#include <algorithm>
#include <utility>

#include "base/error.h"

namespace quantd {
WeightSource::WeightSource(const Checkpoint& checkpoint, const LinearSpec& linear,
                           std::string tensor)
    : checkpoint_(&checkpoint), linear_(&linear), tensor_(std::move(tensor)) {
  if (const TensorInfo* info = checkpoint.Find(tensor_); info != nullptr) dtype_ = info->dtype;
}

absl::Status WeightSource::Hold() {
  AlignedBuffer<std::byte> all(bytes());
  QD_RETURN_IF_ERROR(Read(0, linear_->out_features, all.span()));
  held_ = std::move(all);
  return absl::OkStatus();
}

std::optional<WeightRows> WeightSource::Held() const {
  if (held_.size() == 0) return std::nullopt;
  return WeightRows{.data = held_.data(),
                    .dtype = dtype(),
                    .rows = linear_->out_features,
                    .columns = linear_->in_features};
}

absl::Status WeightSource::Read(int64_t row, int64_t count, std::span<std::byte> out) const {
  if (held_.size() > 0) {
    const int64_t row_bytes = linear_->in_features * SizeOf(dtype());
    std::copy_n(held_.data() + row * row_bytes, count * row_bytes, out.data());
    return absl::OkStatus();
  }
  return linear_->transposed ? checkpoint_->ReadColumns(tensor_, row, count, out)
                             : checkpoint_->ReadRows(tensor_, row, count, out);
}

absl::Status WeightSource::ReadF32(int64_t row, int64_t count, float* out) const {
  const int64_t values = count * linear_->in_features;
  if (held_.size() > 0) {
    const std::byte* from = held_.data() + row * linear_->in_features * SizeOf(dtype());
    WidenToF32(from, dtype(), values, out);
    return absl::OkStatus();
  }
  if (!linear_->transposed) return checkpoint_->ReadRowsF32(tensor_, row, count, out);
  AlignedBuffer<std::byte> stored(values * SizeOf(dtype_));
  QD_RETURN_IF_ERROR(checkpoint_->ReadColumns(tensor_, row, count, stored.span()));
  WidenToF32(stored.data(), dtype_, values, out);
  return absl::OkStatus();
}

std::vector<WeightSource> SourcesOf(const Checkpoint& checkpoint, const BlockSpec& block) {
  std::vector<WeightSource> sources;
  sources.reserve(block.linears.size());
  for (const LinearSpec& linear : block.linears) {
    sources.emplace_back(checkpoint, linear, linear.name + ".weight");
  }
  return sources;
}

}  // namespace quantd
