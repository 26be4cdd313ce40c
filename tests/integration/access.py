"""Tokens as an operator makes them, certificates as openssl makes them, and every rpc there is."""

import re

import grpc
from google.api import resource_pb2
from google.protobuf import message_factory
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from client import tiny_spec
from programs import ROOT, environment, program, run
from quantd.v1 import job_pb2, quantization_service_pb2 as api, worker_service_pb2 as wire

PAGE = ROOT / "docs" / "security.md"


def quantd_tokens(data, *arguments):
    return run([program("quantd"), "tokens", arguments[0], "--data", data, *arguments[1:]],
               env=environment())


def make_token(data, roles="user", tenant="default", *arguments):
    """(id, secret) of a new token."""
    made = quantd_tokens(data, "create", "--roles", roles, "--tenant", tenant, *arguments)
    assert made.returncode == 0, made.stderr
    return re.match(r"token (\w+):", made.stderr)[1], made.stdout.strip()


def revoke_token(data, token_id):
    done = quantd_tokens(data, "revoke", token_id)
    assert done.returncode == 0, done.stderr


def ssl_credentials(authority, pair=None):
    certificate, key = (path.read_bytes() for path in pair) if pair else (None, None)
    return grpc.ssl_channel_credentials(authority.certificate.read_bytes(), key, certificate)


def every_rpc():
    """path -> method, of every service that quantd serves, from the descriptors."""
    rpcs = {f"{service.full_name}/{method.name}": method
            for file in (api, wire, health_pb2, reflection_pb2)
            for service in file.DESCRIPTOR.services_by_name.values() for method in service.methods}
    rpcs.pop("grpc.health.v1.Health/List", None)  # of newer clients; gRPC 1.51 does not serve it
    return rpcs


def job_field(method):
    """The name of the request's field that names a job, as the annotations tell it."""
    for field in method.input_type.fields:
        if field.GetOptions().Extensions[resource_pb2.resource_reference].type == "quantd/Job":
            return field.name
    return None


def request_of(method, job="jobs/aaaaaaaaaaaaaaaa"):
    """A request that a caller who may would not be refused for its form."""
    request = message_factory.GetMessageClass(method.input_type)()
    if method.input_type.name == "CreateJobRequest":
        request.job.CopyFrom(job_pb2.Job(spec=tiny_spec()))
        request.validate_only = True
    if method.input_type.name == "SynchronizeRequest":
        request.worker, request.session = "every-rpc", "session"
    if job_field(method):
        setattr(request, job_field(method), job)
    return request


def call(channel, path, method, request):
    """The status of one call, as grpc.RpcError; None: it was not refused."""
    reply = message_factory.GetMessageClass(method.output_type)
    serialize, parse = type(request).SerializeToString, reply.FromString
    try:
        if method.client_streaming and not method.server_streaming:
            channel.stream_unary(f"/{path}", serialize, parse)(iter([request]), timeout=30)
        elif method.client_streaming:
            answers = channel.stream_stream(f"/{path}", serialize, parse)(iter(()), timeout=30)
            list(answers)
        elif method.server_streaming:
            answers = channel.unary_stream(f"/{path}", serialize, parse)(request, timeout=30)
            next(answers)
            answers.cancel()
        else:
            channel.unary_unary(f"/{path}", serialize, parse)(request, timeout=30)
    except grpc.RpcError as error:
        return error
    return None


def promised():
    """path -> {caller: "yes" or the name of a status code}, as docs/security.md says."""
    rows = [[cell.strip() for cell in line.strip("|\n").split("|")]
            for line in PAGE.read_text("utf-8").splitlines() if line.startswith("|")]
    start = next(i for i, row in enumerate(rows) if row[0] == "rpc")
    table = {}
    for row in rows[start + 2:]:
        if "/" not in row[0] or len(row) != len(rows[start]):
            break
        table[row[0]] = dict(zip(rows[start][1:], row[1:]))
    return table
