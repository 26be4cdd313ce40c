"""Kills quantizations at random points and lets them go on: the bytes of an undisturbed run?

    kills.py --worker W --kills 200 --out FOLDER [--seed N] [--note FILE]

Each case is run undisturbed once, then killed (SIGKILL to its process) again and again at random
moments of its life until it ends, and compared. Prints a line per case and the totals; --note puts
the table, with its date, into a section of a page. Exit 1 if an artifact differs.
"""

import argparse
import datetime
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time

import artifacts
import cases

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "style"))
import note  # noqa: E402

# Kills per run: then it is left alone, so that it ends.
MOST_KILLS = 6
METHODS = ("awq", "gptq", "hqq-weighted", "int8-static", "auto", "awq-quantized", "smoothquant")


def resumable():
    """Every method on two models, long enough to be killed in the middle."""
    flags = {
        "awq": "--method awq",
        "gptq": "--method gptq --symmetric",
        "hqq-weighted": "--method hqq --format hqq --group-size 64",
        "int8-static": "--method int8 --activations static",
        "auto": "--method auto --option bits_per_weight=4.5 --format dequantized",
        "awq-quantized": "--method awq --propagate quantized",
        "smoothquant": "--method smoothquant",
    }
    small = {"auto": "--method auto --option bits_per_weight=5.5 --group-size 16 "
                     "--format dequantized"}
    chosen = []
    for name in METHODS:
        chosen.append(cases.Case(f"books-{name}", flags[name]))
        other = small.get(name, flags[name])
        if "int8" not in name and "smoothquant" not in name and name != "auto":
            other += " --group-size 16 --format dequantized"
        other = other.replace("--format hqq --group-size 64 ", "")
        chosen.append(cases.Case(f"llama-{name}", other,
                                 os.path.join(cases.GOLDEN, "llama-biases")))
    return chosen


def run(command, kill_after=None):
    """(exit code, seconds); killed after so many seconds if they are given."""
    begin = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        try:
            _, errors = process.communicate(timeout=kill_after)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            _, errors = process.communicate()
    if process.returncode not in (0, -signal.SIGKILL):
        print(errors.decode(), file=sys.stderr)
    return process.returncode, time.monotonic() - begin


def has_ended(out):
    """Whether the run was killed when its work was done: the report is written and the journal,
    which goes last, is gone. The same command would refuse to write over it."""
    journals = [name for _, _, names in os.walk(out) for name in names if name == "journal.json"]
    return os.path.exists(os.path.join(out, "quantd", "report.json")) and not journals


def disturbed(command, out, seconds, kills, generator):
    """Kills and resumes until the run ends; (kills, seconds of all attempts)."""
    done, total = 0, 0.0
    while True:
        after = generator.uniform(0.02, 0.95) * seconds if done < kills else None
        code, took = run(command, after)
        total += took
        if code == 0:
            return done, total
        if code != -signal.SIGKILL:
            raise SystemExit(f"exit {code}: {' '.join(command)}")
        done += 1
        if has_ended(out):
            return done, total


def check(worker, case, folder, kills, generator):
    out = os.path.join(folder, "artifact")
    command = cases.command(worker, case, folder, out)
    command += ["--journal-share", generator.choice(("0.02", "1"))]
    shutil.rmtree(out, ignore_errors=True)
    code, seconds = run(command)
    if code != 0:
        raise SystemExit(f"{case.name}: exit {code}")
    wanted = artifacts.digest(out)
    same = runs = killed = 0
    lost = []
    while killed < kills:
        shutil.rmtree(out, ignore_errors=True)
        count, total = disturbed(command, out, seconds, min(MOST_KILLS, kills - killed), generator)
        runs += 1
        killed += count
        same += artifacts.digest(out) == wanted
        if count:
            lost.append((total - seconds) / count)
    lost.sort()
    return {"case": case.name, "runs": runs, "same": same, "kills": killed, "seconds": seconds,
            "lost": lost[len(lost) // 2] if lost else 0.0}


def table(rows):
    lines = ["| case | kills | runs | byte-equal | seconds undisturbed | lost per kill, median |",
             "|---|---|---|---|---|---|"]
    for row in rows:
        lines.append(f"| {row['case']} | {row['kills']} | {row['runs']} | {row['same']} | "
                     f"{row['seconds']:.2f} | {row['lost']:.2f} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--worker", required=True, help="quantd-worker")
    parser.add_argument("--kills", type=int, default=28, help="in all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", required=True, help="scratch folder")
    parser.add_argument("--note", help="page that gets the table")
    arguments = parser.parse_args()
    os.makedirs(arguments.out, exist_ok=True)
    generator = random.Random(arguments.seed)
    chosen = resumable()
    each = -(-arguments.kills // len(chosen))
    rows = []
    for case in chosen:
        rows.append(check(arguments.worker, case, arguments.out, each, generator))
        row = rows[-1]
        print(f"{row['case']:24} {row['kills']:4} kills, {row['same']} of {row['runs']} runs "
              f"equal, {row['lost']:.2f} s lost per kill of {row['seconds']:.2f}", flush=True)
    failed = sum(row["runs"] - row["same"] for row in rows)
    kills = sum(row["kills"] for row in rows)
    print(f"{kills} kills")
    print(f"{sum(row['same'] for row in rows)} passed, {failed} failed")
    if arguments.note:
        today = datetime.date.today().isoformat()
        note.put(arguments.note, "kills",
                 f"## ./dev kills\n\n{today}: {kills} kills with SIGKILL at random points, "
                 f"{failed} runs that differ from an undisturbed one.\n\n{table(rows)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
