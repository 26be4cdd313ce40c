// Phi-3 and Phi-4-mini (arXiv 2404.14219, 2503.01743): q, k, v are one linear, gate and up another;
// longrope; Phi-4-mini rotates a part of each head.
#include "base/error.h"
#include "engine/model/decoder_config.h"
#include "engine/model/families.h"
#include "engine/model/spec_parts.h"

namespace quantd {
namespace {

// The linears of a block with q, k, v and gate, up put together.
void Fuse(const ModelSpec& model, int index, BlockSpec& block) {
  const int64_t d = model.hidden, q = model.heads * model.head_dim;
  const int64_t qkv = q + 2 * model.kv_heads * model.head_dim;
  block.linears.clear();
  AddLinear(block, index, "self_attn.qkv_proj", LinearRole::kQkv, {qkv, d}, 0);
  AddLinear(block, index, "self_attn.o_proj", LinearRole::kO, {d, q}, 1);
  FuseGateUp(model, index, block);
}

}  // namespace

absl::StatusOr<ModelSpec> ParsePhi3(const Json& config) {
  QD_ASSIGN_OR_RETURN(
      ModelSpec model,
      ParseDecoder(config, {.family = "phi3",
                            .max_positions = 4096,
                            .sliding = DecoderTraits::Sliding::kEveryBlock,
                            .sliding_window = std::nullopt,
                            .epsilon = 1e-5,
                            .rope = {.partial = true, .original_max_positions = 4096}}));
  if (model.rope.scaling != RopeSpec::Scaling::kNone &&
      model.rope.scaling != RopeSpec::Scaling::kLongRope) {
    return MakeError(Reason::kModelUnsupported, "the model has features that are not supported",
                     Violation{"config.json:rope_parameters.rope_type", "another scaling",
                               "default or longrope, as this family has"});
  }
  for (size_t i = 0; i < model.blocks.size(); ++i) {
    Fuse(model, static_cast<int>(i), model.blocks[i]);
  }
  return model;
}

}  // namespace quantd
