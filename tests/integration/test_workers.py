"""Workers that are started by hand, as on other machines."""

import signal
import subprocess

import grpc
import pytest

from client import describe, refusal, tiny_spec
from programs import environment, program
from quantd.v1 import job_pb2, quantization_service_pb2 as api
from quantd.v1 import worker_service_pb2 as wire, worker_service_pb2_grpc as wire_grpc
from waiting import until


@pytest.fixture
def idle(make_server):
    return make_server(workers=0)


@pytest.fixture
def start_worker(idle, tmp_path):
    """start_worker(NAME) works for `idle` until the test ends; it must leave with exit code 0."""
    started = []

    def start(name, *flags):
        with open(tmp_path / f"{name}.log", "ab") as log:
            started.append(subprocess.Popen(
                [program("quantd-worker"), "--name", name, "--scratch", tmp_path / "scratch",
                 *flags], env=environment(QUANTD_SERVER=idle.address), stdout=log, stderr=log,
                start_new_session=True))
        return started[-1]

    yield start
    for worker in started:
        if worker.poll() is None:
            leave(worker)


def leave(worker):
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(60) == 0


def workers_of(client):
    return {worker.name.split("/")[1]: worker
            for worker in client.stub.ListWorkers(api.ListWorkersRequest(), timeout=60).workers}


def middling_spec():
    """Some seconds of work, so that it can be met while it runs."""
    spec = tiny_spec(bits=4)
    spec.evaluation.windows = 16
    spec.evaluation.sequence_length = 512
    return spec


def test_workers_come_take_jobs_and_go(idle, start_worker, tmp_path):
    client = idle.client()
    jobs = [client.create().name for _ in range(4)]
    assert all(client.get(name).state == job_pb2.Job.PENDING for name in jobs)
    first, second = start_worker("first"), start_worker("second")
    done = [client.wait(name) for name in jobs]
    assert all(job.state == job_pb2.Job.SUCCEEDED for job in done)
    assert {job.worker for job in done} <= {"workers/first", "workers/second"}
    assert {"first", "second"} <= set(workers_of(client))
    leave(first)
    leave(second)
    left = [path for path in (tmp_path / "scratch").rglob("*") if path.is_file()
            and path.suffix != ".lock"]
    assert left == [], "a worker that left has cleared its scratch folder"


def test_a_worker_that_leaves_hands_its_job_to_the_next(idle, start_worker):
    client = idle.client()
    name = client.create(middling_spec()).name
    first = start_worker("first")
    client.wait(name, states=(job_pb2.Job.RUNNING,))
    assert workers_of(client)["first"].state == api.Worker.BUSY
    assert workers_of(client)["first"].job == name
    leave(first)
    assert client.get(name).state == job_pb2.Job.PENDING
    start_worker("second")
    job = client.wait(name, seconds=120)
    assert job.state == job_pb2.Job.SUCCEEDED and "second" in job.worker, describe(job)
    assert not [event for event in client.watch(name) if event.state_change.HasField("error")]


def test_a_drained_worker_ends_its_job_and_leaves(idle, start_worker):
    client = idle.client()
    busy, waiting = client.create(middling_spec()).name, client.create().name
    worker = start_worker("tired")
    client.wait(busy, states=(job_pb2.Job.RUNNING,))
    said = idle.quantctl().ok("workers", "drain", "tired")
    assert said == f"workers/tired leaves when {busy} has ended\n"
    assert workers_of(client)["tired"].state == api.Worker.DRAINING
    assert worker.wait(120) == 0
    assert client.get(busy).state == job_pb2.Job.SUCCEEDED
    assert client.get(waiting).state == job_pb2.Job.PENDING
    assert refusal(client.stub.DrainWorker, api.DrainWorkerRequest(name="workers/nobody"),
                   timeout=60).code == grpc.StatusCode.NOT_FOUND
    start_worker("tired")
    assert client.wait(waiting).state == job_pb2.Job.SUCCEEDED


def test_a_worker_outlives_its_server(idle, start_worker):
    """The server is stopped and comes back: the job that runs is neither lost nor begun again."""
    client = idle.client()
    name = client.create(middling_spec()).name
    worker = start_worker("steady")
    client.wait(name, states=(job_pb2.Job.RUNNING,))
    address = idle.address
    idle.process.kill()
    idle.process.wait(60)
    idle.start(listen=address)
    job = idle.client().wait(name, seconds=120)
    assert job.state == job_pb2.Job.SUCCEEDED, describe(job)
    assert job.attempts == 1, "the worker goes on with its lease"
    assert worker.poll() is None


def test_two_workers_of_one_name(idle, start_worker, tmp_path):
    start_worker("same")
    until(lambda: "same" in workers_of(idle.client()), "the first worker")
    second = start_worker("same")
    assert second.wait(60) == 2
    assert "--name" in (tmp_path / "same.log").read_text("utf-8")


def test_a_stale_report_changes_nothing(idle):
    """Fencing: whoever does not hold the newest token is told so, and that is all."""
    client = idle.client()
    stub = wire_grpc.WorkerServiceStub(client.channel)
    name = client.create().name

    def take(worker):
        reply = stub.Synchronize(wire.SynchronizeRequest(
            worker=worker, session="s", free_memory_bytes=1 << 40,
            capabilities=wire.WorkerCapabilities(backends=["cpu"])), timeout=60)
        assert reply.desired == wire.SynchronizeResponse.RUN
        return reply.assignment

    def report(worker, assignment, state):
        return wire.SynchronizeRequest(worker=worker, session="s", task=wire.TaskReport(
            task=assignment.task, fencing_token=assignment.fencing_token, state=state))

    old = take("slow")
    assert old.job == name and old.fencing_token > 0
    stub.Synchronize(report("slow", old, wire.TaskReport.RETURNED), timeout=60)
    new = take("quick")
    assert new.fencing_token > old.fencing_token
    before = client.get(name)
    for worker, assignment in (("slow", old), ("quick", old), ("slow", new), ("nobody", new)):
        refused = refusal(stub.Synchronize,
                          report(worker, assignment, wire.TaskReport.SUCCEEDED), timeout=60)
        assert refused.code == grpc.StatusCode.ABORTED and refused.reason == "LEASE_LOST"
    assert client.get(name) == before
