#include "engine/method/awq.h"

#include "absl/strings/str_cat.h"
#include "engine/method/awq_search.h"
#include "engine/method/round_to_nearest.h"
#include "engine/method/scheme_request.h"

namespace quantd {
namespace {

constexpr int kBits[] = {2, 3, 4, 5, 6, 7, 8};

constexpr OptionRow kOptions[] = {
    {"bits", "int", "4", "2..8", "bits of one code"},
    {"granularity", "enum", "group", "group, channel",
     "which weights share a scale: neighbouring inputs of a row, a row"},
    {"group_size", "int", "128", "multiples of 8 that divide the inputs",
     "weights per scale, with granularity group"},
    {"symmetric", "bool", "false", "true, false", "false adds an integer zero point per scale"},
    {"scale_rule", "enum", "weighted-mse", "absmax, mse, weighted-mse, hessian",
     "how the scaled weights are rounded"},
    {"grid", "int", "10", "1..100",
     "steps of the exponent alpha in s = mean|x|^alpha / w_mean^beta, 0 to 1"},
    {"duo", "bool", "true", "true, false",
     "beta = 0, 1/4, .., 1: looks at the weights too; false: 0 alone"},
    {"loss", "enum", "diagonal", "diagonal, blocks, gram",
     "by what alpha is chosen: the squared error of the weights weighted by mean x^2, or through "
     "X^T X in blocks of a group, or through all of X^T X"},
    {"search", "enum", "range", "range, rule",
     "how candidates are rounded in the search: by the range of a group, or by scale_rule"},
};

absl::StatusOr<Scheme> Resolve(const SchemeRequest& request, const LinearSpec& linear,
                               DType model_dtype) {
  Scheme defaults;
  defaults.method = "awq";
  defaults.symmetric = false;
  defaults.scale_rule = ScaleRule::kWeightedMse;
  defaults.scale_dtype = model_dtype;
  SchemeReader reader(request, linear, defaults, kOptions);
  const Scheme& scheme = reader.scheme();
  if (scheme.bits < 2 || scheme.bits > 8) {
    reader.Wrong(absl::StrCat("bits ", scheme.bits), "2..8");
  }
  if (scheme.granularity == Granularity::kTensor) {
    reader.Wrong("granularity tensor", "group or channel");
  }
  if (scheme.activations != ActivationScheme::kNone) {
    reader.Wrong(absl::StrCat("activations ", ToAbsl(NameOf(scheme.activations))), "none");
  }
  return reader.Finish();
}

StatisticsNeeds Needs(const Scheme& scheme) {
  return AwqFoldNeeds(scheme) | RoundToNearestNeeds(scheme);
}

}  // namespace

StatisticsNeeds AwqFoldNeeds(const Scheme& scheme) {
  const AwqSearchSettings settings = AwqSearchSettingsOf(scheme);
  StatisticsNeeds needs{.moments = true, .gram_block = 0, .histogram = false};
  if (settings.loss == AwqLoss::kGram) needs.gram_block = kWholeGram;
  if (settings.loss == AwqLoss::kBlocks) {
    needs.gram_block = scheme.granularity == Granularity::kGroup ? scheme.group_size : kWholeGram;
  }
  return needs;
}

const Method kAwq = {
    .name = "awq",
    .summary = "rescales input channels so that those that matter lose least, then rounds",
    .source =
        "arXiv 2306.00978, equations 4 and 5; the choice of alpha through statistics of the inputs "
        "is quantd's (docs/numerics.md)",
    .bits = kBits,
    .needs_calibration = true,
    .options = kOptions,
    .resolve = Resolve,
    .needs = Needs,
    .fold = ChooseAwqScales,
    .prepare = PrepareRoundToNearest,
    .quantize = RoundToNearest,
};

}  // namespace quantd
