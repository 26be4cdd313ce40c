"""Clients that others wrote, against the running server."""

import json
import urllib.request

from programs import MODEL, run
from client import tiny_spec

SERVICE = "quantd.v1.QuantizationService"
GO_ADVICE = "./dev setup installs it"


def test_grpcurl_lists_describes_and_calls(tool, shared_server, client):
    grpcurl = [tool("grpcurl", GO_ADVICE), "-plaintext"]
    listed = run([*grpcurl, shared_server.address, "list"]).stdout.split()
    assert {SERVICE, "quantd.v1.WorkerService", "grpc.health.v1.Health"} <= set(listed)
    described = run([*grpcurl, shared_server.address, "describe", SERVICE]).stdout
    assert "rpc WatchJob ( .quantd.v1.WatchJobRequest )" in described
    message = run([*grpcurl, shared_server.address, "describe", "quantd.v1.JobSpec"]).stdout
    assert "recipe" in message

    request = {"job": {"spec": {"model": {"path": str(MODEL)},
                                "recipe": {"defaultScheme": {"method": "rtn", "bits": 4}},
                                "evaluation": {"windows": "2", "sequenceLength": "64"}}}}
    made = run([*grpcurl, "-d", json.dumps(request), shared_server.address,
                f"{SERVICE}/CreateJob"])
    assert made.returncode == 0, made.stderr
    name = json.loads(made.stdout)["name"]
    # The stream ends by itself after the terminal event.
    watched = run([*grpcurl, "-d", json.dumps({"name": name}), shared_server.address,
                   f"{SERVICE}/WatchJob"])
    assert watched.returncode == 0 and '"SUCCEEDED"' in watched.stdout
    assert client.get(name).result.evaluation.tokens == 126


def test_grpcurl_shows_the_details_of_an_error(tool, shared_server):
    grpcurl = [tool("grpcurl", GO_ADVICE), "-plaintext"]
    refused = run([*grpcurl, "-d", '{"name": "jobs/nobody"}', shared_server.address,
                   f"{SERVICE}/GetJob"])
    assert refused.returncode == 64 + 5  # NOT_FOUND
    assert "JOB_NOT_FOUND" in refused.stdout + refused.stderr
    assert "ErrorInfo" in refused.stdout + refused.stderr


def test_ghz_finds_no_error_under_load(tool, shared_server, client):
    ghz = tool("ghz", GO_ADVICE)
    for _ in range(5):
        client.cancel(client.create(tiny_spec()).name)
    for rpc, data in (("GetCapabilities", {}), ("ListJobs", {"page_size": 5})):
        loaded = run([ghz, "--insecure", "--call", f"{SERVICE}/{rpc}", "-d", json.dumps(data),
                      "-n", "400", "-c", "20", "--connections", "4", "--timeout", "60s",
                      "-O", "json", shared_server.address])
        assert loaded.returncode == 0, loaded.stderr
        report = json.loads(loaded.stdout)
        assert report["count"] == 400, rpc
        assert report["statusCodeDistribution"] == {"OK": 400}, rpc


def page(server):
    with urllib.request.urlopen(f"http://{server.metrics}/metrics", timeout=60) as answer:
        return answer.read().decode()


def test_promtool_accepts_the_metrics_page(tool, shared_server, client):
    promtool = tool("promtool", GO_ADVICE)
    job = client.succeed(tiny_spec(bits=4))
    list(client.read(job.name, "model.safetensors"))
    text = page(shared_server)
    checked = run([promtool, "check", "metrics"], input=text)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert (checked.stdout + checked.stderr).strip() == "", "not even advice"


def test_metrics_count_what_happened(shared_server, client):
    from prometheus_client.parser import text_string_to_metric_families

    def value(name, **labels):
        return sum(sample.value for family in text_string_to_metric_families(page(shared_server))
                   for sample in family.samples
                   if sample.name == name and labels.items() <= sample.labels.items())

    bytes_before = value("quantd_artifact_bytes_served_total")
    tasks = value("quantd_task_duration_seconds_count", method="rtn", outcome="SUCCEEDED")
    job = client.succeed(tiny_spec(bits=4))
    file = next(file for file in job.result.files if file.path == "model.safetensors")
    list(client.read(job.name, file.path))
    assert value("quantd_artifact_bytes_served_total") == bytes_before + file.bytes
    assert value("quantd_task_duration_seconds_count", method="rtn",
                 outcome="SUCCEEDED") == tasks + 1
    assert value("quantd_rpc_duration_seconds_count", method="CreateJob", code="OK") >= 1
    assert value("quantd_jobs", state="SUCCEEDED") >= 1
    assert value("quantd_queue_depth") == 0
