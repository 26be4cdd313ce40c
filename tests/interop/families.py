"""Every family: a random model, quantized by quantd-worker, loaded by transformers, compared.

For each family a checkpoint with the tokenizer of the bundled model is made; it is quantized by rtn
and by awq (which moves scales between norms and linears), and written as compressed-tensors and as
dequantized safetensors. transformers loads the result on CPU in float32; its logits of a few
windows must be those that the engine reports for the quantized model. A vision-language model is
checked for the bytes of what is beside the language model too.
"""

import argparse
import datetime
import json
import os
import pathlib
import shutil
import subprocess
import sys
import warnings

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
warnings.simplefilter("ignore")

import torch  # noqa: E402  (the environment is set first)
import transformers  # noqa: E402
from compressed_tensors.compressors import BaseCompressor  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

import junit  # noqa: E402
import protocol  # noqa: E402

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "style"))
import note  # noqa: E402

WINDOWS, TOKENS = 3, 96
LARGEST = 2e-4  # of all logit differences: the order of float32 sums

SHAPE = dict(
    vocab_size=2048, hidden_size=64, intermediate_size=96, num_hidden_layers=2,
    num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=256,
    attn_implementation="eager", bos_token_id=0, eos_token_id=0, pad_token_id=0,
)
VISION = dict(model_type="clip_vision_model", hidden_size=32, intermediate_size=48,
              num_hidden_layers=1, num_attention_heads=2, image_size=28, patch_size=14,
              projection_dim=32)


def llava():
    text = transformers.LlamaConfig(**SHAPE)
    return transformers.LlavaConfig(text_config=text, image_token_index=2047,
                                    vision_config=transformers.CLIPVisionConfig(**VISION))


WINDOWED = dict(layer_types=["sliding_attention", "full_attention"])
EXPERTS = dict(moe_intermediate_size=32, num_experts_per_tok=2)
LATENT = dict(num_key_value_heads=4, kv_lora_rank=32, qk_nope_head_dim=16, qk_rope_head_dim=16,
              v_head_dim=16)

# name: (config, whether compressed-tensors can hold it)
FAMILIES = {
    "llama": (lambda: transformers.LlamaConfig(**SHAPE), True),
    "gemma": (lambda: transformers.GemmaConfig(**SHAPE | dict(head_dim=16)), True),
    "gemma2": (lambda: transformers.Gemma2Config(
        **SHAPE | dict(head_dim=16, sliding_window=32, query_pre_attn_scalar=20)), True),
    "gemma3_text": (lambda: transformers.Gemma3TextConfig(
        **SHAPE | dict(head_dim=16, sliding_window=32, query_pre_attn_scalar=24,
                       layer_types=["sliding_attention", "full_attention"])), True),
    "phi3": (lambda: transformers.Phi3Config(**SHAPE | dict(sliding_window=48)), True),
    "starcoder2": (lambda: transformers.Starcoder2Config(**SHAPE | dict(sliding_window=48)), True),
    "gpt_neox": (lambda: transformers.GPTNeoXConfig(**SHAPE), True),
    # Its FalconLinear is no module that compressed-tensors 0.20 decompresses.
    "falcon": (lambda: transformers.FalconConfig(
        **SHAPE | dict(new_decoder_architecture=True, num_kv_heads=2, ffn_hidden_size=96)), False),
    "falcon-multi-query": (lambda: transformers.FalconConfig(**SHAPE), False),
    "opt": (lambda: transformers.OPTConfig(**SHAPE | dict(ffn_dim=96, word_embed_proj_dim=64)),
            True),
    "gpt2": (lambda: transformers.GPT2Config(**SHAPE | dict(n_inner=96)), False),
    "mixtral": (lambda: transformers.MixtralConfig(
        **SHAPE | dict(num_local_experts=4, num_experts_per_tok=2)), True),
    "qwen3_moe": (lambda: transformers.Qwen3MoeConfig(
        **SHAPE | dict(num_experts=6, num_experts_per_tok=2, moe_intermediate_size=32,
                       norm_topk_prob=True, mlp_only_layers=[])), True),
    "llava": (llava, True),
    "granite": (lambda: transformers.GraniteConfig(
        **SHAPE | dict(embedding_multiplier=3.0, attention_multiplier=0.2, residual_multiplier=0.6,
                       logits_scaling=0.7)), True),
    "smollm3": (lambda: transformers.SmolLM3Config(**SHAPE | dict(no_rope_layers=[1, 0])), True),
    "olmo2": (lambda: transformers.Olmo2Config(**SHAPE), True),
    "olmo3": (lambda: transformers.Olmo3Config(
        **SHAPE | WINDOWED, sliding_window=32), True),
    "glm": (lambda: transformers.GlmConfig(**SHAPE | dict(head_dim=16)), True),
    "glm4": (lambda: transformers.Glm4Config(**SHAPE | dict(head_dim=16)), True),
    "glm4_moe": (lambda: transformers.Glm4MoeConfig(
        **SHAPE | EXPERTS | dict(head_dim=16, n_routed_experts=4, n_group=2, topk_group=1,
                                 use_qk_norm=True, first_k_dense_replace=1)), True),
    "cohere": (lambda: transformers.CohereConfig(**SHAPE), True),
    "cohere2": (lambda: transformers.Cohere2Config(**SHAPE | WINDOWED, sliding_window=32), True),
    "exaone4": (lambda: transformers.Exaone4Config(**SHAPE | WINDOWED, sliding_window=32), True),
    "qwen2_moe": (lambda: transformers.Qwen2MoeConfig(
        **SHAPE | EXPERTS | dict(num_experts=4, shared_expert_intermediate_size=64)), True),
    "deepseek_v2": (lambda: transformers.DeepseekV2Config(
        **SHAPE | EXPERTS | LATENT | dict(n_routed_experts=4, q_lora_rank=None,
                                          first_k_dense_replace=1)), True),
    "deepseek_v3": (lambda: transformers.DeepseekV3Config(
        **SHAPE | EXPERTS | LATENT | dict(n_routed_experts=4, n_group=2, topk_group=1,
                                          q_lora_rank=32, first_k_dense_replace=1)), True),
}

# name, flags of quantd-worker quantize, type of the checkpoint
RUNS = [
    ("rtn", "--method rtn --bits 4 --group-size 32 --symmetric --format compressed-tensors",
     torch.bfloat16),
    ("rtn-dequantized", "--method rtn --bits 3 --group-size 32 --format dequantized",
     torch.float32),
    ("awq-dequantized", "--method awq --bits 4 --group-size 32 --format dequantized "
     "--samples 8 --calibration {text}", torch.float32),
]


def make_model(config, dtype, folder, tokenizer_folder):
    """A random checkpoint with the bundled model's tokenizer."""
    torch.manual_seed(7)
    kind = (transformers.LlavaForConditionalGeneration if config.model_type == "llava"
            else transformers.AutoModelForCausalLM.from_config)
    model = kind(config)
    neutral = 0 if config.model_type.startswith("gemma") else 1
    for parameter_name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape)
        is_gain = parameter.dim() == 1 and parameter_name.endswith("weight")
        parameter.data.copy_(neutral + 0.2 * noise if is_gain else 0.12 * noise)
    shutil.rmtree(folder, ignore_errors=True)
    model.to(dtype).save_pretrained(folder)
    shutil.copy(f"{tokenizer_folder}/tokenizer.json", folder)
    for file in ("tokenizer_config.json", "special_tokens_map.json"):
        if os.path.exists(f"{tokenizer_folder}/{file}"):
            shutil.copy(f"{tokenizer_folder}/{file}", folder)


def quantize(arguments, model, out, flags):
    shutil.rmtree(out, ignore_errors=True)
    flags = flags.format(text=f"{arguments.model}/calibration.txt")
    command = [arguments.worker, "quantize", model, "--out", out, *flags.split(),
               "--evaluation", f"{arguments.model}/evaluation.txt", "--eval-windows", str(WINDOWS),
               "--seq-len", str(TOKENS), "--logits-windows", str(WINDOWS), "--compute", "f32",
               "--json"]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def scales_in_float32():
    """transformers 5 keeps experts in one tensor and decompresses them in the type of the scales,
    bfloat16, which rounds each weight once more; with scales in float32 they are the same."""
    packed = BaseCompressor.get_value_from_registry("pack-quantized")
    decompress = packed.decompress.__func__

    def widened(cls, tensors, scheme):
        scale = tensors["weight_scale"]
        if scale.device.type != "meta":
            tensors = tensors | {"weight_scale": scale.float()}
        return decompress(cls, tensors, scheme)

    packed.decompress = classmethod(widened)


def load(name, folder):
    kind = (transformers.LlavaForConditionalGeneration if name == "llava"
            else transformers.AutoModelForCausalLM)
    return kind.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()


def same_beside(model, out):
    """Whether every tensor beside the language model has the bytes it had."""
    before, after = load_file(f"{model}/model.safetensors"), load_file(f"{out}/model.safetensors")
    beside = [name for name in before if "language_model" not in name and "lm_head" not in name]
    return len(beside) > 5 and all(
        before[name].view(torch.uint8).equal(after[name].view(torch.uint8)) for name in beside)


def check(arguments, name, run):
    """One family in one run, as a row of the table; prints a line."""
    run_name, flags, dtype = run
    model, out = f"{arguments.out}/{name}-model", f"{arguments.out}/{name}-{run_name}"
    make_model(FAMILIES[name][0](), dtype, model, arguments.model)
    report = quantize(arguments, model, out, flags)
    own = load_file(f"{out}/quantd/logits.safetensors")
    windows = own["ids"].long()
    original = (protocol.logits_of(load(name, model), windows) - own["original"]).abs().max().item()
    quantized = (protocol.logits_of(load(name, out), windows) - own["quantized"]).abs().max().item()
    moved = (own["original"] - own["quantized"]).abs().max().item()
    passed = max(original, quantized) <= LARGEST < moved
    if name == "llava":
        passed = passed and same_beside(model, out)
    verdict = "ok" if passed else "WRONG"
    kl = report["evaluation"]["kl_mean"]
    print(f"{verdict:5} {name:20} {run_name:16} original {original:.1e}  quantized {quantized:.1e}"
          f"  moved by {moved:.2f}  KL {kl:.3f}", flush=True)
    return {"passed": passed, "original": original, "quantized": quantized, "kl": kl}


def run_all(arguments):
    """{(family, run): row of the table}."""
    os.makedirs(arguments.out, exist_ok=True)
    rows = {}
    for name, (_, compressed) in FAMILIES.items():
        if arguments.only is not None and name not in arguments.only.split(","):
            continue
        for run in RUNS:
            if "compressed-tensors" in run[1] and not compressed:
                continue
            try:
                rows[name, run[0]] = check(arguments, name, run)
            except (subprocess.CalledProcessError, RuntimeError, ValueError, KeyError,
                    AttributeError) as error:
                print(f"WRONG {name:20} {run[0]:16} {type(error).__name__}: {error}", flush=True)
                rows[name, run[0]] = {"passed": False, "text": f"{type(error).__name__}: {error}"}
    return rows


def table(rows):
    """A line per family: how far the original is from transformers, then each run's artifact."""
    runs = [name for name, _, _ in RUNS]
    lines = ["| family | original | " + " | ".join(runs) + " |", "|---" * (len(runs) + 2) + "|"]
    for family in dict.fromkeys(name for name, _ in rows):
        found = [rows.get((family, run)) for run in runs]
        cells = ["" if row is None else
                 ("" if row["passed"] else "**WRONG** ") +
                 (f"{row['quantized']:.1e}" if "quantized" in row else row["text"][:160])
                 for row in found]
        original = max((row["original"] for row in found if row and "original" in row),
                       default=float("nan"))
        lines.append(f"| {family} | {original:.1e} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worker", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--only", help="the families of these names: A,B")
    parser.add_argument("--note", help="page that gets the table")
    arguments = parser.parse_args()
    scales_in_float32()
    kept = pathlib.Path(arguments.out, "rows.json")  # of the last run of each
    rows = {tuple(key.split()): row for key, row in
            (json.loads(kept.read_text()) if kept.exists() else {}).items()}
    rows |= run_all(arguments)
    kept.write_text(json.dumps({" ".join(key): row for key, row in rows.items()}, indent=1))
    verdicts = {" ".join(key): row["passed"] for key, row in rows.items()}
    junit.write(f"{arguments.out}/junit.xml", "interop-families", verdicts)
    failed = list(verdicts.values()).count(False)
    print(f"{len(verdicts) - failed} passed, {failed} failed, 0 skipped")
    if arguments.note:
        note.put(arguments.note, "interop-families",
                 f"## Families in transformers {transformers.__version__}\n\n"
                 f"{datetime.date.today().isoformat()}, random weights in float32, largest "
                 f"difference of logits (at most {LARGEST:.0e}): the original by both, then each "
                 "artifact loaded by transformers against quantd's own evaluation. "
                 f"{len(verdicts) - failed} of "
                 f"{len(verdicts)}.\n\n{table(rows)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
