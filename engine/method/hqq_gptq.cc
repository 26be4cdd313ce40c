#include "engine/method/hqq_gptq.h"

#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "engine/method/gptq.h"
#include "engine/method/scheme_request.h"

namespace quantd {
namespace {

constexpr int kBits[] = {2, 3, 4, 5, 6, 7, 8};

constexpr OptionRow kOptions[] = {
    {"bits", "int", "4", "2..8", "bits of one code"},
    {"granularity", "enum", "group", "group, channel",
     "which weights share a scale and a zero point: neighbouring inputs of a row, or a row"},
    {"group_size", "int", "64", "multiples of 8 that divide the inputs",
     "weights per scale, with granularity group"},
    {"symmetric", "bool", "false", "false", "zero points are real numbers"},
    {"scale_rule", "enum", "weighted-mse", "weighted-mse",
     "hqq's weighted search, of each group when its turn comes"},
    {"damping", "float", "0.01", "0.000001..1", "as in gptq"},
    {"act_order", "enum", "group-aware", "none, static, group-aware", "as in gptq"},
    {"refit", "int", "-1", "-1..100", "as in gptq"},
};

absl::StatusOr<Scheme> Resolve(const SchemeRequest& request, const LinearSpec& linear,
                               DType model_dtype) {
  SchemeRequest asked = request;
  if (!asked.symmetric.has_value()) asked.symmetric = false;
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
    .bits = kBits,
    .needs_calibration = true,
    .options = kOptions,
    .resolve = Resolve,
    .needs = GptqNeeds,
    .fold = nullptr,
    .prepare = PrepareGptq,
    .quantize = QuantizeGptq,
    .panel_weights = 1 << 20,
};

}  // namespace quantd
