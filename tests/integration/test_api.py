"""The API as any gRPC client meets it: jobs, pages, errors."""

import time
import uuid

import grpc
import pytest
from google.protobuf import duration_pb2

from client import refusal, tiny_spec
from quantd.v1 import job_pb2, quantization_service_pb2 as api

BUILT = {"GetCapabilities", "CreateJob", "GetJob", "ListJobs", "CancelJob", "DeleteJob",
         "WatchJob", "ListArtifactFiles", "ReadArtifactFile", "CreateUpload", "GetUpload",
         "WriteUploadFile", "CommitUpload", "ListUploads", "DeleteUpload",
         "ListWebhookDeliveries", "ListWorkers", "DrainWorker"}


@pytest.fixture
def idle(make_server):
    """A server without workers: jobs stay where they are."""
    return make_server(workers=0)


def test_create_job_answers_at_once_with_the_plan(client):
    job = client.create(tiny_spec(bits=4), labels={"team": "red"})
    assert job.name.startswith("jobs/") and job.state == job_pb2.Job.PENDING
    assert job.plan.family == "llama" and job.plan.blocks == 4
    assert len(job.plan.linears) == 29 and job.plan.artifact_bytes < job.plan.bytes_original
    assert job.labels["team"] == "red" and job.spec.model.path == tiny_spec().model.path
    done = client.wait(job.name)
    assert done.state == job_pb2.Job.SUCCEEDED and done.attempts == 1
    assert done.create_time.ToNanoseconds() <= done.start_time.ToNanoseconds()
    assert done.start_time.ToNanoseconds() <= done.end_time.ToNanoseconds()
    planned = {linear.name: linear.scheme for linear in job.plan.linears}
    assert {linear.name: linear.scheme for linear in done.result.resolved_recipe} == planned
    assert done.result.evaluation.tokens == 126
    assert 1 < done.result.evaluation.perplexity_original < 1000
    assert done.result.bits_per_weight == pytest.approx(4.125)
    tensors = sum(f.bytes for f in done.result.files if f.path.endswith(".safetensors"))
    assert done.result.bytes_quantized == job.plan.artifact_bytes < tensors


def test_request_id_makes_create_job_idempotent(idle):
    client = idle.client()
    request_id = str(uuid.uuid4())
    labels = {str(i): "x" for i in range(20)}  # the order of a map on the wire is free
    first = client.create(tiny_spec(bits=4), labels, request_id=request_id)
    second = client.create(tiny_spec(bits=4), dict(reversed(labels.items())),
                           request_id=request_id)
    assert first == second and client.count() == 1
    other = refusal(client.create, tiny_spec(bits=8), labels, request_id=request_id)
    assert other.code == grpc.StatusCode.ALREADY_EXISTS and other.reason == "ALREADY_EXISTS"
    assert first.name in str(other)
    assert client.count() == 1
    assert client.create(tiny_spec(bits=4), labels, request_id=str(uuid.uuid4())) != first
    assert refusal(client.create, request_id="17").violations[0].field == "request_id"


def test_one_request_id_sent_many_times_at_once_makes_one_job(idle):
    client = idle.client()
    request = api.CreateJobRequest(job=job_pb2.Job(spec=tiny_spec()),
                                   request_id=str(uuid.uuid4()))
    calls = [client.stub.CreateJob.future(request, timeout=60) for _ in range(8)]
    assert len({call.result().name for call in calls}) == 1
    assert client.count() == 1


def test_validate_only_leaves_nothing(idle):
    client = idle.client()
    request_id = str(uuid.uuid4())
    planned = client.create(tiny_spec(bits=4), request_id=request_id, validate_only=True)
    assert planned.name == "" and planned.plan.tensors > 29
    assert planned.plan.peak_memory_bytes > 0 and planned.plan.estimated_run_time.nanos > 0
    assert client.count() == 0 and not idle.everything_kept()
    # The request id is free still.
    made = client.create(tiny_spec(bits=8), request_id=request_id)
    assert made.plan.artifact_bytes > planned.plan.artifact_bytes


def test_pages_hold_every_job_once(idle):
    client = idle.client()
    names = [client.create(labels={"n": str(i), "odd": str(i % 2)}).name for i in range(25)]
    pages = list(client.pages(page_size=7))
    assert [len(page) for page in pages] == [7, 7, 7, 4]
    assert [job.name for page in pages for job in page] == names[::-1], "newest first"
    assert [job.name for job in client.jobs(order_by="create_time", page_size=3)] == names
    basic = pages[0][0]
    assert len(basic.plan.linears) == 0 and not basic.HasField("spec"), "lists are short"
    assert basic.plan.artifact_bytes > 0 and basic.method == "rtn"
    assert client.jobs(view=api.JOB_VIEW_FULL, page_size=5)[0] == client.get(names[-1])

    # A job that is made while somebody turns pages moves no other job.
    pager = client.pages(page_size=10)
    seen = next(pager)
    client.create()
    seen += [job for page in pager for job in page]
    assert [job.name for job in seen] == names[::-1]


def test_filters(idle):
    client = idle.client()
    rtn = client.create(tiny_spec(bits=4), labels={"team": "red"})
    int8 = client.create(tiny_spec(method="int8"), labels={"team": "blue"})
    client.cancel(int8.name)

    def names(text):
        return [job.name for job in client.jobs(filter=text)]

    assert names('method = "rtn"') == [rtn.name]
    assert names("method = int8 AND state = CANCELLED") == [int8.name]
    assert names("state != CANCELLED") == [rtn.name]
    assert names('labels.team = "blue"') == [int8.name]
    assert rtn.model == rtn.spec.model.path and rtn.method == "rtn"
    assert names(f'model = "{rtn.model}"') == [int8.name, rtn.name]
    assert names('create_time < "2020-01-01T00:00:00Z"') == []
    assert names('create_time > "2020-01-01T00:00:00Z"') == [int8.name, rtn.name]
    for wrong in ("colour = red", "state = DONE", 'method = "rtn', "state < RUNNING",
                  'method = "x" OR state = RUNNING', "'; DROP TABLE jobs; --"):
        refused = refusal(client.jobs, filter=wrong)
        assert refused.code == grpc.StatusCode.INVALID_ARGUMENT, wrong
        assert "filter" in refused.violations[0].field
    assert client.count() == 2


def test_page_tokens_that_are_not_ours_are_refused(idle):
    client = idle.client()
    for _ in range(3):
        client.create()
    token = client.stub.ListJobs(api.ListJobsRequest(page_size=1)).next_page_token
    for request in (api.ListJobsRequest(page_token="garbage"),
                    api.ListJobsRequest(page_token=token, filter="state = RUNNING"),
                    api.ListJobsRequest(page_size=-1)):
        assert refusal(client.stub.ListJobs, request).code == grpc.StatusCode.INVALID_ARGUMENT
    assert len(client.jobs(page_size=100_000)) == 3, "a page larger than the largest is cut"


def test_states_allow_what_they_allow(idle):
    client = idle.client()
    job = client.create()
    refused = refusal(client.delete, job.name)
    assert refused.code == grpc.StatusCode.FAILED_PRECONDITION
    assert refused.reason == "WRONG_STATE" and "PENDING" in str(refused)
    assert client.cancel(job.name).state == job_pb2.Job.CANCELLED
    assert client.cancel(job.name).state == job_pb2.Job.CANCELLED, "cancelling twice is no error"
    client.delete(job.name)
    for call in (client.get, client.cancel, client.delete, client.files, client.watch):
        gone = refusal(call, job.name)
        assert gone.code == grpc.StatusCode.NOT_FOUND and gone.reason == "JOB_NOT_FOUND"


def test_a_finished_job_cannot_be_cancelled_and_is_deleted_with_its_files(client, shared_server):
    job = client.succeed()
    refused = refusal(client.cancel, job.name)
    assert refused.code == grpc.StatusCode.FAILED_PRECONDITION
    here = job.name.split("/")[1]
    assert any(here in path for path in shared_server.everything_kept())
    client.delete(job.name)
    assert not any(here in path for path in shared_server.everything_kept())


def test_a_job_that_waits_too_long_fails(idle):
    client = idle.client()
    spec = tiny_spec()
    spec.resources.max_queue_time.CopyFrom(duration_pb2.Duration(seconds=1))
    job = client.wait(client.create(spec).name)
    assert job.state == job_pb2.Job.FAILED and job.error.reason == "QUEUE_TIME_LIMIT"
    assert job.attempts == 0


def test_higher_priority_runs_first(make_server):
    server = make_server(workers=0)
    client = server.client()
    made = {}
    for priority in (-5, 0, 7):
        spec = tiny_spec()
        spec.resources.priority = priority
        made[priority] = client.create(spec).name
    server.stop()
    server.workers = 1
    server.start()
    client = server.client()
    started = {priority: client.wait(name).start_time.ToNanoseconds()
               for priority, name in made.items()}
    assert started[7] < started[0] < started[-5]


def test_errors_carry_reason_and_violations(client):
    refused = refusal(client.get, "jobs/nobody")
    assert (refused.code, refused.reason) == (grpc.StatusCode.NOT_FOUND, "JOB_NOT_FOUND")
    assert refused.info.domain == "quantd" and refused.info.metadata["fault"] == "user"
    for name in ("", "nobody", "jobs/", "jobs/../x", "jobs/UPPER", "jobs/a/b"):
        refused = refusal(client.get, name)
        assert refused.code == grpc.StatusCode.INVALID_ARGUMENT, name
        assert refused.violations[0].field == "name"
        assert "got" in refused.violations[0].description
        assert "wanted" in refused.violations[0].description


def test_every_rpc_of_the_api_is_built(client):
    service = api.DESCRIPTOR.services_by_name["QuantizationService"]
    assert {method.name for method in service.methods} == BUILT
    gone = client.channel.unary_unary("/quantd.v1.QuantizationService/ListModels")
    assert refusal(gone, b"", timeout=60).code == grpc.StatusCode.UNIMPLEMENTED


def test_options_are_checked_by_the_schema_that_capabilities_tell(idle):
    client = idle.client()
    methods = client.stub.GetCapabilities(api.GetCapabilitiesRequest()).methods
    checked = 0
    for method in methods:
        for option in method.options:
            if option.scheme_field:
                continue
            checked += 1
            spec = tiny_spec(method=method.name)
            value = spec.recipe.default_scheme.options[option.name]
            field = f"job.spec.recipe.default_scheme.options.{option.name}"
            if option.HasField("maximum"):
                value.number_value = option.maximum + 1
            elif option.type == option.CHOICE:
                value.string_value = "no-such-choice"
            else:
                value.string_value = "yes"
            refused = client.refused(spec)
            assert refused.reason == "RECIPE_INVALID", f"{method.name}: {refused}"
            assert [violation.field for violation in refused.violations] == [field]
    assert checked > 40
    spec = tiny_spec(method="gptq", bits=4)
    spec.recipe.default_scheme.options["damping"].number_value = 0.05
    spec.recipe.default_scheme.options["act_order"].string_value = "static"
    (first, *_) = client.create(spec, validate_only=True).plan.linears
    assert first.scheme.options["damping"].number_value == 0.05
    assert first.scheme.options["act_order"].string_value == "static"


def test_analyze_reaches_the_engine_and_its_findings_the_events(client):
    spec = tiny_spec(bits=4)
    spec.evaluation.analyze = True
    job = client.succeed(spec)
    layers = [event.layer for event in client.watch(job.name) if event.HasField("layer")]
    assert len(layers) == 28
    for layer in layers:
        assert layer.analysis.rows > 0 and len(layer.analysis.salient) == 2
        assert [book.name for book in layer.analysis.codebooks] == ["uniform", "nf4", "k-means"]
        assert layer.granularity == 3 and layer.scale_rule == 2  # GROUP, MSE
        assert layer.run_time.ToNanoseconds() > 0
    assert job.result.backend == job_pb2.BACKEND_KIND_CPU
    assert job.result.run_time.ToNanoseconds() > 0
    assert job.worker == "workers/local-1"


def test_capabilities_and_workers(client):
    capabilities = client.stub.GetCapabilities(api.GetCapabilitiesRequest())
    assert {method.name for method in capabilities.methods} >= {"rtn", "int8"}
    assert "compressed-tensors" in [format.name for format in capabilities.formats]
    assert capabilities.limits.message_bytes == 4 << 20
    assert capabilities.limits.chunk_bytes == 1 << 20
    client.succeed()  # by now the worker has called
    capabilities = client.stub.GetCapabilities(api.GetCapabilitiesRequest())
    assert [(b.backend, b.workers) for b in capabilities.backends] == [
        (job_pb2.BACKEND_KIND_CPU, 1)]
    (worker,) = client.stub.ListWorkers(api.ListWorkersRequest()).workers
    assert worker.name == "workers/local-1" and worker.threads > 0 and worker.isa
    assert time.time() - worker.last_seen_time.seconds < 60


def test_a_message_over_the_limit_is_refused_and_the_connection_lives(client):
    spec = tiny_spec()
    spec.model.path = "x" * (5 << 20)
    assert refusal(client.create, spec).code == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert client.count() >= 0
