#include "engine/block/linear_quantizer.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>
#include <utility>
#include <vector>

#include "base/checked.h"
#include "base/error.h"
#include "engine/method/round_to_nearest.h"

namespace quantd {
namespace {

// What a weight that is reproduced exactly is reported as; JSON has no infinity.
constexpr double kExactSnrDb = 999.0;

int64_t RowsPerPanel(const LinearSpec& linear, const Scheme& scheme, const Method& method,
                     const Format& format) {
  if (scheme.granularity == Granularity::kTensor) return linear.out_features;
  if (method.all_rows != nullptr && method.all_rows(scheme)) return linear.out_features;
  const int64_t words = format.pack == nullptr ? 1 : format.row_alignment(scheme);
  const int64_t alignment = std::lcm(words, scheme.RowsPerScale());
  const int64_t rows = std::max<int64_t>(1, method.panel_weights / linear.in_features);
  return std::min(linear.out_features, DivideRoundingUp(rows, alignment) * alignment);
}

void CopyPanel(const QuantizedRows& panel, int64_t row_begin, QuantizedRows& all) {
  if (panel.block != nullptr) {
    std::copy(panel.blocks.begin(), panel.blocks.end(),
              all.blocks.begin() + row_begin * panel.block->RowBytes(all.columns));
    return;
  }
  std::copy(panel.codes.begin(), panel.codes.end(), all.codes.begin() + row_begin * all.columns);
  std::copy(panel.scales.begin(), panel.scales.end(), all.scales.begin() + row_begin * all.groups);
  std::copy(panel.zeros.begin(), panel.zeros.end(), all.zeros.begin() + row_begin * all.groups);
  std::copy(panel.real_zeros.begin(), panel.real_zeros.end(),
            all.real_zeros.begin() + row_begin * all.groups);
}

double SnrDb(double weight_energy, double error_energy) {
  if (error_energy <= 0) return kExactSnrDb;
  return std::min(kExactSnrDb, 10.0 * std::log10(std::max(weight_energy, 1e-300) / error_energy));
}

LayerReport ReportOf(const LinearSpec& linear, const Scheme& scheme) {
  return {.name = linear.name,
          .out_features = linear.out_features,
          .in_features = linear.in_features,
          .method = scheme.method,
          .bits = scheme.bits,
          .group_size = scheme.granularity == Granularity::kGroup ? scheme.group_size : 0,
          .symmetric = scheme.symmetric,
          .scale_rule = std::string(NameOf(scheme.scale_rule)),
          .granularity = std::string(NameOf(scheme.granularity)),
          .activations = std::string(NameOf(scheme.activations)),
          .weight_snr_db = 0,
          .relative_output_error = std::nullopt,
          .figures = {},
          .seconds = 0};
}

// Of the rows of one panel.
struct PanelSums {
  double weight_energy = 0, error_energy = 0, kept_ranges = 0;
};

// What was found out before and while the rows were quantized.
void AddFigures(const Scheme& scheme, const LinearInputs& inputs,
                const std::vector<PanelSums>& panels, LayerReport& report) {
  PanelSums all;
  for (const PanelSums& panel : panels) {
    all.weight_energy += panel.weight_energy;
    all.error_energy += panel.error_energy;
    all.kept_ranges += panel.kept_ranges;
  }
  report.weight_snr_db = SnrDb(all.weight_energy, all.error_energy);
  if (inputs.transform != nullptr) report.figures = inputs.transform->figures;
  if (inputs.prepared != nullptr) {
    const Figures& more = inputs.prepared->figures;
    report.figures.insert(report.figures.end(), more.begin(), more.end());
  }
  if (all.kept_ranges > 0) {
    const int64_t groups = report.out_features * scheme.GroupsPerRow(report.in_features);
    report.figures.emplace_back("clip", all.kept_ranges / static_cast<double>(groups));
  }
}

// Puts the name of the tensor, and its first row, before what a method found wrong in a panel.
absl::Status InTensor(const absl::Status& status, const std::string& tensor, int64_t row_begin) {
  if (status.ok() || ReasonOf(status) != Reason::kModelNotFinite) return status;
  std::vector<Violation> violations = ViolationsOf(status);
  for (Violation& violation : violations) {
    violation.where = tensor + ", rows from " + std::to_string(row_begin) + ": " + violation.where;
  }
  return MakeError(Reason::kModelNotFinite, "the weights are not finite", std::move(violations));
}

// Rows in the type of the checkpoint, or, where a transform goes into them, in f32; in `bytes`
// unless they are in memory already.
absl::StatusOr<WeightRows> ReadPanel(const LinearInputs& inputs, int64_t row, int64_t count,
                                     AlignedBuffer<std::byte>& bytes) {
  const WeightSource& source = inputs.source;
  const int64_t columns = source.linear().in_features;
  const bool transformed = inputs.transform != nullptr && !inputs.transform->empty();
  if (const auto held = source.Held(); !transformed && held.has_value()) {
    return held->Slice(row, count);
  }
  const DType dtype = transformed ? DType::kF32 : source.dtype();
  bytes = AlignedBuffer<std::byte>(count * columns * SizeOf(dtype));
  const WeightRows rows = {.data = bytes.data(), .dtype = dtype, .rows = count, .columns = columns};
  if (!transformed) {
    QD_RETURN_IF_ERROR(source.Read(row, count, bytes.span()));
    return rows;
  }
  auto* values = reinterpret_cast<float*>(bytes.data());
  QD_RETURN_IF_ERROR(source.ReadF32(row, count, values));
  inputs.transform->Apply(row, count, columns, values);
  return rows;
}

absl::Status Write(const LinearSpec& linear, const std::vector<TensorInfo>& parts,
                   const std::vector<PackedPiece>& pieces, PackedTensors& tensors) {
  for (const PackedPiece& piece : pieces) {
    QD_RETURN_IF_ERROR(
        tensors.Write(linear.name + "." + parts[piece.index].name, piece.offset, piece.bytes));
  }
  return absl::OkStatus();
}

}  // namespace

// Of the linear as a whole: stripes, if its format has them, and what does not depend on rows.
absl::Status LinearQuantizer::WriteWhole(const LinearSpec& linear, const Scheme& scheme,
                                         const std::vector<TensorInfo>& parts,
                                         const std::optional<QuantizedRows>& rows,
                                         const std::optional<StaticInput>& input,
                                         PackedTensors& tensors) const {
  if (format_.pack == nullptr) {
    QD_RETURN_IF_ERROR(
        context_.pool.ForEach(format_.stripes(linear, scheme), [&](int64_t stripe) -> absl::Status {
          return Write(linear, parts, format_.pack_stripe(linear, scheme, *rows, stripe), tensors);
        }));
  }
  return Write(linear, parts, format_.constants(linear, scheme, input), tensors);
}

absl::StatusOr<QuantizedLinear> LinearQuantizer::Run(const ResolvedLinear& entry,
                                                     const LinearInputs& inputs, KeepRows keep,
                                                     PackedTensors* tensors) const {
  const auto start = std::chrono::steady_clock::now();
  const LinearSpec& linear = *entry.linear;
  Scheme scheme = *entry.scheme;
  scheme.tensor_scale = inputs.tensor_scale;
  const Method& method = *FindMethod(scheme.method);
  const std::vector<TensorInfo> parts = format_.tensors(linear, scheme);

  std::optional<StaticInput> input;
  std::vector<int32_t> group_of;
  if (inputs.prepared != nullptr) {
    input = inputs.prepared->input;
    group_of = inputs.prepared->group_of;
  }
  QuantizedLinear result{.report = ReportOf(linear, scheme), .rows = std::nullopt};
  // Stripes are packed of all rows.
  const bool in_stripes = format_.pack == nullptr;
  if (keep == KeepRows::kYes || in_stripes) {
    result.rows = RoomFor(scheme, linear.out_features, linear.in_features);
    result.rows->input = input;
    result.rows->group_of = group_of;
  }
  const int64_t panel_rows = RowsPerPanel(linear, scheme, method, format_);
  const int64_t panels = DivideRoundingUp(linear.out_features, panel_rows);
  std::vector<PanelSums> sums(static_cast<size_t>(panels));

  const auto quantize_panel = [&](int64_t panel) -> absl::Status {
    if (cancelled_()) return MakeError(Reason::kCancelled, "cancelled");
    const int64_t row = panel * panel_rows;
    const int64_t count = std::min(panel_rows, linear.out_features - row);
    AlignedBuffer<std::byte> bytes;
    QD_ASSIGN_OR_RETURN(const WeightRows weight, ReadPanel(inputs, row, count, bytes));
    QuantizedRows quantized;
    PanelSums& sum = sums[static_cast<size_t>(panel)];
    MethodContext context = context_;
    context.kept_ranges = &sum.kept_ranges;
    QD_RETURN_IF_ERROR(
        InTensor(method.quantize(weight, scheme, inputs.prepared, context, &quantized),
                 inputs.source.tensor(), row));
    if (!in_stripes && tensors != nullptr) {
      QD_RETURN_IF_ERROR(
          Write(linear, parts, format_.pack(linear, scheme, row, quantized), *tensors));
    }
    sum.weight_energy = quantized.weight_energy;
    sum.error_energy = quantized.error_energy;
    if (!result.rows.has_value()) return absl::OkStatus();
    if (panels == 1) {
      *result.rows = std::move(quantized);
      result.rows->input = input;
    } else {
      CopyPanel(quantized, row, *result.rows);
    }
    return absl::OkStatus();
  };
  // A method that sees all rows at once has the pool to itself.
  QD_RETURN_IF_ERROR(panels == 1 ? quantize_panel(0)
                                 : context_.pool.ForEach(panels, quantize_panel));
  if (tensors != nullptr) {
    QD_RETURN_IF_ERROR(WriteWhole(linear, scheme, parts, result.rows, input, *tensors));
  }
  if (keep == KeepRows::kNo) result.rows.reset();

  AddFigures(scheme, inputs, sums, result.report);
  LayerReport& report = result.report;
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return result;
}

absl::Status LinearQuantizer::Pack(const ResolvedLinear& entry, const LinearInputs& inputs,
                                   QuantizedLinear& quantized, PackedTensors& tensors) const {
  const LinearSpec& linear = *entry.linear;
  Scheme scheme = *entry.scheme;
  scheme.tensor_scale = inputs.tensor_scale;
  const QuantizedRows& rows = *quantized.rows;
  const std::vector<TensorInfo> parts = format_.tensors(linear, scheme);
  if (format_.pack != nullptr) {
    QD_RETURN_IF_ERROR(Write(linear, parts, format_.pack(linear, scheme, 0, rows), tensors));
  }
  QD_RETURN_IF_ERROR(WriteWhole(linear, scheme, parts, quantized.rows, rows.input, tensors));
  const int64_t panel_rows = RowsPerPanel(linear, scheme, *FindMethod(scheme.method), format_);
  double weight_energy = 0, error_energy = 0;
  std::vector<float> weight(static_cast<size_t>(rows.columns)), back(weight.size());
  for (int64_t begin = 0; begin < rows.rows; begin += panel_rows) {
    AlignedBuffer<std::byte> bytes;
    QD_ASSIGN_OR_RETURN(const WeightRows panel,
                        ReadPanel(inputs, begin, std::min(panel_rows, rows.rows - begin), bytes));
    for (int64_t n = 0; n < panel.rows; ++n) {
      QD_RETURN_IF_ERROR(WidenRow(panel, n, context_.kernels, weight.data()));
      rows.Dequantize(begin + n, back.data());
      AddEnergies(weight, back, &weight_energy, &error_energy);
    }
  }
  quantized.report.weight_snr_db = SnrDb(weight_energy, error_energy);
  return absl::OkStatus();
}

}  // namespace quantd
