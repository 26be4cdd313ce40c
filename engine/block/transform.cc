#include "engine/block/transform.h"

#include "base/error.h"

namespace quantd {
namespace {

void ScaleColumns(int64_t count, std::span<const float> factors, float* weights) {
  for (int64_t n = 0; n < count; ++n) {
    for (const float factor : factors) *weights++ *= factor;
  }
}

}  // namespace

absl::Status Transform::Apply(int64_t row, int64_t count, int64_t columns_count,
                              float* weights) const {
  ScaleColumns(count, gain, weights);
  if (input != nullptr) input->ApplyToRows(weights, count);
  if (output != nullptr) {
    if (row != 0 || count != output->width()) {
      return MakeError(Reason::kInternal, "a part of the rows cannot be rotated");
    }
    output->ApplyToColumns(weights, columns_count);
  }
  for (int64_t n = 0; n < count; ++n) {
    float* w = weights + n * columns_count;
    const float factor = rows.empty() ? 1.0F : rows[static_cast<size_t>(row + n)];
    if (columns.empty()) {
      for (int64_t k = 0; k < columns_count; ++k) w[k] *= factor;
    } else {
      for (int64_t k = 0; k < columns_count; ++k) w[k] *= factor * columns[static_cast<size_t>(k)];
    }
  }
  return absl::OkStatus();
}

void Transform::ApplyToBias(std::span<float> bias) const {
  if (output != nullptr) output->ApplyToRows(bias.data(), 1);
  for (size_t n = 0; n < rows.size(); ++n) bias[n] *= rows[n];
}

absl::StatusOr<AlignedBuffer<float>> TransformedValues(const WeightSource& source,
                                                       const Transform& transform) {
  const LinearSpec& linear = source.linear();
  AlignedBuffer<float> values(linear.parameters());
  QD_RETURN_IF_ERROR(source.ReadF32(0, linear.out_features, values.data()));
  QD_RETURN_IF_ERROR(transform.Apply(0, linear.out_features, linear.in_features, values.data()));
  return values;
}

}  // namespace quantd
