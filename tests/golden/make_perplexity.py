"""Makes perplexity.json: what an evaluation of models/books-3m must give, by transformers in f32.

The second stream is the first with the activations before the final norm scaled per channel by
1 + 0.1 sin(channel).
Run with torch 2.9.1 and transformers 4.57.3:  python tests/golden/make_perplexity.py
"""

import json
import math
import pathlib

import tokenizers
import torch
import transformers

assert torch.__version__.startswith("2.9.1"), torch.__version__
assert transformers.__version__ == "4.57.3", transformers.__version__

HERE = pathlib.Path(__file__).parent
MODEL = HERE.parent.parent / "models" / "books-3m"
WINDOWS, TOKENS = 8, 150  # more than one tile of positions, and not a multiple of one


def main() -> None:
    text = (MODEL / "evaluation.txt").read_text()[:20000]
    tokenizer = tokenizers.Tokenizer.from_file(str(MODEL / "tokenizer.json"))
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    ids = torch.tensor(ids[: WINDOWS * TOKENS]).reshape(WINDOWS, TOKENS)
    model = transformers.AutoModelForCausalLM.from_pretrained(
        MODEL, dtype=torch.float32, attn_implementation="eager")
    before_norm = {}
    model.model.norm.register_forward_pre_hook(lambda _, inputs: before_norm.update(x=inputs[0]))
    with torch.no_grad():
        log_p = model.eval()(ids).logits.double().log_softmax(-1)
        x = before_norm["x"]
        scale = 1 + 0.1 * torch.sin(torch.arange(x.shape[-1], dtype=torch.float64))
        normed = model.model.norm((x.double() * scale).float())
        log_q = model.lm_head(normed).double().log_softmax(-1)
    log_p, log_q, following = log_p[:, :-1], log_q[:, :-1], ids[:, 1:, None]
    kl = (log_p.exp() * (log_p - log_q)).sum(-1).flatten()
    golden = {
        "ids": ids.tolist(),
        "perplexity_original": math.exp(-log_p.gather(-1, following).mean().item()),
        "perplexity_quantized": math.exp(-log_q.gather(-1, following).mean().item()),
        "kl_mean": kl.mean().item(),
        "kl_p99": kl.sort().values[math.ceil(0.99 * kl.numel()) - 1].item(),
        "top1_agreement": (log_p.argmax(-1) == log_q.argmax(-1)).double().mean().item(),
    }
    (HERE / "perplexity.json").write_text(json.dumps(golden) + "\n")
    print({key: value for key, value in golden.items() if key != "ids"})


if __name__ == "__main__":
    main()
