"""Every input of inputs.py gets its verdict."""

import json
import os
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "integration"))

import inputs  # noqa: E402
from model_folder import MODEL, ModelFolder  # noqa: E402
from programs import environment, program, run  # noqa: E402


def quantize(model, out, flags):
    return run([program("quantd-worker"), "quantize", model, "--out", out, *flags],
               env=environment())


@pytest.fixture(scope="module")
def unchanged(tmp_path_factory):
    """The evaluation of the bundled model."""
    out = tmp_path_factory.mktemp("unchanged") / "out"
    done = quantize(MODEL, out, inputs.EVALUATED.split())
    assert done.returncode == 0, done.stderr
    return json.loads((out / "quantd" / "report.json").read_text("utf-8"))["evaluation"]


@pytest.mark.parametrize("each", inputs.INPUTS, ids=lambda each: each.name)
def test_gets_its_verdict(each, tmp_path, unchanged):
    model = ModelFolder(tmp_path / "model")
    more = each.make(model) or []
    out = tmp_path / "out"
    done = quantize(model.path, out, [*each.flags.split(), *more])
    for words in each.says:
        assert words in done.stderr, done.stderr
    if each.refused:
        assert done.returncode == 2, (done.returncode, done.stderr)
        assert each.refused in done.stderr, done.stderr
        return
    assert done.returncode == 0, done.stderr
    assert (out / "config.json").is_file() or list(out.glob("*.gguf"))
    if each.equal:
        report = json.loads((out / "quantd" / "report.json").read_text("utf-8"))
        assert report["evaluation"] == unchanged


def test_a_path_that_is_not_utf_8(tmp_path):
    model = ModelFolder(tmp_path / "model")
    model.write()
    strange = os.fsencode(tmp_path) + b"/m\xff\xfe"
    os.rename(os.fsencode(model.path), strange)
    done = quantize(os.fsdecode(strange), tmp_path / "out", inputs.WEIGHTS_ALONE.split())
    assert done.returncode in (0, 2), (done.returncode, done.stderr)


def test_force_replaces_an_older_result(tmp_path):
    model = ModelFolder(tmp_path / "model")
    inputs.a_folder_that_holds_an_older_result(model)
    out = tmp_path / "out"
    done = quantize(model.path, out, [*inputs.WEIGHTS_ALONE.split(), "--force"])
    assert done.returncode == 0, done.stderr
    assert not (out / "model-00003-of-00003.safetensors").exists()
    config = json.loads((out / "config.json").read_text("utf-8"))
    assert config["quantization_config"]["quant_method"] == "compressed-tensors"
