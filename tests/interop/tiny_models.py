"""Random checkpoints of families that the bundled model is not of, with its tokenizer and text.

Small enough to run in seconds, large enough for every format: widths are multiples of 128. Biases
and norms are random too, so that one which is lost or misplaced shows.
"""

import os
import shutil
import subprocess
import sys

import torch
import transformers

SHAPE = dict(vocab_size=2048, hidden_size=256, intermediate_size=384, num_hidden_layers=2,
             num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=512,
             bos_token_id=0, eos_token_id=0)
FAMILIES = {
    "qwen2": (transformers.Qwen2Config, dict(tie_word_embeddings=True)),
    "qwen3": (transformers.Qwen3Config, dict(head_dim=64, tie_word_embeddings=False)),
    "llama3-rope": (transformers.LlamaConfig, dict(
        tie_word_embeddings=False, rope_parameters=dict(
            rope_type="llama3", rope_theta=500000.0, factor=8.0, low_freq_factor=1.0,
            high_freq_factor=4.0, original_max_position_embeddings=128))),
    # The shapes of SmolLM2-135M, which are no multiples of 128.
    "smollm2-shapes": (transformers.LlamaConfig, dict(
        hidden_size=576, intermediate_size=1536, num_attention_heads=9, num_key_value_heads=3,
        tie_word_embeddings=True)),
}


def make(family, books, out):
    """Makes the checkpoint unless it is there; returns its folder."""
    folder = os.path.join(out, "models", family)
    if os.path.exists(os.path.join(folder, "evaluation.txt")):
        return folder
    config_class, changes = FAMILIES[family]
    torch.manual_seed(7)
    model = transformers.AutoModelForCausalLM.from_config(config_class(**(SHAPE | changes)))
    for name, parameter in model.named_parameters():
        if name.endswith("norm.weight"):
            parameter.data = 1 + 0.2 * torch.randn_like(parameter)
        else:
            parameter.data = 0.08 * torch.randn_like(parameter)
    model.to(torch.bfloat16).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "evaluation.txt"):
        shutil.copyfile(os.path.join(books, name), os.path.join(folder, name))
    return folder


def make_apart(family, books, out):
    """The same in a process of its own: one that has computed with several threads cannot fork
    another that does."""
    subprocess.run([sys.executable, __file__, family, books, out], check=True)
    return make(family, books, out)


if __name__ == "__main__":
    make(*sys.argv[1:])
