"""What can go wrong, as exceptions with field, got and wanted."""

import pytest
from conftest import TINY
from server import MODEL

import quantd
from quantd import Client, RetryPolicy


def test_a_refusal_says_where_got_and_wanted(client):
    with pytest.raises(quantd.InvalidRequest) as caught:
        client.quantize(MODEL, method="rtn", bits=4, group_size=13)
    error = caught.value
    assert isinstance(error, ValueError)
    assert error.reason == "RECIPE_INVALID" and error.code == "INVALID_ARGUMENT"
    assert error.metadata == {"fault": "user", "retryable": "false"}
    assert error.violations[0].got.startswith("group_size 13")
    assert "multiple of 8" in error.violations[0].wanted
    assert str(error.violations[0]) in str(error)


def test_every_family_is_its_own_exception(client, tmp_path):
    with pytest.raises(quantd.NotFound) as caught:
        client.job("jobs/aaaaaaaaaaaaaaaa")
    assert isinstance(caught.value, LookupError) and caught.value.reason == "JOB_NOT_FOUND"
    with pytest.raises(quantd.PermissionDenied) as caught:
        client.quantize("/etc", **TINY)
    assert caught.value.reason == "MODEL_OUTSIDE_ROOTS"
    with pytest.raises(quantd.Unsupported) as caught:
        client.quantize("s3://bucket/model", **TINY)
    assert caught.value.violations[0].field == "job.spec.model.s3"
    with pytest.raises(quantd.QuantdError) as caught:
        client.job("jobs/../x")
    assert caught.value.reason


def test_a_keyword_that_is_wrong_is_told_before_any_call():
    with Client("127.0.0.1:9") as client:
        with pytest.raises(TypeError, match="did you mean 'gate_kl'"):
            client.quantize(MODEL, gate_lk=0.1)
        with pytest.raises(quantd.InvalidRequest) as caught:
            client.quantize(MODEL, backend="tpu")
    assert caught.value.violations == (quantd.Violation("backend", "tpu", "one of any, cpu, cuda"),)


def test_a_missed_gate_keeps_its_files(client, tmp_path):
    job = client.quantize(MODEL, **{**TINY, "bits": 2}, gate_kl=0.001)
    with pytest.raises(quantd.QualityGateMissed) as caught:
        job.wait()
    error = caught.value
    assert isinstance(error, quantd.JobFailed) and error.reason == "QUALITY_GATE"
    assert error.job.name == job.name
    assert "0.001" in error.missed[0]
    assert job.result.evaluation.kl_mean > 0.001
    job.download(tmp_path / "out")
    assert not job.report().gate.passed


def test_a_job_that_fails_says_why(client, server):
    folder = server.folder / "broken"
    folder.mkdir(exist_ok=True)
    for path in MODEL.iterdir():
        if path.is_file():
            (folder / path.name).write_bytes(path.read_bytes())
    weights = folder / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-4096:] = b"\xff" * 4096  # NaN in float16 and bfloat16
    weights.write_bytes(data)
    job = client.quantize(folder, **TINY)
    with pytest.raises(quantd.JobFailed) as caught:
        job.wait()
    assert caught.value.reason == "MODEL_NOT_FINITE"
    assert caught.value.violations and caught.value.metadata == {"fault": "user"}
    assert not isinstance(caught.value, quantd.QualityGateMissed)


def test_nobody_there(unused_address):
    client = Client(unused_address, retry=RetryPolicy(patience=0.3))
    with client, pytest.raises(quantd.Unavailable) as caught:
        client.capabilities()
    assert isinstance(caught.value, ConnectionError) and caught.value.reason == "UNAVAILABLE"


@pytest.fixture
def unused_address():
    import socket

    with socket.socket() as held:  # bound and not listening: whoever connects is refused
        held.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{held.getsockname()[1]}"


def test_a_full_queue_is_waited_for(make_server):
    server = make_server(workers=0, arguments=["--queue-length", "1"])
    with Client(server.address, retry=RetryPolicy(patience=0.0)) as impatient:
        first = impatient.quantize(MODEL, **TINY)
        with pytest.raises(quantd.ResourceExhausted) as caught:
            impatient.quantize(MODEL, **TINY, no_cache=True)
        assert caught.value.reason == "QUEUE_FULL"
        assert caught.value.retry_after.total_seconds() == 1
        import threading

        threading.Timer(0.5, first.cancel).start()
        with Client(server.address, retry=RetryPolicy(patience=30.0)) as patient:
            assert patient.quantize(MODEL, **TINY, no_cache=True).name != first.name
