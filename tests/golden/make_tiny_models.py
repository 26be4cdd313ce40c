"""Makes models/: one tiny random checkpoint per variant of a family, with transformers' logits.

Run with torch 2.9.1 and transformers 4.57.3:  python tests/golden/make_tiny_models.py
The logits are float32 with eager attention, for one fixed sequence longer than any sliding window.
"""

import json
import pathlib
import shutil

import torch
import transformers

assert torch.__version__.startswith("2.9.1"), torch.__version__
assert transformers.__version__ == "4.57.3", transformers.__version__

OUT = pathlib.Path(__file__).parent / "models"
TOKENS = 48
SHAPE = dict(
    vocab_size=128,
    hidden_size=64,
    intermediate_size=96,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=256,
    attn_implementation="eager",
)
LLAMA3 = dict(
    rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
    original_max_position_embeddings=32
)
YARN = dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=64, beta_fast=16.0,
            beta_slow=1.0)

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
}


def randomize(model: torch.nn.Module, generator: torch.Generator) -> None:
    """Weights that take attention far from uniform, norms and biases far from neutral."""
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if name.endswith("norm.weight"):
            parameter.data.copy_(1 + 0.3 * noise)
        elif name.endswith("bias"):
            parameter.data.copy_(0.3 * noise)
        else:
            parameter.data.copy_(0.16 * noise)


def main() -> None:
    shutil.rmtree(OUT, ignore_errors=True)
    for seed, (name, (config_class, changes, dtype)) in enumerate(VARIANTS.items()):
        generator = torch.Generator().manual_seed(seed)
        model = transformers.AutoModelForCausalLM.from_config(config_class(**{**SHAPE, **changes}))
        randomize(model, generator)
        model = model.to(dtype)
        model.save_pretrained(OUT / name)
        (OUT / name / "generation_config.json").unlink()
        ids = torch.randint(0, SHAPE["vocab_size"], (1, TOKENS), generator=generator)
        # Read again: a model narrowed in memory has its rotary frequencies narrowed too.
        model = transformers.AutoModelForCausalLM.from_pretrained(
            OUT / name, dtype=torch.float32, attn_implementation="eager"
        ).eval()
        with torch.no_grad():
            logits = model(ids).logits[0]
        rows = [[round(v, 6) for v in row] for row in logits.tolist()]
        golden = {"ids": ids[0].tolist(), "logits": rows}
        text = json.dumps(golden, separators=(",", ":"))
        (OUT / name / "golden_logits.json").write_text(text + "\n")
        print(name, f"largest logit {logits.abs().max():.2f}")


if __name__ == "__main__":
    main()
