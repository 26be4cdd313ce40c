"""A request of CreateJob from the keywords of `quantize`."""

from __future__ import annotations

import difflib
import uuid
from typing import TYPE_CHECKING, Any, Dict, List, Literal, Mapping, Optional, Sequence, TypedDict

from quantd.choices import enum_number, set_field
from quantd.errors import InvalidRequest, Violation
from quantd.recipe import KvCache, Propagate, Recipe, Rotate
from quantd.scheme import (
    Activations,
    Granularity,
    NumberFormat,
    OptionValue,
    ScaleRule,
    Scheme,
)
from quantd.source import Model, Text, model_source, text_source
from quantd.v1 import job_pb2
from quantd.v1 import quantization_service_pb2 as api

if TYPE_CHECKING:
    import datetime

MethodName = Literal["rtn", "awq", "gptq", "awq+gptq", "hqq", "hqq+gptq", "int8", "smoothquant",
                     "gguf", "auto"]
FormatName = Literal["compressed-tensors", "awq", "gptq", "hqq", "gguf", "dequantized"]
LoaderName = Literal["transformers", "transformers4", "hqq", "vllm", "sglang", "llama.cpp"]


class QuantizeOptions(TypedDict, total=False):
    """The keywords of `quantize` and `validate`. What is left out is the server's default."""

    recipe: Recipe
    """A whole recipe; instead of the next thirteen."""
    method: MethodName
    bits: float
    """1 to 8, or 1.58 for three levels."""
    number_format: NumberFormat
    """What one weight is stored as, instead of `bits`."""
    group_size: int
    granularity: Granularity
    symmetric: bool
    scale_rule: ScaleRule
    activations: Activations
    options: Mapping[str, OptionValue]
    """Options of the method alone."""
    skip: Sequence[str]
    """Globs of modules that stay in 16 bit; default lm_head."""
    propagate: Propagate
    """Weights that compute the activations which calibrate later blocks."""
    kv_cache: KvCache
    rotate: Rotate
    calibration: Text
    """Text that methods measure activations on."""
    samples: int
    """Windows of calibration."""
    seed: int
    """Picks the windows of calibration."""
    evaluation: Text
    """Text that the result is compared with the original on."""
    eval_windows: int
    sequence_length: int
    """Tokens of a window, of calibration and evaluation."""
    text_field: str
    """Of records (JSONL, JSON, CSV): the field that holds a text or messages."""
    chat_template: str
    """Source of the Jinja template that turns messages into text."""
    evaluate: bool
    """False: do not measure the result."""
    analyze: bool
    """Also measure what protected channels and other levels would gain."""
    logits_windows: int
    """Also write the logits of so many windows, to check a loader against."""
    gate_kl: float
    """Fail when the mean KL is above this, nats per token."""
    gate_ppl_ratio: float
    """Fail when perplexity grows by more than this factor."""
    gate_top1: float
    """Fail when top-1 agreement is below this, 0 to 1."""
    format: FormatName
    """Output format."""
    loader: LoaderName
    """Check the rules of this engine."""
    tensor_parallel: int
    """Devices that the engine splits the model over, for its shape rules."""
    shard_bytes: int
    """Largest size of one file."""
    backend: Literal["any", "cpu", "cuda"]
    compute: Literal["auto", "f32", "bf16"]
    max_memory_bytes: int
    threads: int
    priority: int
    """Higher runs sooner, -100 to 100."""
    max_run_time: datetime.timedelta
    max_queue_time: datetime.timedelta
    no_cache: bool
    """Do the work even if an identical request was made before (`JobSnapshot.reused`)."""
    labels: Mapping[str, str]
    """To find the job by."""
    request_id: str
    """A UUID; the same one with the same request gives the job made first."""


_SCHEME = ("method", "bits", "number_format", "group_size", "granularity", "symmetric",
           "scale_rule", "activations", "options")
_RECIPE = ("skip", "propagate", "kv_cache", "rotate")
# keyword -> section of the spec, field
_FIELDS = {
    "samples": [("calibration", "samples")],
    "seed": [("calibration", "seed")],
    "eval_windows": [("evaluation", "windows")],
    "sequence_length": [("calibration", "sequence_length"), ("evaluation", "sequence_length")],
    "text_field": [("calibration", "text_field"), ("evaluation", "text_field")],
    "chat_template": [("calibration", "chat_template"), ("evaluation", "chat_template")],
    "analyze": [("evaluation", "analyze")],
    "logits_windows": [("evaluation", "logits_windows")],
    "format": [("output", "format")],
    "loader": [("output", "loader")],
    "tensor_parallel": [("output", "tensor_parallel")],
    "shard_bytes": [("output", "shard_bytes")],
    "max_memory_bytes": [("resources", "max_memory_bytes")],
    "threads": [("resources", "threads")],
    "priority": [("resources", "priority")],
}
_GATES = {"gate_kl": "max_mean_kl", "gate_ppl_ratio": "max_perplexity_ratio",
          "gate_top1": "min_top1_agreement"}
_ENUMS = {"backend": job_pb2.BackendKind, "compute": job_pb2.ComputeType}
_DURATIONS = ("max_run_time", "max_queue_time")
_OWN_WAYS = ("recipe", "calibration", "evaluation", "evaluate", "labels", "request_id", "no_cache")
KEYWORDS = (*_SCHEME, *_RECIPE, *_FIELDS, *_GATES, *_ENUMS, *_DURATIONS, *_OWN_WAYS)


def create_request(
    model: Model, said: Mapping[str, Any], validate_only: bool = False
) -> api.CreateJobRequest:
    """The request that `quantize(model, **said)` sends.

    >>> create_request("/m", {"method": "awq", "bits": 4, "gate_kl": 0.01}).job.spec.evaluation
    gate {
      max_mean_kl: 0.01
    }
    <BLANKLINE>
    >>> create_request("/m", {"bitz": 4})
    Traceback (most recent call last):
    ...
    TypeError: quantize() got an unexpected keyword argument 'bitz': did you mean 'bits'?
    """
    said = {key: value for key, value in said.items() if value is not None}
    _check_keywords(said)
    wrong: List[Violation] = []
    no_cache = said.get("no_cache", False)
    request = api.CreateJobRequest(validate_only=validate_only, no_cache=no_cache)
    if not validate_only:
        request.request_id = said.get("request_id") or str(uuid.uuid4())
    request.job.labels.update(said.get("labels", {}))
    spec = request.job.spec
    spec.model.CopyFrom(model_source(model))
    recipe = _recipe(said)
    if recipe is not None:
        spec.recipe.CopyFrom(recipe.to_proto())
    if "calibration" in said:
        spec.calibration.dataset.CopyFrom(text_source(said["calibration"]))
    if "evaluation" in said:
        spec.evaluation.dataset.CopyFrom(text_source(said["evaluation"]))
    if not said.get("evaluate", True):
        spec.evaluation.disabled = True
    for key in said:
        for section, name in _FIELDS.get(key, ()):
            set_field(getattr(spec, section), name, said[key], key, wrong)
        if key in _GATES:
            set_field(spec.evaluation.gate, _GATES[key], said[key], key, wrong)
        if key in _ENUMS:
            setattr(spec.resources, key, enum_number(_ENUMS[key], said[key], key, wrong))
        if key in _DURATIONS:
            getattr(spec.resources, key).FromTimedelta(said[key])
    if wrong:
        raise InvalidRequest("the request is wrong", reason="INVALID_FIELD", violations=wrong)
    return request


def _check_keywords(said: Mapping[str, Any]) -> None:
    for key in said:
        if key not in KEYWORDS:
            near = difflib.get_close_matches(key, KEYWORDS, 1)
            advice = f": did you mean {near[0]!r}?" if near else ""
            raise TypeError(f"quantize() got an unexpected keyword argument {key!r}{advice}")


def _recipe(said: Mapping[str, Any]) -> Optional[Recipe]:
    scheme: Dict[str, Any] = {key: said[key] for key in _SCHEME if key in said}
    whole: Dict[str, Any] = {key: said[key] for key in _RECIPE if key in said}
    if "recipe" not in said:
        if "skip" in whole:
            whole["skip"] = tuple(whole["skip"])
        return Recipe(Scheme(**scheme) if scheme else None, **whole) if scheme or whole else None
    if scheme or whole:
        raise InvalidRequest(
            "the request is wrong", reason="INVALID_FIELD",
            violations=[Violation(key, str(value), "said in the recipe alone")
                        for key, value in {**scheme, **whole}.items()])
    recipe = said["recipe"]
    return recipe if isinstance(recipe, Recipe) else Recipe(recipe)
