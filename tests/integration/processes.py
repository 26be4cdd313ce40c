"""Processes on this machine, read from /proc."""

import os
import pathlib


def _command_line(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split(
            "\0")[:-1]
    except OSError:
        return []


def _state(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1][1]
    except OSError:
        return "gone"


def mentioning(text):
    """pid -> command line of every live process whose command line holds `text`."""
    found = {}
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        command = _command_line(name)
        if any(text in part for part in command) and _state(name) not in ("Z", "gone"):
            found[int(name)] = command
    return found


def is_runner(command):
    """Whether it is the child that quantizes for an agent."""
    return "--events-fd" in command
