"""The three programs under test, and the tree they come from."""

import os
import pathlib
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
MODELS = ROOT / "models"
MODEL = MODELS / "books-3m"
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "quantd"


def binaries():
    """The folder of the programs: QUANTD_BIN, or bin/ of QUANTD_BUILD, or the dev build."""
    if "QUANTD_BIN" in os.environ:
        return pathlib.Path(os.environ["QUANTD_BIN"]).resolve()
    return pathlib.Path(os.environ.get("QUANTD_BUILD", ROOT / "build" / "dev")).resolve() / "bin"


def program(name):
    path = binaries() / name
    assert path.is_file(), f"{path} is missing: ./dev build"
    return str(path)


def run(command, seconds=120, **options):
    """Runs to the end; stdout and stderr as text."""
    return subprocess.run([str(part) for part in command], capture_output=True, text=True,
                          timeout=seconds, check=False, **options)


def environment(**settings):
    """The environment of a program: none of the settings of the person who runs the tests."""
    own = {name: value for name, value in os.environ.items()
           if not name.startswith("QUANTD_") and name not in ("NO_COLOR", "XDG_CONFIG_HOME")}
    return own | {"LANG": "C.UTF-8"} | settings


# A job of about a second: two windows of 64 tokens are evaluated.
TINY = ["--eval-windows", "2", "--seq-len", "64"]


class Quantctl:
    """quantctl that talks to one server."""

    def __init__(self, address, home):
        self.environment = environment(HOME=str(home), QUANTD_SERVER=address)
        self.home = home

    def command(self, *arguments):
        return [program("quantctl"), *[str(argument) for argument in arguments]]

    def __call__(self, *arguments, seconds=120):
        return run(self.command(*arguments), seconds, env=self.environment, cwd=self.home)

    def ok(self, *arguments, seconds=120):
        """stdout of a command that must succeed."""
        done = self(*arguments, seconds=seconds)
        assert done.returncode == 0, f"{arguments}: {done.returncode}\n{done.stderr}"
        return done.stdout

    def start(self, *arguments, **options):
        return subprocess.Popen(self.command(*arguments), env=self.environment, cwd=self.home,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                start_new_session=True, **options)
