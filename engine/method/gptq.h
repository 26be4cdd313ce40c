// GPTQ: weights are rounded one input channel after another, each error carried over to the
// channels not yet rounded so that the output changes least.
#pragma once

#include "engine/method/registry.h"

namespace quantd {

extern const Method kGptq;

// The steps and option rows, for compositions.
std::span<const OptionRow> GptqOptions();
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
