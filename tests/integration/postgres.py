"""A real PostgreSQL in a folder of its own, that listens on a socket there alone."""

import os
import pathlib
import subprocess

NOBODY = 65534


def tools():
    """The folder of the newest version that is installed; None: there is none."""
    found = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin"))
    return found[-1] if found else None


class Postgres:
    """One cluster with one database."""

    def __init__(self, folder):
        self.folder = folder
        self.data, self.log = folder / "data", folder / "log"
        # It refuses to run as root.
        self.user = {"user": NOBODY, "group": NOBODY} if os.geteuid() == 0 else {}
        if self.user:
            os.chown(folder, NOBODY, NOBODY)
        self._run("initdb", "-D", self.data, "-U", "tester", "-A", "trust", "-E", "UTF8",
                  "--locale=C.UTF-8", "--no-sync")
        self.start()

    def _run(self, tool, *arguments):
        subprocess.run([tools() / tool, *[str(argument) for argument in arguments]], check=True,
                       cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL, timeout=120, **self.user)

    def start(self):
        self._run("pg_ctl", "-D", self.data, "-w", "-l", self.log, "-o",
                  f"-c listen_addresses='' -c fsync=off -k {self.folder}", "start")

    def stop(self):
        """As a crash: connections break, nothing is said."""
        self._run("pg_ctl", "-D", self.data, "-m", "immediate", "-w", "stop")

    @property
    def uri(self):
        return f"postgresql:///postgres?user=tester&host={self.folder}"
