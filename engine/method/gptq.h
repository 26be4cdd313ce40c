// GPTQ: weights are rounded one input channel after another, each error carried over to the
// channels not yet rounded so that the output changes least.
#pragma once

#include <array>

#include "engine/method/registry.h"

namespace quantd {

extern const Method kGptq;

// The steps and option rows, for compositions.
inline constexpr std::array<OptionRow, 1> kGptqRuleRow = {
    {{"scale_rule", "enum", "weighted-mse", "absmax, mse, weighted-mse, hessian",
      "how the scale of a group is chosen when its turn comes, from the weights as the errors "
      "before it have changed them"}}};
inline constexpr std::array<OptionRow, 3> kGptqRoundingRows = {
    {{"damping", "float", "0.01", "0.000001..1",
      "added to the diagonal of X^T X, as a part of its mean; raised tenfold, three times at most, "
      "when the matrix is not positive definite"},
     {"act_order", "enum", "group-aware", "none, static, group-aware, desc-act",
      "none: columns as they lie; static: by falling mean x^2 over the row, scales chosen before; "
      "group-aware: groups by falling maximum, columns by falling mean x^2 inside each; desc-act: "
      "groups are cut from the order by falling mean x^2, and the file says where each column is: "
      "formats gptq and dequantized"},
     {"refit", "int", "-1", "-1..100",
      "sweeps after the rounding that fit scales to codes and move codes by the error of the whole "
      "row; -1: 2 up to 3 bits, 1 at 4, none above"}}};
absl::StatusOr<Scheme> ResolveGptq(const SchemeRequest& request, const LinearSpec& linear,
                                   DType model_dtype, std::string_view method,
                                   std::span<const OptionRow> rows);
StatisticsNeeds GptqNeeds(const Scheme& scheme);
absl::StatusOr<std::shared_ptr<const Prepared>> PrepareGptq(const Scheme& scheme,
                                                            const InputStatistics* statistics,
                                                            const MethodContext& context);
absl::Status QuantizeGptq(const WeightRows& weight, const Scheme& scheme, const Prepared* prepared,
                          const MethodContext& context, QuantizedRows* out);

}  // namespace quantd
