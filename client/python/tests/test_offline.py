"""What needs no server: checksums, progress, recipes, the package itself."""

import io
import os
import random
import re
import sys
from dataclasses import fields

import pytest
from server import ROOT

import quantd
from quantd import Recipe, crc32c, progress, steps
from quantd.event import Progressed, StateChanged, Warned
from quantd.snapshot import JobState, Progress
from quantd.v1 import quantization_service_pb2 as api
from quantd.v1 import quantization_service_rpc as rpcs


def test_crc32c_is_that_of_the_polynomial():
    from crc32c import crc32c as bit_by_bit  # tests/integration

    chance = random.Random(7)
    for size in (0, 1, 255, 16383, 16384, 16385, 70_001, 262_161):
        data = bytes(chance.getrandbits(8) for _ in range(size))
        assert crc32c.crc32c(data) == bit_by_bit(data), size


def test_every_rpc_of_the_service_is_there():
    service = api.DESCRIPTOR.services_by_name["QuantizationService"]
    for method in service.methods:
        rpc = getattr(rpcs, method.name)
        assert rpc.path == f"/{service.full_name}/{method.name}"
        assert rpc.request.DESCRIPTOR is method.input_type
        assert rpc.reply.DESCRIPTOR.full_name == method.output_type.full_name


def test_versions_agree():
    cmake = (ROOT / "CMakeLists.txt").read_text("utf-8")
    pyproject = (ROOT / "client/python/pyproject.toml").read_text("utf-8")
    version = re.search(r"project\(quantd VERSION (\S+)", cmake)[1]
    assert quantd.__version__ == version
    assert f'\nversion = "{version}"\n' in pyproject


def test_every_name_is_exported():
    assert sorted(quantd.__all__, key=str.lower) == sorted(set(quantd.__all__), key=str.lower)
    assert all(hasattr(quantd, name) for name in quantd.__all__)


def event(kind, **fields):
    import datetime

    return kind(1, datetime.datetime.now(datetime.timezone.utc), 1, **fields)


def at_block(done, total):
    return event(Progressed, progress=Progress("quantize", done, total, 0, 0, 0, None))


EVENTS = [
    event(StateChanged, state=JobState.RUNNING, worker="workers/w1", reason="", message=""),
    *(at_block(done, 40) for done in range(41)),
    event(Warned, text="careful"),
]


def test_lines_where_there_is_no_terminal():
    out = io.StringIO()
    display = progress.Display("jobs/a", out, bar=False)
    for one in EVENTS:
        display(one)
    display.on_break(RuntimeError())
    lines = out.getvalue().splitlines()
    assert lines[0] == "jobs/a: starting on w1" and lines[-2] == "warning: careful"
    assert lines[-1] == "jobs/a: no connection; trying again"
    assert len(lines) == 13, "one line per tenth of the blocks"


def test_a_bar_in_a_terminal(monkeypatch):
    pytest.importorskip("tqdm")
    out = io.StringIO()
    monkeypatch.setattr(out, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys, "stderr", out)
    display = progress.display_for(None, "jobs/a")
    for one in EVENTS:
        display(one)
    display.close()
    shown = out.getvalue()
    assert "40/40" in shown and "jobs/a quantize" in shown and "careful" in shown


def test_no_bar_and_no_line_when_nobody_looks(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert progress.display_for(None, "jobs/a") is None
    seen = []
    display = progress.display_for(seen.append, "jobs/a")
    display(EVENTS[0])
    display.close()
    assert seen == [EVENTS[0]]


def test_recipes_are_refused_with_where_got_and_wanted():
    with pytest.raises(quantd.InvalidRequest) as caught:
        Recipe.from_dict({"defautl": {}})
    assert caught.value.violations[0].field == "defautl"
    with pytest.raises(quantd.InvalidRequest):
        Recipe.from_dict({"default": {"bitz": 4}})
    with pytest.raises(quantd.InvalidRequest) as caught:
        quantd.Scheme("rtn", bits=4, number_format="nvfp4", group_size=0, scale_rule="best")
    assert [one.field for one in caught.value.violations] == [
        "number_format", "group_size", "scale_rule"]


def test_recipes_from_files(tmp_path):
    (tmp_path / "r.json").write_text('{"default": {"method": "rtn", "bits": 4}, "skip": []}')
    assert Recipe.load(tmp_path / "r.json").skip == ()


def test_values_of_another_type():
    from quantd.spec import create_request

    spec = create_request("/m", {"bits": 4.0, "group_size": 64.0, "eval_windows": 2.0}).job.spec
    assert spec.evaluation.windows == 2 and spec.recipe.default_scheme.group_size == 64
    with pytest.raises(quantd.InvalidRequest) as caught:
        create_request("/m", {"samples": "many", "threads": 1.5})
    assert [one.field for one in caught.value.violations] == ["samples", "threads"]
    with pytest.raises(quantd.InvalidRequest):
        create_request("/m", {"group_size": 64.5})


def test_a_whole_recipe_or_its_parts():
    from quantd.spec import create_request

    parts = {"skip": ["lm_head", "*.0.*"], "propagate": "quantized", "kv_cache": "fp8",
             "rotate": "hadamard"}
    said = create_request("/m", {"method": "awq", **parts}).job.spec.recipe
    whole = Recipe(quantd.Scheme("awq"), (), tuple(parts["skip"]), "quantized", "fp8", "hadamard")
    assert said == whole.to_proto() and Recipe.from_dict(whole.to_dict()) == whole
    with pytest.raises(quantd.InvalidRequest, match="kv_cache"):
        create_request("/m", {"recipe": whole, "kv_cache": "none"})


def test_every_field_of_a_request_has_a_keyword():
    """A field that comes to the API comes to `quantize`."""
    from quantd import spec
    from quantd.v1 import job_pb2, recipe_pb2

    said = {place for places in spec._FIELDS.values() for place in places}
    said |= {("resources", name) for name in (*spec._ENUMS, *spec._DURATIONS)}
    said |= {("calibration", "dataset"), ("evaluation", "dataset"), ("evaluation", "disabled"),
             ("evaluation", "gate")}
    # One value each, and what the server refuses but for its default.
    without = {("calibration", "long_samples"), ("evaluation", "metrics"), ("output", "server"),
               ("output", "s3")}
    there = {(section.name, field.name) for section in job_pb2.JobSpec.DESCRIPTOR.fields
             if section.name not in ("model", "recipe") for field in section.message_type.fields}
    assert there == said | without
    assert [field.name for field in recipe_pb2.Recipe.DESCRIPTOR.fields] == [
        "default_scheme" if one.name == "default" else one.name for one in fields(Recipe)]
    assert {field.name for field in recipe_pb2.Scheme.DESCRIPTOR.fields} == set(spec._SCHEME)
    assert set(spec._SCHEME) == {one.name for one in fields(quantd.Scheme)}
    assert {one.name for one in fields(Recipe)} == {"default", "overrides", *spec._RECIPE}
    gates = {field.name for field in job_pb2.QualityGate.DESCRIPTOR.fields}
    assert gates == set(spec._GATES.values())
    assert set(spec.KEYWORDS) == set(spec.QuantizeOptions.__annotations__)
    assert len({*spec.KEYWORDS}) == len(spec.KEYWORDS)


def test_sources(tmp_path, monkeypatch):
    from quantd.source import model_source

    monkeypatch.chdir(tmp_path)
    assert model_source("org/model").hub.repo == "org/model"
    assert model_source("models/abc123").uploaded == "models/abc123"
    assert model_source("s3://b/p").s3.uri == "s3://b/p"
    assert model_source("hub:org/model@main").hub.revision == "main"
    os.makedirs("org/model")
    assert model_source("org/model").path == str(tmp_path / "org" / "model")
    assert model_source("a.gguf").path == str(tmp_path / "a.gguf")
    with pytest.raises(quantd.InvalidRequest):
        model_source("hub:nothing")


def test_an_error_within_the_steps_closes_what_they_opened():
    def failing():
        try:
            yield steps.Work(lambda: 1 / 0)
        except ZeroDivisionError:
            return (yield from steps.work(lambda: "mended"))

    with quantd.Client("127.0.0.1:9") as client:
        assert client.run(failing()) == "mended"
