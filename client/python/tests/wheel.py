"""Builds the Python client as a wheel."""

import pathlib
import shutil
import subprocess

PACKAGE = pathlib.Path(__file__).resolve().parents[1]


def build(uv, out):
    """The wheel that is made from the sdist, as who installs from it would."""
    shutil.rmtree(out, ignore_errors=True)
    subprocess.run([uv, "build", "-q", "--sdist", "-o", out, PACKAGE], check=True)
    (sdist,) = out.glob("*.tar.gz")
    subprocess.run([uv, "build", "-q", "--wheel", "-o", out, sdist], check=True)
    return next(iter(out.glob("*.whl")))
