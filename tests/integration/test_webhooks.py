"""Webhooks: a receiver of the test's own is told what came of jobs, whatever happens in between."""

import hashlib
import hmac
import http.server
import json
import ssl
import threading
import time

import pytest

from authority import Authority
from client import describe, refusal, tiny_spec
from quantd.v1 import job_pb2, quantization_service_pb2 as api, webhooks_pb2
from waiting import until

SECRET = "whsec-for-tests-0123456789"
Delivery = webhooks_pb2.WebhookDelivery


def verified(secret, header, body, tolerance=300):
    """The snippet of docs/howto/webhooks.md."""
    parts = dict(part.split("=", 1) for part in header.split(","))
    signed = parts["t"].encode() + b"." + body
    expected = hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
    return (hmac.compare_digest(expected, parts["v1"])
            and abs(time.time() - int(parts["t"])) <= tolerance)


class Receiver:
    """An HTTP server that keeps what it is sent and answers what it is told to."""

    def __init__(self, port=0, tls=None):
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):  # pylint: disable=invalid-name
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with receiver.lock:
                    receiver.got.append((self.path, dict(self.headers), body))
                    status = receiver.answers.pop(0) if receiver.answers else 204
                self.send_response(status)
                if 300 <= status < 400:
                    self.send_header("Location", receiver.redirect)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format, *args):  # pylint: disable=redefined-builtin
                pass

        self.lock = threading.Lock()
        self.got = []
        self.answers = []
        self.redirect = ""
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        if tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()

    def url(self, path="/hook", host="127.0.0.1"):
        return f"http://{host}:{self.port}{path}"

    def events(self):
        with self.lock:
            return [json.loads(body) for _, _, body in self.got]

    def stop(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(10)


@pytest.fixture(name="receiver")
def receiver_fixture():
    running = Receiver()
    yield running
    running.stop()


@pytest.fixture(name="hooked")
def hooked_fixture(make_server, tmp_path):
    """hooked(*HOSTS, …) is a server that lets webhooks call these hosts."""
    secret = tmp_path / "webhook.secret"
    secret.touch(mode=0o600)
    secret.write_text(SECRET + "\n", "utf-8")

    def make(*hosts, **options):
        arguments = ["--webhook-secret-file", str(secret), "--webhook-retry-delay", "200ms"]
        for host in hosts:
            arguments += ["--webhook-host", host]
        return make_server(arguments=arguments, **options)
    return make


def create(client, *urls, states=(), labels=None, **request):
    job = job_pb2.Job(spec=tiny_spec(bits=4), labels=labels or {})
    for url in urls:
        job.webhooks.add(url=url, states=states)
    return client.stub.CreateJob(api.CreateJobRequest(job=job, **request), timeout=60)


def deliveries(client, name):
    request = webhooks_pb2.ListWebhookDeliveriesRequest(job=name)
    return list(client.stub.ListWebhookDeliveries(request, timeout=60).deliveries)


def settled(client, name, count=1):
    """The deliveries of the job, once none is pending."""
    def done():
        found = deliveries(client, name)
        ended = all(one.state != Delivery.PENDING for one in found)
        return found if len(found) >= count and ended else None
    return until(done, "the deliveries to end")


def test_a_job_is_told_of_with_its_figures_and_a_signature(hooked, receiver):
    client = hooked(f"internal:http://127.0.0.1:{receiver.port}").client()
    job = create(client, receiver.url("/hook?key=1"), labels={"run": "7"})
    assert job.webhooks[0].states == [4, 5, 6], "final states by default"
    job = client.wait(job.name)
    assert job.state == job_pb2.Job.SUCCEEDED, describe(job)
    one, = settled(client, job.name)
    assert (one.state, one.attempts, one.last_status) == (Delivery.DELIVERED, 1, 204)
    (path, headers, body), = receiver.got
    assert path == "/hook?key=1" and headers["Content-Type"] == "application/json"
    assert headers["Quantd-Delivery"] == one.id
    assert verified(SECRET, headers["Quantd-Signature"], body)
    assert not verified("another", headers["Quantd-Signature"], body)
    assert not verified(SECRET, headers["Quantd-Signature"], body + b" ")
    event = json.loads(body)
    assert (event["delivery"], event["job"]) == (one.id, job.name)
    assert (event["tenant"], event["state"]) == ("default", "SUCCEEDED")
    assert event["labels"] == {"run": "7"} and event["attempt"] == 1
    result = event["result"]
    assert result["bits_per_weight"] == pytest.approx(job.result.bits_per_weight)
    assert result["kl_mean"] == pytest.approx(job.result.evaluation.kl_mean)
    assert "error" not in event and SECRET not in body.decode()


def test_states_come_in_order(hooked, receiver):
    client = hooked(f"internal:http://127.0.0.1:{receiver.port}").client()
    receiver.answers = [500, 503]  # the first is held up: the others wait for it
    name = create(client, receiver.url(), states=[1, 2, 4]).name
    found = settled(client, client.wait(name).name, count=3)
    assert [one.attempts for one in found] == [3, 1, 1]
    states = [event["state"] for event in receiver.events()]
    assert states == ["PENDING", "PENDING", "PENDING", "RUNNING", "SUCCEEDED"]


def test_a_receiver_that_fails_or_is_down_is_tried_again(hooked):
    receiver = Receiver()
    port = receiver.port
    server = hooked(f"internal:http://127.0.0.1:{port}")
    client = server.client()
    receiver.answers = [500, 429]
    name = client.wait(create(client, receiver.url()).name).name
    one, = settled(client, name)
    assert (one.state, one.attempts) == (Delivery.DELIVERED, 3)
    assert len({event["delivery"] for event in receiver.events()}) == 1
    assert len({body for _, _, body in receiver.got}) == 1, "the same body at each try"
    receiver.stop()
    name = client.wait(create(client, receiver.url()).name).name
    until(lambda: deliveries(client, name)[0].attempts >= 2, "tries while it is down")
    one, = deliveries(client, name)
    assert one.state == Delivery.PENDING and one.last_status == 0 and one.last_error
    again = Receiver(port)
    try:
        one, = settled(client, name)
        assert one.state == Delivery.DELIVERED
        assert [event["job"] for event in again.events()] == [name]
    finally:
        again.stop()


def test_a_refusal_is_final(hooked, receiver):
    client = hooked(f"internal:http://127.0.0.1:{receiver.port}").client()
    receiver.answers = [410]
    name = client.wait(create(client, receiver.url()).name).name
    one, = settled(client, name)
    assert (one.state, one.attempts, one.last_status) == (Delivery.FAILED, 1, 410)
    assert one.last_error == "HTTP 410" and len(receiver.got) == 1


def test_nothing_is_lost_when_the_server_is_killed(hooked):
    receiver = Receiver()
    port = receiver.port
    server = hooked(f"internal:http://127.0.0.1:{port}")
    client = server.client()
    receiver.stop()  # so that the job ends and nobody can be told
    name = client.wait(create(client, receiver.url()).name).name
    one, = deliveries(client, name)
    assert one.state == Delivery.PENDING
    server.kill()
    again = Receiver(port)
    try:
        server.start()
        client = server.client()
        after, = settled(client, name)
        assert (after.id, after.state) == (one.id, Delivery.DELIVERED)
        assert [event["delivery"] for event in again.events()] == [one.id], "once, and that one"
    finally:
        again.stop()


def test_a_failed_and_a_cancelled_job(hooked, receiver):
    client = hooked(f"internal:http://127.0.0.1:{receiver.port}", workers=0).client()
    name = create(client, receiver.url()).name
    client.cancel(name)
    settled(client, name)
    assert receiver.events()[0]["state"] == "CANCELLED"
    job = job_pb2.Job(spec=tiny_spec(bits=4))
    job.spec.resources.max_queue_time.nanos = 1_000_000
    job.webhooks.add(url=receiver.url())
    name = client.stub.CreateJob(api.CreateJobRequest(job=job), timeout=60).name
    settled(client, name)
    failed = receiver.events()[1]
    assert failed["state"] == "FAILED" and failed["error"]["reason"] == "QUEUE_TIME_LIMIT"
    assert failed["error"]["message"] and "violations" not in failed["error"]


def test_a_shared_job_tells_all_who_asked(hooked, receiver):
    client = hooked(f"internal:http://127.0.0.1:{receiver.port}", result_cache=True).client()
    first = create(client, receiver.url("/one"))
    client.wait(first.name)
    settled(client, first.name)
    second = create(client, receiver.url("/two"))
    assert second.reused and second.name == first.name
    assert [hook.url for hook in second.webhooks] == [receiver.url("/one"), receiver.url("/two")]
    settled(client, first.name, count=2)
    assert [path for path, _, _ in receiver.got] == ["/one", "/two"]
    assert create(client, receiver.url("/two")).reused, "and is not told twice"
    assert len(deliveries(client, first.name)) == 2


def test_hosts_that_are_not_allowed_are_refused(hooked, receiver):
    client = hooked("hooks.example.com", f"internal:http://127.0.0.1:{receiver.port}",
                    workers=0).client()
    for url in (receiver.url().replace(str(receiver.port), "1"), receiver.url(host="localhost"),
                "http://hooks.example.com/", "https://hooks.example.com:8443/",
                "https://hooks.example.com.evil.test/", "https://user@hooks.example.com/",
                "https://evil.test#@hooks.example.com/", "ftp://hooks.example.com/",
                "https://hooks.example.com\\@evil.test/", "file:///etc/passwd", ""):
        refused = refusal(create, client, url)
        assert refused.reason == "INVALID_FIELD", (url, str(refused))
        assert refused.violations[0].field == "job.webhooks[0].url"
    assert "hooks.example.com" in str(refusal(create, client, "https://other.test/"))
    too_many = refusal(create, client, *["https://hooks.example.com/"] * 9)
    assert "at most 8" in str(too_many)
    assert client.count() == 0


def test_without_a_list_webhooks_are_off(server):
    refused = refusal(create, server.client(), "https://hooks.example.com/")
    assert "webhook-host" in str(refused) and "webhook-secret-file" in str(refused)


def test_internal_addresses_are_not_called(hooked, receiver):
    """By address, and by a name that leads there: what counts is where the connection goes."""
    client = hooked(f"http://127.0.0.1:{receiver.port}", f"http://localhost:{receiver.port}",
                    workers=0).client()
    for host in ("127.0.0.1", "localhost"):
        name = create(client, receiver.url(host=host)).name
        client.cancel(name)
        one, = settled(client, name)
        assert one.state == Delivery.FAILED and "internal address" in one.last_error
    assert not receiver.got


def test_redirects_are_not_followed(hooked, receiver):
    other = Receiver()
    try:
        client = hooked(f"internal:http://127.0.0.1:{receiver.port}", workers=0).client()
        receiver.answers = [307]
        receiver.redirect = other.url("/metadata")
        name = create(client, receiver.url()).name
        client.cancel(name)
        one, = settled(client, name)
        assert one.state == Delivery.FAILED and "redirects are not followed" in one.last_error
        assert not other.got and len(receiver.got) == 1
    finally:
        other.stop()


def test_a_certificate_of_nobody_known_is_not_trusted(hooked, tmp_path):
    receiver = Receiver(tls=Authority(tmp_path, "unknown").issue("receiver"))
    try:
        client = hooked(f"internal:127.0.0.1:{receiver.port}", workers=0).client()
        name = create(client, receiver.url().replace("http:", "https:")).name
        client.cancel(name)
        one = until(lambda: [one for one in deliveries(client, name) if one.attempts][:1],
                    "a try")[0]
        assert one.state == Delivery.PENDING and "certificate" in one.last_error
        assert not receiver.got
    finally:
        receiver.stop()


def test_deliveries_go_with_their_job_and_are_seen_by_quantctl(hooked, receiver):
    server = hooked(f"internal:http://127.0.0.1:{receiver.port}")
    quantctl = server.quantctl()
    name = quantctl.ok("quantize", tiny_spec().model.path, "--method", "rtn", "--eval-windows", "2",
                       "--seq-len", "64", "--webhook", receiver.url(), "--detach").strip()
    client = server.client()
    client.wait(name)
    settled(client, name)
    shown = quantctl.ok("jobs", "deliveries", name)
    assert "delivered" in shown and "succeeded" in shown and receiver.url() in shown
    listed = json.loads(quantctl.ok("jobs", "deliveries", name, "--json"))
    assert listed[0]["state"] == "DELIVERED" and listed[0]["url"] == receiver.url()
    client.delete(name)
    assert refusal(deliveries, client, name).reason == "JOB_NOT_FOUND"
