#include "engine/method/int8.h"

#include "absl/strings/str_cat.h"
#include "engine/method/round_to_nearest.h"
#include "engine/method/scheme_request.h"

namespace quantd {
namespace {

constexpr int kBits[] = {8};

constexpr OptionRow kOptions[] = {
    {"bits", "int", "8", "8", "bits of one code"},
    {"granularity", "enum", "channel", "channel, tensor, group",
     "which weights share a scale; group only with activations none"},
    {"group_size", "int", "128", "multiples of 8 that divide the inputs",
     "weights per scale, with granularity group"},
    {"symmetric", "bool", "true", "true", "zero points would need a correction in every product"},
    {"scale_rule", "enum", "mse", "absmax, mse, weighted-mse",
     "absmax: the range; mse: the scale with the least squared error; weighted-mse: the same, each "
     "input's error weighted by its mean x^2 (needs calibration); granularity tensor has absmax "
     "only, and by default"},
    {"activations", "enum", "dynamic", "dynamic, none",
     "dynamic: int8 with one scale per token at run time (W8A8); none: W8A16"},
};

absl::StatusOr<Scheme> Resolve(const SchemeRequest& request, const LinearSpec& linear,
                               DType model_dtype) {
  Scheme defaults;
  defaults.method = "int8";
  defaults.bits = 8;
  defaults.granularity = Granularity::kChannel;
  defaults.group_size = 0;
  defaults.activations = ActivationScheme::kDynamicToken;
  defaults.scale_dtype = model_dtype;
  if (request.granularity == Granularity::kTensor) defaults.scale_rule = ScaleRule::kAbsmax;
  SchemeReader reader(request, linear, defaults, kOptions);
  const Scheme& scheme = reader.scheme();
  if (scheme.bits != 8) {
    reader.Wrong(absl::StrCat("bits ", scheme.bits), "8 (method rtn has 2..8)");
  }
  if (!scheme.symmetric) {
    reader.Wrong("symmetric false", "symmetric true (method rtn has zero points)");
  }
  if (scheme.scale_rule == ScaleRule::kHessian) {
    reader.Wrong("scale_rule hessian", "absmax, mse or weighted-mse");
  }
  if (scheme.activations == ActivationScheme::kStatic) {
    reader.Wrong("activations static", "dynamic or none");
  }
  if (scheme.granularity == Granularity::kGroup && scheme.activations != ActivationScheme::kNone) {
    reader.Wrong(
        absl::StrCat("granularity group with activations ", ToAbsl(NameOf(scheme.activations))),
        "granularity channel or tensor, or activations none");
  }
  return reader.Finish();
}

}  // namespace

const Method kInt8 = {
    .name = "int8",
    .summary = "8-bit weights per channel; activations int8 per token at run time (W8A8) or 16 bit",
    .source =
        "dynamic per-token activations as in ZeroQuant (arXiv 2206.01861) and compressed-tensors' "
        "W8A8; scales by quantd's rules (docs/numerics.md)",
    .bits = kBits,
    .needs_calibration = true,
    .options = kOptions,
    .resolve = Resolve,
    .needs = RoundToNearestNeeds,
    .fold = nullptr,
    .prepare = PrepareRoundToNearest,
    .quantize = RoundToNearest,
};

}  // namespace quantd
