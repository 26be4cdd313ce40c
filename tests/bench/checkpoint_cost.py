"""What a job's checkpoints cost: the same run with a journal and without, in alternation.

    checkpoint_cost.py --worker W --model FOLDER --out FOLDER [--runs 5] [FLAG...]

A checkpoint is the runner's journal and, on one machine, a second name for each of its files: so
the journal is the cost. Prints the ratio of wall-clock and of processor time, medians of the runs.
FLAGs are of `quantize`; default: AWQ with 16 windows.
"""

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import time

DEFAULT = "--method awq --samples 16 --seq-len 256 --eval-windows 4 --threads 2".split()


def run(command):
    """(wall-clock, processor) seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begin = time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    wall = time.monotonic() - begin
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--worker", required=True, help="quantd-worker")
    parser.add_argument("--model", required=True)
    parser.add_argument("--out", required=True, help="scratch folder")
    parser.add_argument("--runs", type=int, default=5)
    arguments, flags = parser.parse_known_args()
    times = {"without": [], "with": []}
    for _ in range(arguments.runs):
        for name, journal in (("without", ["--no-journal"]),
                              ("with", ["--journal", os.path.join(arguments.out, "journal")])):
            out = os.path.join(arguments.out, "artifact")
            shutil.rmtree(arguments.out, ignore_errors=True)
            times[name].append(run([arguments.worker, "quantize", arguments.model, "--out", out,
                                    "--quiet", *(flags or DEFAULT), *journal]))
            wall, processor = times[name][-1]
            print(f"{name:8} {wall:7.2f} s, processor {processor:7.2f} s", flush=True)
    for index, kind in enumerate(("wall-clock", "processor")):
        median = {name: statistics.median(values[index] for values in runs)
                  for name, runs in times.items()}
        print(f"{kind}: {100 * (median['with'] / median['without'] - 1):+.1f} % with checkpoints")
    return 0


if __name__ == "__main__":
    sys.exit(main())
