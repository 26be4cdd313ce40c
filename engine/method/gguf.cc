#include "engine/method/gguf.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "engine/gguf/block_types.h"
#include "engine/gguf/mixture.h"
#include "engine/method/block_scheme.h"
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
  // Until SettleBlocks knows better; an option that does not fit is refused by Finish.
  const Mixture* mixture = FindMixture(scheme.options.Text("type"));
  reader.scheme().layout = std::string(mixture->name);
  reader.scheme().block = FindBlockType(mixture->base);
  return reader.Finish();
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
    .quantize = RoundToNearest,
    .calibration_tokens = int64_t{4} * 512,
    .settle = SettleBlocks,
};

}  // namespace quantd
