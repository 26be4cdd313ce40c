#include "engine/format/dequantized.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "engine/format/serving_rules.h"

namespace quantd {
namespace {

constexpr LoaderRow kLoaders[] = {
    {"transformers", kTransformersVersions, "any shape"},
    {"vllm", kVllmVersions, "any shape"},
    {"sglang", kSglangVersions, "any shape"},
};

// Any weight can be held; a loader would not know that it must quantize the inputs.
absl::Status Accepts(std::span<const ResolvedLinear> linears, const ModelSpec& /*model*/,
                     const LoaderTarget& target) {
  QD_RETURN_IF_ERROR(CheckTarget(kDequantized, target));
  std::vector<Violation> violations;
  for (const ResolvedLinear& resolved : linears) {
    if (!resolved.scheme.has_value()) continue;
    if (resolved.scheme->activations == ActivationScheme::kNone) continue;
    violations.push_back({resolved.linear->name,
                          "activations " + std::string(NameOf(resolved.scheme->activations)),
                          "activations none, or format compressed-tensors"});
  }
  if (violations.empty()) return absl::OkStatus();
  return MakeError(Reason::kFormatCannotHold, "dequantized cannot hold the recipe",
                   std::move(violations));
}

// The scales are in the model's type, so that it is also the type of what they multiply.
std::vector<TensorInfo> Tensors(const LinearSpec& linear, const Scheme& scheme) {
  std::vector<int64_t> shape = {linear.out_features, linear.in_features};
  if (linear.transposed) std::reverse(shape.begin(), shape.end());
  return {{"weight", scheme.scale_dtype, std::move(shape)}};
}

int64_t RowAlignment(const Scheme& /*scheme*/) { return 1; }

// A panel of rows is a run of each stored row: [K, N].
std::vector<PackedPiece> PackTransposed(const LinearSpec& linear, const Scheme& scheme,
                                        int64_t row_begin, const QuantizedRows& rows) {
  const int64_t width = SizeOf(scheme.scale_dtype), columns = linear.in_features;
  std::vector<float> values(static_cast<size_t>(rows.rows * columns));
  for (int64_t n = 0; n < rows.rows; ++n) rows.Dequantize(n, values.data() + n * columns);
  std::vector<PackedPiece> pieces;
  std::vector<float> run(static_cast<size_t>(rows.rows));
  for (int64_t k = 0; k < columns; ++k) {
    for (int64_t n = 0; n < rows.rows; ++n) {
      run[static_cast<size_t>(n)] = values[static_cast<size_t>(n * columns + k)];
    }
    PackedPiece piece = {0, (k * linear.out_features + row_begin) * width, {}};
    piece.bytes.resize(static_cast<size_t>(rows.rows * width));
    NarrowFromF32(run.data(), rows.rows, scheme.scale_dtype, piece.bytes.data());
    pieces.push_back(std::move(piece));
  }
  return pieces;
}

std::vector<PackedPiece> Pack(const LinearSpec& linear, const Scheme& scheme, int64_t row_begin,
                              const QuantizedRows& rows) {
  if (linear.transposed) return PackTransposed(linear, scheme, row_begin, rows);
  const int64_t width = SizeOf(scheme.scale_dtype), columns = linear.in_features;
  PackedPiece piece = {0, row_begin * columns * width, {}};
  piece.bytes.resize(static_cast<size_t>(rows.rows * columns * width));
  std::vector<float> row(static_cast<size_t>(columns));
  for (int64_t n = 0; n < rows.rows; ++n) {
    rows.Dequantize(n, row.data());
    NarrowFromF32(row.data(), columns, scheme.scale_dtype,
                  piece.bytes.data() + n * columns * width);
  }
  return {std::move(piece)};
}

std::vector<PackedPiece> Constants(const LinearSpec& /*linear*/, const Scheme& /*scheme*/,
                                   const std::optional<StaticInput>& /*input*/) {
  return {};
}

Json Config(std::span<const ResolvedLinear> /*linears*/, const ModelSpec& /*model*/) {
  return nullptr;
}

}  // namespace

const Format kDequantized = {
    .name = "dequantized",
    .summary = "safetensors of the model's own type, holding the quantized values",
    .loaders = kLoaders,
    .accepts = Accepts,
    .tensors = Tensors,
    .row_alignment = RowAlignment,
    .pack = Pack,
    .constants = Constants,
    .config = Config,
    .floating = true,
    .blocks = true,
};

}  // namespace quantd
