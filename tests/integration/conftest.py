"""Servers for the tests, and what is shown when one fails."""

import os
import shutil

import pytest

import protos

_FOLDER = protos.compile_protos()  # before anything imports client.py

from programs import CACHE  # noqa: E402
from server_process import RUNNING, ServerProcess  # noqa: E402

os.environ["PATH"] = f"{CACHE / 'bin'}{os.pathsep}{os.environ['PATH']}"


def pytest_unconfigure():
    _FOLDER.cleanup()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    del item, call
    outcome = yield
    report = outcome.get_result()
    if report.failed:
        for server in RUNNING:
            report.sections.append((f"log of the server on {server.address}", server.tail()))


@pytest.fixture
def make_server(tmp_path):
    """make_server(workers=…, …) starts a server; all are stopped at the end, and must stop well."""
    made = []

    def make(**options):
        folder = tmp_path / f"server-{len(made)}"
        folder.mkdir()
        made.append(ServerProcess(folder, **options))
        return made[-1].start()

    yield make
    for server in made:
        server.clean_up()


@pytest.fixture
def server(make_server):
    """A server with one local worker, for one test."""
    return make_server()


@pytest.fixture(scope="module")
def shared_server(tmp_path_factory):
    """A server with one local worker, for all tests of a file."""
    running = ServerProcess(tmp_path_factory.mktemp("server")).start()
    yield running
    running.clean_up()


@pytest.fixture(scope="module")
def client(shared_server):
    return shared_server.client()


@pytest.fixture(scope="module")
def quantctl(shared_server):
    return shared_server.quantctl()


@pytest.fixture(scope="session")
def tool():
    """tool(NAME, HOW TO GET IT) is the path of a third-party program."""
    def find(name, advice):
        path = shutil.which(name)
        if path is None:
            complaint = f"{name} is not installed: {advice}"
            if os.environ.get("CI"):
                pytest.fail(complaint)
            pytest.skip(complaint)
        return path
    return find
