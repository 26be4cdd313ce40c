#include "engine/block/output_error.h"

#include <cmath>
#include <vector>

#include "base/error.h"

namespace quantd {

absl::StatusOr<double> RelativeOutputError(const InputSamples::Rows& rows,
                                           const PreparedWeight& original,
                                           const PreparedWeight& quantized,
                                           const Transform& transform, Backend& backend) {
  const int64_t width = original.out_features(), outputs = rows.tokens * width;
  AlignedBuffer<float> y(outputs), y_quantized(outputs);
  QD_RETURN_IF_ERROR(backend.MatMul(rows.x.data(), rows.tokens, original, nullptr, y.data()));
  std::vector<float> x = rows.x;
  for (size_t i = 0; !transform.columns.empty() && i < x.size(); ++i) {
    x[i] /= transform.columns[i % transform.columns.size()];
  }
  QD_RETURN_IF_ERROR(backend.MatMul(x.data(), rows.tokens, quantized, nullptr, y_quantized.data()));
  double energy = 0, error = 0;
  for (int64_t i = 0; i < outputs; ++i) {
    const double value = static_cast<double>(y.data()[i]);
    double got = static_cast<double>(y_quantized.data()[i]);
    if (!transform.rows.empty())
      got /= static_cast<double>(transform.rows[static_cast<size_t>(i % width)]);
    energy += value * value;
    error += (got - value) * (got - value);
  }
  return energy > 0 ? std::sqrt(error / energy) : 0.0;
}

}  // namespace quantd
