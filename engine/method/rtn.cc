#include "engine/method/rtn.h"

#include "absl/strings/str_cat.h"
#include "engine/method/block_scheme.h"
#include "engine/method/round_to_nearest.h"
#include "engine/method/scheme_request.h"
#include "engine/method/weight_only_rows.h"

namespace quantd {
namespace {

constexpr int kBits[] = {2, 3, 4, 5, 6, 7, 8};

constexpr OptionRow kOptions[] = {
    {"bits", "int", "4", "2..8", "bits of one code"},
    kNumberFormatRow[0],
    {"granularity", "enum", "group", "group, channel, tensor",
     "which weights share a scale: neighbouring inputs of a row, a row, all"},
    {"group_size", "int", "128", "multiples of 8 that divide the inputs",
     "weights per scale, with granularity group"},
    {"symmetric", "bool", "true", "true, false", "false adds an integer zero point per scale"},
    {"scale_rule", "enum", "mse", "absmax, mse, weighted-mse, hessian",
     "absmax: the range; mse: the scale with the least squared error (symmetric: of either sign); "
     "weighted-mse: the same, each input's error weighted by its mean x^2; hessian: the error of a "
     "group measured through its block of X^T X (both need calibration); "
     "granularity tensor has absmax only, and by default"},
};

absl::StatusOr<Scheme> Resolve(const SchemeRequest& request, const LinearSpec& linear,
                               DType model_dtype) {
  Scheme defaults;
  defaults.method = "rtn";
  defaults.scale_dtype = model_dtype;
  if (request.granularity == Granularity::kTensor) defaults.scale_rule = ScaleRule::kAbsmax;
  SchemeReader reader(request, linear, defaults, kOptions);
  const Scheme& scheme = reader.scheme();
  if (scheme.bits < 2 || scheme.bits > 8) {
    reader.Wrong(absl::StrCat("bits ", scheme.bits), "2..8");
  }
  reader.CheckInputs("none (method int8 quantizes activations)");
  return reader.Finish();
}

}  // namespace

const Method kRtn = {
    .name = "rtn",
    .summary = "round to nearest, weight-only, 2-8 bits; scales by range or by least squared error",
    .source =
        "absmax and min-max as compressed-tensors defines them; the search over signed scales with "
        "least-squares refit is quantd's (docs/numerics.md)",
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
