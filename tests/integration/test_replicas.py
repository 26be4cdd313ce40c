"""Several servers over one queue in PostgreSQL, with one blob store: what one makes the others
know, and any of them may die."""

import tempfile
import pathlib

import pytest

import objects
from client import FINAL, long_spec, refusal, tiny_spec
from postgres import Postgres, tools
from programs import MODEL, TINY, environment, program, run
from quantd.v1 import quantization_service_pb2 as api
from waiting import until

LEASE = "3s"


@pytest.fixture(scope="module")
def database():
    assert tools() is not None, "PostgreSQL is not installed: ./dev setup"
    # A socket's path is short, and nobody must get there.
    with tempfile.TemporaryDirectory(prefix="quantd-pg-") as name:
        folder = pathlib.Path(name)
        folder.chmod(0o755)
        running = Postgres(folder)
        yield running
        running.stop()


@pytest.fixture(scope="module")
def bucket(tmp_path_factory):
    """uri(PLACE) of an object store; None: there is none here."""
    if objects.versitygw() is None:
        yield None
        return
    running = objects.ObjectStore(tmp_path_factory.mktemp("objects"))
    yield running.uri
    running.stop()


@pytest.fixture(params=["folder", "objects"])
def replicas(request, database, bucket, make_server, tmp_path, monkeypatch):
    """Two servers with a local worker each, over one database and one blob store. With an object
    store they share no folder at all."""
    blobs = f"file://{tmp_path}/blobs"
    if request.param == "objects":
        if bucket is None:
            pytest.skip("no S3 server here: ./dev objects")
        for name, value in objects.KEYS.items():
            monkeypatch.setenv(name, value)
        blobs = bucket(tmp_path.name.lower().replace("_", "-"))
    shared = ["--store", database.new_uri(), "--blobs", blobs, "--lease", LEASE]
    return [make_server(arguments=shared) for _ in range(2)]


def artifact(client, name):
    return {file.path: b"".join(chunk.data for chunk in client.read(name, file.path))
            for file in client.files(name).files if file.path.endswith(".safetensors")}


def test_a_job_of_one_server_is_every_servers(replicas):
    one, other = (server.client() for server in replicas)
    name = one.create(tiny_spec(bits=4)).name
    events = list(other.watch(name))
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    assert other.get(name).state in FINAL
    assert artifact(one, name) == artifact(other, name)
    assert artifact(one, name)
    names = {worker.name for worker in
             other.stub.ListWorkers(api.ListWorkersRequest(), timeout=60).workers}
    assert len(names) == 2, "local workers of two servers have names of their own"


def test_request_ids_results_and_cancels_are_shared(replicas):
    one, other = (server.client() for server in replicas)
    request_id = "3f2a1b4c-0000-4000-8000-000000000007"
    first = one.create(long_spec(), request_id=request_id)
    assert other.create(long_spec(), request_id=request_id).name == first.name
    until(lambda: other.get(first.name).state == 2, "the job to run")
    other.cancel(first.name)
    until(lambda: one.get(first.name).state in FINAL, "the cancel to arrive")


def test_a_server_that_is_killed_loses_nothing(replicas):
    undisturbed = replicas[0].client().succeed(long_spec())
    wanted = artifact(replicas[0].client(), undisturbed.name)
    name = replicas[0].client().create(long_spec()).name
    until(lambda: replicas[1].client().get(name).progress.blocks_done > 0, "a block to be done")
    replicas[0].kill()
    survivor = replicas[1].client()
    until(lambda: survivor.get(name).state in FINAL, "the job to end at the other server", 120)
    job = survivor.get(name)
    assert job.state == 4, job.error
    assert artifact(survivor, name) == wanted
    sequences = [event.sequence for event in survivor.watch(name)]
    assert sequences == list(range(1, len(sequences) + 1))


def test_a_database_that_is_away_for_a_while_loses_nothing(database, replicas):
    client = replicas[0].client()
    name = client.create(long_spec()).name
    until(lambda: client.get(name).state == 2, "the job to run")
    database.stop()
    assert refusal(client.get, name).code.name == "UNAVAILABLE"
    database.start()
    until(lambda: client.get(name).state in FINAL, "the job to end", 120)
    assert client.get(name).state == 4, client.get(name).error


def test_the_blobs_of_another_store_are_left_alone(make_server, tmp_path):
    """A server with the blobs of one service and the store of another would sweep them all."""
    blobs = f"file://{tmp_path}/blobs"
    first = make_server(arguments=["--blobs", blobs])
    job = first.client().succeed(tiny_spec(bits=4)).name
    refused = run([program("quantd"), "--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0",
                   "--data", tmp_path / "other", "--blobs", blobs], env=environment())
    assert refused.returncode != 0 and "another service" in refused.stderr
    assert artifact(first.client(), job)


def test_uploads_are_shared(replicas):
    one, other = (server.quantctl() for server in replicas)
    name = one.ok("models", "push", MODEL, "--name", "shared").strip()
    assert name in other.ok("models", "list")
    other.ok("quantize", name, "--method", "rtn", "--out", "out", *TINY)
