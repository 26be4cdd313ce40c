"""Who gets in, and to what: tokens, roles, tenants."""

import json
import subprocess
import time

import grpc
import pytest
from google.protobuf import descriptor
from grpc_reflection.v1alpha import proto_reflection_descriptor_database as reflection

from access import (call, every_rpc, job_field, make_token, promised, quantd_tokens, request_of,
                    revoke_token)
from client import Refusal, open_channel, refusal, tiny_spec
from programs import TINY, MODEL, environment, program
from quantd.v1 import job_pb2, quantization_service_pb2 as api
from waiting import until

CALLERS = ("user", "worker", "admin", "no token", "expired or revoked")


@pytest.fixture
def guarded(make_server):
    """A server that asks for tokens, without workers."""
    return make_server(workers=0, arguments=["--require-tokens"])


def code_of(error):
    return error.code().name if error else "OK"


def expired_token(server):
    """A token that was good, and is no more."""
    _, secret = make_token(server.data, "user,worker,admin", "default", "--expires", "500ms")
    client = server.client(token=secret)

    def refused():
        try:
            client.jobs()
        except grpc.RpcError as error:
            return "expired" in error.details()
        return False

    until(refused, "a token to expire")
    return secret


def revoked_token(server):
    token_id, secret = make_token(server.data, "user,worker,admin")
    server.client(token=secret).jobs()
    revoke_token(server.data, token_id)
    return secret


def answers_to(server, token):
    """path -> code of every rpc, called with this token."""
    with open_channel(server.address, server.credentials, token=token) as channel:
        return {path: code_of(call(channel, path, method, request_of(method)))
                for path, method in every_rpc().items()}


def test_every_rpc_is_in_the_table_and_the_table_holds(guarded):
    tokens = {role: [make_token(guarded.data, role)[1]] for role in ("user", "worker", "admin")}
    tokens["no token"] = [None, "quantd_" + "x" * 43, "rubbish"]
    tokens["expired or revoked"] = [expired_token(guarded), revoked_token(guarded)]
    table = promised()
    assert set(table) == set(every_rpc()), "docs/security.md has every rpc"
    with open_channel(guarded.address) as channel:
        served = set(reflection.ProtoReflectionDescriptorDatabase(channel).get_services())
    assert served == {path.split("/")[0] for path in table}, "and every service"
    for caller in CALLERS:
        for token in tokens[caller]:
            for path, code in answers_to(guarded, token).items():
                print(f"{path:55} {caller:20} {code}")
                wanted = table[path][caller]
                if wanted == "yes":
                    assert code not in ("UNAUTHENTICATED", "PERMISSION_DENIED"), (path, caller)
                else:
                    assert code == wanted, (path, caller)


def test_the_name_of_another_tenants_job_is_a_name_that_never_was(guarded):
    _, red = make_token(guarded.data, "user", "red")
    _, blue = make_token(guarded.data, "user", "blue")
    theirs = guarded.client(token=red).create(tiny_spec(bits=4)).name
    nobodys = "jobs/" + "a" * (len(theirs) - 5)
    asked = [(path, method) for path, method in every_rpc().items() if job_field(method)]
    assert len(asked) >= 6, "GetJob, CancelJob, DeleteJob, WatchJob and both of artifacts"
    with open_channel(guarded.address, token=blue) as channel:
        for path, method in asked:
            foreign = Refusal(call(channel, path, method, request_of(method, theirs)))
            never = Refusal(call(channel, path, method, request_of(method, nobodys)))
            assert foreign.code == never.code == grpc.StatusCode.NOT_FOUND, path
            assert str(foreign).replace(theirs, nobodys) == str(never), path
    mine = guarded.client(token=red)
    assert mine.get(theirs).state == job_pb2.Job.PENDING and mine.get(theirs).tenant == "red"
    assert guarded.client(token=blue).jobs() == []


def test_an_admin_sees_other_tenants_when_it_says_so(guarded):
    _, red = make_token(guarded.data, "user", "red")
    _, admin = make_token(guarded.data, "admin", "ops")
    name = guarded.client(token=red).create(tiny_spec(bits=4)).name
    assert refusal(guarded.client(token=admin).get, name).reason == "JOB_NOT_FOUND"
    for tenant in ("red", "*"):
        assert guarded.client(token=admin, tenant=tenant).get(name).tenant == "red"
        assert [job.name for job in guarded.client(token=admin, tenant=tenant).jobs()] == [name]
    assert refusal(guarded.client(token=red, tenant="*").jobs).reason == "PERMISSION_DENIED"


def test_the_first_token_closes_a_running_server_and_its_local_workers_go_on(server):
    open_client = server.client()
    before = open_client.succeed(tiny_spec(bits=4)).name
    _, secret = make_token(server.data)
    assert refusal(open_client.get, before).code == grpc.StatusCode.UNAUTHENTICATED
    client = server.client(token=secret)
    assert client.get(before).tenant == "default", "jobs of before are the default tenant's"
    client.succeed(tiny_spec(bits=4))


def test_no_secret_is_in_a_log_an_argument_or_a_reply(make_server):
    server = make_server(arguments=["--require-tokens", "--log-level", "trace"])
    _, secret = make_token(server.data, "user", "crimson")
    local = (server.data / "local-workers.token").read_text("utf-8").strip()
    assert (server.data / "local-workers.token").stat().st_mode & 0o777 == 0o600
    client = server.client(token=secret)
    client.succeed(tiny_spec(bits=4))
    arguments = " ".join(" ".join(command) for command in server.processes().values())
    log = server.log.read_text("utf-8", errors="replace")
    listed = quantd_tokens(server.data, "list").stdout
    database = b"".join(path.read_bytes() for path in server.data.glob("quantd.db*"))
    for token in (secret, local):
        assert token not in arguments + log + listed
        assert token.encode() not in database
        text = str(refusal(server.client(token=token + "x").jobs))
        assert token not in text, text
    assert "crimson" in listed and json.loads(
        quantd_tokens(server.data, "list", "--json").stdout)[0]["state"] == "good"


def test_tokens_create_says_what_is_wrong(tmp_path):
    for wrong in (["--roles", "root"], ["--tenant", "No"], ["--expires", "soon"],
                  ["--expires", "-1h"], ["--name", "x y"]):
        made = quantd_tokens(tmp_path / "data", "create", *wrong)
        assert made.returncode == 2 and wrong[0].strip("-") in made.stderr, made.stderr
        assert made.stdout == ""
    assert quantd_tokens(tmp_path / "none", "list").returncode == 2
    secret = tmp_path / "secret"
    made = quantd_tokens(tmp_path / "data", "create", "--file", secret, "--expires", "90d")
    assert made.returncode == 0 and made.stdout == ""
    assert secret.stat().st_mode & 0o777 == 0o600
    assert quantd_tokens(tmp_path / "data", "revoke", "nobody").returncode == 2


def test_quantctl_login_keeps_a_token_for_its_owners_eyes(guarded):
    _, secret = make_token(guarded.data)
    quantctl = guarded.quantctl()
    refused = quantctl("jobs", "list")
    assert refused.returncode == 2 and "quantctl login" in refused.stderr
    bad = subprocess.run(quantctl.command("login"), input="quantd_" + "x" * 43, text=True,
                         env=quantctl.environment, capture_output=True, timeout=60, check=False)
    kept = quantctl.home / ".config" / "quantd" / "credentials.json"
    assert bad.returncode == 2 and not kept.exists(), "a token that is not known is not kept"
    good = subprocess.run(quantctl.command("login"), input=secret + "\n", text=True,
                          env=quantctl.environment, capture_output=True, timeout=60, check=False)
    assert good.returncode == 0, good.stderr
    assert kept.stat().st_mode & 0o777 == 0o600
    quantctl.ok("jobs", "list")
    kept.chmod(0o644)
    loose = quantctl("jobs", "list")
    assert loose.returncode == 2 and "chmod 600" in loose.stderr and secret not in loose.stderr
    kept.chmod(0o600)
    assert "logged out" in quantctl.ok("logout")
    assert quantctl("jobs", "list").returncode == 2
    # The other ways to say it.
    file = guarded.folder / "token"
    file.write_text(secret + "\n", "utf-8")
    quantctl.ok("jobs", "list", "--token-file", file)
    for name, value in (("QUANTD_TOKEN", secret), ("QUANTD_TOKEN_FILE", str(file))):
        quantctl.environment[name] = value
        quantctl.ok("jobs", "list")
        del quantctl.environment[name]


def test_a_worker_reads_its_token_again_when_it_was_renewed(guarded, tmp_path):
    first_id, first = make_token(guarded.data, "worker", "default", "--name", "farm")
    _, user = make_token(guarded.data)
    file = tmp_path / "worker.token"
    file.write_text(first, "utf-8")
    with open(tmp_path / "worker.log", "ab") as log:
        worker = subprocess.Popen(
            [program("quantd-worker"), "--name", "w1", "--scratch", tmp_path / "scratch",
             "--server", guarded.address, "--token-file", file],
            env=environment(), stdout=log, stderr=log)
    try:
        client = guarded.client(token=user)
        client.succeed(tiny_spec(bits=4))
        revoke_token(guarded.data, first_id)
        _, second = make_token(guarded.data, "worker", "default", "--name", "farm")
        file.write_text(second, "utf-8")
        client.succeed(tiny_spec(bits=4))
    finally:
        worker.terminate()
        assert worker.wait(60) == 0
    assert first not in (tmp_path / "worker.log").read_text("utf-8")


def test_a_whole_job_through_quantctl_with_a_token(make_server, tmp_path):
    server = make_server(arguments=["--require-tokens"])
    _, secret = make_token(server.data, "user", "red")
    quantctl = server.quantctl()
    quantctl.environment["QUANTD_TOKEN"] = secret
    quantctl.ok("quantize", MODEL, "--method", "rtn", "--bits", "4", *TINY, "--out",
                tmp_path / "out")
    assert (tmp_path / "out" / "model.safetensors").exists()


def test_the_audit_log_tells_who_changed_what(guarded):
    token_id, secret = make_token(guarded.data, "user", "red", "--name", "alice")
    _, worker = make_token(guarded.data, "worker")
    client = guarded.client(token=secret)
    begin = time.time()
    name = client.create(tiny_spec(bits=4)).name
    client.create(tiny_spec(bits=4), validate_only=True)
    client.cancel(name)
    client.delete(name)
    refusal(client.cancel, name)
    refusal(guarded.client(token=worker).cancel, name)
    refusal(guarded.client().cancel, name)
    path = guarded.data / "audit.log"
    assert path.stat().st_mode & 0o777 == 0o600
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    assert [(line["action"], line["resource"], line["outcome"]) for line in lines[2:]] == [
        ("CreateJob", name, "OK"), ("CancelJob", name, "OK"), ("DeleteJob", name, "OK"),
        ("CancelJob", name, "JOB_NOT_FOUND"), ("CancelJob", name, "PERMISSION_DENIED")]
    assert {(line["tenant"], line["caller"], line["token"]) for line in lines[2:6]} == {
        ("red", "alice", token_id)}
    assert [line["action"] for line in lines[:2]] == ["tokens create"] * 2
    assert lines[2]["time"] >= time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(begin))
    assert secret not in path.read_text("utf-8")


def test_descriptors_are_what_the_tests_walk():
    """The walk finds rpcs of every kind; were it empty, the table's test would prove nothing."""
    rpcs = every_rpc()
    assert isinstance(rpcs["quantd.v1.WorkerService/Synchronize"], descriptor.MethodDescriptor)
    assert rpcs["quantd.v1.QuantizationService/WatchJob"].server_streaming
    assert api.DESCRIPTOR.services_by_name["QuantizationService"].methods_by_name["CreateJob"]
