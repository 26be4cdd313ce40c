"""A job whose attempts die goes on from its last sealed block, to the same bytes."""

import os
import signal

import pytest

from client import describe, tiny_spec
from quantd.v1 import job_pb2
from test_workers import idle, start_worker  # noqa: F401
from waiting import until

BLOCKS = 4  # of the bundled model
# They tell time and memory, or list a digest of what does.
TELL_TIME = {"README.md", "quantd/report.json", "quantd/report.html", "quantd/manifest.json"}
QUICK = ("--retry-delay", "10ms")


def resumable_spec():
    """Some seconds of work, in each block alike."""
    spec = tiny_spec(method="awq")
    spec.calibration.samples = 32
    spec.calibration.sequence_length = 256
    spec.evaluation.windows = 8
    spec.evaluation.sequence_length = 128
    return spec


def digests(job):
    return {file.path: file.sha256 for file in job.result.files if file.path not in TELL_TIME}


@pytest.fixture(scope="module")
def undisturbed(shared_server):
    return digests(shared_server.client().succeed(resumable_spec()))


def when_sealed(client, name, blocks):
    """Waits until so many blocks are done."""
    until(lambda: client.get(name).progress.blocks_done >= blocks, f"{blocks} blocks")


def the_runner(server):
    (pid,) = until(server.runners, "a runner")
    return pid


def resumed_at(client, name):
    """attempt -> how many blocks it found sealed, as the events tell."""
    found = {}
    for event in client.watch(name):
        text = event.warning.text if event.HasField("warning") else ""
        if "blocks are sealed" in text:
            found[event.attempt] = int(text.split(":")[1].split()[0])
    return found


def check_nothing_is_done_twice(client, name):
    """A block that was restored tells the figures of the attempt that made it, times and all."""
    first = {}
    events = list(client.watch(name))
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    sealed = resumed_at(client, name)
    for event in events:
        if not event.HasField("layer"):
            continue
        layer = event.layer
        block = int(layer.module.split(".")[2]) if ".layers." in layer.module else BLOCKS
        if block < sealed.get(event.attempt, 0):
            assert layer == first[layer.module], f"{layer.module} was quantized again"
        first[layer.module] = layer


def check_end(client, name, undisturbed, attempts, seconds=120):
    job = client.wait(name, seconds=seconds)
    assert job.state == job_pb2.Job.SUCCEEDED, describe(job)
    assert job.attempts == attempts, describe(job)
    assert digests(job) == undisturbed
    check_nothing_is_done_twice(client, name)
    return job


def checkpoints(server):
    return [path for path in server.everything_kept() if "/checkpoints/" in path]


def test_killed_runners_cost_one_block_each_and_count_for_nothing(make_server, undisturbed):
    server = make_server(arguments=["--max-attempts", "1", *QUICK])
    client = server.client()
    name = client.create(resumable_spec()).name
    for blocks in range(1, BLOCKS):
        when_sealed(client, name, blocks)
        assert checkpoints(server)
        os.kill(the_runner(server), signal.SIGKILL)
        until(lambda attempt=blocks + 1: client.get(name).attempts == attempt, "the next attempt")
    check_end(client, name, undisturbed, attempts=BLOCKS)
    found = resumed_at(client, name)
    assert list(found) == [2, 3, 4] and list(found.values()) == sorted(found.values())
    assert all(found[attempt] >= attempt - 1 for attempt in found), found
    until(lambda: not checkpoints(server), "the checkpoint to go with the job's end")


def test_a_killed_agent(make_server, undisturbed):
    server = make_server(arguments=["--max-attempts", "1", *QUICK])
    client = server.client()
    name = client.create(resumable_spec()).name
    when_sealed(client, name, 2)
    (worker,) = server.worker_pids()
    os.kill(worker, signal.SIGKILL)
    check_end(client, name, undisturbed, attempts=2)
    assert resumed_at(client, name)[2] >= 2


def test_a_killed_server(make_server, undisturbed):
    server = make_server(arguments=["--max-attempts", "1", *QUICK])
    name = server.client().create(resumable_spec()).name
    when_sealed(server.client(), name, 2)
    server.kill()
    server.start()
    client = server.client()
    check_end(client, name, undisturbed, attempts=2)
    assert resumed_at(client, name)[2] >= 2


def test_another_worker_goes_on(idle, start_worker, undisturbed):  # noqa: F811
    """Neither has seen the scratch folder of the other."""
    client = idle.client()
    name = client.create(resumable_spec()).name
    first = start_worker("first")
    when_sealed(client, name, 2)
    first.send_signal(signal.SIGTERM)
    assert first.wait(60) == 0
    assert client.get(name).state == job_pb2.Job.PENDING
    start_worker("second")
    job = check_end(client, name, undisturbed, attempts=2)
    assert job.worker == "workers/second"
    assert resumed_at(client, name)[2] >= 2


def test_a_stuck_runner_is_found_and_its_task_given_on(make_server, undisturbed):
    """Its agent is well, and renews the lease; nothing comes of it."""
    server = make_server(arguments=["--stall-time", "20s", *QUICK])
    client = server.client()
    name = client.create(resumable_spec()).name
    when_sealed(client, name, 1)
    runner = the_runner(server)
    os.kill(runner, signal.SIGSTOP)
    until(lambda: client.get(name).attempts == 2, "the task to be given on", seconds=120)
    until(lambda: runner not in server.runners(), "the stuck runner to be killed")
    check_end(client, name, undisturbed, attempts=2)
    errors = [event.state_change.error for event in client.watch(name)
              if event.state_change.HasField("error")]
    assert [error.reason for error in errors] == ["LEASE_LOST"]
    assert "no progress" in errors[0].message
    assert resumed_at(client, name)[2] >= 1


def test_a_frozen_agent_wakes_too_late(make_server, undisturbed):
    """The other worker goes on from its blocks; what the first has, it can tell nobody."""
    server = make_server(workers=2, arguments=["--max-attempts", "1", "--lease", "2s", *QUICK])
    client = server.client()
    name = client.create(resumable_spec()).name
    when_sealed(client, name, 1)
    runner = the_runner(server)
    with open(f"/proc/{runner}/stat", encoding="utf-8") as file:
        agent = int(file.read().rsplit(")", 1)[1].split()[1])
    os.kill(agent, signal.SIGSTOP)
    os.kill(runner, signal.SIGSTOP)
    try:
        until(lambda: client.get(name).attempts == 2, "the other worker to take the job")
    finally:
        os.kill(runner, signal.SIGCONT)
        os.kill(agent, signal.SIGCONT)
    check_end(client, name, undisturbed, attempts=2)
    assert resumed_at(client, name)[2] >= 1


def test_a_cancelled_job_leaves_nothing(make_server):
    server = make_server()
    client = server.client()
    name = client.create(resumable_spec()).name
    when_sealed(client, name, 1)
    assert checkpoints(server)
    client.cancel(name)
    assert client.wait(name).state == job_pb2.Job.CANCELLED
    until(lambda: not server.everything_kept(), "all of its files to go")


def test_the_choice_of_a_recipe_is_kept_too(make_server):
    """Method auto: what was measured is not measured again."""
    spec = resumable_spec()
    spec.recipe.default_scheme.method = "auto"
    spec.recipe.default_scheme.options["bits_per_weight"].number_value = 4.5
    spec.output.format = "dequantized"
    server = make_server(arguments=["--max-attempts", "1", *QUICK])
    client = server.client()
    name = client.create(spec).name
    until(lambda: any("journal-recipe" in path for path in checkpoints(server)), "the choice")
    os.kill(the_runner(server), signal.SIGKILL)
    job = client.wait(name, seconds=120)
    assert job.state == job_pb2.Job.SUCCEEDED and job.attempts == 2, describe(job)
