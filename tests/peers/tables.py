"""The tables that compare.py prints, in Markdown."""

import rows


def kl_of(found, model, row, windows="64"):
    evaluation = found.get(model, {}).get(row.name, {}).get("evaluation")
    return evaluation[windows]["kl"] if evaluation else None


def number(value, digits=4):
    return "" if value is None else f"{value:.{digits}f}"


def best_peer(found, model, some):
    """The least KL of the peers without gradients, or None."""
    known = [kl_of(found, model, row) for row in some
             if row.tool != "quantd" and row.tool not in rows.BY_GRADIENTS]
    return min((value for value in known if value is not None), default=None)


def storage_table(title, some, found):
    models = list(found)
    columns = ["", "samples"]
    for model in models:
        columns += [f"KL {model}", "p99", "perplexity", "top-1", "to best peer"]
    lines = [f"### {title}", "", "| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    best = {model: best_peer(found, model, some) for model in models}

    def order(row):
        values = [kl_of(found, model, row) for model in models]
        return [value if value is not None else float("inf") for value in values]

    for row in sorted(some, key=order):
        older = any(found[model].get(row.name, {}).get("older") for model in models)
        cells = [row.label + (" (another build)" if older else ""), str(row.samples or "none")]
        for model in models:
            evaluation = found[model].get(row.name, {}).get("evaluation")
            if evaluation is None:
                cells += [""] * 5
                continue
            figures = evaluation["64"]
            ratio = figures["kl"] / best[model] if best[model] else None
            cells += [number(figures["kl"], 5), number(figures["kl_p99"], 3),
                      number(figures["perplexity"], 3), number(figures["top1"], 4),
                      number(ratio, 2)]
        lines.append("| " + " | ".join(cells) + " |")
    return lines + [""]


def accuracy(wanted, found):
    """One table per storage class; rows by KL; ratios to the best peer without gradients."""
    lines = []
    for storage, title in rows.STORAGES.items():
        some = [row for row in wanted if row.storage == storage
                and any("evaluation" in results.get(row.name, {}) for results in found.values())]
        if some:
            lines += storage_table(title, some, found)
    return "\n".join(lines)
