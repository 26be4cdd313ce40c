"""./dev pipelines: each example with its own library, in an environment of its own; Go's too.

    python examples/pipelines/run.py --uv UV --cache FOLDER --out FOLDER [--note FILE] [NAME…]
"""

import argparse
import datetime
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT / "client/python/tests"), str(ROOT / "tests/style"),
                str(ROOT / "tests/integration")]

import note  # noqa: E402
from programs import MODEL, binaries  # noqa: E402
from server import QuantdServer  # noqa: E402
from wheel import build  # noqa: E402

PYTHON = "3.11"
# Example and the package that its row names.
EXAMPLES = {"ci-gate": None, "mlflow": "mlflow", "prefect": "prefect", "airflow": "apache-airflow",
            "kubeflow": "kfp", "argo": "hera", "go": None}
# Of what is no package: the words that print its version.
PROGRAMS = {"ci-gate": ["bash", "-c", "echo bash $BASH_VERSION"], "go": ["go", "env", "GOVERSION"]}


def folder_of(name):
    """Where an example lies."""
    return HERE.parent / "go" if name == "go" else HERE / name


def say(what):
    print(f"== {what}", file=sys.stderr, flush=True)


def prepare(uv, cache, name, wheel):
    """The Python of the example's environment."""
    folder = cache / f"pipeline-{name}"
    subprocess.run([uv, "venv", "-q", "--clear", "--python", PYTHON, folder], check=True)
    python = folder / "bin" / "python"
    subprocess.run([uv, "pip", "install", "-q", "--python", python, "-r",
                    folder_of(name) / "requirements.txt", wheel], check=True)
    return python


def having(uv, python, name):
    """What ran the example, with its version."""
    if name in PROGRAMS:
        return subprocess.run(PROGRAMS[name], check=True, capture_output=True,
                              text=True).stdout.strip()
    package = EXAMPLES[name]
    listed = subprocess.run([uv, "pip", "list", "-q", "--python", python], check=True,
                            capture_output=True, text=True).stdout
    found = dict(re.findall(r"^(\S+)\s+(\S+)", listed, re.MULTILINE))
    return f"{package} {found.get(package)}"


def test(python, name, server, out):
    """(exit code, words, seconds) of the example's tests."""
    environment = {
        **os.environ, "QUANTD_SERVER": server.address, "QUANTD_MODEL": str(MODEL),
        "PATH": f"{python.parent}{os.pathsep}{binaries()}{os.pathsep}{os.environ['PATH']}",
        "DO_NOT_TRACK": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    begin = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="quantd-home-") as home:
        done = subprocess.run(
            [python, "-m", "pytest", "-q", "-p", "no:cacheprovider",
             f"--junitxml={out / f'{name}.xml'}", "."], cwd=folder_of(name),
            env={**environment, "HOME": home}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, check=False)
    print(done.stdout, flush=True)
    counts = re.findall(r"(\d+) (passed|failed|skipped|error)", done.stdout.splitlines()[-1])
    words = ", ".join(f"{count} {word}" for count, word in counts)
    return done.returncode, words, time.monotonic() - begin


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--uv", required=True)
    parser.add_argument("--cache", required=True, type=pathlib.Path)
    parser.add_argument("--out", required=True, type=pathlib.Path)
    parser.add_argument("--note", help="page that gets the table")
    parser.add_argument("names", nargs="*", help=f"of {', '.join(EXAMPLES)}; default all")
    options = parser.parse_args()
    names = options.names or list(EXAMPLES)
    out = options.out.resolve()
    wheel = build(options.uv, out / "dist")
    rows, status = [], 0
    with tempfile.TemporaryDirectory(prefix="quantd-pipelines-") as folder:
        server = QuantdServer(pathlib.Path(folder)).start()
        try:
            for name in names:
                say(name)
                python = prepare(options.uv, options.cache, name, wheel)
                code, words, seconds = test(python, name, server, out)
                status = status or code
                what = having(options.uv, python, name)
                rows.append(f"| {name} | {what} | {words} | {seconds:.0f} s |")
        finally:
            server.stop()
    table = "\n".join([
        "## ./dev pipelines", "",
        f"{datetime.date.today().isoformat()}, Python {PYTHON}, a server with one local worker and "
        "the bundled model:", "", "| example | with | tests | time |", "|---|---|---|---|", *rows])
    print(table)
    if options.note and status == 0:
        note.put(options.note, "pipelines", table)
    return status


if __name__ == "__main__":
    sys.exit(main())
