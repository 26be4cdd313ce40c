#include "engine/method/awq.h"

#include "absl/strings/str_cat.h"
#include "engine/method/awq_clip.h"
#include "engine/method/awq_search.h"
#include "engine/method/block_scheme.h"
#include "engine/method/round_to_nearest.h"
#include "engine/method/scheme_request.h"
#include "engine/method/weight_only_rows.h"

namespace quantd {
namespace {

constexpr std::array<OptionRow, 1> kRuleRow = {
    {{"scale_rule", "enum", "hessian", "absmax, mse, weighted-mse, hessian",
      "how the scaled weights are rounded"}}};

constexpr std::array<OptionRow, 2> kOwnRows = {
    {{"clip", "bool", "false", "true, false",
      "instead of scale_rule: the range of each group is cut to 1, 0.95, .., 0.55 of itself, by "
      "the "
      "error through its block of X^T X; q and k are rounded by their range"},
     {"reference", "bool", "false", "true, false",
      "what AutoAWQ 0.2.9 chooses: its range of a group, s = mean|x|^alpha / w_mean^(1 - alpha) "
      "with alpha = 0, 1/20, .., 19/20, its clip search; sets grid, loss, clip and scale_rule"}}};

constexpr auto kOptions =
    JoinRows(kBits2To8Row, kNumberFormatRow, kIntegerZeroRows, kRuleRow, kAwqSearchRows, kOwnRows);

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
    const bool meets = linear.role == LinearRole::kQ || linear.role == LinearRole::kK ||
                       linear.role == LinearRole::kQkv;
    if (meets) scheme.options.Set("clip", false);
  }
  if (scheme.bits < 2 || scheme.bits > 8) {
    reader.Wrong(absl::StrCat("bits ", scheme.bits), "2..8");
  }
  if (scheme.granularity == Granularity::kTensor) {
    reader.Wrong("granularity tensor", "group or channel");
  }
  reader.CheckInputs("none");
  if ((scheme.floating() || scheme.block != nullptr) && RoundsByCutRange(scheme)) {
    reader.Wrong(absl::StrCat("option ", scheme.options.Flag("clip") ? "clip" : "reference",
                              " with number_format ",
                              scheme.floating() ? ToAbsl(scheme.number->name) : scheme.layout),
                 "integers, or neither option");
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
    .bits = kBits2To8,
    .needs_calibration = true,
    .options = kOptions,
    .resolve = Resolve,
    .needs = Needs,
    .transform = ChooseAwqScales,
    .prepare = Prepare,
    .quantize = Quantize,
    .calibration_tokens = int64_t{8} * 512,
    .settle = SettleBlocks,
};

}  // namespace quantd
