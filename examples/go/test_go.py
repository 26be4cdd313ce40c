"""The Go client: generated, vetted, built, run against a server and through cuts."""

import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1] / "client" / "python" / "tests"))

from cut_off import CutOff  # noqa: E402

TINY = ["-model", os.environ["QUANTD_MODEL"], "-method", "rtn", "-eval-windows", "2"]


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    """The program, and the folder where it was built from a copy of the sources."""
    for name in ("go", "protoc", "protoc-gen-go", "protoc-gen-go-grpc"):
        assert shutil.which(name), f"{name} is missing: ./dev pipelines installs it"
    folder = tmp_path_factory.mktemp("go")
    for path in HERE.iterdir():
        if path.suffix in (".go", ".mod", ".sum", ".sh"):
            shutil.copy(path, folder)
    subprocess.run([folder / "generate.sh", HERE.parents[1] / "proto"], check=True)
    subprocess.run(["go", "build", "-p", "1", "-o", "quantize", "."], cwd=folder, check=True)
    return folder


def quantize(build, *arguments, server=None):
    return subprocess.run(
        [build / "quantize", "-server", server or os.environ["QUANTD_SERVER"], *TINY, *arguments],
        capture_output=True, text=True, check=False, timeout=120)


def check_artifact(folder):
    manifest = json.loads((folder / "quantd" / "manifest.json").read_text("utf-8"))
    for file in manifest["files"]:
        data = (folder / file["path"]).read_bytes()
        assert hashlib.sha256(data).hexdigest() == file["sha256"]
    assert not list(folder.rglob("*.partial-*"))


def test_it_is_formatted_and_vetted(build):
    listed = subprocess.run(["gofmt", "-l", *HERE.glob("*.go")], capture_output=True, text=True,
                            check=True)
    assert listed.stdout == ""
    subprocess.run(["go", "vet", "./..."], cwd=build, check=True)


def test_from_a_model_to_a_folder(build, tmp_path):
    done = quantize(build, "-bits", "6", "-out", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    assert "6.125 bits per weight" in done.stdout and "SUCCEEDED" in done.stderr
    check_artifact(tmp_path / "out")


def test_cuts_are_survived(build, tmp_path):
    cut = CutOff(os.environ["QUANTD_SERVER"])
    cut.limits = [900, 60_000, 400_000, 900_000]
    done = quantize(build, "-bits", "7", "-out", str(tmp_path / "out"), server=cut.address)
    assert done.returncode == 0, done.stderr
    assert cut.connections > 3
    check_artifact(tmp_path / "out")
    cut.close()


def test_errors_say_where_got_and_wanted(build, tmp_path):
    done = quantize(build, "-group-size", "13")
    assert done.returncode == 1
    assert "reason RECIPE_INVALID" in done.stderr and "wanted a positive multiple" in done.stderr
    missed = quantize(build, "-bits", "2", "-gate-kl", "0.0001", "-out", str(tmp_path / "out"))
    assert missed.returncode == 1 and "QUALITY_GATE" in missed.stderr
    assert not (tmp_path / "out").exists()
