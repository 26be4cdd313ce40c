#include "engine/method/awq.h"

#include "absl/strings/str_cat.h"
#include "engine/method/awq_clip.h"
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
    {"scale_rule", "enum", "hessian", "absmax, mse, weighted-mse, hessian",
     "how the scaled weights are rounded"},
    {"grid", "int", "10", "1..100",
     "steps of the exponent alpha in s = mean|x|^alpha / w_mean^beta, 0 to 1"},
    {"duo", "bool", "true", "true, false",
     "beta = 0, 1/4, .., 1: looks at the weights too; false: 0 alone"},
    {"loss", "enum", "diagonal", "diagonal, blocks, gram",
     "by what alpha is chosen: the squared error of the weights weighted by mean x^2, or through "
     "X^T X in blocks of a group, or through all of X^T X"},
    {"clip", "bool", "false", "true, false",
     "instead of scale_rule: the range of each group is cut to 1, 0.95, .., 0.55 of itself, by the "
     "error through its block of X^T X; q and k are rounded by their range"},
    {"reference", "bool", "false", "true, false",
     "what AutoAWQ 0.2.9 chooses: its range of a group, s = mean|x|^alpha / w_mean^(1 - alpha) "
     "with alpha = 0, 1/20, .., 19/20, its clip search; sets grid, loss, clip and scale_rule"},
    {"search", "enum", "auto", "auto, range, rule",
     "how candidates are rounded in the search: by the range of a group, or by scale_rule; auto: "
     "by scale_rule at 2 and 3 bits, where the two differ most"},
};

// AutoAWQ's settings, but for those that the request names.
void BeTheReference(const SchemeRequest& request, Scheme& scheme) {
  const auto set = [&](std::string_view name, OptionValue value) {
    if (!request.options.values().contains(name)) scheme.options.Set(name, std::move(value));
  };
  set("grid", int64_t{20});
  set("loss", std::string("gram"));
  set("clip", true);
  scheme.scale_rule = ScaleRule::kAbsmax;
}

bool RoundsByCutRange(const Scheme& scheme) {
  return scheme.options.Flag("clip") || scheme.options.Flag("reference");
}

absl::StatusOr<std::shared_ptr<const Prepared>> Prepare(const Scheme& scheme,
                                                        const InputStatistics* statistics,
                                                        const MethodContext& context) {
  return RoundsByCutRange(scheme) ? PrepareAwqClip(scheme, statistics, context)
                                  : PrepareRoundToNearest(scheme, statistics, context);
}

absl::Status Quantize(const WeightRows& weight, const Scheme& scheme, const Prepared* prepared,
                      const MethodContext& context, QuantizedRows* out) {
  return RoundsByCutRange(scheme) ? QuantizeAwqClip(weight, scheme, prepared, context, out)
                                  : RoundToNearest(weight, scheme, prepared, context, out);
}

absl::StatusOr<Scheme> Resolve(const SchemeRequest& request, const LinearSpec& linear,
                               DType model_dtype) {
  Scheme defaults;
  defaults.method = "awq";
  defaults.symmetric = false;
  defaults.scale_rule = ScaleRule::kHessian;
  defaults.scale_dtype = model_dtype;
  SchemeReader reader(request, linear, defaults, kOptions);
  Scheme& scheme = reader.scheme();
  if (scheme.options.Flag("reference")) BeTheReference(request, scheme);
  if (scheme.options.Flag("clip")) {
    scheme.scale_rule = ScaleRule::kAbsmax;
    // Their outputs meet in a softmax: an error of theirs is not what the blocks measure.
    const bool meets = linear.role == LinearRole::kQ || linear.role == LinearRole::kK;
    if (meets) scheme.options.Set("clip", false);
  }
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
  return AwqFoldNeeds(scheme) | RoundToNearestNeeds(scheme) | AwqClipNeeds(scheme);
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
    .prepare = Prepare,
    .quantize = Quantize,
};

}  // namespace quantd
