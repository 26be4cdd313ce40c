"""A server for the tests, and clients of it that know nothing of who runs them."""

import os

import pytest
from server import MODEL, QuantdServer

from quantd import Client, RetryPolicy

TINY = {"method": "rtn", "bits": 4, "eval_windows": 2, "sequence_length": 64}
"""A job of about a second."""
LONG = {"method": "rtn", "bits": 4, "scale_rule": "weighted-mse", "samples": 120,
        "eval_windows": 64, "sequence_length": 512}
"""A job of many seconds, for what must happen while it runs."""


@pytest.fixture(autouse=True)
def own_environment(monkeypatch, tmp_path):
    for name in list(os.environ):
        if name.startswith("QUANTD_") and name not in ("QUANTD_BUILD", "QUANTD_BIN"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)


@pytest.fixture
def make_server(tmp_path):
    made = []

    def make(**options):
        folder = tmp_path / f"server-{len(made)}"
        folder.mkdir()
        made.append(QuantdServer(folder, **options))
        return made[-1].start()

    yield make
    for server in made:
        server.stop()


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    running = QuantdServer(tmp_path_factory.mktemp("server")).start()
    yield running
    running.stop()


@pytest.fixture
def client(server):
    with Client(server.address, retry=RetryPolicy(patience=20)) as client:
        yield client


@pytest.fixture(scope="session")
def done(server):
    """The name of a finished job whose tensors are in several files."""
    with Client(server.address) as client:
        job = client.quantize(MODEL, **TINY, shard_bytes=1 << 20, labels={"kind": "sharded"})
        return job.wait().name
