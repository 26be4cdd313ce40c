// INT8: weights per channel, activations per token at run time or by one scale found in calibration
// (W8A8), or weights alone (W8A16). The parts that smoothquant shares.
#pragma once

#include <array>
#include <memory>
#include <string_view>

#include "absl/status/statusor.h"
#include "engine/method/registry.h"

namespace quantd {

extern const Method kInt8;

inline constexpr std::array<OptionRow, 9> kInt8Options = {{
    {"bits", "int", "8", "8", "bits of one code"},
    {"granularity", "enum", "channel", "channel, tensor, group",
     "which weights share a scale; group only with activations none"},
    {"group_size", "int", "128", "multiples of 8 that divide the inputs",
     "weights per scale, with granularity group"},
    {"symmetric", "bool", "true", "true", "zero points would need a correction in every product"},
    {"scale_rule", "enum", "mse", "absmax, mse, weighted-mse",
     "absmax: the range; mse: the scale with the least squared error; weighted-mse: the same, each "
     "input's error weighted by its mean x^2 (needs calibration); granularity tensor has absmax "
     "only, and by default"},
    {"activations", "enum", "dynamic", "dynamic, static, none",
     "dynamic: int8 with one scale per token at run time (W8A8); static: int8 with one scale for "
     "all "
     "tokens, found in calibration (W8A8); none: W8A16"},
    {"observer", "enum", "mse", "minmax, percentile, mse, kl",
     "with activations static, the range that the codes cover: all values seen, all but a share, "
     "the "
     "one with the least squared error, the one that keeps most of the distribution"},
    {"percentile", "float", "99.99", "50..100",
     "with observer percentile, the share of values inside the range"},
    {"activation_symmetric", "bool", "true", "true, false",
     "with activations static; false: a zero point beside the scale, for inputs that lie on one "
     "side"},
}};

// Method::resolve for a method of that name, with those rows (kInt8Options among them).
absl::StatusOr<Scheme> ResolveInt8(std::string_view method, std::span<const OptionRow> rows,
                                   const SchemeRequest& request, const LinearSpec& linear,
                                   DType model_dtype);
// Method::needs and Method::prepare: the importance of weighted-mse, and the static scale. Figures
// with activations static: input_scale, input_zero (asymmetric), clipped_share (where the observer
// has a histogram).
StatisticsNeeds Int8Needs(const Scheme& scheme);
absl::StatusOr<std::shared_ptr<const Prepared>> PrepareInt8Inputs(const Scheme& scheme,
                                                                  const InputStatistics* statistics,
                                                                  const MethodContext& context);

}  // namespace quantd
