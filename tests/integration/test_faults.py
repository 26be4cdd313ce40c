"""What breaks while a job runs: the job ends with the reason or is tried again, and server and
worker go on."""

import os
import resource
import signal

import pytest

from checkpoints import Checkpoint
from client import describe, long_spec, refusal, tiny_spec
from programs import MODELS
from quantd.v1 import job_pb2
from waiting import until

WEIGHT = "model.layers.2.mlp.gate_proj.weight"


def the_runner(server):
    """The pid of the one process that quantizes, once there is one."""
    (pid,) = until(server.runners, "a runner")
    return pid


def errors_of(client, name):
    """The reasons of the failed attempts, from the events."""
    return [event.state_change.error.reason for event in client.watch(name)
            if event.HasField("state_change") and event.state_change.HasField("error")]


def goes_on(server, client):
    """A good job succeeds, and nothing of what failed is left."""
    good = client.succeed()
    until(lambda: not [path for path in server.everything_kept() if path.startswith("scratch")],
          "the scratch folder to be empty")
    kept = {path.split("/")[2] for path in server.everything_kept()}
    assert kept == {good.name.split("/")[1]}, "only the good job has files"


def test_nan_in_weights(make_server, tmp_path):
    model = Checkpoint(tmp_path, "nan").put_nan(WEIGHT)
    server = make_server(model_roots=(MODELS, tmp_path))
    client = server.client()
    job = client.wait(client.create(tiny_spec(model.path)).name)
    assert job.state == job_pb2.Job.FAILED, describe(job)
    assert job.error.reason == "MODEL_NOT_FINITE" and job.error.user_fault
    assert WEIGHT in job.error.message, "the tensor is named"
    assert job.attempts == 1, "a fault of the model is not tried again"
    assert list(client.files(job.name).files) == []
    goes_on(server, client)


def test_a_model_that_is_cut_short_after_it_was_accepted(make_server, tmp_path):
    model = Checkpoint(tmp_path, "cut")
    server = make_server(workers=0, model_roots=(MODELS, tmp_path))
    name = server.client().create(tiny_spec(model.path)).name
    server.stop()
    model.cut(2_000_000)
    server.workers = 1
    server.start()
    client = server.client()
    job = client.wait(name)
    assert job.state == job_pb2.Job.FAILED and job.error.reason == "MODEL_CORRUPT", describe(job)
    assert job.attempts == 1
    goes_on(server, client)


def test_disk_full(server):
    """A file-size limit stands in for the full disk: the same error of the same write."""
    client = server.client()
    name = client.create(long_spec()).name
    resource.prlimit(the_runner(server), resource.RLIMIT_FSIZE, (4096, 4096))
    job = client.wait(name, seconds=120)
    assert job.state == job_pb2.Job.FAILED, describe(job)
    assert job.error.reason == "DISK_FULL" and not job.error.user_fault
    assert list(client.files(name).files) == []
    goes_on(server, client)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small file system")
def test_a_really_full_disk(make_server, tmp_path):
    """The data folder's own disk: the database lives there too."""
    server = make_server(workers=0)
    server.stop()
    small = server.data
    for path in small.iterdir():
        if path.is_file():
            path.unlink()
    if os.system(f"mount -t tmpfs -o size=3m none {small}") != 0:
        pytest.skip("this machine lets nobody mount")
    try:
        server.workers = 1
        server.start()
        client = server.client()
        job = client.wait(client.create(tiny_spec(bits=8)).name)
        assert job.state == job_pb2.Job.FAILED, describe(job)
        assert job.error.reason == "DISK_FULL"
        assert refusal(client.get, "jobs/nobody").reason == "JOB_NOT_FOUND", "the server lives"
        os.system(f"mount -o remount,size=100m {small}")
        goes_on(server, client)
        server.stop()
    finally:
        server.clean_up()
        os.system(f"umount {small}")


def test_a_killed_runner_is_tried_again(server):
    client = server.client()
    name = client.create(long_spec()).name
    os.kill(the_runner(server), signal.SIGKILL)
    until(lambda: client.get(name).attempts == 2, "the second attempt")
    client.cancel(name)
    assert client.wait(name).state == job_pb2.Job.CANCELLED
    assert errors_of(client, name) == ["RUNNER_CRASHED"]
    goes_on(server, client)


def test_after_a_killed_runner_the_second_attempt_succeeds(server):
    """The events of both attempts are there, the files are those of the second."""
    client = server.client()
    spec = tiny_spec(bits=4)
    spec.evaluation.windows = 16
    spec.evaluation.sequence_length = 512
    name = client.create(spec).name
    os.kill(the_runner(server), signal.SIGKILL)
    job = client.wait(name, seconds=120)
    assert job.state == job_pb2.Job.SUCCEEDED, describe(job)
    assert job.attempts == 2
    events = list(client.watch(name))
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    assert {event.attempt for event in events if event.HasField("file_sealed")} == {2}
    digests = {file.path: file.sha256 for file in client.files(name).files}
    assert digests.items() >= {file.path: file.sha256 for file in job.result.files}.items()


def test_a_poison_job_stops_after_so_many_attempts(make_server):
    server = make_server(arguments=["--max-attempts", "2"])
    client = server.client()
    name = client.create(long_spec()).name
    for attempt in (1, 2):
        until(lambda attempt=attempt: client.get(name).attempts == attempt, "the next attempt")
        os.kill(the_runner(server), signal.SIGKILL)
    job = client.wait(name)
    assert job.state == job_pb2.Job.FAILED and job.attempts == 2
    assert job.error.reason == "ATTEMPTS_EXHAUSTED" and "RUNNER_CRASHED" in job.error.message
    assert errors_of(client, name) == ["RUNNER_CRASHED", "ATTEMPTS_EXHAUSTED"]
    goes_on(server, client)


def test_a_killed_worker_is_started_again_and_the_job_goes_on(server):
    client = server.client()
    spec = tiny_spec(bits=4)
    spec.evaluation.windows = 16
    spec.evaluation.sequence_length = 512
    name = client.create(spec).name
    runner = the_runner(server)
    (worker,) = server.worker_pids()
    os.kill(worker, signal.SIGKILL)
    until(lambda: runner not in server.runners(), "the runner to end with its worker")
    job = client.wait(name, seconds=120)
    assert job.state == job_pb2.Job.SUCCEEDED and job.attempts == 2, describe(job)
    assert errors_of(client, name) == ["LEASE_LOST"]
    assert server.worker_pids() != [worker]
    client.delete(name)
    goes_on(server, client)


def test_a_frozen_worker_loses_its_lease_and_changes_nothing_when_it_wakes(make_server):
    server = make_server(workers=2, arguments=["--lease", "2s"])
    client = server.client()
    name = client.create(long_spec()).name
    runner = the_runner(server)
    frozen = client.get(name).worker
    holder = parent_of(runner)
    assert holder in server.worker_pids()
    os.kill(holder, signal.SIGSTOP)
    os.kill(runner, signal.SIGSTOP)
    try:
        until(lambda: client.get(name).attempts == 2, "the other worker to take the job")
        assert client.get(name).worker != frozen
    finally:
        os.kill(runner, signal.SIGCONT)
        os.kill(holder, signal.SIGCONT)
    until(lambda: runner not in server.runners(), "the stale runner to be stopped")
    assert client.get(name).attempts == 2
    client.cancel(name)
    assert client.wait(name).state == job_pb2.Job.CANCELLED
    attempts = [event.attempt for event in client.watch(name)]
    assert attempts == sorted(attempts), "nothing of the first attempt came after the second began"


def parent_of(pid):
    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
        return int(file.read().rsplit(")", 1)[1].split()[1])


def test_a_job_that_runs_too_long_is_stopped(server):
    client = server.client()
    spec = long_spec()
    spec.resources.max_run_time.seconds = 1
    job = client.wait(client.create(spec).name)
    assert job.state == job_pb2.Job.FAILED and job.error.reason == "RUNNER_TIME_LIMIT"
    assert job.attempts == 1
    goes_on(server, client)


def test_a_cancel_reaches_the_runner(server):
    client = server.client()
    name = client.create(long_spec()).name
    runner = the_runner(server)
    client.cancel(name)
    assert client.wait(name).state == job_pb2.Job.CANCELLED
    until(lambda: runner not in server.runners(), "the runner to end")
    goes_on(server, client)
