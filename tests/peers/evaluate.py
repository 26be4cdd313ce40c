"""The one evaluation that all results go through: float32 in torch, on the same windows.

    python evaluate.py JOB.json

JOB.json: {original, kept, windows, threads, counts, artifacts: [{name, folder}]}; `kept` is a file
for the log-probabilities of the original, made when it is not there. Prints one JSON line per
artifact: for each count n, the figures over the first n windows. Figures as quantd defines them
(docs/numerics.md, docs/report.md): each position but the last of a window predicts the next token.
"""

import json
import os
import sys
import traceback

import layouts
import torch
import windows
from transformers import AutoConfig, AutoModelForCausalLM

BATCH = 4


def build(folder, tensors):
    """The model of a config.json with these weights. What a peer folded into norms is in them."""
    config = AutoConfig.from_pretrained(folder)
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    own_head = config.tie_word_embeddings and "lm_head.weight" in tensors and not torch.equal(
        tensors["lm_head.weight"], tensors["model.embed_tokens.weight"])
    if own_head:
        config.tie_word_embeddings = False
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    missing, unexpected = model.load_state_dict(tensors, strict=False)
    missing = [name for name in missing
               if not (config.tie_word_embeddings and name == "lm_head.weight")]
    # Layouts may carry biases of zeros for linears that have none.
    unexpected = [name for name in unexpected if tensors[name].any()]
    if missing or unexpected:
        raise ValueError(f"{folder}: missing {missing}, unexpected {unexpected}")
    return model


def quantize_inputs(model, inputs):
    """Rounds what goes into the named linears to int8, per token or by one scale for all."""
    modules = dict(model.named_modules())

    def per_token(_, arguments):
        scale = (arguments[0].abs().amax(-1, keepdim=True) / 127).clamp(min=2.0 ** -126)
        return ((arguments[0] / scale).round().clamp(-127, 127) * scale,)

    def static(scale, zero):
        def hook(_, arguments):
            codes = (arguments[0] / scale).round().add(zero).clamp(-128, 127)
            return ((codes - zero) * scale,)
        return hook

    for name, how in inputs.items():
        hook = per_token if how.get("dynamic") else static(how["scale"], how["zero"])
        modules[name].register_forward_pre_hook(hook)
    return model


@torch.no_grad()
def log_probabilities(model, ids):
    """Batch by batch: [windows, tokens - 1, vocabulary]."""
    for batch in ids.split(BATCH):
        yield model(batch).logits[:, :-1].log_softmax(-1)


def original_log_probabilities(job, ids):
    """As log_probabilities(), of the original; computed once for all runs."""
    if not os.path.exists(job["kept"]):
        model = build(job["original"], layouts.load(job["original"])[0])
        part = f"{job['kept']}.{os.getpid()}"
        torch.save(torch.cat(list(log_probabilities(model, ids))), part)
        os.replace(part, job["kept"])
    return torch.load(job["kept"], mmap=True).split(BATCH)


def figures(own, ids, model):
    """Tensors [windows, tokens - 1]: KL, loss of both, whether the likeliest tokens agree."""
    rows = []
    for batch, p, q in zip(ids.split(BATCH), own, log_probabilities(model, ids)):
        targets = batch[:, 1:].unsqueeze(-1)
        rows.append(((p.exp() * (p - q)).sum(-1).double(), -p.gather(-1, targets).squeeze(-1),
                     -q.gather(-1, targets).squeeze(-1), p.argmax(-1) == q.argmax(-1)))
    return [torch.cat(column).double() for column in zip(*rows)]


def summary(columns, count):
    kl, before, after, agree = (column[:count] for column in columns)
    return {"kl": kl.mean().item(), "kl_p99": kl.flatten().quantile(0.99).item(),
            "perplexity": after.mean().exp().item(),
            "perplexity_original": before.mean().exp().item(),
            "top1": agree.mean().item(), "tokens": kl.numel()}


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        job = json.load(file)
    torch.set_num_threads(job["threads"])
    ids = torch.tensor(windows.load(job["windows"])["ids"])
    own = original_log_probabilities(job, ids)
    for artifact in job["artifacts"]:
        line = {"name": artifact["name"]}
        try:
            tensors, inputs = layouts.load(artifact["folder"])
            model = quantize_inputs(build(job["original"], tensors), inputs)
            columns = figures(own, ids, model)
            line["windows"] = {str(n): summary(columns, n) for n in job["counts"]}
        except Exception:  # one bad artifact does not spoil the others
            line["error"] = traceback.format_exc()
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
