// OLMo 2 and OLMo 3 (arXiv 2501.00656, 2512.13961): norms behind attention and MLP, not before, and
// over all heads of q and of k; OLMo 3 has windows in three blocks of four, with a rope of their
// own.
#include <utility>

#include "base/error.h"
#include "engine/model/decoder_config.h"
#include "engine/model/families.h"
#include "engine/model/spec_parts.h"

namespace quantd {
namespace {

constexpr RopeKinds kOlmo3Ropes = {
    .full_theta = 5e5, .sliding_theta = 5e5, .sliding_theta_key = ""};

absl::StatusOr<ModelSpec> Parse(const Json& config, DecoderTraits traits) {
  traits.max_positions = 2048;
  traits.attention_bias = DecoderTraits::Bias::kOnAllIfConfigured;
  traits.qk_norm = true;
  traits.epsilon = 1e-5;
  QD_ASSIGN_OR_RETURN(ModelSpec model, ParseDecoder(config, traits));
  model.wide_head_norms = true;
  for (BlockSpec& block : model.blocks) NormBehind(block);
  return model;
}

}  // namespace

absl::StatusOr<ModelSpec> ParseOlmo2(const Json& config) {
  return Parse(config, {.family = "olmo2"});
}

absl::StatusOr<ModelSpec> ParseOlmo3(const Json& config) {
  QD_ASSIGN_OR_RETURN(const Json full, WithRopeOf(config, "full_attention", kOlmo3Ropes));
  QD_ASSIGN_OR_RETURN(ModelSpec model, Parse(full, {.family = "olmo3",
                                                    .sliding = DecoderTraits::Sliding::kPattern,
                                                    .sliding_pattern = 4}));
  QD_ASSIGN_OR_RETURN(const Json sliding, WithRopeOf(config, "sliding_attention", kOlmo3Ropes));
  QD_RETURN_IF_ERROR(UseLocalRope(sliding, model));
  return model;
}

}  // namespace quantd
