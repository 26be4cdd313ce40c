// What a model is, as data: read from config.json by its family's parser, used by one forward pass.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/tensor/dtype.h"

namespace quantd {

// The role of a linear layer inside a decoder block. Rules (which are fused by loaders, which share
// an input, which are balanced together) go by role, never by name.
enum class LinearRole { kQ, kK, kV, kO, kGate, kUp, kDown, kHead, kOther };
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
  int input =
      -1;  // linears of a block with the same number read the same activations (q,k,v; gate,up)
  int64_t parameters() const { return out_features * in_features; }
};

// Rotary embedding (RoFormer, arXiv 2104.09864), "rotate half" layout; frequencies as transformers
// computes them.
struct RopeSpec {
  enum class Scaling { kNone, kLinear, kLlama3, kYarn };
  double theta = 10000.0;
  int64_t dims = 0;  // rotated part of each head
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
};

struct BlockSpec {
  std::string prefix;               // "model.layers.0."
  std::vector<LinearSpec> linears;  // in the order they are run
  std::string input_norm;           // full tensor names; empty when the family has none
  std::string post_attention_norm;
  std::string q_norm, k_norm;             // per-head RMSNorm before rope (Qwen3)
  std::optional<int64_t> sliding_window;  // tokens each position may look back to, itself included

  const LinearSpec* Find(LinearRole role) const;
};

struct ModelSpec {
  std::string family;          // registry name: "llama", "mistral", "qwen2", "qwen3"
  std::string architecture;    // config.json architectures[0]
  DType dtype = DType::kBF16;  // torch_dtype
  int64_t hidden = 0;          // D
  int64_t intermediate = 0;    // F
  int64_t heads = 0, kv_heads = 0, head_dim = 0;
  int64_t vocabulary = 0;  // V
  int64_t max_positions = 0;
  double norm_epsilon = 1e-5;
  RopeSpec rope;
  bool tied_embeddings = false;
  std::string embedding, final_norm;  // tensor names
  LinearSpec head;                    // lm_head; with tied embeddings its tensor is `embedding`
  std::string head_tensor;            // the tensor that the head multiplies by
  std::vector<BlockSpec> blocks;

  // Every linear of every block, then the head.
  std::vector<const LinearSpec*> Linears() const;
  int64_t parameters = 0;  // all tensors of the checkpoint
};

}  // namespace quantd
