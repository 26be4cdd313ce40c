"""A server with one local worker for the length of a measurement."""

import os
import re
import shutil
import subprocess
import time


class Server:
    """quantd on a free port with its own data folder; stopped and removed at the end."""

    def __init__(self, binaries, folder, model_root):
        self.folder = folder
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)
        self.log = f"{folder}/quantd.log"
        with open(self.log, "w", encoding="utf-8") as log:
            # None of the settings of the person who measures.
            own = {name: value for name, value in os.environ.items()
                   if not name.startswith("QUANTD_")}
            self.process = subprocess.Popen(
                [f"{binaries}/quantd", "--local-workers", "1", "--listen", "127.0.0.1:0",
                 "--metrics", "127.0.0.1:0", "--data", f"{folder}/data",
                 "--model-root", model_root], env=own, stdout=log, stderr=log)
        self.address = self.wait_for_address()

    def wait_for_address(self, seconds=20):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self.process.poll() is None:
            with open(self.log, encoding="utf-8") as log:
                found = re.search(r"serves gRPC on (127\.0\.0\.1:\d+)", log.read())
            if found:
                return found.group(1)
            time.sleep(0.02)
        self.process.kill()
        raise RuntimeError(f"the server did not start: see {self.log}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(30)
        shutil.rmtree(self.folder, ignore_errors=True)
