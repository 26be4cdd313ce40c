#include "engine/method/awq_gptq.h"

#include "engine/method/awq.h"
#include "engine/method/awq_search.h"
#include "engine/method/block_scheme.h"
#include "engine/method/gptq.h"
#include "engine/method/output_scales.h"
#include "engine/method/weight_only_rows.h"

namespace quantd {
namespace {

// AWQ's search and GPTQ's rounding as they are alone; asymmetric, as AWQ is.
constexpr auto kOptions = JoinRows(kBits2To8Row, kNumberFormatRow, kIntegerZeroRows, kGptqRuleRow,
                                   kAwqSearchRows, kGptqRoundingRows, kTuneRow);

absl::StatusOr<Scheme> Resolve(const SchemeRequest& request, const LinearSpec& linear,
                               DType model_dtype) {
  return ResolveGptq(request, linear, model_dtype, "awq+gptq", kOptions);
}

StatisticsNeeds Needs(const Scheme& scheme) { return AwqFoldNeeds(scheme) | GptqNeeds(scheme); }

}  // namespace

const Method kAwqGptq = {
    .name = "awq+gptq",
    .summary = "AWQ's scales, then GPTQ's rounding: for 2 and 3 bits, and models with outliers",
    .source = "arXiv 2306.00978 and arXiv 2210.17323; composed as llm-compressor's examples do",
    .bits = kBits2To8,
    .needs_calibration = true,
    .options = kOptions,
    .resolve = Resolve,
    .needs = Needs,
    .transform = ChooseAwqScales,
    .prepare = PrepareGptq,
    .quantize = QuantizeGptq,
    .panel_weights = 1 << 20,
    .tokens_per_input = 4,
    .tunes = TunesOutputScales,
    .tune = TuneOutputScales,
    .settle = SettleBlocks,
};

}  // namespace quantd
