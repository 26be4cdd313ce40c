"""A model and a text that lie on the client's machine alone: pushed, used, shared, removed."""

import json
import shutil

import pytest

from programs import MODEL, TINY, program, run
from waiting import until


@pytest.fixture(scope="module")
def server(tmp_path_factory, request):
    """A server that may read no folder at all."""
    from server_process import ServerProcess  # pylint: disable=import-outside-toplevel

    running = ServerProcess(tmp_path_factory.mktemp("uploads"), model_roots=()).start()
    request.addfinalizer(running.clean_up)
    return running


@pytest.fixture(scope="module")
def quantctl(server):
    return server.quantctl()


@pytest.fixture(scope="module")
def pushed(quantctl):
    return quantctl.ok("models", "push", MODEL, "--name", "books").strip()


def test_a_pushed_model_gives_the_bytes_of_the_folder(quantctl, pushed, tmp_path):
    assert pushed == "models/books"
    flags = ["--method", "awq", "--bits", "4", "--group-size", "128", "--samples", "4", *TINY]
    through = tmp_path / "through"
    quantctl.ok("quantize", pushed, *flags, "--out", through)
    alone = tmp_path / "alone"
    engine = run([program("quantd-worker"), "quantize", MODEL, *flags, "--out", alone, "--quiet"])
    assert engine.returncode == 0, engine.stderr
    assert (through / "model.safetensors").read_bytes() == \
        (alone / "model.safetensors").read_bytes()
    report = json.loads((through / "quantd/report.json").read_text("utf-8"))
    assert report["model"]["name"] == "books"


def test_a_pushed_text_is_calibrated_on(quantctl, pushed, tmp_path):
    text = tmp_path / "mine.jsonl"
    text.write_text("".join(json.dumps({"text": f"The {i} winds of heaven blow. " * 40}) + "\n"
                            for i in range(200)), "utf-8")
    name = quantctl.ok("datasets", "push", text).strip()
    assert name == "datasets/mine"
    quantctl.ok("quantize", pushed, "--method", "awq", "--samples", "4", *TINY,
                "--calibration", name, "--out", tmp_path / "out")
    local = run([program("quantd-worker"), "quantize", MODEL, "--method", "awq", "--samples", "4",
                 *TINY, "--calibration", text, "--out", tmp_path / "alone", "--quiet"])
    assert local.returncode == 0, local.stderr
    assert (tmp_path / "out/model.safetensors").read_bytes() == \
        (tmp_path / "alone/model.safetensors").read_bytes()


def test_the_same_model_is_sent_once(quantctl, pushed, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(MODEL, copy)
    again = quantctl("models", "push", copy, "--name", "again")
    assert again.returncode == 0, again.stderr
    assert "0 B were sent" in again.stderr
    names = [upload["name"] for upload in json.loads(quantctl.ok("models", "list", "--json"))]
    assert {"models/again", pushed} <= set(names)
    quantctl.ok("models", "delete", "again")
    assert "models/again" not in quantctl.ok("models", "list")
    assert pushed in quantctl.ok("models", "list"), "what it shares stays"


def test_quantize_can_push_first(quantctl, tmp_path):
    model = tmp_path / "My Model 3M"
    shutil.copytree(MODEL, model)
    quantctl.ok("quantize", model, "--push", "--method", "rtn", *TINY, "--out", tmp_path / "out")
    assert (tmp_path / "out/model.safetensors").is_file()
    assert "models/my-model-3m" in quantctl.ok("models", "list")


def test_what_is_no_model_is_refused_before_anything_is_sent(quantctl, tmp_path):
    refused = quantctl("models", "push", tmp_path / "none")
    assert refused.returncode != 0 and "a model folder" in refused.stderr
    (tmp_path / "empty").mkdir()
    assert quantctl("models", "push", tmp_path / "empty").returncode != 0
    other = tmp_path / "other"
    shutil.copytree(MODEL, other)
    (other / "config.json").write_text("{}", "utf-8")
    taken = quantctl("models", "push", other, "--name", "books")
    assert taken.returncode != 0 and "another name" in taken.stderr


def test_a_broken_push_is_gone_on_with(server, quantctl, tmp_path):
    model = tmp_path / "large"
    shutil.copytree(MODEL, model)
    with open(model / "model.safetensors", "rb") as file:
        weights = file.read()
    (model / "extra.bin.txt").write_bytes(weights * 12)  # long enough to be killed in the middle
    staging = server.data / "uploads"
    push = quantctl.start("models", "push", model, "--name", "large")
    until(lambda: any(path.stat().st_size > 0 for path in staging.rglob("*") if path.is_file()),
          "bytes to arrive")
    push.kill()
    push.wait(30)
    again = quantctl("models", "push", model, "--name", "large")
    assert again.returncode == 0, again.stderr
    assert json.loads(quantctl.ok("models", "list", "--json"))
    assert not [path for path in staging.rglob("*") if path.is_file()]
