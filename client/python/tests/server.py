"""quantd as a process, as tests/integration starts it, without the stubs of those tests."""

import os
import pathlib
import signal
import socket
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tests" / "integration"))

import processes  # noqa: E402
from programs import MODEL, MODELS, environment, program  # noqa: E402
from waiting import until  # noqa: E402

__all__ = ["MODEL", "ROOT", "QuantdServer", "until"]


class QuantdServer:
    """A server on a free port with a data folder of its own. Restarting keeps both."""

    def __init__(self, folder, workers=1, arguments=()):
        self.folder = folder
        self.data = folder / "data"
        self.log = folder / "quantd.log"
        self.workers = workers
        self.arguments = list(arguments)
        self.process = self.address = None

    def start(self, listen="127.0.0.1:0"):
        addresses = self.data / "quantd.address"
        addresses.unlink(missing_ok=True)
        command = [program("quantd"), "--listen", listen, "--metrics", "127.0.0.1:0",
                   "--data", str(self.data), "--local-workers", str(self.workers),
                   "--model-root", str(MODELS), "--model-root", str(self.folder)]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                command + self.arguments, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                start_new_session=True, env=environment())
        until(lambda: self._is_ready(addresses), "quantd to be ready")
        return self

    def _is_ready(self, addresses):
        assert self.process.poll() is None, self.log.read_text()
        if not addresses.exists():
            return False
        found = dict(line.split() for line in addresses.read_text("utf-8").splitlines())
        self.address = found["grpc"]
        host, port = self.address.rsplit(":", 1)
        with socket.socket() as probe:
            probe.settimeout(5)
            return probe.connect_ex((host, int(port))) == 0

    def kill(self):
        """A crash: local workers notice by themselves."""
        self.process.kill()
        self.process.wait(60)
        until(lambda: not processes.mentioning(str(self.data)), "workers to end with their server")

    def stop(self):
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            assert self.process.wait(60) == 0, self.log.read_text()
        for pid in processes.mentioning(str(self.data)):
            os.kill(pid, signal.SIGKILL)

    def token(self, roles="user", tenant="default"):
        """The secret of a new token."""
        done = subprocess.run(
            [program("quantd"), "tokens", "create", "--data", str(self.data), "--roles", roles,
             "--tenant", tenant], capture_output=True, text=True, check=True, env=environment())
        return done.stdout.strip()
