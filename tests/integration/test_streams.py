"""WatchJob and ReadArtifactFile: complete and in order, however often the client is cut off."""

import hashlib
import random

import grpc
import pytest
from grpc_health.v1 import health_pb2

from client import FINAL, long_spec, refusal, tiny_spec
from crc32c import crc32c
from quantd.v1 import job_pb2

SEED = 20240607


@pytest.fixture(scope="module")
def done(client):
    """A finished job whose tensors are in several files."""
    spec = tiny_spec(bits=4)
    spec.output.shard_bytes = 1 << 20
    return client.succeed(spec)


def check_sequence(events):
    """What must hold of all events of a finished job."""
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    times = [event.time.ToNanoseconds() for event in events]
    assert times == sorted(times)
    states = [event.state_change.state for event in events if event.HasField("state_change")]
    assert states[0] == job_pb2.Job.PENDING and states[-1] in FINAL
    assert all(state not in FINAL for state in states[:-1])
    assert events[-1].HasField("state_change"), "the terminal event is the last"


def test_events_tell_the_whole_story(client, done):
    events = list(client.watch(done.name))
    check_sequence(events)
    kinds = [event.WhichOneof("event") for event in events]
    assert kinds.count("layer") == 28 and kinds.count("result") == 1
    assert kinds[-2] == "result" and "progress" in kinds
    sealed = {e.file_sealed.path: e.file_sealed for e in events if e.HasField("file_sealed")}
    assert sealed == {file.path: file for file in client.files(done.name).files}
    # The two files that name the others are not in the list that they hold.
    named = {file.path: file for file in done.result.files}
    assert named.items() <= sealed.items()
    assert sealed.keys() - named.keys() == {
        "quantd/report.json", "quantd/report.html", "quantd/manifest.json"}
    assert {e.attempt for e in events[1:]} == {1}
    for event in events:
        if event.HasField("layer"):
            assert event.layer.weight_snr_db > 10 and event.layer.bits == 4
    assert done.last_sequence == events[-1].sequence


def test_watch_from_any_sequence(client, done):
    events = list(client.watch(done.name))
    for after in range(0, len(events) + 1, 5):
        assert list(client.watch(done.name, after)) == events[after:]
    assert list(client.watch(done.name, len(events))) == []
    for wrong in (-1, len(events) + 1):
        refused = refusal(client.watch, done.name, wrong)
        assert refused.code == grpc.StatusCode.INVALID_ARGUMENT
        assert refused.violations[0].field == "after_sequence"


def test_a_watcher_that_is_cut_off_at_random_loses_and_repeats_nothing(shared_server):
    """Live, while the job runs: each piece on a connection of its own."""
    client = shared_server.client()
    chance = random.Random(SEED)
    job = client.create(tiny_spec(bits=4)).name
    events, cuts = [], 0
    while not (events and events[-1].state_change.state in FINAL):
        watcher = shared_server.client()
        stream = watcher.watch(job, events[-1].sequence if events else 0)
        keep = chance.randint(1, 6)
        for event in stream:
            events.append(event)
            if len(events) % 7 == keep:
                break
        stream.cancel()
        watcher.close()
        cuts += 1
    assert cuts > 5, "the watcher was cut off"
    check_sequence(events)
    assert events == list(client.watch(job))


def test_two_watchers_see_the_same(shared_server):
    client = shared_server.client()
    job = client.create(tiny_spec(bits=4)).name
    early = client.watch(job)
    late = shared_server.client().watch(job)
    assert list(early) == list(late)


def test_files_are_what_they_say(client, done):
    listed = client.files(done.name)
    assert listed.complete
    assert [f.path for f in listed.files] == sorted(f.path for f in listed.files)
    assert sum(f.path.endswith(".safetensors") for f in listed.files) > 1
    for file in listed.files:
        chunks = list(client.read(done.name, file.path))
        assert chunks[0].file == file
        assert all(not chunk.HasField("file") for chunk in chunks[1:])
        offset = 0
        for chunk in chunks:
            assert chunk.offset == offset and len(chunk.data) <= 1 << 20
            assert chunk.crc32c == crc32c(chunk.data)
            offset += len(chunk.data)
        data = b"".join(chunk.data for chunk in chunks)
        assert len(data) == file.bytes and hashlib.sha256(data).hexdigest() == file.sha256


def test_a_reader_that_is_cut_off_at_random_gets_the_same_bytes(shared_server, done):
    client = shared_server.client()
    chance = random.Random(SEED)
    file = max(client.files(done.name).files, key=lambda file: file.bytes)
    whole = b"".join(chunk.data for chunk in client.read(done.name, file.path))
    for _ in range(5):
        data = b""
        while len(data) < file.bytes:
            reader = shared_server.client()
            limit = chance.choice([0, 1, chance.randint(1, 1 << 20)])
            stream = reader.read(done.name, file.path, len(data), limit)
            for chunk in stream:
                # Cut off within a chunk: the rest of it never arrived.
                kept = chance.choice([len(chunk.data), chance.randint(1, len(chunk.data))])
                data += chunk.data[:kept]
                if kept < len(chunk.data) or chance.random() < 0.5:
                    break
            stream.cancel()
            reader.close()
        assert data == whole


def test_ranges(client, done):
    whole = b"".join(c.data for c in client.read(done.name, "config.json"))
    for offset, limit in ((0, 1), (7, 0), (len(whole), 0), (3, 10**12), (len(whole) - 1, 5)):
        got = b"".join(c.data for c in client.read(done.name, "config.json", offset, limit))
        assert got == (whole[offset:] if limit == 0 else whole[offset:offset + limit])
    for offset, limit in ((-1, 0), (len(whole) + 1, 0), (0, -1)):
        refused = refusal(client.read, done.name, "config.json", offset, limit)
        assert refused.code == grpc.StatusCode.INVALID_ARGUMENT
        assert refused.violations[0].field in ("offset", "limit")


def test_paths_that_are_no_files_of_the_job(client, done):
    for path in ("", "nothing", "../config.json", "/etc/passwd", "quantd", "config.json/",
                 "quantd/../config.json", "x" * 5000):
        refused = refusal(client.read, done.name, path)
        assert refused.code in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT), path
        assert refused.reason in ("ARTIFACT_NOT_FOUND", "INVALID_FIELD")


def test_files_can_be_read_while_the_job_runs(client):
    spec = long_spec()
    spec.output.shard_bytes = 1 << 20
    job = client.create(spec).name
    stream = client.watch(job, seconds=120)
    sealed = next(event.file_sealed for event in stream if event.HasField("file_sealed"))
    data = b"".join(chunk.data for chunk in client.read(job, sealed.path))
    assert hashlib.sha256(data).hexdigest() == sealed.sha256
    listed = client.files(job)
    assert sealed in list(listed.files) and not listed.complete
    assert client.get(job).state == job_pb2.Job.RUNNING
    client.cancel(job)
    rest = list(stream)
    assert rest[-1].state_change.state == job_pb2.Job.CANCELLED
    assert list(client.files(job).files) == [], "what a cancelled job wrote is removed"


def test_slow_and_idle_streams_do_not_stop_the_server(shared_server, done):
    """Readers that read nothing cost a bounded amount and hold nobody up."""
    client = shared_server.client()
    file = max(done.result.files, key=lambda file: file.bytes)
    held = [shared_server.client() for _ in range(10)]
    streams = [reader.read(done.name, file.path) for reader in held for _ in range(5)]
    assert client.succeed().state == job_pb2.Job.SUCCEEDED
    for stream in streams:
        stream.cancel()


def test_health_and_its_watch(make_server):
    server = make_server()
    client = server.client()
    serving = health_pb2.HealthCheckResponse.SERVING
    for name in ("", "quantd.v1.QuantizationService", "quantd.v1.WorkerService"):
        reply = client.health.Check(health_pb2.HealthCheckRequest(service=name), timeout=60)
        assert reply.status == serving, name
    unknown = refusal(client.health.Check, health_pb2.HealthCheckRequest(service="nobody"))
    assert unknown.code == grpc.StatusCode.NOT_FOUND

    watch = client.health.Watch(health_pb2.HealthCheckRequest(), timeout=60)
    assert next(watch).status == serving
    server.process.terminate()
    assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
    watch.cancel()
    server.wait_for_end()

