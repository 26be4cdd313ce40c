"""TLS, with certificates that openssl makes, and clients that others wrote."""

import json
import shutil
import subprocess

import grpc
import pytest

from access import call, every_rpc, make_token, request_of, ssl_credentials
from authority import Authority
from client import open_channel, refusal, tiny_spec
from programs import environment, program, run
from quantd.v1 import job_pb2, quantization_service_pb2 as api
from waiting import until

SERVICE = "quantd.v1.QuantizationService"
GO_ADVICE = "./dev setup installs it"


class Pki:
    """Authorities for server and clients, another that nobody trusts, and the server's files."""

    def __init__(self, folder):
        folder.mkdir()
        self.folder = folder
        self.servers, self.clients = Authority(folder, "servers"), Authority(folder, "clients")
        self.foreign = Authority(folder, "foreign")
        self.mine, self.theirs = self.clients.issue("me"), self.foreign.issue("stranger")
        self.use(self.servers.issue("server-1"))

    def use(self, pair):
        """Puts a pair into the places that the server reads, as a person would: one by one."""
        for path, name in zip(pair, ("tls.crt", "tls.key")):
            shutil.copy(path, self.folder / "new")
            (self.folder / "new").rename(self.folder / name)

    @property
    def flags(self):
        return ["--tls-cert", str(self.folder / "tls.crt"), "--tls-key",
                str(self.folder / "tls.key")]

    @property
    def mutual(self):
        return [*self.flags, "--tls-client-ca", str(self.clients.certificate)]


@pytest.fixture
def pki(tmp_path):
    return Pki(tmp_path / "pki")


def test_every_rpc_over_a_foreign_certificate_meets_nobody(make_server, pki):
    good = ssl_credentials(pki.servers, pki.mine)
    server = make_server(workers=0, arguments=pki.mutual, credentials=good)
    _, secret = make_token(server.data, "user,worker,admin")
    for name, credentials in (("none", ssl_credentials(pki.servers)),
                              ("foreign", ssl_credentials(pki.servers, pki.theirs)),
                              ("plain text", None)):
        with open_channel(server.address, credentials, token=secret) as channel:
            for path, method in every_rpc().items():
                error = call(channel, path, method, request_of(method))
                print(f"{path:55} {name:12} {error.code().name if error else 'OK'}")
                assert error and error.code() == grpc.StatusCode.UNAVAILABLE, (path, name)
    assert server.client(token=secret).jobs() == []
    # And a client does not talk to a server of another authority.
    with open_channel(server.address, ssl_credentials(pki.foreign, pki.mine)) as channel:
        path = f"{SERVICE}/ListJobs"
        error = call(channel, path, every_rpc()[path], request_of(every_rpc()[path]))
        assert error.code() == grpc.StatusCode.UNAVAILABLE


def test_certificates_are_renewed_while_a_watch_runs(make_server, pki):
    server = make_server(workers=0, arguments=pki.flags, credentials=ssl_credentials(pki.servers))
    _, secret = make_token(server.data)
    client = server.client(token=secret)
    name = client.create(tiny_spec(bits=4)).name
    events = client.watch(name)
    assert next(events).state_change.state == job_pb2.Job.PENDING
    pki.use(pki.foreign.issue("server-2"))
    renewed = server.client(token=secret, credentials=ssl_credentials(pki.foreign))
    assert renewed.get(name).name == name, "a new connection meets the new certificate"
    old = server.client(token=secret, credentials=ssl_credentials(pki.servers))
    assert refusal(old.get, name).code == grpc.StatusCode.UNAVAILABLE
    renewed.cancel(name)
    assert [event.state_change.state for event in events] == [job_pb2.Job.CANCELLED], (
        "the stream that was open goes on to its end")
    server.credentials = ssl_credentials(pki.foreign)


def test_local_and_other_workers_work_over_tls(make_server, pki, tmp_path):
    good = ssl_credentials(pki.servers, pki.mine)
    server = make_server(workers=1, arguments=[*pki.mutual, "--require-tokens"], credentials=good)
    _, user = make_token(server.data)
    _, farm = make_token(server.data, "worker")
    client = server.client(token=user)
    client.succeed(tiny_spec(bits=4))
    token = tmp_path / "token"
    token.write_text(farm, "utf-8")
    certificate, key = pki.mine
    worker = subprocess.Popen(
        [program("quantd-worker"), "--name", "far", "--scratch", tmp_path / "far", "--server",
         server.address, "--token-file", token, "--tls-ca", pki.servers.certificate, "--tls-cert",
         certificate, "--tls-key", key], env=environment(), start_new_session=True)
    try:
        admin = server.client(token=make_token(server.data, "admin")[1])
        until(lambda: len(admin.stub.ListWorkers(api.ListWorkersRequest(),
                                                 timeout=60).workers) == 2,
              "the second worker to be known")
    finally:
        worker.terminate()
        assert worker.wait(60) == 0


def test_quantctl_over_tls(make_server, pki):
    good = ssl_credentials(pki.servers, pki.mine)
    server = make_server(workers=0, arguments=pki.mutual, credentials=good)
    _, secret = make_token(server.data)
    quantctl = server.quantctl()
    quantctl.environment["QUANTD_TOKEN"] = secret
    certificate, key = pki.mine
    flags = ["--tls-ca", pki.servers.certificate, "--tls-cert", certificate, "--tls-key", key]
    quantctl.ok("jobs", "list", *flags)
    assert quantctl("jobs", "list", *flags[:-2]).returncode == 2, "half a pair"
    swapped = quantctl("jobs", "list", *flags[:-1], pki.theirs[1])
    assert swapped.returncode == 2 and "another certificate" in swapped.stderr
    file = server.folder / "token"
    file.write_text(secret, "utf-8")
    quantctl.ok("login", "--token-file", file, *flags)
    del quantctl.environment["QUANTD_TOKEN"]
    quantctl.ok("jobs", "list")


def test_grpcurl_with_and_without_token_and_certificates(tool, make_server, pki):
    grpcurl = tool("grpcurl", GO_ADVICE)
    good = ssl_credentials(pki.servers, pki.mine)
    server = make_server(workers=0, arguments=[*pki.mutual, "--require-tokens"], credentials=good)
    _, secret = make_token(server.data, "user", "red")
    ca = ["-cacert", pki.servers.certificate]

    def list_jobs(*flags):
        return run([grpcurl, "-connect-timeout", "5", *flags, server.address,
                    f"{SERVICE}/ListJobs"])

    mine = ["-cert", pki.mine[0], "-key", pki.mine[1]]
    token = ["-H", f"authorization: Bearer {secret}"]
    done = list_jobs(*ca, *mine, *token)
    assert done.returncode == 0 and json.loads(done.stdout) == {}, done.stderr
    without = list_jobs(*ca, *mine)
    assert without.returncode == 64 + 16 and "UNAUTHENTICATED" in without.stderr
    for flags in ([*ca, *token], [*ca, "-cert", pki.theirs[0], "-key", pki.theirs[1], *token],
                  ["-plaintext", *token]):
        refused = list_jobs(*flags)
        assert refused.returncode != 0 and "ListJobs" not in refused.stdout, flags
        assert refused.returncode < 64, f"no answer of the server: {refused.stderr}"
    listed = run([grpcurl, *ca, *mine, server.address, "list"])
    assert SERVICE in listed.stdout, "reflection needs no token"
