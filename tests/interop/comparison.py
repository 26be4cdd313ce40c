"""How far the figures and logits of a library are from those of quantd."""

import schemes


def logit_distances(own, theirs):
    """{name: distance} between our logits and theirs, [windows, tokens, vocabulary] each."""
    difference = own["quantized"] - theirs
    quantization = own["quantized"] - own["original"]
    return {"largest": difference.abs().max().item(),
            "early": difference[:, :8].abs().amax(-1).median().item(),
            "rms": (difference.pow(2).mean() / quantization.pow(2).mean()).sqrt().item()}


def rows(report, found, limits, distances):
    """[(what, ours, theirs, difference, limit)]."""
    ours = report["evaluation"]
    table = [(f"logits, {name}", "", "", distance, limits[name])
             for name, distance in distances.items() if name in limits]
    for key in ("perplexity_original", "perplexity_quantized"):
        ratio = abs(found[key] / ours[key] - 1)
        here = schemes.EXACT if key == "perplexity_original" else limits
        table.append((key, ours[key], found[key], ratio, here["perplexity"]))
    table.append(("kl_mean", ours["kl_mean"], found["kl_mean"],
                  abs(found["kl_mean"] / ours["kl_mean"] - 1), limits["kl"]))
    table.append(("top1_agreement", ours["top1_agreement"], found["top1_agreement"],
                  abs(found["top1_agreement"] - ours["top1_agreement"]), limits["top1"]))
    return table
