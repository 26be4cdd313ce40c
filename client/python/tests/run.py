"""./dev sdk: builds sdist and wheel, checks types and style, runs tests with several Pythons.

    python client/python/tests/run.py --uv UV --tools VENV --cache FOLDER [--note FILE]
"""

import argparse
import datetime
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[3]
PACKAGE = ROOT / "client" / "python"
TESTS = PACKAGE / "tests"
PYTHONS = ("3.9", "3.11", "3.13")
OLDEST = "3.9"

sys.path.insert(0, str(ROOT / "tests" / "style"))
import note  # noqa: E402
from wheel import build  # noqa: E402


def say(what):
    print(f"== {what}", file=sys.stderr, flush=True)


def run(*command, **options):
    subprocess.run([str(part) for part in command], check=True, **options)


def find_python(uv, version):
    """A Python of this version: uv's, pyenv's, or one that uv can fetch; None."""
    folder = pathlib.Path(os.environ.get("PYENV_ROOT", pathlib.Path.home() / ".pyenv"))
    found = sorted(folder.glob(f"versions/{version}.*/bin/python"))
    if found:
        return found[-1]
    for command in (["find", "--no-python-downloads"], ["install", "-q"], ["find"]):
        done = subprocess.run([uv, "python", *command, version], capture_output=True, text=True,
                              check=False)
        if done.returncode == 0 and command[0] == "find":
            return pathlib.Path(done.stdout.strip())
    return None


class Environment:
    """A virtual environment of one Python, with the wheel and what the tests need."""

    def __init__(self, uv, cache, version, python, wheel):
        self.version = version
        self.python = cache / f"sdk-{version}" / "bin" / "python"
        run(uv, "venv", "-q", "--clear", "--python", python, cache / f"sdk-{version}")
        install = [uv, "pip", "install", "-q", "--python", self.python, wheel, "-r",
                   TESTS / "requirements.txt"]
        if version == OLDEST:
            install += ["-r", TESTS / "oldest.txt"]
        run(*install)
        listed = subprocess.run([uv, "pip", "list", "-q", "--python", self.python], check=True,
                                capture_output=True, text=True).stdout
        self.packages = dict(re.findall(r"^(\S+)\s+(\S+)", listed, re.MULTILINE))

    def test(self, arguments, results):
        """What pytest says at its end. Run beside the sources, so that the wheel is tested."""
        results.mkdir(parents=True, exist_ok=True)
        begin = time.monotonic()
        done = subprocess.run(
            [self.python, "-m", "pytest", "-c", PACKAGE / "pyproject.toml", "--rootdir", TESTS,
             "-p", "no:cacheprovider", f"--junitxml={results / f'sdk-{self.version}.xml'}",
             *(arguments or ["."])], cwd=TESTS, stdout=subprocess.PIPE, text=True, check=False)
        print(done.stdout, flush=True)
        seconds = time.monotonic() - begin
        counts = re.findall(r"(\d+) (passed|failed|skipped|error)", done.stdout)
        words = ", ".join(f"{count} {word}" for count, word in counts)
        return done.returncode, words, seconds


def doctests(python):
    """The examples of the docstrings, of the installed package."""
    where = subprocess.run([python, "-c", "import quantd; print(quantd.__path__[0])"], check=True,
                           capture_output=True, text=True, cwd=TESTS).stdout.strip()
    run(python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", PACKAGE / "pyproject.toml",
        "--rootdir", where, "--doctest-modules", where, cwd=TESTS)


def check(tools, python):
    """Types and style of the sources, with the modules that the build made of proto/."""
    stubs = pathlib.Path(subprocess.run(
        [python, "-c", "import quantd.v1; print(quantd.v1.__path__[0])"], check=True,
        capture_output=True, text=True, cwd=TESTS).stdout.strip())
    for path in [*stubs.glob("*_pb2.py*"), *stubs.glob("*_rpc.py")]:
        shutil.copy(path, PACKAGE / "quantd" / "v1")
    ruff = [tools / "bin" / "ruff", "check", "-q", "--no-cache"]
    run(*ruff, ".", cwd=PACKAGE)
    run(*ruff, "--config", PACKAGE / "pyproject.toml", ".", cwd=ROOT / "examples" / "pipelines")
    run(tools / "bin" / "mypy", cwd=PACKAGE)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--uv", required=True)
    parser.add_argument("--tools", required=True, type=pathlib.Path)
    parser.add_argument("--cache", required=True, type=pathlib.Path)
    parser.add_argument("--out", required=True, type=pathlib.Path)
    parser.add_argument("--pythons", default=",".join(PYTHONS), help="versions, by commas")
    parser.add_argument("--note", help="page that gets the table")
    options, rest = parser.parse_known_args()
    say("sdist and wheel")
    options.out = options.out.resolve()
    wheel = build(options.uv, options.out / "dist")
    rows, status = [], 0
    for version in options.pythons.split(","):
        python = find_python(options.uv, version)
        if python is None:
            say(f"Python {version} is not there and cannot be had")
            rows.append(f"| {version} | | not run: no such Python here | |")
            status = status or (1 if os.environ.get("CI") else 0)
            continue
        say(f"Python {version}")
        environment = Environment(options.uv, options.cache, version, python, wheel)
        if version == "3.11":
            check(options.tools, environment.python)
        doctests(environment.python)
        code, words, seconds = environment.test(rest, options.out)
        status = status or code
        have = ", ".join(f"{name} {environment.packages.get(name)}"
                         for name in ("grpcio", "protobuf"))
        rows.append(f"| {version} | {have} | {words} | {seconds:.0f} s |")
    today = datetime.date.today().isoformat()
    table = "\n".join([
        "## ./dev sdk", "",
        f"{today}: {wheel.name} ({wheel.stat().st_size / 1e3:.0f} kB), mypy --strict, ruff and "
        "doctests without a finding; tests against a real server:", "",
        "| Python | with | tests | time |", "|---|---|---|---|", *rows])
    print(table)
    if options.note and status == 0:
        note.put(options.note, "sdk", table)
    return status


if __name__ == "__main__":
    sys.exit(main())
