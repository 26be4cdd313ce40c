#include "engine/method/gguf.h"

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/gguf/block_types.h"
#include "engine/gguf/mixture.h"
#include "engine/method/round_to_nearest.h"
#include "engine/method/scheme_request.h"

namespace quantd {
namespace {

constexpr int kBits[] = {2, 3, 4, 5, 6, 8, 16};

constexpr std::string_view kBlockNames =
    "auto, F16, BF16, Q8_0, Q6_K, Q5_K, Q5_1, Q5_0, Q4_K, Q4_1, Q4_0, Q3_K, Q2_K";

constexpr OptionRow kOptions[] = {
    {"type", "enum", "Q4_K_M",
     "F16, BF16, Q8_0, Q6_K, Q5_K_M, Q5_K_S, Q5_K, Q5_1, Q5_0, Q4_K_M, Q4_K_S, Q4_K, Q4_1, Q4_0, "
     "Q3_K_L, Q3_K_M, Q3_K_S, Q3_K, Q2_K, Q2_K_S",
     "block type or mixture, by the names of llama-quantize; Q3_K, Q4_K and Q5_K are that type in "
     "every linear of the blocks"},
    {"embedding", "enum", "auto", kBlockNames,
     "block type of the embedding; auto: as the mixture has it"},
    {"output", "enum", "auto", kBlockNames,
     "block type of the output projection, and of an embedding tied to it; auto: as the mixture "
     "has it"},
    {"scale_rule", "enum", "weighted-mse", "absmax, mse, weighted-mse",
     "absmax: the range; mse: the block contents with the least squared error; weighted-mse: the "
     "same, each input's error weighted by its mean x^2 (needs calibration)"},
};

absl::StatusOr<Scheme> Resolve(const SchemeRequest& request, const LinearSpec& linear,
                               DType model_dtype) {
  Scheme defaults;
  defaults.method = "gguf";
  defaults.scale_rule = ScaleRule::kWeightedMse;
  defaults.granularity = Granularity::kChannel;
  defaults.group_size = 0;
  defaults.scale_dtype = model_dtype;
  SchemeReader reader(request, linear, defaults, kOptions);
  const Scheme& scheme = reader.scheme();
  constexpr std::string_view kByType = "none: the block type says it (option type)";
  if (request.bits.has_value()) {
    reader.Wrong(absl::StrCat("bits ", *request.bits), std::string(kByType));
  }
  if (request.number_format.has_value()) {
    reader.Wrong("number_format " + *request.number_format, std::string(kByType));
  }
  if (request.group_size.has_value() || request.granularity.has_value()) {
    reader.Wrong("a group size or granularity", std::string(kByType));
  }
  if (request.symmetric.has_value()) reader.Wrong("symmetric", std::string(kByType));
  if (scheme.scale_rule == ScaleRule::kHessian) {
    reader.Wrong("scale_rule hessian", "absmax, mse or weighted-mse");
  }
  if (scheme.activations != ActivationScheme::kNone) {
    reader.Wrong(absl::StrCat("activations ", ToAbsl(NameOf(scheme.activations))), "none");
  }
  return reader.Finish();
}

// The type that is named for this linear, or that of the mixture.
const BlockType& Wanted(const ModelSpec& model, const LinearSpec& linear, const Options& options) {
  std::string named = "auto";
  if (linear.role == LinearRole::kHead) named = options.Text("output");
  if (linear.role == LinearRole::kEmbedding) {
    named = options.Text("embedding");
    if (named == "auto" && model.tied_embeddings) named = options.Text("output");
  }
  if (named != "auto") return *FindBlockType(std::string_view(named));
  return TypeFor(*FindMixture(options.Text("type")), model, linear);
}

absl::Status Settle(const ModelSpec& model, const LinearSpec& linear, Scheme& scheme) {
  const BlockType& wanted = Wanted(model, linear, scheme.options);
  scheme.block = &FittingType(wanted, linear.in_features);
  scheme.bits = scheme.block->bits;
  const bool counted = linear.role != LinearRole::kHead && linear.role != LinearRole::kEmbedding;
  if (scheme.block->layout == nullptr) {
    scheme.scale_rule = ScaleRule::kAbsmax;
  } else if (!counted && scheme.scale_rule == ScaleRule::kWeightedMse) {
    scheme.scale_rule = ScaleRule::kMse;
  }
  return absl::OkStatus();
}

absl::Status Quantize(const WeightRows& weight, const Scheme& scheme, const Prepared* prepared,
                      const MethodContext& context, QuantizedRows* out) {
  *out = RoomFor(scheme, weight.rows, weight.columns);
  const BlockType& type = *scheme.block;
  const int64_t columns = weight.columns, blocks = columns / type.elements;
  const bool weighted = prepared != nullptr && !prepared->importance.empty();
  std::vector<float> row(static_cast<size_t>(columns)), back(row.size());
  const BlockSource source = {.weights = row.data(),
                              .importance = weighted ? prepared->importance.data() : nullptr,
                              .search = scheme.scale_rule == ScaleRule::kAbsmax
                                            ? BlockSearch::kRange
                                            : BlockSearch::kError};
  for (int64_t n = 0; n < weight.rows; ++n) {
    QD_RETURN_IF_ERROR(WidenRow(weight, n, context.kernels, row.data()));
    type.encode(type, source, blocks, out->blocks.data() + n * type.RowBytes(columns));
    out->Dequantize(n, back.data());
    for (size_t k = 0; k < row.size(); ++k) {
      const double value = row[k], difference = value - static_cast<double>(back[k]);
      out->weight_energy += value * value;
      out->error_energy += difference * difference;
    }
  }
  return absl::OkStatus();
}

}  // namespace

const Method kGgufMethod = {
    .name = "gguf",
    .summary = "blocks of GGUF types and their mixtures (Q4_K_M, …), contents found by search",
    .source = "block types and mixtures are llama.cpp's; the search is quantd's (docs/numerics.md)",
    .bits = kBits,
    .needs_calibration = true,
    .options = kOptions,
    .resolve = Resolve,
    .needs = RoundToNearestNeeds,
    .transform = nullptr,
    .prepare = PrepareRoundToNearest,
    .quantize = Quantize,
    .settle = Settle,
};

}  // namespace quantd
