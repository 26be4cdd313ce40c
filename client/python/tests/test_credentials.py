"""Tokens and TLS: arguments, environment, files; as quantctl finds them."""

import json
import subprocess

import pytest
from conftest import TINY
from server import MODEL, program

import quantd
from quantd import Client
from quantd.credentials import Credentials, find_credentials


@pytest.fixture
def guarded(make_server):
    return make_server(workers=0, arguments=["--require-tokens"])


def test_a_token_by_every_way(guarded, monkeypatch, tmp_path):
    token = guarded.token()
    file = tmp_path / "token"
    file.write_text(f"{token}\n")
    with pytest.raises(quantd.Unauthenticated):
        Client(guarded.address).capabilities()
    assert Client(guarded.address, token=token).capabilities().methods
    assert Client(guarded.address, token_file=str(file)).capabilities().methods
    with monkeypatch.context() as patch:
        patch.setenv("QUANTD_SERVER", guarded.address)
        patch.setenv("QUANTD_TOKEN_FILE", str(file))
        assert Client().capabilities().methods
        patch.setenv("QUANTD_TOKEN", "wrong")
        with pytest.raises(quantd.Unauthenticated):
            Client().capabilities()
        assert Client(token=token).capabilities().methods


def test_roles_and_tenants(guarded):
    mine = Client(guarded.address, token=guarded.token(tenant="a"))
    job = mine.quantize(MODEL, **TINY)
    other = Client(guarded.address, token=guarded.token(tenant="b"))
    with pytest.raises(quantd.NotFound):
        other.job(job.name)
    with pytest.raises(quantd.PermissionDenied):
        other.workers()
    admin = guarded.token(roles="admin")
    assert [one.name for one in Client(guarded.address, token=admin, tenant="*").jobs()] == [
        job.name]


def test_what_quantctl_login_kept_is_found(guarded, tmp_path):
    subprocess.run([program("quantctl"), "login", "--server", guarded.address],
                   input=guarded.token(), text=True, check=True, capture_output=True,
                   env={"HOME": str(tmp_path)})
    assert Client(guarded.address).capabilities().methods
    kept = tmp_path / ".config" / "quantd" / "credentials.json"
    kept.chmod(0o644)
    with pytest.raises(quantd.WrongState, match="chmod 600"):
        Client(guarded.address)


def test_tls_and_certificates_of_clients(make_server, tmp_path, monkeypatch):
    from authority import Authority

    servers, clients = Authority(tmp_path, "servers"), Authority(tmp_path, "clients")
    certificate, key = servers.issue("quantd")
    server = make_server(workers=0, arguments=[
        "--tls-cert", str(certificate), "--tls-key", str(key), "--tls-client-ca",
        str(clients.certificate)])
    mine, my_key = clients.issue("me")
    ours = {"tls_ca": str(servers.certificate), "tls_cert": str(mine), "tls_key": str(my_key)}
    assert Client(server.address, **ours).capabilities().methods
    with pytest.raises(quantd.Unavailable):
        Client(server.address, tls_ca=str(servers.certificate)).capabilities()
    for name, path in ours.items():
        monkeypatch.setenv(f"QUANTD_CLIENT_{name.upper()}", path)
    assert Client(server.address).capabilities().methods


@pytest.mark.parametrize(("given", "field"), [
    ({"token": "a b"}, "token"),
    ({"tls_cert": "x", "tls_ca": "system"}, "tls_key"),
    ({"tls_ca": "/nowhere"}, "tls_ca"),
    ({"token": "secret"}, "server"),
])
def test_what_would_leak_or_cannot_work_is_refused(given, field):
    with pytest.raises(quantd.InvalidRequest) as caught:
        Client("quantd.example:8470", **given)
    assert caught.value.violations[0].field == field
    assert "secret" not in str(caught.value)


def test_a_token_is_never_shown():
    assert "secret" not in repr(Credentials(token="secret"))


def test_the_file_of_quantctl_may_hold_anything(tmp_path):
    folder = tmp_path / ".config" / "quantd"
    folder.mkdir(parents=True)
    file = folder / "credentials.json"
    environment = {"HOME": str(tmp_path)}
    for text in ("", "[]", '{"servers": []}', '{"servers": {"h:1": 3}}'):
        file.write_text(text)
        file.chmod(0o600)
        if '"h:1"' in text:
            assert find_credentials("h:1", Credentials(), None, environment).token == ""
            continue
        with pytest.raises(quantd.InvalidRequest, match="log in again"):
            find_credentials("h:1", Credentials(), None, environment)
    file.write_text(json.dumps({"servers": {"h:1": {"token": "t", "plaintext": "anywhere"}}}))
    assert find_credentials("h:1", Credentials(), None, environment) == Credentials(
        token="t", insecure=True)
    (folder / "config.yaml").write_text("# mine\nserver: 'h:1'  # here\n")
    from quantd.credentials import server_address

    assert server_address(None, environment) == "h:1"
