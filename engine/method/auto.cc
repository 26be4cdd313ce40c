#include "engine/method/auto.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "engine/method/scheme_request.h"

namespace quantd {
namespace {

constexpr int kBits[] = {2, 3, 4, 8};

constexpr OptionRow kOptions[] = {
    {kAutoBase, "enum", "awq+gptq", "awq+gptq, awq, gptq, hqq, rtn",
     "the method that quantizes; group_size, symmetric, scale_rule and its own options are passed "
     "on to it"},
    {"bits_per_weight", "float", "4.25", "1.5..16",
     "mean over the linears, scales and zeros counted; the budget unless another is given"},
    {"budget_bytes", "int", "0", "0..1000000000000000",
     "budget in bytes of all linears of method auto; 0: none"},
    {"max_kl", "float", "0", "0..100",
     "budget in mean KL, nats per token: the fewest bits that meet it, found by trials; 0: none"},
    {"widths", "enum", "2-3-4-8", "2-3-4-8, 3-4-8, 2-4-8, 4-8, 3-4, 2-3-4, 2-3-4-5-6-8",
     "bits to choose from; those that the format cannot hold are left out"},
};

// Those that auto has itself.
Options OwnOptions(const Options& options) {
  Options own;
  for (const auto& [name, value] : options.values()) {
    if (FindOption(kOptions, name) != nullptr) own.Set(name, value);
  }
  return own;
}

// The scheme of the base method in a width near the budget's, for planning: sizes and needs are
// those of the budget within a bit.
absl::StatusOr<Scheme> Resolve(const SchemeRequest& request, const LinearSpec& linear,
                               DType model_dtype) {
  SchemeReader reader(SchemeRequest{.method = {},
                                    .bits = {},
                                    .number_format = {},
                                    .granularity = Granularity::kChannel,
                                    .group_size = {},
                                    .symmetric = {},
                                    .scale_rule = {},
                                    .activations = {},
                                    .options = OwnOptions(request.options)},
                      linear, Scheme{}, kOptions);
  if (request.bits.has_value()) {
    reader.Wrong(absl::StrCat("bits ", *request.bits), "option bits_per_weight, or a method");
  }
  if (request.number_format.has_value()) {
    reader.Wrong("number_format " + *request.number_format, "option bits_per_weight, or a method");
  }
  QD_ASSIGN_OR_RETURN(const Scheme asked, reader.Finish());
  const Method* base = FindMethod(asked.options.Text(kAutoBase));
  if (base == nullptr) {
    return MakeError(Reason::kRecipeInvalid, "refused",
                     Violation{linear.name, asked.options.Text("base"), "a method of this build"});
  }
  SchemeRequest stand_in = request;
  stand_in.method = std::string(base->name);
  stand_in.options = BaseOptions(request.options);
  const double budget = asked.options.Number("bits_per_weight");
  stand_in.bits = budget > 4.5 ? 8 : 4;
  return base->resolve(stand_in, linear, model_dtype);
}

StatisticsNeeds Needs(const Scheme& /*scheme*/) {
  return {.moments = true, .gram_block = 0, .histogram = false};
}

absl::Status NotAMethodOfItsOwn(const WeightRows& /*weight*/, const Scheme& /*scheme*/,
                                const Prepared* /*prepared*/, const MethodContext& /*context*/,
                                QuantizedRows* /*out*/) {
  return MakeError(Reason::kInternal, "method auto was not turned into a recipe before the run");
}

}  // namespace

Options BaseOptions(const Options& options) {
  Options handed_on;
  for (const auto& [name, value] : options.values()) {
    if (FindOption(kOptions, name) == nullptr) handed_on.Set(name, value);
  }
  return handed_on;
}

const Method kAuto = {
    .name = "auto",
    .summary = "bits per linear under a budget of bits, bytes or KL, for another method",
    .source =
        "quantd: damage to the residual stream per linear and width, greedy on convex hulls, "
        "verified by evaluation (docs/numerics.md)",
    .bits = kBits,
    .needs_calibration = true,
    .options = kOptions,
    .resolve = Resolve,
    .needs = Needs,
    .transform = nullptr,
    .prepare = nullptr,
    .quantize = NotAMethodOfItsOwn,
};

}  // namespace quantd
