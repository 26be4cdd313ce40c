"""A client of the API made with grpcio alone."""

import grpc
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2_grpc

from programs import MODEL
from quantd.v1 import job_pb2, quantization_service_pb2 as api
from quantd.v1 import quantization_service_pb2_grpc as api_grpc
from waiting import until

FINAL = (job_pb2.Job.SUCCEEDED, job_pb2.Job.FAILED, job_pb2.Job.CANCELLED)


def tiny_spec(model=MODEL, method="rtn", **scheme):
    """A job of about a second."""
    spec = job_pb2.JobSpec()
    spec.model.path = str(model)
    spec.recipe.default_scheme.method = method
    for name, value in scheme.items():
        setattr(spec.recipe.default_scheme, name, value)
    spec.evaluation.windows = 2
    spec.evaluation.sequence_length = 64
    return spec


def long_spec(**scheme):
    """A job of many seconds, for what must happen while it runs."""
    spec = tiny_spec(bits=4, **scheme)
    spec.recipe.default_scheme.scale_rule = 3  # SCALE_RULE_WEIGHTED_MSE: needs calibration
    spec.recipe.propagate = 2  # PROPAGATE_QUANTIZED
    spec.calibration.samples = 120
    spec.calibration.sequence_length = 512
    spec.evaluation.windows = 64
    spec.evaluation.sequence_length = 512
    return spec


class Refusal:
    """The rich details of an error."""

    def __init__(self, error):
        self.code = error.code()
        self.message = error.details()
        self.info = self.retry = None
        self.violations = []
        for key, value in error.trailing_metadata() or ():
            if key == "grpc-status-details-bin":
                self._read(status_pb2.Status.FromString(value))

    def _read(self, status):
        assert status.code == self.code.value[0] and status.message == self.message
        for detail in status.details:
            bad_request = error_details_pb2.BadRequest()
            info = error_details_pb2.ErrorInfo()
            retry = error_details_pb2.RetryInfo()
            if detail.Unpack(bad_request):
                self.violations = list(bad_request.field_violations)
            elif detail.Unpack(info):
                self.info = info
            elif detail.Unpack(retry):
                self.retry = retry

    @property
    def reason(self):
        return self.info.reason if self.info else None

    def __str__(self):
        found = "; ".join(f"{v.field}: {v.description}" for v in self.violations)
        return f"{self.code.name} {self.reason}: {self.message} [{found}]"


def refusal(call, *arguments, **options):
    """The refusal that a call must meet."""
    try:
        reply = call(*arguments, **options)
        if hasattr(reply, "cancel"):
            reply = list(reply)
    except grpc.RpcError as error:
        return Refusal(error)
    raise AssertionError(f"not refused: {reply}")


class WithHeaders(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor,
                  grpc.StreamUnaryClientInterceptor):
    """Puts headers into every call."""

    def __init__(self, headers):
        self.headers = list(headers)

    def _more(self, details):
        metadata = list(details.metadata or ()) + self.headers
        return details._replace(metadata=metadata)

    def intercept_unary_unary(self, continuation, client_call_details, request):
        return continuation(self._more(client_call_details), request)

    def intercept_unary_stream(self, continuation, client_call_details, request):
        return continuation(self._more(client_call_details), request)

    def intercept_stream_unary(self, continuation, client_call_details, request_iterator):
        return continuation(self._more(client_call_details), request_iterator)


def open_channel(address, credentials=None, token=None, tenant=None):
    """A connection: over TLS with `credentials`, with what says who calls in every call."""
    if credentials is None:
        channel = grpc.insecure_channel(address)
    else:
        channel = grpc.secure_channel(address, credentials)
    headers = []
    if token is not None:
        headers.append(("authorization", f"Bearer {token}"))
    if tenant is not None:
        headers.append(("quantd-tenant", tenant))
    return grpc.intercept_channel(channel, WithHeaders(headers)) if headers else channel


class Client:
    """One connection."""

    def __init__(self, address, **access):
        self.channel = open_channel(address, **access)
        self.stub = api_grpc.QuantizationServiceStub(self.channel)
        self.health = health_pb2_grpc.HealthStub(self.channel)

    def close(self):
        self.channel.close()

    def create(self, spec=None, labels=None, **request):
        job = job_pb2.Job(spec=spec if spec is not None else tiny_spec(), labels=labels or {})
        return self.stub.CreateJob(api.CreateJobRequest(job=job, **request), timeout=60)

    def refused(self, spec, labels=None):
        """The refusal of a job, which must be the same with validate_only and leave nothing."""
        before = self.count()
        only_checked = refusal(self.create, spec, labels, validate_only=True)
        refused = refusal(self.create, spec, labels)
        assert str(only_checked) == str(refused), "validate_only checks what the real call does"
        assert self.count() == before, "a refused request leaves no job"
        return refused

    def get(self, name):
        return self.stub.GetJob(api.GetJobRequest(name=name), timeout=60)

    def cancel(self, name):
        return self.stub.CancelJob(api.CancelJobRequest(name=name), timeout=60)

    def delete(self, name):
        return self.stub.DeleteJob(api.DeleteJobRequest(name=name), timeout=60)

    def wait(self, name, states=FINAL, seconds=60):
        """The job, as soon as it is in one of the states."""
        def arrived():
            job = self.get(name)
            if job.state in states:
                return job
            assert job.state not in FINAL, f"ended otherwise:\n{describe(job)}"
            return None
        wanted = "/".join(job_pb2.Job.State.Name(state) for state in states)
        return until(arrived, f"{name} to be {wanted}", seconds)

    def succeed(self, spec=None):
        """A job that must succeed."""
        job = self.wait(self.create(spec).name)
        assert job.state == job_pb2.Job.SUCCEEDED, describe(job)
        return job

    def watch(self, name, after=0, seconds=60):
        return self.stub.WatchJob(api.WatchJobRequest(name=name, after_sequence=after),
                                  timeout=seconds)

    def pages(self, page_size=0, **request):
        token = ""
        while True:
            page = self.stub.ListJobs(
                api.ListJobsRequest(page_size=page_size, page_token=token, **request), timeout=60)
            yield list(page.jobs)
            token = page.next_page_token
            if not token:
                return

    def jobs(self, **request):
        return [job for page in self.pages(**request) for job in page]

    def count(self):
        return len(self.jobs(page_size=1000))

    def files(self, name):
        return self.stub.ListArtifactFiles(api.ListArtifactFilesRequest(job=name), timeout=60)

    def read(self, name, path, offset=0, limit=0):
        return self.stub.ReadArtifactFile(
            api.ReadArtifactFileRequest(job=name, path=path, offset=offset, limit=limit),
            timeout=60)


def describe(job):
    text = f"{job.name}: {job_pb2.Job.State.Name(job.state)} after {job.attempts} attempts"
    if job.HasField("error"):
        text += f"\n{job.error.reason}: {job.error.message}"
    return text
