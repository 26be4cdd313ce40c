"""Makes models/ of the families that the other script has not, and configs of transformers 5.

Run with torch 2.15.0 and transformers 5.24.0:  python tests/golden/make_transformers5_models.py
The models of make_tiny_models.py, saved again, differ in config.json alone: that is written beside
theirs, as config.transformers5.json, after their logits were seen to be the same.
"""

import json
import shutil
import sys
import tempfile
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file

from tiny_checkpoint import OUT, SHAPE, SMALL, YARN, randomize, save

assert torch.__version__.startswith("2.15.0"), torch.__version__
assert transformers.__version__ == "5.24.0", transformers.__version__

MOE = dict(moe_intermediate_size=16, num_experts_per_tok=2)
LATENT = dict(num_key_value_heads=4, kv_lora_rank=16, qk_nope_head_dim=12, qk_rope_head_dim=8,
              v_head_dim=10)
PADDED = dict(pad_token_id=0)
FULL_AND_SLIDING = dict(layer_types=["sliding_attention", "full_attention"])
# name: (config class, changes to SHAPE, dtype on disk)
VARIANTS = {
    "granite": (
        transformers.GraniteConfig,
        SMALL | dict(embedding_multiplier=3.0, attention_multiplier=0.2, residual_multiplier=0.6,
                     logits_scaling=0.7, attention_bias=True),
        torch.bfloat16,
    ),
    "smollm3": (
        transformers.SmolLM3Config,
        SMALL | PADDED | dict(no_rope_layers=[1, 0], use_sliding_window=True, sliding_window=9),
        torch.bfloat16,
    ),
    "olmo2": (transformers.Olmo2Config, SMALL | PADDED | dict(attention_bias=True), torch.bfloat16),
    "olmo3": (
        transformers.Olmo3Config,
        SMALL | PADDED | FULL_AND_SLIDING | dict(
            sliding_window=7,
            rope_parameters=dict(
                full_attention=dict(YARN, rope_theta=20000.0),
                sliding_attention=dict(rope_type="default", rope_theta=3000.0))),
        torch.bfloat16,
    ),
    "glm": (transformers.GlmConfig, SMALL | PADDED | dict(head_dim=16), torch.bfloat16),
    "glm4": (
        transformers.Glm4Config,
        SMALL | PADDED | dict(head_dim=12,
                              rope_parameters=dict(rope_type="default", rope_theta=5000.0,
                                                   partial_rotary_factor=0.34)),
        torch.bfloat16,
    ),
    "glm4_moe": (
        transformers.Glm4MoeConfig,
        SMALL | PADDED | MOE | dict(head_dim=16, n_routed_experts=8, n_group=4, topk_group=2,
                                    routed_scaling_factor=1.7, use_qk_norm=True,
                                    attention_bias=True, first_k_dense_replace=1),
        torch.bfloat16,
    ),
    "cohere": (transformers.CohereConfig, SMALL | PADDED | dict(logit_scale=0.4), torch.bfloat16),
    "cohere2": (
        transformers.Cohere2Config,
        SMALL | PADDED | FULL_AND_SLIDING | dict(sliding_window=6, logit_scale=0.4),
        torch.bfloat16,
    ),
    "exaone4": (
        transformers.Exaone4Config,
        SMALL | PADDED | FULL_AND_SLIDING | dict(sliding_window=6, head_dim=12),
        torch.bfloat16,
    ),
    "deepseek_v2": (
        transformers.DeepseekV2Config,
        SMALL | MOE | LATENT | dict(q_lora_rank=None, n_routed_experts=6, n_group=3, topk_group=2,
                                    topk_method="group_limited_greedy", n_shared_experts=2,
                                    routed_scaling_factor=1.3, first_k_dense_replace=1),
        torch.bfloat16,
    ),
    "deepseek_v3": (
        transformers.DeepseekV3Config,
        SMALL | MOE | LATENT | dict(
            q_lora_rank=24, n_routed_experts=8, n_group=4, topk_group=2, n_shared_experts=1,
            first_k_dense_replace=1, attention_bias=True,
            rope_parameters=dict(YARN, rope_theta=10000.0, mscale=0.8, mscale_all_dim=1.1)),
        torch.bfloat16,
    ),
    "qwen2_moe": (
        transformers.Qwen2MoeConfig,
        SMALL | MOE | dict(num_experts=5, shared_expert_intermediate_size=24,
                           mlp_only_layers=[0]),
        torch.bfloat16,
    ),
}


TEXT = {key: value for key, value in (SHAPE | SMALL).items() if key != "attn_implementation"}
MROPE = dict(rope_type="default", rope_theta=7000.0, mrope_section=[1, 1, 2])
TOKENS_OF_IMAGES = dict(image_token_id=95, video_token_id=94, vision_start_token_id=93,
                        vision_end_token_id=92)


def qwen2_vl(**_) -> transformers.Qwen2VLConfig:
    return transformers.Qwen2VLConfig(
        text_config=dict(TEXT, rope_parameters=MROPE, tie_word_embeddings=False),
        vision_config=dict(depth=1, embed_dim=16, hidden_size=32, num_heads=2, mlp_ratio=2),
        attn_implementation="eager", **TOKENS_OF_IMAGES)


def qwen3_vl(**_) -> transformers.Qwen3VLConfig:
    return transformers.Qwen3VLConfig(
        text_config=dict(TEXT, head_dim=16, rope_parameters=dict(MROPE, mrope_section=[4, 2, 2])),
        vision_config=dict(depth=1, hidden_size=16, intermediate_size=24, num_heads=2,
                           out_hidden_size=32, num_position_embeddings=16,
                           deepstack_visual_indexes=[0]),
        attn_implementation="eager", **TOKENS_OF_IMAGES)


def mistral3(**_) -> transformers.Mistral3Config:
    return transformers.Mistral3Config(
        text_config=transformers.MistralConfig(**TEXT, head_dim=12, sliding_window=9),
        vision_config=transformers.PixtralVisionConfig(
            hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2,
            image_size=28, patch_size=14),
        image_token_index=95, attn_implementation="eager")


def internvl(**_) -> transformers.InternVLConfig:
    return transformers.InternVLConfig(
        text_config=transformers.Qwen2Config(**TEXT),
        vision_config=transformers.InternVLVisionConfig(
            hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2,
            image_size=[28, 28], patch_size=[14, 14]),
        image_token_id=95, attn_implementation="eager")


for maker in (qwen2_vl, qwen3_vl, mistral3, internvl):
    VARIANTS[maker.__name__] = (maker, {}, torch.bfloat16)
WITH_PICTURES = {"llava", "qwen2_vl", "qwen3_vl", "mistral3", "internvl"}


def kind_of(model_type: str) -> type:
    """The class of models of that type."""
    if model_type in WITH_PICTURES:
        return transformers.AutoModelForImageTextToText
    return transformers.AutoModelForCausalLM


def make(name: str, seed: int) -> None:
    config_class, changes, dtype = VARIANTS[name]
    generator = torch.Generator().manual_seed(1000 + seed)
    config = config_class(**(SHAPE | changes))
    kind = kind_of(config.model_type)
    model = kind.from_config(config)
    randomize(model, generator)
    # The last tokens of a vision-language model stand for pictures.
    known = config.get_text_config().vocab_size - 4 * (config.model_type in WITH_PICTURES)
    save(model.to(dtype), kind, name, known, generator)


def save_again(name: str) -> None:
    """Writes the config of transformers 5 beside that of the model."""
    golden = json.loads((OUT / name / "golden_logits.json").read_text())
    kind = kind_of(json.loads((OUT / name / "config.json").read_text())["model_type"])
    eager = dict(attn_implementation="eager")
    model = kind.from_pretrained(OUT / name, dtype=torch.float32, **eager).eval()
    with torch.no_grad():
        logits = model(torch.tensor([golden["ids"]])).logits[0]
    difference = (logits - torch.tensor(golden["logits"])).abs().max().item()
    assert difference < 2e-5, (name, difference)
    with tempfile.TemporaryDirectory() as folder:
        kind.from_pretrained(OUT / name, **eager).save_pretrained(folder)
        before = load_file(OUT / name / "model.safetensors")
        after = load_file(Path(folder) / "model.safetensors")
        assert before.keys() == after.keys(), name
        assert all(torch.equal(before[key], after[key]) for key in before), name
        shutil.copy(Path(folder) / "config.json", OUT / name / "config.transformers5.json")
    print(name, f"logits differ by {difference:.1e}")


def main() -> None:
    """Makes those that are named on the command line, or all."""
    names = sorted({path.name for path in OUT.iterdir()} | VARIANTS.keys())
    for name in names:
        if sys.argv[1:] and name not in sys.argv[1:]:
            continue
        if name in VARIANTS:
            make(name, sorted(VARIANTS).index(name))
        else:
            save_again(name)


if __name__ == "__main__":
    main()
