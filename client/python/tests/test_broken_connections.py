"""Watching and downloading go on where a connection broke or a server died."""

import hashlib
import itertools
import threading

import pytest
from conftest import LONG, TINY
from cut_off import CutOff
from server import MODEL

import quantd
from quantd import Client, download
from quantd.snapshot import ArtifactFile


@pytest.fixture
def cut(server):
    made = CutOff(server.address)
    yield made
    made.close()


def test_events_survive_cuts(cut, client):
    job = client.quantize(MODEL, **TINY)
    wanted = list(job.events())
    cut.limits = [600, 1500, 2500, 4000]
    with Client(cut.address) as cut_client:
        found = list(cut_client.job(job.name).events())
    assert found == wanted
    assert cut.connections > 3


def test_a_download_survives_cuts(cut, client, done, tmp_path):
    whole = client.job(done).download(tmp_path / "whole")
    cut.limits = [50_000, 300_000, 700_000, 10_000]
    fetched = []
    with Client(cut.address) as cut_client:
        folder = cut_client.job(done).download(
            tmp_path / "cut", on_bytes=lambda file, count: fetched.append(count))
    assert cut.connections > 3
    for file in client.job(done).files():
        assert (folder / file.path).read_bytes() == (whole / file.path).read_bytes()
    # Nothing is fetched twice.
    assert sum(fetched) == sum(file.bytes for file in client.job(done).files())


def largest(job):
    return max(job.files(), key=lambda file: file.bytes)


def test_what_another_process_left_is_resumed(client, done, tmp_path):
    job = client.job(done)
    file = largest(job)
    data = job.read(file.path)
    assert hashlib.sha256(data).hexdigest() == file.sha256
    half = len(data) // 2
    partial = tmp_path / f"{file.path}.partial-{file.sha256[:16]}"
    partial.write_bytes(data[:half])
    told = []
    job.download(tmp_path, on_bytes=lambda one, count: told.append((one.path, count)))
    mine = [count for path, count in told if path == file.path]
    assert mine[0] == half and sum(mine) == len(data)
    assert (tmp_path / file.path).read_bytes() == data
    assert not partial.exists()


def test_rubbish_that_another_process_left_is_thrown_away(client, done, tmp_path):
    job = client.job(done)
    file = largest(job)
    partial = tmp_path / f"{file.path}.partial-{file.sha256[:16]}"
    partial.write_bytes(b"x" * 1000)
    job.download(tmp_path)
    assert hashlib.sha256((tmp_path / file.path).read_bytes()).hexdigest() == file.sha256


def test_a_server_that_lies_is_found_out(client, done, tmp_path):
    file = largest(client.job(done))
    lie = ArtifactFile(file.path, file.bytes, "0" * 64)
    with pytest.raises(quantd.Damaged) as caught:
        client.run(download.download_file(done, lie, tmp_path, client.retry))
    assert file.sha256 in caught.value.violations[0].got
    assert not list(tmp_path.iterdir())


def test_the_folder_must_be_new_or_hold_the_same(client, done, tmp_path):
    job = client.job(done)
    job.download(tmp_path / "out")
    job.download(tmp_path / "out")  # what is the same is kept
    (tmp_path / "out" / "mine.txt").write_text("x")
    with pytest.raises(quantd.InvalidRequest, match=r"mine\.txt"):
        job.download(tmp_path / "out")
    other = client.quantize(MODEL, **{**TINY, "bits": 8}).wait()
    with pytest.raises(quantd.InvalidRequest):
        other.download(tmp_path / "out")
    other.download(tmp_path / "out", force=True)
    shards = {path.name for path in (tmp_path / "out").glob("*.safetensors")}
    assert shards == {"model.safetensors"}, "no shard of the older result lies beside"
    assert (tmp_path / "out" / "mine.txt").exists()


def test_a_watch_outlives_its_server(make_server):
    server = make_server()
    with Client(server.address) as client:
        job = client.quantize(MODEL, **{**LONG, "samples": 16, "eval_windows": 8})
        events = job.events()
        head = list(itertools.islice(events, 3))
        server.kill()
        restart = threading.Thread(target=server.start, args=(server.address,))
        restart.start()
        tail = list(events)
        restart.join()
        every = head + tail
        assert [one.sequence for one in every] == list(range(1, len(every) + 1))
        assert job.refresh().state is quantd.JobState.SUCCEEDED
