"""A real S3-compatible server, versitygw, over a folder of its own."""

import os
import shutil
import socket
import subprocess

from programs import CACHE
from waiting import until

KEYS = {"AWS_ACCESS_KEY_ID": "tester", "AWS_SECRET_ACCESS_KEY": "secret-of-tests"}
BUCKET = "quantd-test"


def versitygw():
    """The program; None: it is not installed."""
    return shutil.which("versitygw", path=f"{CACHE / 'bin'}{os.pathsep}{os.environ['PATH']}")


class ObjectStore:
    """One server with one bucket."""

    def __init__(self, folder):
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            self.port = listener.getsockname()[1]
        # A bucket of it is a folder.
        (folder / "data" / BUCKET).mkdir(parents=True)
        (folder / "attributes").mkdir()
        with open(folder / "log", "ab") as log:
            self.process = subprocess.Popen(
                [versitygw(), "--port", f"127.0.0.1:{self.port}", "posix", "--sidecar",
                 str(folder / "attributes"), str(folder / "data")], stdout=log, stderr=log,
                env=os.environ | {"ROOT_ACCESS_KEY": KEYS["AWS_ACCESS_KEY_ID"],
                                  "ROOT_SECRET_KEY": KEYS["AWS_SECRET_ACCESS_KEY"]})
        until(self._listens, "the object store to listen")

    def _listens(self):
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", self.port)) == 0

    def uri(self, place):
        return f"s3://{BUCKET}/{place}?endpoint=http://127.0.0.1:{self.port}"

    def stop(self):
        self.process.kill()
        self.process.wait(60)
