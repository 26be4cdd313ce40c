"""What the scripts that make models/ share: shapes, random weights, the file of golden logits."""

import json
import pathlib
import re
import shutil

import torch
import transformers

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
# The families beside the first four: small, for there are many of them.
SMALL = dict(vocab_size=96, hidden_size=32, intermediate_size=48, num_attention_heads=4,
             num_key_value_heads=2, max_position_embeddings=128)
LONGROPE = dict(type="longrope", short_factor=[1.0, 1.1, 1.3, 1.8],
                long_factor=[1.0, 2.0, 5.0, 8.5])
YARN = dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=64, beta_fast=16.0,
            beta_slow=1.0)



def randomize(model: torch.nn.Module, generator: torch.Generator) -> None:
    """Weights that take attention far from uniform, norms and biases far from neutral."""
    neutral = 0 if model.config.model_type.startswith("gemma") else 1
    for name, parameter in [*model.named_parameters(), *model.named_buffers()]:
        if not name.endswith(("bias", "weight", "_proj")):
            continue
        noise = torch.randn(parameter.shape, generator=generator)
        if re.search(r"(norm\w*|ln_\w+)\.weight$", name):
            parameter.data.copy_(neutral + 0.3 * noise)
        elif name.endswith("bias"):
            parameter.data.copy_(0.3 * noise)
        else:
            parameter.data.copy_(0.16 * noise)


def save(model: torch.nn.Module, kind: type, name: str, known: int,
         generator: torch.Generator) -> None:
    """Writes models/NAME: the checkpoint, and the logits of TOKENS tokens below `known`."""
    shutil.rmtree(OUT / name, ignore_errors=True)
    model.save_pretrained(OUT / name)
    (OUT / name / "generation_config.json").unlink(missing_ok=True)
    ids = torch.randint(0, known, (1, TOKENS), generator=generator)
    # Read again: a model narrowed in memory has its rotary frequencies narrowed too.
    model = kind.from_pretrained(
        OUT / name, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    with torch.no_grad():
        logits = model(ids).logits[0]
    rows = [[round(v, 5) for v in row] for row in logits.tolist()]
    golden = {"ids": ids[0].tolist(), "logits": rows}
    text = json.dumps(golden, separators=(",", ":"))
    (OUT / name / "golden_logits.json").write_text(text + "\n")
    print(name, f"largest logit {logits.abs().max():.2f}")
