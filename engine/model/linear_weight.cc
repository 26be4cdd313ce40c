#include "engine/model/linear_weight.h"

#include <string>

#include "base/error.h"

namespace quantd {
namespace {

std::string TensorOf(const LinearSpec& linear) { return linear.name + ".weight"; }

}  // namespace

absl::Status ReadLinearRows(const Checkpoint& checkpoint, const LinearSpec& linear, int64_t row,
                            int64_t count, std::span<std::byte> out) {
  const std::string tensor = TensorOf(linear);
  return linear.transposed ? checkpoint.ReadColumns(tensor, row, count, out)
                           : checkpoint.ReadRows(tensor, row, count, out);
}

absl::Status ReadLinearRowsF32(const Checkpoint& checkpoint, const LinearSpec& linear, int64_t row,
                               int64_t count, float* out) {
  const std::string tensor = TensorOf(linear);
  if (!linear.transposed) return checkpoint.ReadRowsF32(tensor, row, count, out);
  const DType dtype = checkpoint.Find(tensor)->dtype;
  const int64_t values = count * linear.in_features;
  AlignedBuffer<std::byte> bytes(values * SizeOf(dtype));
  QD_RETURN_IF_ERROR(checkpoint.ReadColumns(tensor, row, count, bytes.span()));
  WidenToF32(bytes.data(), dtype, values, out);
  return absl::OkStatus();
}

absl::StatusOr<Tensor> ReadLinear(const Checkpoint& checkpoint, const LinearSpec& linear) {
  if (!linear.transposed) return checkpoint.Read(TensorOf(linear));
  Tensor tensor{.info = *checkpoint.Find(TensorOf(linear)), .bytes = {}};
  tensor.info.shape = {linear.out_features, linear.in_features};
  tensor.bytes = AlignedBuffer<std::byte>(tensor.info.bytes());
  QD_RETURN_IF_ERROR(
      ReadLinearRows(checkpoint, linear, 0, linear.out_features, tensor.bytes.span()));
  return tensor;
}

}  // namespace quantd
