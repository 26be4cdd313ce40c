"""Makes models/: one tiny random checkpoint per variant of a family, with transformers' logits.

Run with torch 2.9.1 and transformers 4.57.3:  python tests/golden/make_tiny_models.py
The logits are float32 with eager attention, for one fixed sequence longer than any sliding window.
"""

import sys

import torch
import transformers

from tiny_checkpoint import LLAMA3, LONGROPE, SHAPE, SMALL, YARN, randomize, save

assert torch.__version__.startswith("2.9.1"), torch.__version__
assert transformers.__version__ == "4.57.3", transformers.__version__

# name: (config class, changes to SHAPE, dtype on disk)
VARIANTS = {
    "llama": (transformers.LlamaConfig, dict(rms_norm_eps=1e-5), torch.float32),
    "llama-biases": (
        transformers.LlamaConfig,
        dict(attention_bias=True, mlp_bias=True, num_key_value_heads=4),
        torch.bfloat16,
    ),
    "llama-rope-llama3": (transformers.LlamaConfig,
                          dict(rope_scaling=LLAMA3, rope_theta=500000.0), torch.bfloat16),
    "llama-rope-yarn": (transformers.LlamaConfig, dict(rope_scaling=YARN, head_dim=32),
                        torch.bfloat16),
    "llama-rope-linear": (
        transformers.LlamaConfig,
        dict(rope_scaling=dict(rope_type="linear", factor=2.5)),
        torch.bfloat16,
    ),
    "mistral-window": (transformers.MistralConfig, dict(sliding_window=13), torch.float16),
    "qwen2-tied-window": (
        transformers.Qwen2Config,
        dict(tie_word_embeddings=True, use_sliding_window=True, sliding_window=9,
             max_window_layers=1),
        torch.bfloat16,
    ),
    "qwen3": (transformers.Qwen3Config, dict(head_dim=24, rope_theta=1000000.0), torch.bfloat16),
    "gemma": (transformers.GemmaConfig, SMALL | dict(head_dim=16), torch.bfloat16),
    "gemma2": (
        transformers.Gemma2Config,
        SMALL | dict(head_dim=12, sliding_window=5, query_pre_attn_scalar=20,
                     attn_logit_softcapping=3.0, final_logit_softcapping=4.0),
        torch.bfloat16,
    ),
    "gemma3_text": (
        transformers.Gemma3TextConfig,
        SMALL | dict(head_dim=16, sliding_window=6, query_pre_attn_scalar=24,
                     layer_types=["sliding_attention", "full_attention"],
                     rope_scaling=dict(rope_type="linear", factor=4.0)),
        torch.bfloat16,
    ),
    "phi3": (
        transformers.Phi3Config,
        SMALL | dict(sliding_window=7, rope_scaling=LONGROPE, max_position_embeddings=128,
                     original_max_position_embeddings=32, pad_token_id=0),
        torch.bfloat16,
    ),
    "phi3-short-partial": (
        transformers.Phi3Config,
        SMALL | dict(rope_scaling=dict(type="longrope", short_factor=[1.0, 1.4],
                                       long_factor=[2.0, 3.0]),
                     partial_rotary_factor=0.5, original_max_position_embeddings=64,
                     pad_token_id=0, tie_word_embeddings=True),
        torch.bfloat16,
    ),
    "starcoder2": (transformers.Starcoder2Config, SMALL | dict(sliding_window=8), torch.float32),
    "gpt_neox": (transformers.GPTNeoXConfig, SMALL | dict(rotary_pct=0.5), torch.float32),
    "gpt_neox-sequential": (
        transformers.GPTNeoXConfig,
        SMALL | dict(use_parallel_residual=False, attention_bias=False, rotary_pct=0.25,
                     num_attention_heads=2),
        torch.float32,
    ),
    "falcon-multi-query": (transformers.FalconConfig, SMALL | dict(multi_query=True),
                           torch.float32),
    "falcon-grouped": (
        transformers.FalconConfig,
        SMALL | dict(new_decoder_architecture=True, num_kv_heads=2, bias=True, ffn_hidden_size=48),
        torch.float32,
    ),
    "falcon-grouped-one-norm": (
        transformers.FalconConfig,
        SMALL | dict(new_decoder_architecture=True, num_kv_heads=2, num_ln_in_parallel_attn=1,
                     ffn_hidden_size=48),
        torch.float32,
    ),
    "opt": (
        transformers.OPTConfig,
        SMALL | dict(ffn_dim=48, word_embed_proj_dim=32, pad_token_id=0),
        torch.float32,
    ),
    # The common names stand for n_embd, n_layer, n_head and n_positions.
    "gpt2": (transformers.GPT2Config, SMALL | dict(n_inner=48), torch.float32),
    "mixtral": (
        transformers.MixtralConfig,
        SMALL | dict(intermediate_size=32, num_local_experts=4, num_experts_per_tok=2,
                     sliding_window=9),
        torch.bfloat16,
    ),
    "qwen3_moe": (
        transformers.Qwen3MoeConfig,
        SMALL | dict(moe_intermediate_size=16, num_experts=6, num_experts_per_tok=3, head_dim=12,
                     mlp_only_layers=[0]),
        torch.bfloat16,
    ),
    "qwen3_moe-normalized": (
        transformers.Qwen3MoeConfig,
        SMALL | dict(moe_intermediate_size=16, num_experts=4, num_experts_per_tok=2,
                     norm_topk_prob=True),
        torch.bfloat16,
    ),
}


VISION = dict(model_type="clip_vision_model", hidden_size=16, intermediate_size=24,
              num_hidden_layers=1, num_attention_heads=2, image_size=28, patch_size=14,
              projection_dim=16)


def llava(**_) -> transformers.LlavaConfig:
    """A language tower of the llama family behind a vision tower."""
    text = {key: value for key, value in (SHAPE | SMALL).items() if key != "attn_implementation"}
    return transformers.LlavaConfig(
        text_config=transformers.LlamaConfig(**text), image_token_index=95,
        vision_config=transformers.CLIPVisionConfig(**VISION), attn_implementation="eager")


VARIANTS["llava"] = (llava, {}, torch.bfloat16)


def kind_of(config: transformers.PretrainedConfig) -> type:
    """The class of models that the config means."""
    if config.model_type == "llava":
        return transformers.LlavaForConditionalGeneration
    return transformers.AutoModelForCausalLM


def main() -> None:
    """Makes those that are named on the command line, or all."""
    for seed, (name, (config_class, changes, dtype)) in enumerate(VARIANTS.items()):
        if sys.argv[1:] and name not in sys.argv[1:]:
            continue
        generator = torch.Generator().manual_seed(seed)
        config = config_class(**(SHAPE | changes))
        kind = kind_of(config)
        model = kind(config) if config.model_type == "llava" else kind.from_config(config)
        randomize(model, generator)
        # The last token of a vision-language model stands for an image.
        known = config.get_text_config().vocab_size - (config.model_type == "llava")
        save(model.to(dtype), kind, name, known, generator)


if __name__ == "__main__":
    main()
