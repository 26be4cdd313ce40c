"""Compares quantd with other quantizers: accuracy on the same tokens, speed on the same threads.

    ./dev peers [--setup] [--environments DIR] [--models plain,outliers] [--only REGEX] [--tables]
    ./dev peers --speed [--layers 1] [--only REGEX]

Accuracy results are kept as JSON below out/peers; a second run does only what is new. README.md
says how to read the tables.
"""

import argparse
import os
import re
import sys

import environments
import recipes
import rows
import speed
import tables
from comparison import BUNDLED, ROOT, SHARED, Comparison

MODELS = {"plain": BUNDLED, "outliers": f"{SHARED}/models/books-3m-outliers"}


def parse():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--setup", action="store_true", help="make the environments (18 GB)")
    parser.add_argument("--environments", default=environments.default_folder())
    parser.add_argument("--out", default=f"{ROOT}/out/peers")
    parser.add_argument("--worker", default=f"{ROOT}/build/dev/bin/quantd-worker")
    parser.add_argument("--models", default="plain,outliers")
    parser.add_argument("--only", default="", help="rows whose name matches")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--batch", type=int, default=4, help="rows between evaluations")
    parser.add_argument("--tables", action="store_true", help="run nothing, print what is there")
    parser.add_argument("--speed", action="store_true", help="time a TinyLlama-shaped layer")
    parser.add_argument("--layers", type=int, default=1, help="of the model that --speed makes")
    parser.add_argument("--windows", type=int, default=0,
                        help="calibration windows of --speed, to try it; default: each row's own")
    return parser.parse_args()


def accuracy(arguments):
    """Runs what is new of the rows asked for; returns the tables of every result there is."""
    rows_of_all = recipes.all_rows() + rows.peer_rows()
    found = {}
    for name in arguments.models.split(","):
        if not os.path.isdir(MODELS[name]):
            print(f"{name}: no such model here (QUANTD_SHARED_DATA)", flush=True)
            continue
        comparison = Comparison(arguments, name, MODELS[name])
        if not arguments.tables:
            comparison.update([row for row in rows_of_all if comparison.able(row)
                               and re.search(arguments.only, row.name)])
        found[name] = {row.name: result for row in rows_of_all
                       if (result := comparison.known(row)) is not None}
    return tables.accuracy(rows_of_all, found)


def main():
    arguments = parse()
    os.makedirs(arguments.out, exist_ok=True)
    if arguments.setup:
        environments.make(arguments.environments,
                          ["others", "llm-compressor", "autoawq", "llama.cpp"])
    if not arguments.tables and environments.python_of(arguments.environments, "others") is None:
        sys.exit(f"nothing in {arguments.environments}: use --setup (installs 18 GB)")
    if arguments.speed:
        wanted = [row for row in speed.all_rows() if re.search(arguments.only, row.name)]
        text, name = speed.measure(arguments, wanted), "speed"
    else:
        text, name = accuracy(arguments), "accuracy"
    print(text)
    with open(f"{arguments.out}/{name}.md", "w", encoding="utf-8") as file:
        file.write(text)


if __name__ == "__main__":
    main()
