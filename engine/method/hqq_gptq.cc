#include "engine/method/hqq_gptq.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "engine/method/gptq.h"
#include "engine/method/scheme_request.h"
#include "engine/method/weight_only_rows.h"

namespace quantd {
namespace {

constexpr std::array<OptionRow, 1> kRuleRow = {
    {{"scale_rule", "enum", "weighted-mse", "weighted-mse",
      "hqq's weighted search, of each group when its turn comes"}}};

constexpr auto kOptions = JoinRows(kBits2To8Row, kRealZeroRows, kRuleRow, kGptqRoundingRows);

absl::StatusOr<Scheme> Resolve(const SchemeRequest& request, const LinearSpec& linear,
                               DType model_dtype) {
  const NumberFormat* format =
      request.number_format.has_value() ? FindNumberFormat(*request.number_format) : nullptr;
  if (format != nullptr && format->floating()) {
    return MakeError(
        Reason::kRecipeInvalid, "the scheme does not fit the linear",
        Violation{
            .where = linear.name,
            .got = absl::StrCat("number_format ", ToAbsl(format->name), " with real zero points"),
            .wanted = "integers, or method gptq, whose scale_rule weighted-mse finds the "
                      "scales of floating formats"});
  }
  SchemeRequest asked = request;
  if (!asked.group_size.has_value() && !asked.granularity.has_value()) asked.group_size = 64;
  QD_ASSIGN_OR_RETURN(Scheme scheme, ResolveGptq(asked, linear, model_dtype, "hqq+gptq", kOptions));
  std::vector<Violation> violations;
  if (scheme.symmetric) {
    violations.push_back({linear.name, "symmetric true", "false: zero points are real numbers"});
  }
  if (scheme.scale_rule != ScaleRule::kWeightedMse) {
    violations.push_back(
        {linear.name, "scale_rule " + std::string(NameOf(scheme.scale_rule)), "weighted-mse"});
  }
  if (!violations.empty()) {
    return MakeError(Reason::kRecipeInvalid, "the scheme does not fit the linear",
                     std::move(violations));
  }
  scheme.real_zero = true;
  return scheme;
}

}  // namespace

const Method kHqqGptq = {
    .name = "hqq+gptq",
    .summary = "hqq's scales and real zeros, then GPTQ's rounding: for 2 and 3 bits",
    .source = "quantd: the weighted search of hqq inside arXiv 2210.17323",
    .bits = kBits2To8,
    .needs_calibration = true,
    .options = kOptions,
    .resolve = Resolve,
    .needs = GptqNeeds,
    .transform = nullptr,
    .prepare = PrepareGptq,
    .quantize = QuantizeGptq,
    .panel_weights = 1 << 20,
    .tokens_per_input = 4,
};

}  // namespace quantd
