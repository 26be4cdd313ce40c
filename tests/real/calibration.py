"""Mean KL of each method by windows of calibration: what the defaults rest on.

    calibration.py --worker W --out FOLDER [--model NAME=FOLDER ...] [--methods A,B]
                   [--windows 2,4,8] [--evaluation-windows N] [--note PAGE]

Models: by default the bundled one and, where the shared data is, its variant with outliers. The
texts are the built-in ones, or for other models the shared prose in two parts (table.py). Results
are kept as JSON in FOLDER; a second run does only what is new. The last column is the default.
"""

import argparse
import datetime
import json
import os
import pathlib
import sys

import table

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "style"))
import note  # noqa: E402

ROOT = pathlib.Path(__file__).parents[2]
SHARED = pathlib.Path(os.environ.get("QUANTD_SHARED_DATA", ROOT / "../shared/data"))
BUNDLED = {"books-3m": ROOT / "models/books-3m",
           "outliers": SHARED / "models/books-3m-outliers"}
WINDOWS = (1, 2, 4, 8, 16, 32, 64, 128)
# name: flags
METHODS = {
    "rtn-4-weighted": "--method rtn --bits 4 --group-size 64 --scale-rule weighted-mse",
    "rtn-4-hessian": "--method rtn --bits 4 --group-size 64 --scale-rule hessian",
    "hqq-4": "--method hqq --bits 4 --group-size 64",
    "hqq-2": "--method hqq --bits 2 --group-size 64",
    "awq-4": "--method awq --bits 4 --group-size 64",
    "awq-3": "--method awq --bits 3 --group-size 64",
    "smoothquant": "--method smoothquant",
    "int8-static": "--method int8 --activations static",
    "gptq-4": "--method gptq --bits 4 --group-size 64",
    "gptq-3": "--method gptq --bits 3 --group-size 64",
    "awq+gptq-4": "--method awq+gptq --bits 4 --group-size 64",
    "hqq+gptq-2": "--method hqq+gptq --bits 2 --group-size 64",
}


def measure(arguments, name, model, method, windows):
    """(mean KL, windows that the run calibrated on); `windows` None: the default."""
    kept = pathlib.Path(arguments.out, "results", f"{name}.{method}.{windows or 'default'}.json")
    if kept.exists():
        return json.loads(kept.read_text())
    flags = METHODS[method].split()
    flags += ["--eval-windows", str(arguments.evaluation_windows), "--seq-len", str(table.TOKENS)]
    flags += ["--samples", str(windows)] if windows else []
    if name not in BUNDLED:
        calibration, evaluation = table.texts(arguments.out)
        flags += ["--calibration", calibration, "--evaluation", evaluation]
    if not method.startswith(("int8", "smooth")):
        flags += ["--format", "dequantized"]
    report = table.measure([arguments.worker, "quantize", os.fspath(model), *flags],
                           os.path.join(arguments.out, "artifact"))
    found = [report["evaluation"]["kl_mean"], report["calibration"]["tokens"] // table.TOKENS]
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps(found))
    print(f"{name:10} {method:16} {found[1]:4} windows: KL {found[0]:.5f}", flush=True)
    return found


def lines_of(arguments, models):
    counts = [int(count) for count in arguments.windows.split(",")]
    head = " | ".join(str(count) for count in counts)
    yield f"| KL | {head} | default |"
    yield "|---" * (len(counts) + 2) + "|"
    for method in arguments.methods.split(","):
        for name, model in models.items():
            figures = [measure(arguments, name, model, method, count)[0] for count in counts]
            default, windows = measure(arguments, name, model, method, None)
            cells = " | ".join(f"{figure:.5f}" for figure in figures)
            yield f"| `{method}`, {name} | {cells} | {default:.5f} ({windows}) |"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--worker", required=True, help="quantd-worker")
    parser.add_argument("--out", required=True, help="scratch folder")
    parser.add_argument("--model", action="append", default=[], help="NAME=FOLDER; repeatable")
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--windows", default=",".join(map(str, WINDOWS)))
    parser.add_argument("--evaluation-windows", type=int, default=64)
    parser.add_argument("--note", help="page that gets the table")
    arguments = parser.parse_args()
    os.makedirs(arguments.out, exist_ok=True)
    models = dict(each.split("=", 1) for each in arguments.model) or {
        name: folder for name, folder in BUNDLED.items() if folder.exists()}
    lines = list(lines_of(arguments, models))
    print("\n".join(lines))
    if arguments.note:
        name = "calibration " + " ".join(models)
        note.put(arguments.note, name,
                 f"{datetime.date.today().isoformat()}, {arguments.evaluation_windows} windows of "
                 f"{table.TOKENS} held-out tokens, mean KL by windows of calibration:\n\n"
                 + "\n".join(lines))


if __name__ == "__main__":
    main()
