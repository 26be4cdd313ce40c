"""quantd as a process: started on free ports with a data folder of its own, stopped, killed."""

import os
import signal
import subprocess

from grpc_health.v1 import health_pb2, health_pb2_grpc

import processes
from client import Client, open_channel
from programs import MODELS, Quantctl, environment, program
from waiting import until

# All that have run in the present test, for the log tail of a failure.
RUNNING = []
TAIL_BYTES = 6000


class ServerProcess:
    """One data folder and the server that runs on it. Restarting keeps the folder."""

    def __init__(self, folder, workers=1, model_roots=(MODELS,), arguments=(),
                 credentials=None, result_cache=False):
        self.folder = folder
        self.data = folder / "data"
        self.log = folder / "quantd.log"
        self.workers = workers
        self.model_roots = model_roots
        self.arguments = list(arguments)
        self.result_cache = result_cache  # off: tests make many jobs of one request
        self.credentials = credentials  # what a client needs, of a server with TLS
        self.process = None
        self.address = self.metrics = None
        self.clients = []

    def start(self, listen="127.0.0.1:0"):
        addresses = self.data / "quantd.address"
        addresses.unlink(missing_ok=True)
        command = [program("quantd"), "--listen", listen, "--metrics", "127.0.0.1:0",
                   "--data", str(self.data), "--local-workers", str(self.workers)]
        for root in self.model_roots:
            command += ["--model-root", str(root)]
        if not self.result_cache:
            command.append("--no-result-cache")
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(command + self.arguments, stdout=log, stderr=log,
                                            stdin=subprocess.DEVNULL, start_new_session=True,
                                            env=environment())
        if self not in RUNNING:
            RUNNING.append(self)
        until(lambda: self._is_ready(addresses), f"quantd to be ready\n{self.tail()}")
        return self

    def _is_ready(self, addresses):
        assert self.process.poll() is None, f"quantd ended at its start\n{self.tail()}"
        if not addresses.exists():
            return False
        found = dict(line.split() for line in addresses.read_text("utf-8").splitlines())
        self.address, self.metrics = found["grpc"], found["metrics"]
        with open_channel(self.address, self.credentials) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            reply = stub.Check(health_pb2.HealthCheckRequest(), wait_for_ready=True, timeout=60)
        return reply.status == health_pb2.HealthCheckResponse.SERVING

    def client(self, **access):
        access.setdefault("credentials", self.credentials)
        self.clients.append(Client(self.address, **access))
        return self.clients[-1]

    def quantctl(self):
        home = self.folder / "home"
        home.mkdir(exist_ok=True)
        return Quantctl(self.address, home)

    def processes(self):
        """Everything that belongs to this server: itself, workers, runners."""
        return processes.mentioning(str(self.data))

    def runners(self):
        return [pid for pid, command in self.processes().items() if processes.is_runner(command)]

    def worker_pids(self):
        return [pid for pid, command in self.processes().items()
                if pid != self.process.pid and "quantize" not in command]

    def stop(self):
        """SIGTERM: it must end well, and leave nothing running."""
        self.process.send_signal(signal.SIGTERM)
        self.wait_for_end()

    def wait_for_end(self):
        assert self.process.wait(60) == 0, f"exit code {self.process.returncode}\n{self.tail()}"
        left = self.processes()
        assert not left, f"left running: {left}\n{self.tail()}"
        self._forget()

    def kill(self):
        """kill -9 of the server alone: what a crash is. Local workers must notice by themselves."""
        self.process.kill()
        self.process.wait(60)
        until(lambda: not self.processes(), "local workers and runners to end with their server")
        self._forget()

    def clean_up(self):
        """After a test, whatever happened in it. A server that still runs must stop well."""
        try:
            if self.process is not None and self.process.poll() is None:
                self.stop()
        finally:
            for pid in self.processes():
                os.kill(pid, signal.SIGKILL)
            self._forget()
            if self in RUNNING:
                RUNNING.remove(self)

    def _forget(self):
        for client in self.clients:
            client.close()
        self.clients = []

    def tail(self):
        if not self.log.exists():
            return "(no log)"
        return "--- the end of quantd.log\n" + self.log.read_bytes()[-TAIL_BYTES:].decode(
            errors="replace")

    def everything_kept(self):
        """path -> size of every file under the data folder that a job may have left."""
        kept = {}
        for name in ("blobs", "scratch"):
            for path in (self.data / name).rglob("*"):
                if path.is_file() and path.suffix != ".lock" and path.name != "store-identity":
                    kept[str(path.relative_to(self.data))] = path.stat().st_size
        return kept
