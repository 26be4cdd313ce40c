#include "engine/block/transform.h"

#include "base/error.h"

namespace quantd {
void Transform::Apply(int64_t row, int64_t count, int64_t columns_count, float* weights) const {
  for (int64_t n = 0; n < count; ++n) {
    float* w = weights + n * columns_count;
    const float factor = rows.empty() ? 1.0F : rows[static_cast<size_t>(row + n)];
    if (columns.empty()) {
      for (int64_t k = 0; k < columns_count; ++k) w[k] *= factor;
    } else {
      for (int64_t k = 0; k < columns_count; ++k) w[k] *= factor * columns[static_cast<size_t>(k)];
    }
  }
}

void Transform::ApplyToBias(std::span<float> bias) const {
  for (size_t n = 0; n < rows.size(); ++n) bias[n] *= rows[n];
}

absl::StatusOr<AlignedBuffer<float>> TransformedValues(const WeightSource& source,
                                                       const Transform& transform) {
  const LinearSpec& linear = source.linear();
  AlignedBuffer<float> values(linear.parameters());
  QD_RETURN_IF_ERROR(source.ReadF32(0, linear.out_features, values.data()));
  transform.Apply(0, linear.out_features, linear.in_features, values.data());
  return values;
}

}  // namespace quantd
