"""Runs one program and measures it: wall seconds, CPU seconds, peak memory of that child alone."""

import os
import subprocess
import time


def run(command, log, settings, out=None):
    """{rc, wall_seconds, cpu_seconds, peak_mib}. What it prints goes into the file `log`; with
    `out`, its standard output into that file. wait4 tells the usage of this one child; the driver
    is small, so what a child inherits of its memory does not count."""
    os.makedirs(os.path.dirname(log), exist_ok=True)
    started = time.monotonic()
    with open(log, "wb") as errors, open(out or os.devnull, "wb") as output:
        child = subprocess.Popen(command, env=settings, stdin=subprocess.DEVNULL, stderr=errors,
                                 stdout=output if out else errors)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    return {"rc": child.returncode, "wall_seconds": round(time.monotonic() - started, 3),
            "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 3),
            "peak_mib": round(usage.ru_maxrss / 1024, 1)}


def tail(log, lines=8):
    with open(log, encoding="utf-8", errors="replace") as file:
        return "".join(file.readlines()[-lines:])
