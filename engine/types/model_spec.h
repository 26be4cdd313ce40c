// What a model is, as data: read from config.json by its family's parser, used by one forward pass.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "engine/tensor/dtype.h"
#include "engine/types/activation.h"

namespace quantd {

// The role of a linear layer inside a decoder block. Rules (which are fused by loaders, which share
// an input, which are balanced together) go by role, never by name.
enum class LinearRole {
  kQ,
  kK,
  kV,
  kQkv,  // q, k and v as one tensor; how its rows are shared out: QkvLayout
  kO,
  kQDown,   // latent attention: to the latent that q comes from
  kQUp,     // from it
  kKvDown,  // to the latent of k and v, and the key's rotated part
  kKvUp,    // from it: of each head the rest of the key, the value
  kGate,
  kUp,
  kGateUp,  // gate and up as one tensor, the rows of gate first
  kDown,
  kRouter,      // chooses experts; stays in 16 bit
  kSharedGate,  // how much of the shared expert is added; likewise
  kHead,
  kOther,
  kEmbedding  // the table of tokens, where a method stores it in a type of its own
};
std::string_view NameOf(LinearRole role);

// A linear layer: y = x W^T + b, W is [out_features, in_features] = [N, K].
struct LinearSpec {
  std::string
      name;  // module name, "model.layers.0.self_attn.q_proj"; the tensor is name + ".weight"
  LinearRole role = LinearRole::kOther;
  int64_t out_features = 0;  // N
  int64_t in_features = 0;   // K
  bool has_bias = false;
  int block = -1;  // decoder block, -1 outside
  // Linears of a block with the same number read the same activations (q,k,v; gate,up).
  int input = -1;
  int expert = -1;          // of a mixture, -1 outside
  bool transposed = false;  // the checkpoint holds W as [K, N]: the Conv1D of GPT-2
  int64_t parameters() const { return out_features * in_features; }
};

// Whether a loader's rule leaves it in 16 bit whatever the recipe says: routers and their like.
inline bool IsRouting(LinearRole role) {
  return role == LinearRole::kRouter || role == LinearRole::kSharedGate;
}

// Rotary embedding (RoFormer, arXiv 2104.09864); frequencies as transformers computes them.
struct RopeSpec {
  enum class Scaling { kNone, kLinear, kLlama3, kYarn, kLongRope };
  double theta = 10000.0;
  int64_t dims = 0;          // rotated part of each head
  bool interleaved = false;  // pairs are (2i, 2i + 1), not (i, i + dims / 2)
  Scaling scaling = Scaling::kNone;
  double factor = 1.0;
  // llama3
  double low_freq_factor = 1.0, high_freq_factor = 4.0;
  int64_t original_max_positions = 0;
  // yarn (arXiv 2309.00071)
  double beta_fast = 32.0, beta_slow = 1.0;
  std::optional<double> attention_factor;
  std::optional<double> mscale, mscale_all_dim;
  bool truncate = true;  // the ramp's ends to whole dimensions
  // longrope (arXiv 2402.13753): divisors of the frequencies, dims / 2 each, in windows up to the
  // original context and beyond it
  std::vector<double> short_factors, long_factors;
};

enum class NormKind {
  kRms,   // x / rms(x) * gain
  kLayer  // (x - mean(x)) / deviation(x) * gain + bias
};

// Where a norm stands in a block.
enum class NormRole {
  kAttention,     // before attention; in a parallel block without kMlp before both
  kQ,             // of each query head, before rope; with latent attention of q's latent
  kK,             // of each key head; with latent attention of the latent of k and v
  kAttentionOut,  // of what attention adds
  kMlp,           // before the MLP
  kMlpOut,        // of what the MLP adds
};
inline constexpr size_t kNormRoles = 6;

// Full tensor names; an empty gain: there is no such norm.
struct NormSpec {
  std::string gain, bias;
};

// How the rows of a fused q, k, v linear are shared out.
enum class QkvLayout {
  kConcatenated,  // all of q, all of k, all of v
  kByKeyHead,     // for each key head: the query heads that share it, the key, the value
};

// Attention whose q, k and v come from narrow latents (DeepSeek-V2, arXiv 2405.04434). A head of q
// and k is `plain` values and a rotated part, ModelSpec::rope.dims, that all heads of k share.
struct LatentAttentionSpec {
  int64_t q_rank = 0;  // width of q's latent; 0: q is one linear
  int64_t kv_rank = 0;
  int64_t plain = 0;   // not rotated part of a head of q and k
  int64_t values = 0;  // width of a head of v
};

// A mixture of experts (arXiv 2101.03961): each token runs through the `top_k` experts that the
// router likes best, and their outputs are added by the scores that it gives them. Experts may
// stand in `groups` of one size, of which the `top_groups` whose best score highest count. A shared
// expert, the linears of an MLP with no expert's number, sees every token; where there is a
// kSharedGate it is multiplied by its sigmoid.
struct MixtureSpec {
  enum class Scores { kSoftmax, kSigmoid };
  int experts = 0, top_k = 0;
  bool normalized = true;  // the weights of the chosen ones add up to 1
  Scores scores = Scores::kSoftmax;
  std::string
      correction;  // a tensor [experts], added to the scores where it is chosen; empty: none
  int groups = 1, top_groups = 1;
  int group_best = 2;  // how many of a group's scores count for it
  double scale = 1;    // of the weights
};

struct BlockSpec {
  std::string prefix;                           // "model.layers.0."
  std::vector<LinearSpec> linears;              // in the order they are run
  std::array<NormSpec, kNormRoles> norms = {};  // by NormRole
  bool parallel = false;    // x + attention(x) + mlp(x), not x' + mlp(x') of x' = x + attention(x)
  bool local_rope = false;  // ModelSpec::local_rope in the place of rope
  bool no_rope = false;     // neither
  std::optional<int64_t> sliding_window;  // tokens each position may look back to, itself included
  std::optional<MixtureSpec> mixture;     // in the place of one MLP

  // The linear of that role (of that expert); nullptr if there is none.
  const LinearSpec* Find(LinearRole role, int expert = -1) const;
  NormSpec& norm(NormRole role) { return norms[static_cast<size_t>(role)]; }
  const NormSpec& norm(NormRole role) const { return norms[static_cast<size_t>(role)]; }
  bool Has(NormRole role) const { return !norm(role).gain.empty(); }
  // The module that k belongs to, or q, k and v as one: "model.layers.0.self_attn". Empty if there
  // is none.
  std::string AttentionModule() const;
  // The tensors of all norms, gains and biases.
  std::vector<std::string> NormTensors() const;
};

struct ModelSpec {
  std::string family;          // registry name: "llama", "gpt2", …
  std::string architecture;    // config.json architectures[0]
  DType dtype = DType::kBF16;  // torch_dtype
  int64_t hidden = 0;          // D
  int64_t intermediate = 0;    // F
  int64_t heads = 0, kv_heads = 0, head_dim = 0;
  int64_t vocabulary = 0;  // V
  int64_t max_positions = 0;
  NormKind norm_kind = NormKind::kRms;
  double norm_epsilon = 1e-5;
  double gain_offset = 0;  // 1: norms multiply by 1 + gain (Gemma)
  Activation activation = Activation::kSilu;
  QkvLayout qkv_layout = QkvLayout::kConcatenated;
  std::optional<double> attention_scale;  // of the dot products; empty: 1 / sqrt(head_dim)
  double attention_softcap = 0;           // scores become cap tanh(score / cap); 0: as they are
  double logit_softcap = 0;
  double logit_scale = 1;
  double embedding_scale = 1;
  double residual_scale = 1;     // of what attention and MLP add to the stream
  bool wide_head_norms = false;  // the norms of q and k run over all heads as one vector
  std::optional<LatentAttentionSpec> latent;  // head_dim is then that of q and k
  RopeSpec rope;                              // dims 0: none
  std::optional<RopeSpec> local_rope;         // of blocks that ask for it
  bool tied_embeddings = false;
  bool untied_by_content = false;  // config.json says tied, the checkpoint has another projection
  std::string embedding;           // tensor names
  std::string positions;           // a table of learned positions; empty: none
  int64_t first_position = 0;      // its row of the first token
  NormSpec final_norm;
  LinearSpec head;          // lm_head; with tied embeddings its tensor is `embedding`
  std::string head_tensor;  // the tensor that the head multiplies by
  std::vector<BlockSpec> blocks;
  // Parts of the checkpoint beside the language model (module names), carried over as they are.
  std::vector<std::string> carried_modules;
  // Modules with a 2-D weight that are no linear above, such as the gates of unknown families: they
  // stay as they are, and loaders are told so.
  std::vector<std::string> dense_modules;
  // Whether the forward pass can run it; false for a family that we do not know, or a model of one
  // that has what `lacking` names.
  bool runnable = true;
  std::vector<Violation> lacking = {};

  // Every linear of every block, then the head.
  std::vector<const LinearSpec*> Linears() const;
  int64_t parameters = 0;  // all tensors of the checkpoint
};

}  // namespace quantd
