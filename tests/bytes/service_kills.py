"""Kills server, agents and runners at random under a stream of jobs: nothing lost, nothing twice?

    service_kills.py --kills 100 --out FOLDER [--seed N] [--note FILE]

Jobs of several kinds are created one after the other, each with a request id of its own that is
sent until it is answered; a few are always open, and each is followed by a watcher that comes back
after every failure. Meanwhile SIGKILL goes to the server, to an agent or to a runner at random
moments; the server is started again on the same folder. In the end every job must have succeeded,
once, with the bytes of an undisturbed run, all of its files whole, and events 1..n for whoever
watched. Exit 1 if not. Programs: QUANTD_BUILD, as of tests/integration.
"""

import argparse
import collections
import datetime
import hashlib
import os
import pathlib
import random
import shutil
import signal
import statistics
import sys
import threading
import time
import uuid

TESTS = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / "integration"), str(TESTS / "style")]
import protos  # noqa: E402

_PROTOS = protos.compile_protos()  # before anything imports client.py

import grpc  # noqa: E402

import artifacts  # noqa: E402
import note  # noqa: E402
from client import FINAL, Client, describe, tiny_spec  # noqa: E402
from quantd.v1 import job_pb2  # noqa: E402
from server_process import ServerProcess  # noqa: E402

WORKERS = 2
OPEN = 4  # jobs at a time: some run, some wait
VICTIMS = {"runner": 6, "agent": 3, "server": 2}  # how often, in proportion
REASONS = {"RUNNER_CRASHED": "runner", "LEASE_LOST": "agent or server"}
PATIENCE = 600


def calibrated(method, **scheme):
    spec = tiny_spec(method=method, **scheme)
    spec.calibration.samples = 32
    spec.calibration.sequence_length = 256
    spec.evaluation.windows = 8
    spec.evaluation.sequence_length = 128
    return spec


def kinds():
    """name -> spec: with and without calibration, with and without a forward pass."""
    quantized = calibrated("gptq", bits=4, symmetric=True)
    quantized.recipe.propagate = 2  # PROPAGATE_QUANTIZED
    plain = tiny_spec(bits=4)
    plain.evaluation.disabled = True
    return {"awq": calibrated("awq"), "gptq, quantized inputs": quantized,
            "int8": calibrated("int8"), "rtn, no forward pass": plain}


def digests(job):
    return {file.path: file.sha256 for file in job.result.files
            if file.path not in artifacts.TELL_TIME}


class Stream:
    """The server and all that was asked of it."""

    def __init__(self, server, specs, generator):
        self.server, self.specs, self.generator = server, specs, generator
        self.address = server.address
        self.asked = []  # (kind, request id, job's name)
        self.told = collections.defaultdict(list)  # name -> sequences, in the order they came
        self.watchers = []
        self.clients = threading.local()

    def client(self):
        if not hasattr(self.clients, "one"):
            self.clients.one = Client(self.address)
        return self.clients.one

    def insist(self, call):
        """What the call returns, once a server answers."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                return call(self.client())
            except grpc.RpcError as error:
                if error.code() != grpc.StatusCode.UNAVAILABLE or time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def ask(self, kind):
        request_id = str(uuid.UUID(int=self.generator.getrandbits(128), version=4))
        job = self.insist(lambda client: client.create(self.specs[kind], {"request": request_id},
                                                       request_id=request_id))
        self.asked.append((kind, request_id, job.name))
        watcher = threading.Thread(target=self.watch, args=(job.name,), daemon=True)
        watcher.start()
        self.watchers.append(watcher)

    def watch(self, name):
        """Follows one job to its end, and remembers every sequence it is told."""
        told = self.told[name]

        def follow(client):
            for event in client.watch(name, after=told[-1] if told else 0, seconds=PATIENCE):
                told.append(event.sequence)
        self.insist(follow)

    def open_jobs(self):
        jobs = self.insist(lambda client: client.jobs(page_size=1000))
        return [job for job in jobs if job.state not in FINAL]

    def kill(self, victim):
        """Whether there was one."""
        if victim == "server":
            self.server.kill()
            self.server.start(listen=self.address)
            return True
        pids = self.server.runners() if victim == "runner" else self.server.worker_pids()
        if not pids:
            return False
        try:
            os.kill(self.generator.choice(pids), signal.SIGKILL)
        except ProcessLookupError:
            return False
        return True


def lost_times(events):
    """(victim, seconds) per failed attempt: from its last block to where the next has as many."""
    lost = []
    done, since, waiting = 0, None, None  # waiting: (victim, blocks, since) of the attempt before
    for event in events:
        at = event.time.ToMicroseconds() / 1e6
        if event.HasField("progress"):
            blocks = event.progress.blocks_done
            if waiting and blocks >= waiting[1]:
                lost.append((waiting[0], at - waiting[2]))
                waiting = None
            if blocks > done:
                done, since = blocks, at
        elif event.HasField("state_change"):
            change = event.state_change
            if change.state == job_pb2.Job.RUNNING:
                done, since = 0, at
            elif change.state == job_pb2.Job.PENDING and change.HasField("error"):
                victim = REASONS.get(change.error.reason, change.error.reason)
                # An attempt that died while it caught up costs what it took beside the one before.
                waiting = (victim, done, since) if waiting is None else waiting
    return lost


def whole(stream, job):
    """Whether each file that is named can be read and is what it should be."""
    listed = {file.path for file in stream.insist(lambda client: client.files(job.name)).files}
    for file in job.result.files:
        data = b"".join(chunk.data for chunk in
                        stream.insist(lambda client, path=file.path:
                                      list(client.read(job.name, path))))
        if file.path not in listed or hashlib.sha256(data).hexdigest() != file.sha256:
            return False
    return True


def judge(stream, wanted):
    """Counts of what went wrong, by name; (jobs, attempts, lost times)."""
    wrong = collections.Counter({name: 0 for name in (
        "lost", "duplicated", "half-published", "different", "events missing or repeated")})
    jobs = {job.name: job for job in stream.insist(lambda client: client.jobs(page_size=1000))}
    requests = collections.Counter(job.labels["request"] for job in jobs.values())
    attempts, lost = 0, []
    for kind, request_id, name in stream.asked:
        if name not in jobs:
            wrong["lost"] += 1
            continue
        wrong["duplicated"] += requests[request_id] != 1
        job = stream.insist(lambda client, name=name: client.get(name))
        if job.state != job_pb2.Job.SUCCEEDED:
            print(describe(job), file=sys.stderr)
            wrong["lost"] += 1
            continue
        attempts += job.attempts
        wrong["different"] += digests(job) != wanted[kind]
        wrong["half-published"] += not whole(stream, job)
        events = stream.insist(lambda client, name=name: list(client.watch(name)))
        in_order = list(range(1, len(events) + 1))
        results = [event for event in events if event.HasField("result")]
        wrong["duplicated"] += len(results) != 1
        wrong["events missing or repeated"] += (
            [event.sequence for event in events] != in_order or stream.told[name] != in_order)
        lost += lost_times(events)
    wrong["duplicated"] += len(jobs) - len(stream.asked)
    return wrong, attempts, lost


def run(arguments):
    folder = pathlib.Path(arguments.out)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    generator = random.Random(arguments.seed)
    # A kill may meet a job before its first block any number of times.
    server = ServerProcess(folder, workers=WORKERS, arguments=[
        "--max-attempts", "100", "--lease", "2s", "--retry-delay", "100ms"])
    server.start()
    specs = kinds()
    try:
        client = server.client()
        names = {kind: client.create(spec).name for kind, spec in specs.items()}
        wanted = {kind: digests(client.wait(name, seconds=PATIENCE))
                  for kind, name in names.items()}
        for name in names.values():
            client.delete(name)
        stream = Stream(server, specs, generator)
        done = collections.Counter()
        while sum(done.values()) < arguments.kills:
            for _ in range(OPEN - len(stream.open_jobs())):
                stream.ask(generator.choice(list(specs)))
            time.sleep(generator.uniform(0.05, 1.2))
            victim = generator.choices(list(VICTIMS), VICTIMS.values())[0]
            done[victim] += stream.kill(victim)
        for watcher in stream.watchers:
            watcher.join(PATIENCE)
        return done, stream, *judge(stream, wanted)
    finally:
        server.clean_up()


def report(done, stream, wrong, attempts, lost):
    kills = sum(done.values())
    killed = ", ".join(f"{done[victim]} {victim}" for victim in VICTIMS)
    lines = [f"{kills} kills with SIGKILL ({killed}) under {len(stream.asked)} jobs of "
             f"{len(stream.specs)} kinds, {attempts} attempts: "
             + ", ".join(f"{count} {name}" for name, count in wrong.items()) + ".", "",
             "| killed | attempts that it ended | seconds lost, median | worst |",
             "|---|---|---|---|"]
    for victim in REASONS.values():
        times = [seconds for name, seconds in lost if name == victim]
        if times:
            lines.append(f"| {victim} | {len(times)} | {statistics.median(times):.2f} | "
                         f"{max(times):.2f} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", required=True, help="scratch folder")
    parser.add_argument("--note", help="page that gets the table")
    arguments = parser.parse_args()
    begin = time.monotonic()
    done, stream, wrong, attempts, lost = run(arguments)
    text = report(done, stream, wrong, attempts, lost)
    print(text)
    failed = sum(wrong.values())
    print(f"{time.monotonic() - begin:.0f} s")
    print(f"{len(stream.asked) - min(failed, len(stream.asked))} passed, {failed} failed")
    if arguments.note:
        today = datetime.date.today().isoformat()
        note.put(arguments.note, "service kills",
                 f"## ./dev kills --service\n\n{today}, {os.cpu_count()} cores: {text}")
    _PROTOS.cleanup()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
