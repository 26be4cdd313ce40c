#include "engine/method/awq_gptq.h"

#include "engine/method/awq.h"
#include "engine/method/awq_search.h"
#include "engine/method/gptq.h"

namespace quantd {
namespace {

constexpr int kBits[] = {2, 3, 4, 5, 6, 7, 8};

// AWQ's search and GPTQ's rounding as they are alone; asymmetric, as AWQ is.
constexpr OptionRow kOptions[] = {
    {"bits", "int", "4", "2..8", "bits of one code"},
    {"granularity", "enum", "group", "group, channel",
     "which weights share a scale: neighbouring inputs of a row, or a row"},
    {"group_size", "int", "128", "multiples of 8 that divide the inputs",
     "weights per scale, with granularity group"},
    {"symmetric", "bool", "false", "true, false", "false adds an integer zero point per scale"},
    {"scale_rule", "enum", "weighted-mse", "absmax, mse, weighted-mse, hessian",
     "how the scale of a group is chosen when its turn comes, as in gptq"},
    {"grid", "int", "10", "1..100", "as in awq"},
    {"duo", "bool", "true", "true, false", "as in awq"},
    {"loss", "enum", "diagonal", "diagonal, blocks, gram", "as in awq"},
    {"search", "enum", "auto", "auto, range, rule", "as in awq"},
    {"damping", "float", "0.01", "0.000001..1", "as in gptq"},
    {"act_order", "enum", "group-aware", "none, static, group-aware", "as in gptq"},
    {"refit", "int", "-1", "-1..100", "as in gptq"},
};

absl::StatusOr<Scheme> Resolve(const SchemeRequest& request, const LinearSpec& linear,
                               DType model_dtype) {
  SchemeRequest asked = request;
  if (!asked.symmetric.has_value()) asked.symmetric = false;
  return ResolveGptq(asked, linear, model_dtype, "awq+gptq", kOptions);
}

StatisticsNeeds Needs(const Scheme& scheme) { return AwqFoldNeeds(scheme) | GptqNeeds(scheme); }

}  // namespace

const Method kAwqGptq = {
    .name = "awq+gptq",
    .summary = "AWQ's scales, then GPTQ's rounding: for 2 and 3 bits, and models with outliers",
    .source = "arXiv 2306.00978 and arXiv 2210.17323; composed as llm-compressor's examples do",
    .bits = kBits,
    .needs_calibration = true,
    .options = kOptions,
    .resolve = Resolve,
    .needs = Needs,
    .fold = ChooseAwqScales,
    .prepare = PrepareGptq,
    .quantize = QuantizeGptq,
    .panel_weights = 1 << 20,
};

}  // namespace quantd
