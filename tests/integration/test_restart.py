"""The server is killed, stopped and started again: no job that was acknowledged is lost."""

import concurrent.futures
import random
import signal
import time

import grpc
import pytest

from client import FINAL, describe, tiny_spec
from programs import MODEL, program, run
from quantd.v1 import job_pb2
from waiting import until

SEED = 20240608


def check_story(client, name):
    events = list(client.watch(name))
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    states = [event.state_change.state for event in events if event.HasField("state_change")]
    assert states[0] == job_pb2.Job.PENDING and states[-1] in FINAL
    assert all(state not in FINAL for state in states[:-1])
    attempts = [event.attempt for event in events]
    assert attempts == sorted(attempts)


def test_kill_9_under_running_jobs_loses_nothing(make_server):
    server = make_server(arguments=["--max-attempts", "20"])
    chance = random.Random(SEED)
    acknowledged = []
    for _ in range(3):
        client = server.client()
        deadline = time.monotonic() + chance.uniform(0.5, 2)
        while time.monotonic() < deadline:
            acknowledged.append(client.create(tiny_spec(bits=4)).name)
            if len(acknowledged) % 3 == 0:
                client.wait(acknowledged[chance.randrange(len(acknowledged))],
                            states=(*FINAL, job_pb2.Job.RUNNING))
            if len(acknowledged) >= 9:
                break
        server.kill()
        server.start()
    client = server.client()
    assert {job.name for job in client.jobs()} >= set(acknowledged)
    for name in acknowledged:
        job = client.wait(name, seconds=120)
        assert job.state == job_pb2.Job.SUCCEEDED, describe(job)
        check_story(client, name)
        files = {file.path: file.bytes for file in client.files(name).files}
        assert files.items() >= {file.path: file.bytes for file in job.result.files}.items()
        for path, size in files.items():
            assert sum(len(chunk.data) for chunk in client.read(name, path)) == size
    # What attempts that were cut off had written is gone, or goes with the job.
    tokens = {tuple(path.split("/")[2:4]) for path in server.everything_kept()
              if path.startswith("blobs")}
    assert len({job for job, _ in tokens}) == len(acknowledged)
    for name in acknowledged:
        client.delete(name)
    assert not [path for path in server.everything_kept() if path.startswith("blobs")]


def test_kill_9_in_the_middle_of_creating(make_server):
    """A call that got its answer made a job; a call without an answer made one or none."""
    server = make_server(workers=0)
    client = server.client()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        def create(index):
            try:
                return client.create(labels={"n": str(index)}).name
            except grpc.RpcError as error:
                assert error.code() == grpc.StatusCode.UNAVAILABLE, error
                return None
        calls = [pool.submit(create, index) for index in range(40)]
        until(lambda: sum(call.done() for call in calls) >= 10, "ten jobs")
        server.process.kill()
        answers = [call.result() for call in calls]
    server.process.wait(60)
    server.start()
    client = server.client()
    jobs = client.jobs(page_size=1000)
    assert {answer for answer in answers if answer} <= {job.name for job in jobs}
    numbers = [job.labels["n"] for job in jobs]
    assert len(numbers) == len(set(numbers)) and None in answers


def test_quantctl_follows_a_job_across_a_restart(make_server):
    server = make_server(arguments=["--max-attempts", "20"])
    address = server.address
    quantctl = server.quantctl()
    following = quantctl.start("quantize", MODEL, "--method", "rtn", "--eval-windows", "24",
                               "--out", "kept")
    until(server.runners, "the job to run")
    server.kill()
    server.start(listen=address)
    stdout, stderr = following.communicate(timeout=120)
    assert following.returncode == 0, stderr
    assert "trying again" in stderr and "perplexity" in stdout
    assert (quantctl.home / "kept" / "model.safetensors").is_file()


def test_sigterm_hands_the_job_back_and_a_restart_finishes_it(make_server):
    server = make_server()
    client = server.client()
    spec = tiny_spec(bits=4)
    spec.evaluation.windows = 16
    spec.evaluation.sequence_length = 512
    name = client.create(spec).name
    until(server.runners, "the job to run")
    server.stop()
    server.start()
    client = server.client()
    job = client.wait(name, seconds=120)
    assert job.state == job_pb2.Job.SUCCEEDED, describe(job)
    check_story(client, name)
    failed = [event for event in client.watch(name) if event.state_change.HasField("error")]
    assert not failed, "giving a job back is no failure"


def test_sigterm_ends_open_streams_within_the_grace_time(make_server):
    server = make_server(workers=0, arguments=["--grace", "5s"])
    client = server.client()
    name = client.create().name
    streams = [server.client().watch(name) for _ in range(20)]
    assert all(next(stream).sequence == 1 for stream in streams)
    began = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    for stream in streams:
        with pytest.raises(grpc.RpcError) as error:
            list(stream)
        assert error.value.code() == grpc.StatusCode.UNAVAILABLE
    server.wait_for_end()
    assert time.monotonic() - began < 10, "the grace time is 5 s"


def test_two_servers_never_share_a_data_folder(server):
    second = run([program("quantd"), "--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0",
                  "--data", server.data], env={})
    assert second.returncode == 1 and "locked by another quantd" in second.stderr
    assert server.client().succeed().state == job_pb2.Job.SUCCEEDED


def test_bad_settings_are_all_reported_at_once(tmp_path):
    refused = run([program("quantd"), "--listen", "0.0.0.0:0", "--lease", "soon",
                   "--data", tmp_path / "data"],
                  env={"QUANTD_LOG_LEVEL": "loud", "QUANTD_COLOUR": "red"})
    assert refused.returncode == 2
    for word in ("--insecure", "soon", "loud", "QUANTD_COLOUR"):
        assert word in refused.stderr, word
    assert not (tmp_path / "data").exists()


def test_flag_beats_environment_beats_file(tmp_path):
    config = tmp_path / "quantd.yaml"
    config.write_text("lease: 11s\nmax-attempts: 4\nlocal-workers: 5\n", encoding="utf-8")
    shown = run([program("quantd"), "--config", config, "--lease", "33s", "--print-config"],
                env={"QUANTD_LEASE": "22s", "QUANTD_MAX_ATTEMPTS": "6",
                     # Of other programs, and so no mistake.
                     "QUANTD_SERVER": "127.0.0.1:1", "QUANTD_WORKER_THREADS": "2"})
    assert shown.returncode == 0, shown.stderr
    values = dict(line.split("  # ")[0].split(" = ") for line in shown.stdout.splitlines())
    assert (values["lease"], values["max-attempts"], values["local-workers"]) == ("33s", "6", "5")
