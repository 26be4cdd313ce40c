"""quantd's evaluation protocol (docs/numerics.md) in torch: the same windows, the same figures."""

import torch
from tokenizers import Tokenizer


def cut_windows(model_folder, text_file, tokens, limit):
    """Ids [windows, tokens]: the whole text encoded in one go, cut without overlap, in order."""
    tokenizer = Tokenizer.from_file(f"{model_folder}/tokenizer.json")
    with open(text_file, encoding="utf-8") as file:
        ids = tokenizer.encode(file.read(), add_special_tokens=True).ids
    windows = [ids[i : i + tokens] for i in range(0, len(ids) - tokens + 1, tokens)]
    return torch.tensor(windows[:limit])


@torch.no_grad()
def logits_of(model, windows):
    """Float32 logits [windows, tokens, vocabulary]."""
    return torch.cat([model(batch).logits.float() for batch in windows.split(4)])


def scores(windows, original, quantized):
    """Perplexity of both, mean KL(original || quantized), top-1 agreement.

    Each position but the last of a window predicts the next token.
    """
    targets = windows[:, 1:].unsqueeze(-1)
    log_p = original[:, :-1].double().log_softmax(-1)
    log_q = quantized[:, :-1].double().log_softmax(-1)
    return {
        "tokens": targets.numel(),
        "perplexity_original": (-log_p.gather(-1, targets)).mean().exp().item(),
        "perplexity_quantized": (-log_q.gather(-1, targets)).mean().exp().item(),
        "kl_mean": (log_p.exp() * (log_p - log_q)).sum(-1).mean().item(),
        "top1_agreement": (log_p.argmax(-1) == log_q.argmax(-1)).double().mean().item(),
    }
