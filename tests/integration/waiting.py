"""Waiting for something that must happen."""

import time

SECONDS = 60


def until(condition, what, seconds=SECONDS):
    """Returns the first true value of condition(); fails after so many seconds."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(0.02)
