"""Measures quantd on this machine as ratios: to `cp` of the same files, to the engine alone.

    ./dev bench [--runs 3] [--only programs,files,service]

Each figure is the median of several runs that alternate with what it is compared to. The page cache
is warm.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import time

import make_checkpoint
import service

ROOT = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
BUILD = os.environ.get("QUANTD_BUILD", f"{ROOT}/build/dev")
WORKER = f"{BUILD}/bin/quantd-worker"

# name, flags of `quantd-worker quantize`; with --no-sync it promises of the disk what cp does
FILE_RUNS = [
    (f"{name}{note}", f"{flags} {sync}")
    for note, sync in (("", "--no-sync"), (", synced", ""))
    for name, flags in (
        ("int4 g128 absmax", "--method rtn --bits 4 --group-size 128 --scale-rule absmax"),
        ("int4 g128 mse", "--method rtn --bits 4 --group-size 128 --scale-rule mse"),
        ("int8 weight-only absmax", "--method int8 --activations none --scale-rule absmax"),
        ("int8 weight-only mse", "--method int8 --activations none --scale-rule mse"))
]


def timed(command):
    """(seconds, peak MiB) of a process. GNU time measures memory: its own is small."""
    started = time.monotonic()
    result = subprocess.run(["/usr/bin/time", "-f", "%M", *command], check=False, text=True,
                            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    seconds = time.monotonic() - started
    if result.returncode != 0:
        sys.exit(f"bench: {' '.join(command)} failed:\n{result.stderr}")
    return seconds, int(result.stderr.strip().split("\n")[-1]) / 1024


def median(values):
    return statistics.median(values)


def copy_commands(checkpoint, target):
    return {"cp": ["cp", "-r", checkpoint, target],
            "cp, then sync": ["sh", "-c", 'cp -r "$0" "$1" && sync -f "$1"', checkpoint, target]}


def measure_files(out, runs):
    """Rows: whole files through the engine without evaluation, beside cp of the same files."""
    checkpoint, target = f"{out}/checkpoint", f"{out}/target"
    size = make_checkpoint.make(checkpoint)
    subprocess.run(["sh", "-c", 'cat "$0"/* >/dev/null', checkpoint], check=True)
    commands = copy_commands(checkpoint, target)
    for name, flags in FILE_RUNS:
        commands[name] = [WORKER, "quantize", checkpoint, "--out", target, "--no-evaluation",
                          *flags.split()]
    seconds, peaks = {name: [] for name in commands}, {name: [] for name in commands}
    for _ in range(runs):
        for name, command in commands.items():
            shutil.rmtree(target, ignore_errors=True)
            subprocess.run(["sync", "-f", out], check=True)
            taken, peak = timed(command)
            seconds[name].append(taken)
            peaks[name].append(peak)
    shutil.rmtree(target, ignore_errors=True)
    copy, synced = median(seconds["cp"]), median(seconds["cp, then sync"])
    rows = [f"Whole files, {size / 1e9:.2f} GB of bf16, no evaluation:", "",
            "| run | time / cp | time / (cp, then sync) | peak RSS |", "|---|---|---|---|"]
    for name in commands:
        taken = median(seconds[name])
        peak = f"{median(peaks[name]):.0f} MiB" if name not in ("cp", "cp, then sync") else ""
        rows.append(f"| {name} | {taken / copy:.2f} | {taken / synced:.2f} | {peak} |")
    return rows


def measure_service(out, runs):
    """Rows: one job through server, worker and client beside the engine alone."""
    model, flags = f"{ROOT}/models/books-3m", ["--method", "rtn", "--bits", "4"]
    alone, whole = [], []
    with service.Server(f"{BUILD}/bin", f"{out}/service", f"{ROOT}/models") as server:
        for run in range(runs + 1):
            shutil.rmtree(f"{out}/target", ignore_errors=True)
            taken, _ = timed([WORKER, "quantize", model, "--out", f"{out}/target", *flags])
            shutil.rmtree(f"{out}/target", ignore_errors=True)
            through, _ = timed([f"{BUILD}/bin/quantctl", "--server", server.address, "quantize",
                                model, "--out", f"{out}/target", *flags])
            if run > 0:  # the first warms both
                alone.append(taken)
                whole.append(through)
    shutil.rmtree(f"{out}/target", ignore_errors=True)
    extra = median(whole) - median(alone)
    return ["The service: the bundled model, 4-bit, with evaluation and download:", "",
            "| through the service / engine alone | the service adds |", "|---|---|",
            f"| {median(whole) / median(alone):.2f} | {extra:.2f} s |"]


def run_programs():
    """Rows: what the benchmark programs print about themselves."""
    folder, rows = f"{BUILD}/bench", []
    for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
        if not name.endswith("_bench"):
            continue
        result = subprocess.run([f"{folder}/{name}"], check=True, text=True, stdout=subprocess.PIPE)
        rows += [f"{name}:", "", "```", result.stdout.rstrip(), "```", ""]
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", required=True)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", default="files,service,programs")
    arguments = parser.parse_args()
    os.makedirs(arguments.out, exist_ok=True)
    parts = {"files": lambda: measure_files(arguments.out, arguments.runs),
             "service": lambda: measure_service(arguments.out, arguments.runs),
             "programs": run_programs}
    rows = ["# Benchmarks", "", f"{os.cpu_count()} CPUs; medians of {arguments.runs} runs.", ""]
    for part in arguments.only.split(","):
        rows += parts[part]() + [""]
    text = "\n".join(rows)
    print(text)
    with open(f"{arguments.out}/results.md", "w", encoding="utf-8") as file:
        file.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
