"""One table of several quantizations, from the objects that `--json` prints."""

import json
import sys

COLUMNS = ["scheme", "bits/weight", "size", "perplexity", "mean KL", "top-1", "seconds"]


def megabytes(count):
    return f"{count / 1e6:.2f} MB"


def scheme(report):
    """The scheme most linears got, in the words of the recipe."""
    rows = [row for row in report["resolved_recipe"] if not row.get("skip")]
    row = rows[0]
    activations = "A8" if row.get("activations") == "dynamic" else "A16"
    group = f" g{row['group_size']}" if row.get("group_size") else f" per {row['granularity']}"
    kind = "sym" if row["symmetric"] else "asym"
    return f"{row['method']} W{row['bits']}{activations}{group} {kind} {row['scale_rule']}"


def cells(report):
    evaluation, size = report["evaluation"], report["size"]
    return [
        scheme(report),
        f"{size['bits_per_weight']:.3f}",
        f"{megabytes(size['bytes_original'])} -> {megabytes(size['bytes_quantized'])}",
        f"{evaluation['perplexity_original']:.3f} -> {evaluation['perplexity_quantized']:.3f}",
        f"{evaluation['kl_mean']:.5f}",
        f"{100 * evaluation['top1_agreement']:.2f} %",
        f"{report['seconds']['total']:.2f}",
    ]


def main(paths):
    rows = [COLUMNS]
    for path in paths:
        with open(path, encoding="utf-8") as file:
            report = json.load(file)
        rows.append(cells(report.get("report", report)))
    widths = [max(len(row[i]) for row in rows) for i in range(len(COLUMNS))]
    for number, row in enumerate(rows):
        line = [row[0].ljust(widths[0])] + [c.rjust(w) for c, w in zip(row[1:], widths[1:])]
        print("  ".join(line).rstrip())
        if number == 0:
            print("  ".join("-" * w for w in widths))


if __name__ == "__main__":
    main(sys.argv[1:])
