"""What bad input gets: refused at CreateJob, with the field, what was got and what is wanted, and
nothing is left behind. Client.refused checks that validate_only says the same and that no job is
made; the fixture checks the data folder, and that a good job succeeds afterwards."""

import grpc
import pytest

from checkpoints import Checkpoint
from client import tiny_spec
from programs import MODEL, MODELS
from quantd.v1 import job_pb2, quantization_service_pb2 as api
from server_process import ServerProcess

INVALID = grpc.StatusCode.INVALID_ARGUMENT
CORRUPT = (grpc.StatusCode.DATA_LOSS, "MODEL_CORRUPT")
WEIGHT = "model.layers.1.mlp.up_proj.weight"
OTHER = "model.layers.0.mlp.up_proj.weight"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder that the server may read, for bad models and texts."""
    return tmp_path_factory.mktemp("allowed").resolve()


@pytest.fixture(scope="module")
def shared_server(tmp_path_factory, place):
    server = ServerProcess(tmp_path_factory.mktemp("server"),
                           model_roots=(MODELS, place)).start()
    yield server
    try:
        kept = server.everything_kept()
        assert not kept, f"refused requests left files: {kept}"
        assert not server.client().jobs(), "refused requests left jobs"
        assert server.client().succeed().state == job_pb2.Job.SUCCEEDED
    finally:
        server.clean_up()


def check(refused, expected, *words):
    """`words` must stand in what the user reads."""
    assert (refused.code, refused.reason) == expected, refused
    assert refused.info.domain == "quantd" and refused.info.metadata["fault"] == "user", refused
    assert refused.violations, refused
    for violation in refused.violations:
        assert violation.field and violation.description.startswith("got "), refused
        assert ", wanted " in violation.description, refused
    for word in words:
        assert word in str(refused), (word, str(refused))


def no_tensor(model):
    header, _ = model.header()
    del header[WEIGHT]
    return model.write_header(header)


def overlap(model):
    header, _ = model.header()
    return model.edit_tensor(WEIGHT, data_offsets=header[OTHER]["data_offsets"])


DEEP = b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
MODELS_REFUSED = {
    "no-config": (lambda m: (m.path / "config.json").unlink(),
                  (grpc.StatusCode.NOT_FOUND, "MODEL_NOT_FOUND"), "config.json"),
    "no-weights": (lambda m: m.weights.unlink(),
                   (grpc.StatusCode.NOT_FOUND, "MODEL_NOT_FOUND"), "safetensors"),
    "unknown-family": (lambda m: m.edit_json("config.json", model_type="mamba"),
                       (INVALID, "MODEL_UNSUPPORTED"), "mamba", "llama"),
    "truncated": (lambda m: m.cut(1000), CORRUPT, "model.safetensors", "data_offsets"),
    "cut-in-header": (lambda m: m.cut(m.weights.stat().st_size - 100), CORRUPT, "header length"),
    "empty-file": (lambda m: m.weights.write_bytes(b""), CORRUPT, "0 bytes"),
    "overlapping-tensors": (overlap, CORRUPT, WEIGHT, "overlapping"),
    "huge-header": (lambda m: m.claim_header_length(2**63 - 1), CORRUPT, str(2**63 - 1)),
    "no-json-header": (lambda m: m.write_header(b"{not json"), CORRUPT, "JSON"),
    "deep-header": (lambda m: m.write_header(DEEP), CORRUPT, "header"),
    "absurd-shape": (lambda m: m.edit_tensor(WEIGHT, shape=[2**40, 2**40]), CORRUPT, "shape"),
    "lying-shape": (lambda m: m.edit_tensor(WEIGHT, shape=[320, 512]), CORRUPT, "[640, 256]"),
    "unknown-dtype": (lambda m: m.edit_tensor(WEIGHT, dtype="F33"), CORRUPT, "F33"),
    "negative-offset": (lambda m: m.edit_tensor(WEIGHT, data_offsets=[-8, 100]), CORRUPT, "-8"),
    "missing-tensor": (no_tensor, CORRUPT, "hole"),
    "absurd-hidden-size": (lambda m: m.edit_json("config.json", hidden_size=2**50), CORRUPT,
                           "hidden_size", str(2**50)),
    "absurd-layers": (lambda m: m.edit_json("config.json", num_hidden_layers=10**9), CORRUPT,
                      "num_hidden_layers"),
    "no-heads": (lambda m: m.edit_json("config.json", num_attention_heads=0), CORRUPT,
                 "num_attention_heads"),
    "config-no-json": (lambda m: (m.path / "config.json").write_text("{"), CORRUPT, "config.json"),
    "config-deep": (lambda m: (m.path / "config.json").write_text("[" * 200_000), CORRUPT,
                    "config.json"),
    "bad-tokenizer": (lambda m: (m.path / "tokenizer.json").write_text("{}"), CORRUPT,
                      "tokenizer.json"),
}


@pytest.mark.parametrize("case", MODELS_REFUSED)
def test_bad_models(client, place, case):
    damage, expected, *words = MODELS_REFUSED[case]
    model = Checkpoint(place, case)
    damage(model)
    check(client.refused(tiny_spec(model.path)), expected, *words)


def set_scheme(**fields):
    return lambda spec: [setattr(spec.recipe.default_scheme, k, v) for k, v in fields.items()]


def set_field(path, value):
    def change(spec):
        *parents, last = path.split(".")
        for parent in parents:
            spec = getattr(spec, parent)
        setattr(spec, last, value)
    return change


def add_override(match, **scheme):
    def change(spec):
        override = spec.recipe.overrides.add(match=match)
        for key, value in scheme.items():
            setattr(override.scheme, key, value)
    return change


RECIPE = (INVALID, "RECIPE_INVALID")
FIELD = (INVALID, "INVALID_FIELD")
REQUESTS_REFUSED = {
    "group-does-not-divide": (set_scheme(group_size=96), RECIPE, "96", "q_proj", "256"),
    "absurd-group": (set_scheme(group_size=2**60), None, str(2**60)),
    "absurd-bits": (set_scheme(bits=9), None, "bits", "9"),
    "negative-bits": (set_scheme(bits=-1), None, "bits", "-1"),
    "unknown-method": (set_scheme(method="magic"), None, "method", "magic", "rtn"),
    "method-not-built": (set_scheme(method="admm"), None, "method", "admm"),
    "override-hits-nothing": (add_override("model.layers.9.*", bits=8), RECIPE,
                              "model.layers.9.*"),
    "format-cannot-hold": (lambda spec: [set_scheme(method="hqq")(spec),
                                         set_field("output.format", "gptq")(spec)],
                           (INVALID, "FORMAT_CANNOT_HOLD"),
                           "real zero points", "integer zero points"),
    "unknown-format": (set_field("output.format", "exl2"), (INVALID, "FORMAT_CANNOT_HOLD"),
                       "exl2", "compressed-tensors"),
    "unknown-loader": (set_field("output.loader", "excel"), (INVALID, "LOADER_REFUSES"),
                       "excel", "vllm"),
    "tiny-shards": (set_field("output.shard_bytes", 1), FIELD, "job.spec.output.shard_bytes"),
    "absurd-windows": (set_field("evaluation.windows", 2**40), FIELD,
                       "job.spec.evaluation.windows", str(2**40)),
    "absurd-length": (set_field("evaluation.sequence_length", 2**40), FIELD,
                      "job.spec.evaluation.sequence_length"),
    "absurd-threads": (set_field("resources.threads", 10**6), FIELD, "threads"),
    "absurd-priority": (set_field("resources.priority", 101), FIELD, "priority"),
    "too-little-memory": (set_field("resources.max_memory_bytes", 10**6),
                          (INVALID, "MEMORY_BUDGET"), "max_memory_bytes", "1000000"),
    "gate-not-a-number": (set_field("evaluation.gate.max_mean_kl", float("nan")), FIELD,
                          "max_mean_kl", "nan"),
    "no-source": (lambda spec: spec.ClearField("model"), FIELD, "job.spec.model"),
    "long-spec": (lambda spec: spec.recipe.skip.globs.extend(["x" * 1000] * 300), FIELD,
                  "job.spec"),
}


@pytest.mark.parametrize("case", REQUESTS_REFUSED)
def test_bad_requests(client, case):
    change, expected, *words = REQUESTS_REFUSED[case]
    spec = tiny_spec(bits=4)
    change(spec)
    refused = client.refused(spec)
    # Which of the two says it is not what the user cares for.
    check(refused, expected or (INVALID, refused.reason), *words)
    assert refused.reason in ("RECIPE_INVALID", "INVALID_FIELD") or expected


def test_every_problem_is_reported_at_once(client):
    spec = tiny_spec(bits=4)
    spec.evaluation.windows = -3
    spec.output.shard_bytes = 7
    spec.resources.priority = 1000
    refused = client.refused(spec)
    check(refused, FIELD)
    assert {violation.field for violation in refused.violations} == {
        "job.spec.evaluation.windows", "job.spec.output.shard_bytes",
        "job.spec.resources.priority"}


def test_unknown_fields_of_the_wire(client):
    # Field 777, a varint: what a newer client would send.
    spec = job_pb2.JobSpec.FromString(tiny_spec().SerializeToString() + b"\xc8\x30\x01")
    check(client.refused(spec), (INVALID, "UNKNOWN_FIELD"), "777")
    before = client.count()
    request = api.CreateJobRequest.FromString(
        api.CreateJobRequest(job=job_pb2.Job(spec=tiny_spec())).SerializeToString()
        + b"\xc8\x30\x01")
    with pytest.raises(grpc.RpcError) as error:
        client.stub.CreateJob(request, timeout=60)
    assert error.value.code() == INVALID and client.count() == before


def test_unknown_fields_of_a_recipe_file(quantctl, client, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("default: {method: rtn, bitz: 4}\noverides: []\n", encoding="utf-8")
    refused = quantctl("quantize", MODEL, "--recipe", recipe, "--out", tmp_path / "out")
    assert refused.returncode == 2
    assert "bitz" in refused.stderr and "overides" in refused.stderr, "both, in one go"
    assert not (tmp_path / "out").exists() and client.count() == 0


def test_labels(client):
    for labels in ({"UPPER": "x"}, {"k": "a b"}, {"": "x"}, {"k": "x" * 64}, {"k" * 64: "x"},
                   {f"k{i}": "x" for i in range(65)}):
        check(client.refused(tiny_spec(), labels=labels), FIELD, "job.labels")


def test_a_model_that_is_not_there(client):
    refused = client.refused(tiny_spec(MODELS / "no-such-model"))
    check(refused, (grpc.StatusCode.NOT_FOUND, "MODEL_NOT_FOUND"), "no-such-model")
    assert refused.violations[0].field == "job.spec.model.path"


@pytest.mark.parametrize("text", ["bad-utf8", "too-short", "missing", "folder"])
def test_bad_texts(client, place, text):
    path = place / text
    if text == "bad-utf8":
        path.write_bytes(b"\xff\xfe\x00\x80" * 1000)
    elif text == "too-short":
        path.write_text("hi", encoding="utf-8")
    elif text == "folder":
        path.mkdir()
    for part in ("evaluation", "calibration"):
        spec = tiny_spec(bits=4)
        if part == "calibration":
            spec.recipe.default_scheme.scale_rule = 3  # SCALE_RULE_WEIGHTED_MSE
        getattr(spec, part).dataset.path = str(path)
        check(client.refused(spec), (INVALID, "DATASET_INVALID"))


@pytest.mark.parametrize("line, words", [
    ('{"prompt": "x", "answer": "y"}', ("line 1", "prompt, answer", "text_field")),
    ('{"text": 7}', ("line 1", "text")),
    ('[{"role": "user", "content": "x"}]', ("chat template", "chat_template")),
    ('{"text": "x"', ("line 1",))])
def test_records_that_are_no_texts(client, place, line, words):
    path = place / "records.jsonl"
    path.write_text(line + "\n", encoding="utf-8")
    spec = tiny_spec(bits=4)
    spec.evaluation.dataset.path = str(path)
    check(client.refused(spec), (INVALID, "DATASET_INVALID"), *words)


def outside(place, way):
    if way == "root":
        return "/"
    if way == "elsewhere":
        return "/etc"
    if way == "dot-dot":
        return f"{MODELS}/../server"
    if way == "longer-name":  # begins with the name of a root and is not below it
        beside = place.parent / (place.name + "-not-allowed")
        beside.mkdir(exist_ok=True)
        return beside
    link = place / f"link-{way}"
    link.symlink_to("/etc" if way == "symlink" else "/etc/passwd")
    return link


@pytest.mark.parametrize("way", ["root", "elsewhere", "dot-dot", "longer-name", "symlink"])
def test_models_outside_the_allowed_folders(client, place, way):
    refused = client.refused(tiny_spec(outside(place, way)))
    check(refused, (grpc.StatusCode.PERMISSION_DENIED, "MODEL_OUTSIDE_ROOTS"),
          "job.spec.model.path")


def test_texts_outside_the_allowed_folders(client, place):
    for path in ("/etc/passwd", outside(place, "file-symlink")):
        spec = tiny_spec()
        spec.evaluation.dataset.path = str(path)
        check(client.refused(spec), (grpc.StatusCode.PERMISSION_DENIED, "MODEL_OUTSIDE_ROOTS"),
              "job.spec.evaluation.dataset.path")
        assert "root:" not in str(client.refused(spec)), "the text itself is not told"


def test_files_of_a_model_that_lead_outside(client, place):
    """A model folder that is allowed may not smuggle in files that are not."""
    model = Checkpoint(place, "smuggler")
    config = model.path / "config.json"
    config.unlink()
    config.symlink_to("/etc/passwd")
    refused = client.refused(tiny_spec(model.path))
    check(refused, (grpc.StatusCode.PERMISSION_DENIED, "MODEL_OUTSIDE_ROOTS"),
          "job.spec.model.path")
    assert "root:" not in str(refused), "the contents of the file are not told"


def test_files_of_a_model_may_be_links_that_stay_inside(client, place):
    """Hubs' caches keep weights elsewhere below the same root."""
    model = Checkpoint(place, "linked")
    weights = model.path / "model.safetensors"
    weights.rename(place / "blob-of-linked")
    weights.symlink_to(place / "blob-of-linked")
    client.create(tiny_spec(model.path), validate_only=True)


@pytest.mark.parametrize("path", ["relative/model", "a\0b", "x" * 10_000, "/models\n/x", "~/m"])
def test_odd_paths(client, path):
    refused = client.refused(tiny_spec(path))
    assert refused.code in (INVALID, grpc.StatusCode.NOT_FOUND,
                            grpc.StatusCode.PERMISSION_DENIED), refused
    assert refused.violations[0].field == "job.spec.model.path"


def test_sources_that_are_not_built(client):
    for source, part, value in (("s3", "uri", "s3://bucket/x"), ("hub", "repo", "org/name")):
        spec = tiny_spec()
        setattr(getattr(spec.model, source), part, value)
        check(client.refused(spec), (grpc.StatusCode.UNIMPLEMENTED, "UNIMPLEMENTED"), source)
