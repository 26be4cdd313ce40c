"""Makes rope.json: cos and sin of transformers' rotary embeddings, for every kind of scaling.

Run with torch 2.9.1 and transformers 4.57.3:  python tests/golden/make_rope_golden.py
"""

import json
import pathlib

import torch
import transformers
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

assert torch.__version__.startswith("2.9.1"), torch.__version__
assert transformers.__version__ == "4.57.3", transformers.__version__

POSITIONS = [0, 1, 2, 17, 300, 4095]
YARN = {"rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 2048}
CASES = {
    "default": {},
    "theta": {"rope_theta": 1000000.0},
    "linear": {"rope_scaling": {"rope_type": "linear", "factor": 4.0}},
    "llama3": {
        "rope_theta": 500000.0,
        "rope_scaling": {
            "rope_type": "llama3",
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        },
    },
    "yarn": {"rope_scaling": YARN},
    "yarn without original": {"rope_scaling": {"rope_type": "yarn", "factor": 4.0}},
    "yarn factor below one": {"rope_scaling": {**YARN, "factor": 0.5}},
    "yarn attention_factor": {"rope_scaling": {**YARN, "attention_factor": 1.25}},
    "yarn mscale": {"rope_scaling": {**YARN, "mscale": 0.707, "mscale_all_dim": 1.0}},
    "yarn one mscale": {"rope_scaling": {**YARN, "mscale": 0.707}},
    "yarn betas": {"rope_scaling": {**YARN, "beta_fast": 20.0, "beta_slow": 2.0}},
    "yarn untruncated": {"rope_theta": 150000.0, "rope_scaling": {**YARN, "truncate": False}},
}


def main() -> None:
    golden = []
    for name, changes in CASES.items():
        config = {
            "hidden_size": 256,
            "num_attention_heads": 4,
            "max_position_embeddings": 16384,
            "rope_theta": 10000.0,
            **changes,
        }
        rotary = LlamaRotaryEmbedding(transformers.LlamaConfig(**json.loads(json.dumps(config))))
        cos, sin = rotary(torch.zeros(1, 1, 1), torch.tensor([POSITIONS]))
        half = cos.shape[-1] // 2
        golden.append(
            {
                "name": name,
                "config": config,
                "positions": POSITIONS,
                "cos": [[round(v, 8) for v in row] for row in cos[0, :, :half].tolist()],
                "sin": [[round(v, 8) for v in row] for row in sin[0, :, :half].tolist()],
            }
        )
    path = pathlib.Path(__file__).parent / "rope.json"
    path.write_text(json.dumps(golden, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
