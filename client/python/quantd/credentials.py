"""Which server, and who calls it: arguments, else the environment, else what `quantctl login` kept.

The names are those of quantctl (docs/cli.md): QUANTD_SERVER; QUANTD_TOKEN, QUANTD_TOKEN_FILE;
QUANTD_CLIENT_TLS_CA, QUANTD_CLIENT_TLS_CERT, QUANTD_CLIENT_TLS_KEY; `server:` of
~/.config/quantd/config.yaml; ~/.config/quantd/credentials.json.

>>> server_address(None, {"QUANTD_SERVER": "quantd.example:8470"})
'quantd.example:8470'
>>> server_address("quantd.example", {})
Traceback (most recent call last):
...
quantd.errors.InvalidRequest: not the address of a server (INVALID_FIELD)
  server: got quantd.example, wanted HOST:PORT
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, field, replace
from typing import Any, List, Mapping, Optional, Tuple

import grpc

from quantd.errors import InvalidRequest, Violation, WrongState

DEFAULT_SERVER = "127.0.0.1:8470"
SYSTEM = "system"
_MAX_SECRET_BYTES = 64 << 10


def refused(where: str, got: str, wanted: str, what: str = "refused") -> InvalidRequest:
    """An error of this side, as the server would have made it."""
    return InvalidRequest(what, reason="INVALID_FIELD", violations=[Violation(where, got, wanted)])


@dataclass(frozen=True)
class Credentials:
    """What a connection needs to know beside the address.

    >>> Credentials(token="secret")
    Credentials(tls_ca='', tls_cert='', tls_key='', tenant='', insecure=False)
    """

    token: str = field(default="", repr=False)
    """Says who calls; empty: nobody."""
    tls_ca: str = ""
    """File with certificates of the server's authority (PEM), or "system"; empty: plain text."""
    tls_cert: str = ""
    """File with the certificate for a server that wants one (PEM)."""
    tls_key: str = ""
    """File with the key of `tls_cert` (PEM)."""
    tenant: str = ""
    """For admins: whose jobs, or "*" for all; empty: the token's own."""
    insecure: bool = False
    """Send the token in plain text to another machine."""

    def metadata(self) -> List[Tuple[str, str]]:
        """What the headers of each call say."""
        headers = []
        if self.token:
            headers.append(("authorization", f"Bearer {self.token}"))
        if self.tenant:
            headers.append(("quantd-tenant", self.tenant))
        return headers

    def channel_credentials(self, server: str) -> Optional[grpc.ChannelCredentials]:
        """For a channel to `server`; None: plain text. Refuses what would leak the token."""
        for name, text in (("token", self.token), ("tenant", self.tenant)):
            if text and not _is_secret_text(text):
                raise refused(name, "spaces or lines in it", "printable characters")
        if bool(self.tls_cert) != bool(self.tls_key):
            missing = "tls_cert" if self.tls_key else "tls_key"
            raise refused(missing, "nothing", "tls_cert and tls_key together")
        if self.tls_ca:
            authority = None if self.tls_ca == SYSTEM else _read_pem("tls_ca", self.tls_ca)
            certificate = _read_pem("tls_cert", self.tls_cert) if self.tls_cert else None
            key = _read_pem("tls_key", self.tls_key) if self.tls_key else None
            return grpc.ssl_channel_credentials(authority, key, certificate)
        if self.tls_cert:
            raise refused("tls_cert", "a certificate for a connection in plain text",
                          "tls_ca with it")
        if self.token and not self.insecure and not is_this_machine(server):
            raise refused("server", f"{server}, to which the token would travel in plain text",
                          "tls_ca, or insecure=True if that is what you want")
        return None


def is_this_machine(address: str) -> bool:
    """Whether what is sent there stays on this machine.

    >>> [is_this_machine(name) for name in ("127.0.0.1:1", "127.example.org:1", "unix:/run/q")]
    [True, False, True]
    """
    host = address.rpartition(":")[0]
    loopback = host.startswith("127.") and not host.strip("0123456789.")
    return loopback or host in ("localhost", "[::1]") or address.startswith("unix:")


def server_address(
    server: Optional[str], environment: Optional[Mapping[str, str]] = None
) -> str:
    """HOST:PORT, or another target of gRPC: the argument, else as the module says."""
    environment = os.environ if environment is None else environment
    where, address = "server", server or ""
    if not address:
        where, address = "QUANTD_SERVER", environment.get("QUANTD_SERVER", "")
    if not address:
        where = os.path.join(_config_folder(environment), "config.yaml")
        address = _server_of_config(where)
    if not address:
        return DEFAULT_SERVER
    port = address.rpartition(":")[2] if ":" in address else ""
    target = address.startswith("unix:") or ":///" in address
    if port and (target or port.isdigit()):
        return address
    raise refused(where, address, "HOST:PORT", "not the address of a server")


def find_credentials(
    server: str,
    given: Credentials,
    token_file: Optional[str] = None,
    environment: Optional[Mapping[str, str]] = None,
) -> Credentials:
    """What was given, filled up from the environment and from what `quantctl login` kept."""
    environment = os.environ if environment is None else environment
    kept = _kept_credentials(server, environment)
    token = given.token
    if not token and token_file:
        token = read_secret("token_file", token_file)
    if not token:
        token = environment.get("QUANTD_TOKEN", "")
    if not token and environment.get("QUANTD_TOKEN_FILE"):
        token = read_secret("QUANTD_TOKEN_FILE", environment["QUANTD_TOKEN_FILE"])

    def first(argument: str, name: str, otherwise: str) -> str:
        return argument or environment.get(name, "") or otherwise

    return replace(
        given,
        token=token or kept.token,
        tls_ca=first(given.tls_ca, "QUANTD_CLIENT_TLS_CA", kept.tls_ca),
        tls_cert=first(given.tls_cert, "QUANTD_CLIENT_TLS_CERT", kept.tls_cert),
        tls_key=first(given.tls_key, "QUANTD_CLIENT_TLS_KEY", kept.tls_key),
        insecure=given.insecure or kept.insecure,
    )


def read_secret(where: str, path: str) -> str:
    """The file without white space around it; errors do not hold a word of it."""
    wanted = "a file with the secret and nothing else"
    try:
        with open(path, "rb") as file:
            secret = file.read(_MAX_SECRET_BYTES + 1).decode("ascii", "replace").strip()
    except OSError as error:
        raise refused(where, f"{path}: {error.strerror}", wanted) from None
    if not secret:
        raise refused(where, f"{path}, which is empty", wanted)
    if len(secret) > _MAX_SECRET_BYTES or not _is_secret_text(secret):
        raise refused(where, f"{path}, with spaces or lines in it", wanted)
    return secret


def _is_secret_text(text: str) -> bool:
    return re.fullmatch(r"[!-~]+", text) is not None


def _read_pem(where: str, path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise refused(where, f"{path}: {error.strerror}", "a PEM file") from None
    if b"-----BEGIN " not in data:
        raise refused(where, path, "a PEM file")
    return data


def _config_folder(environment: Mapping[str, str]) -> str:
    if environment.get("XDG_CONFIG_HOME"):
        return os.path.join(environment["XDG_CONFIG_HOME"], "quantd")
    home = environment.get("HOME", "")
    return os.path.join(home, ".config", "quantd") if home else ""


def _server_of_config(path: str) -> str:
    """`server:` of the file; it holds nothing else that a client would read."""
    if not os.path.isfile(path):
        return ""
    with open(path, encoding="utf-8") as file:
        found = re.search(r"^server:\s*(['\"]?)([^\s'\"#]+)\1\s*(#.*)?$", file.read(), re.MULTILINE)
    return found.group(2) if found else ""


def _kept_credentials(server: str, environment: Mapping[str, str]) -> Credentials:
    folder = _config_folder(environment)
    path = os.path.join(folder, "credentials.json")
    if not folder or not os.path.isfile(path):
        return Credentials()
    mode = os.stat(path).st_mode & 0o777
    if os.name == "posix" and mode & 0o077:
        raise WrongState(
            "others may read a file of secrets", reason="WRONG_STATE",
            violations=[Violation(path, f"mode {mode:04o}", f"mode 0600: chmod 600 {path}")])
    try:
        with open(path, encoding="utf-8") as file:
            entry: Any = json.load(file)["servers"].get(server, {})
    except (ValueError, KeyError, AttributeError, TypeError):
        # The parser's own message would show a piece of the file.
        raise refused(path, "what `quantctl login` did not write",
                      "remove it and log in again") from None

    def text(key: str) -> str:
        value = entry.get(key, "") if isinstance(entry, dict) else ""
        return value if isinstance(value, str) else ""

    return Credentials(
        token=text("token"), tls_ca=text("tls_ca"), tls_cert=text("tls_cert"),
        tls_key=text("tls_key"), insecure=text("plaintext") == "anywhere")
