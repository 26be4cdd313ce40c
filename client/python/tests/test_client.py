"""From a model to a folder, and everything on the way, against a real server."""

import datetime
import hashlib
import json
import uuid

import pytest
from conftest import LONG, TINY
from server import MODEL

import quantd
from quantd import Client, JobState, Recipe, Report, event
from quantd.scheme import FUNCTIONS, Scheme, rtn


def test_five_lines_from_a_model_to_a_folder(server, tmp_path):
    client = Client(server.address)
    job = client.quantize(MODEL, method="awq", bits=4, samples=8, eval_windows=2)
    folder = job.wait().download(tmp_path / "out")
    manifest = json.loads((folder / "quantd/manifest.json").read_text("utf-8"))
    assert manifest["files"]
    for file in manifest["files"]:
        data = (folder / file["path"]).read_bytes()
        assert hashlib.sha256(data).hexdigest() == file["sha256"]
    assert not list(folder.rglob("*.partial-*"))
    config = json.loads((folder / "config.json").read_text("utf-8"))
    assert config["quantization_config"]
    assert Report.load(folder) == job.report()
    client.close()


def test_a_job_says_what_it_is(client, done):
    job = client.job(done)
    assert job.state is JobState.SUCCEEDED and job.state.final
    assert job.snapshot.labels == {"kind": "sharded"}
    assert job.snapshot.method == "rtn" and job.snapshot.model == str(MODEL)
    assert job.snapshot.attempts == 1
    assert job.snapshot.created < job.snapshot.ended
    assert job.snapshot.created.tzinfo is datetime.timezone.utc
    assert job.plan.family == "llama" and job.plan.schemes["model.layers.0.mlp.up_proj"] == "rtn 4"
    assert job.plan.schemes.get("lm_head") is None
    assert job.result.passed and job.result.bits_per_weight == 4.125
    assert 1 < job.result.evaluation.perplexity_original < 100
    assert client.job(done.rpartition("/")[2]).name == done


def test_events_come_once_in_order(client):
    job = client.quantize(MODEL, **TINY)
    events = list(job.events())
    assert [one.sequence for one in events] == list(range(1, len(events) + 1))
    assert isinstance(events[0], event.StateChanged) and events[0].state is JobState.PENDING
    assert isinstance(events[-1], event.StateChanged) and events[-1].state is JobState.SUCCEEDED
    assert isinstance(events[-2], event.Finished) and events[-2].result.bits_per_weight == 4.125
    layers = [one for one in events if isinstance(one, event.LayerDone)]
    assert len(layers) == 28 and all(one.bits == 4 and one.weight_snr_db > 10 for one in layers)
    sealed = {one.file.path for one in events if isinstance(one, event.FileSealed)}
    assert sealed == {file.path for file in job.files()}
    assert list(job.events(after_sequence=len(events))) == []
    assert list(job.events(after_sequence=3)) == events[3:]


def test_leaving_the_events_early_ends_the_stream(client, recwarn):
    job = client.quantize(MODEL, **TINY)
    for one in job.events():
        assert one.sequence == 1
        break
    job.wait(progress=False)
    assert not recwarn.list


def test_report_as_dataclasses_and_pandas(client, done):
    pandas = pytest.importorskip("pandas")
    report = client.job(done).report()
    assert report.model_name == "books-3m" and report.format == "compressed-tensors"
    assert report.evaluation.perplexity_ratio > 1 and report.gate.passed
    assert report.compression_ratio == pytest.approx(
        report.bytes_original / report.bytes_quantized)
    assert report.metrics()["kl_mean"] == report.evaluation.kl_mean
    frame = report.to_pandas()
    assert isinstance(frame, pandas.DataFrame) and len(frame) == len(report.layers) == 28
    assert frame.loc["model.layers.0.mlp.down_proj", "in_features"] == 640
    assert report.raw["resolved_recipe"]


def test_plans_without_making_anything(client):
    before = len(list(client.jobs()))
    plan = client.validate(MODEL, method="gptq", bits=3)
    assert plan.bits_per_weight > 3 and plan.calibration_windows > 0
    assert plan.estimated_run_time > datetime.timedelta(0)
    assert len(list(client.jobs())) == before


def test_lists_jobs(client, done):
    assert [job.name for job in client.jobs(labels={"kind": "sharded"})] == [done]
    assert done in {job.name for job in client.jobs(state=JobState.SUCCEEDED)}
    assert len(list(client.jobs(limit=1))) == 1
    assert list(client.jobs(filter='method = "gptq"', labels={"kind": "sharded"})) == []


def test_a_recipe_arrives_as_it_was_said(client):
    recipe = Recipe(rtn(bits=4, group_size=64)).override(
        "model.layers.*.mlp.down_proj", rtn(bits=8, granularity="channel")
    ).leave("model.layers.0.*")
    plan = client.validate(MODEL, recipe=recipe)
    assert plan.schemes["model.layers.0.mlp.up_proj"] is None
    assert plan.schemes["model.layers.1.mlp.down_proj"] == "rtn 8"
    assert plan.schemes["model.layers.1.mlp.up_proj"] == "rtn 4"


def test_parts_of_a_recipe_arrive(client):
    plan = client.validate(MODEL, method="rtn", bits=4, rotate="hadamard",
                           skip=["lm_head", "model.layers.0.*"])
    assert plan.schemes["model.layers.0.mlp.up_proj"] is None
    assert plan.schemes["model.layers.1.mlp.up_proj"] == "rtn 4"
    # The rotation makes a tied output projection a tensor of its own.
    assert plan.artifact_bytes > client.validate(
        MODEL, method="rtn", bits=4, skip=["lm_head", "model.layers.0.*"]).artifact_bytes


def test_three_levels(client):
    plan = client.validate(MODEL, method="hqq", bits=1.58, options={"weighted": False})
    assert set(plan.schemes.values()) - {None} == {"hqq 2"}


def test_functions_of_schemes_have_the_options_of_the_server(client):
    """A function that lacks an option, or has one too many, is an editor that misleads."""
    import inspect

    methods = client.capabilities().methods
    assert FUNCTIONS.keys() == methods.keys()
    shared = {"bits", "group_size", "granularity", "symmetric", "scale_rule", "activations",
              "number_format"}
    for name, function in FUNCTIONS.items():
        said = set(inspect.signature(function).parameters) - {"bits", "shared", "options"}
        assert said == set(methods[name].options) - shared, name


def test_a_recipe_is_checked_against_what_the_server_has(client):
    capabilities = client.capabilities()
    Recipe(FUNCTIONS["awq"](bits=4, grid=20)).check(capabilities)
    Recipe(FUNCTIONS["auto"](4.25, options={"refit": 1})).check(capabilities)
    wrong = Recipe(Scheme("awq", bits=1, options={"grid": 0, "gird": 3}), overrides=(
        quantd.Override("*", Scheme("rtm")),))
    with pytest.raises(quantd.InvalidRequest) as caught:
        wrong.check(capabilities)
    found = {one.field: (one.got, one.wanted) for one in caught.value.violations}
    assert found.keys() == {"default.bits", "default.options.grid", "default.options.gird",
                            "overrides[0].method"}
    assert found["default.options.grid"][0] == "0" and "100" in found["default.options.grid"][1]


def test_the_same_request_id_gives_the_same_job(client):
    request_id = str(uuid.uuid4())
    first = client.quantize(MODEL, **TINY, request_id=request_id)
    assert client.quantize(MODEL, **TINY, request_id=request_id).name == first.name
    with pytest.raises(quantd.AlreadyExists):
        client.quantize(MODEL, method="rtn", bits=8, request_id=request_id)
    first.wait()


def test_cancel_and_delete(client):
    job = client.quantize(MODEL, **LONG)
    job.cancel().wait(check=False)
    assert job.state is JobState.CANCELLED
    with pytest.raises(quantd.JobCancelled):
        job.check()
    with pytest.raises(quantd.JobCancelled):
        job.download("nowhere")
    job.delete()
    with pytest.raises(quantd.NotFound):
        job.refresh()


def test_wait_has_a_timeout_and_the_job_goes_on(client):
    job = client.quantize(MODEL, **LONG)
    with pytest.raises(quantd.WaitTimeout) as caught:
        job.wait(timeout=0.2)
    assert isinstance(caught.value, TimeoutError)
    assert not job.refresh().state.final
    with pytest.raises(quantd.WrongState):
        job.download("nowhere")
    job.cancel().wait(check=False)


def test_workers(client):
    (worker,) = client.workers()
    assert worker.backends == ("cpu",) and worker.state in ("idle", "busy")
