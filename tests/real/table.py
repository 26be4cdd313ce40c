"""Accuracy of every method on the real model.

    table.py --worker W --folder FOLDER --out FOLDER [--quick] [--windows C,E] [--note PAGE]

FOLDER is where fetch.py and spread.py left the model. Prints a row when it is measured; --note puts
the table, with its date, between its marks in a page. --windows: how many to calibrate and to
evaluate with, by default 32,16. Rows are kept below --out: a second run with the same program does
what is new.
"""

import argparse
import datetime
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "style"))
import note  # noqa: E402

METHODS = ("rtn", "hqq", "awq", "gptq", "awq+gptq")
BITS = (4, 3, 2)
GROUP = 64
CALIBRATION_WINDOWS, EVALUATION_WINDOWS, TOKENS = 32, 16, 512
# Bytes at the end of the text that nobody calibrates on.
HELD_OUT = 400_000


def texts(folder):
    """The shared prose in two: (to calibrate on, to evaluate on)."""
    shared = os.environ.get("QUANTD_SHARED_DATA", "../shared/data")
    with open(os.path.join(shared, "text", "books.txt"), encoding="utf-8") as file:
        text = file.read()
    paths = [os.path.join(folder, name) for name in ("calibration.txt", "evaluation.txt")]
    for path, part in zip(paths, (text[:-HELD_OUT], text[-HELD_OUT:])):
        with open(path, "w", encoding="utf-8") as file:
            file.write(part)
    return paths


def measure(command, out):
    """report.json of a run."""
    shutil.rmtree(out, ignore_errors=True)
    done = subprocess.run(command + ["--out", out, "--force"], check=False, capture_output=True,
                          text=True)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}: exit {done.returncode}\n{done.stderr}")
    with open(os.path.join(out, "quantd", "report.json"), encoding="utf-8") as file:
        return json.load(file)


def row(name, bits, report):
    result = report["evaluation"]
    return {"method": name, "bits": bits, "stored": report["size"]["bits_per_weight"],
            "kl": result["kl_mean"], "top1": result["top1_agreement"],
            "before": result["perplexity_original"], "after": result["perplexity_quantized"],
            "seconds": report["seconds"]["total"], "mib": report["peak_rss_bytes"] / 2**20}


def kept_row(arguments, name, bits, command):
    """The row of this command by this program, measured where that was not done yet; with the
    warnings that speak of GGUF."""
    with open(arguments.worker, "rb") as file:
        program = hashlib.file_digest(file, "sha256").hexdigest()
    key = hashlib.sha256("\0".join([program, *command]).encode()).hexdigest()[:16]
    path = os.path.join(arguments.out, "rows", f"{key}.json")
    if not os.path.exists(path):
        report = measure(command, os.path.join(arguments.out, "artifact"))
        found = row(name, bits, report)
        found["warned"] = [text for text in report["warnings"] if "GGUF" in text]
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            json.dump(found, file)
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def shown(entry):
    return (f"| `{entry['method']}` | {entry['bits']} | {entry['stored']:.3f} | {entry['kl']:.4f} "
            f"| {100 * entry['top1']:.2f} % | {entry['before']:.2f} -> {entry['after']:.2f} "
            f"| {entry['seconds']:.0f} | {entry['mib']:.0f} |")


HEAD = ("| method | bits | bits per weight | mean KL | top-1 | perplexity | seconds | peak MiB |\n"
        "|---|---|---|---|---|---|---|---|")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--worker", required=True, help="quantd-worker")
    parser.add_argument("--folder", required=True, help="of the model")
    parser.add_argument("--out", required=True, help="scratch folder")
    parser.add_argument("--quick", action="store_true", help="two rows, few windows")
    parser.add_argument("--windows", default=f"{CALIBRATION_WINDOWS},{EVALUATION_WINDOWS}")
    parser.add_argument("--note", help="page that gets the table")
    arguments = parser.parse_args()
    os.makedirs(arguments.out, exist_ok=True)
    calibration, evaluation = texts(arguments.out)
    windows = (8, 4) if arguments.quick else tuple(map(int, arguments.windows.split(",")))

    def command(model, method, bits):
        return [arguments.worker, "quantize", model, "--method", method, "--bits", str(bits),
                "--group-size", str(GROUP), "--format", "dequantized",
                "--calibration", calibration, "--samples", str(windows[0]),
                "--evaluation", evaluation, "--eval-windows", str(windows[1]),
                "--seq-len", str(TOKENS)]

    wanted = [("rtn", 4), ("awq", 4)] if arguments.quick else \
        [(method, bits) for bits in BITS for method in METHODS]
    model = os.path.join(arguments.folder, "spread")
    lines = []
    print(HEAD, flush=True)
    for method, bits in wanted:
        lines.append(shown(kept_row(arguments, method, bits, command(model, method, bits))))
        print(lines[-1], flush=True)
    direct = kept_row(arguments, "rtn, from the GGUF file", 4,
                      command(os.path.join(arguments.folder, "gguf"), "rtn", 4))
    warned = direct["warned"]
    lines.append(shown(direct))
    print(lines[-1], *warned, sep="\n", flush=True)
    shutil.rmtree(os.path.join(arguments.out, "artifact"), ignore_errors=True)
    if arguments.note:
        today = datetime.date.today().isoformat()
        note.put(arguments.note, "real",
                 f"## ./dev real\n\n{today}: SmolLM2-135M-Instruct (30 blocks, hidden 576), groups "
                 f"of {GROUP}; {windows[0]} windows of {TOKENS} tokens to calibrate, {windows[1]} "
                 "to evaluate, both of old books. The last row quantizes the Q4_1 file itself, "
                 "whose weights lie on a grid of 4 bits.\n\n" + HEAD + "\n" + "\n".join(lines))
    return 0 if warned else 1


if __name__ == "__main__":
    sys.exit(main())
