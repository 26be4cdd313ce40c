#include "engine/method/int8.h"

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "engine/calibrate/observers.h"
#include "engine/method/round_to_nearest.h"
#include "engine/method/scheme_request.h"

namespace quantd {
namespace {

constexpr int kBits[] = {8};

ObserverOptions ObserverOf(const Scheme& scheme) {
  const auto rule = ObserverRuleOf(scheme.options.Text("observer"));
  return {.rule = rule.value_or(ObserverRule::kMinMax),
          .percentile = scheme.options.Number("percentile"),
          .symmetric = scheme.options.Flag("activation_symmetric"),
          .scale_dtype = scheme.scale_dtype};
}

absl::StatusOr<Scheme> Resolve(const SchemeRequest& request, const LinearSpec& linear,
                               DType model_dtype) {
  return ResolveInt8("int8", kInt8Options, request, linear, model_dtype);
}

}  // namespace

absl::StatusOr<Scheme> ResolveInt8(std::string_view method, std::span<const OptionRow> rows,
                                   const SchemeRequest& request, const LinearSpec& linear,
                                   DType model_dtype) {
  Scheme defaults;
  defaults.method = method;
  defaults.bits = 8;
  defaults.granularity = Granularity::kChannel;
  defaults.group_size = 0;
  defaults.activations = ActivationScheme::kDynamicToken;
  defaults.scale_dtype = model_dtype;
  if (request.granularity == Granularity::kTensor) defaults.scale_rule = ScaleRule::kAbsmax;
  SchemeReader reader(request, linear, defaults, rows);
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
  if (scheme.granularity == Granularity::kGroup && scheme.activations != ActivationScheme::kNone) {
    reader.Wrong(
        absl::StrCat("granularity group with activations ", ToAbsl(NameOf(scheme.activations))),
        "granularity channel or tensor, or activations none");
  }
  reader.OnlyIntegers();
  return reader.Finish();
}

StatisticsNeeds Int8Needs(const Scheme& scheme) {
  const StatisticsNeeds needs = RoundToNearestNeeds(scheme);
  if (scheme.activations != ActivationScheme::kStatic) return needs;
  return needs | ObserverNeeds(ObserverOf(scheme));
}

absl::StatusOr<std::shared_ptr<const Prepared>> PrepareInt8Inputs(const Scheme& scheme,
                                                                  const InputStatistics* statistics,
                                                                  const MethodContext& context) {
  QD_ASSIGN_OR_RETURN(auto rounding, PrepareRoundToNearest(scheme, statistics, context));
  if (scheme.activations != ActivationScheme::kStatic || statistics == nullptr) return rounding;
  const ObservedInput observed = Observe(*statistics, ObserverOf(scheme));
  auto prepared = std::make_shared<Prepared>(*rounding);
  prepared->input = observed.input;
  prepared->figures.emplace_back("input_scale", static_cast<double>(observed.input.scale));
  if (!scheme.options.Flag("activation_symmetric")) {
    prepared->figures.emplace_back("input_zero", observed.input.zero);
  }
  if (observed.clipped_share.has_value()) {
    prepared->figures.emplace_back("clipped_share", *observed.clipped_share);
  }
  return std::shared_ptr<const Prepared>(std::move(prepared));
}

const Method kInt8 = {
    .name = "int8",
    .summary =
        "8-bit weights per channel; activations int8, per token at run time or by one calibrated "
        "scale (W8A8), or 16 bit",
    .source =
        "dynamic per-token activations as in ZeroQuant (arXiv 2206.01861) and compressed-tensors' "
        "W8A8; observers: TensorRT's entropy calibration, percentile and squared error "
        "(arXiv 2004.09602, section 3); scales by quantd's rules (docs/numerics.md)",
    .bits = kBits,
    .needs_calibration = true,
    .options = kInt8Options,
    .resolve = Resolve,
    .needs = Int8Needs,
    .transform = nullptr,
    .prepare = PrepareInt8Inputs,
    .quantize = RoundToNearest,
};

}  // namespace quantd
