"""How linears are quantized: a method, bits, and what else the method knows.

The functions have the options of each method as keywords, so that an editor completes them; the
server has the last word about values (`Recipe.check`, `Client.validate`).

>>> awq(bits=4, group_size=64, clip=True)
Scheme(method='awq', bits=4, group_size=64, options={'clip': True})
>>> gptq(bits=3, act_order="desc-act", refit=2).to_dict()
{'method': 'gptq', 'bits': 3, 'options': {'act_order': 'desc-act', 'refit': 2}}
>>> hqq(bits=1.58).to_dict()
{'method': 'hqq', 'bits': 2, 'options': {'ternary': True}}
>>> rtn(bits=9)
Traceback (most recent call last):
...
quantd.errors.InvalidRequest: the recipe is wrong (RECIPE_INVALID)
  bits: got 9, wanted 1 to 8, or 1.58 for three levels
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Dict, List, Literal, Mapping, Optional, TypedDict, Union

from quantd.choices import enum_number, set_field
from quantd.errors import InvalidRequest, Violation
from quantd.v1 import recipe_pb2

if TYPE_CHECKING:
    from typing_extensions import Unpack

Granularity = Literal["tensor", "channel", "group"]
ScaleRule = Literal["absmax", "mse", "weighted-mse", "hessian"]
Activations = Literal["none", "dynamic", "static"]
NumberFormat = Literal[
    "int2", "int3", "int4", "int5", "int6", "int7", "int8",
    "fp8-e4m3", "fp8-block", "mxfp8", "mxfp4", "nvfp4",
    "Q8_0", "Q6_K", "Q5_K_M", "Q5_K_S", "Q5_K", "Q5_1", "Q5_0", "Q4_K_M", "Q4_K_S", "Q4_K",
    "Q4_1", "Q4_0", "Q3_K_L", "Q3_K_M", "Q3_K_S", "Q3_K", "Q2_K", "Q2_K_S",
]
OptionValue = Union[bool, int, float, str]

TERNARY_BITS = 1.58
_WIRE_NAMES = {"dynamic": "dynamic_token"}


class SchemeFields(TypedDict, total=False):
    """What every method's function takes beside its bits and options; unset: the method's own."""

    group_size: int
    granularity: Granularity
    symmetric: bool
    scale_rule: ScaleRule
    activations: Activations
    number_format: NumberFormat


def recipe_error(violations: List[Violation]) -> InvalidRequest:
    """What a recipe that contradicts itself is refused with."""
    return InvalidRequest("the recipe is wrong", reason="RECIPE_INVALID", violations=violations)


@dataclass(frozen=True)
class Scheme:
    """What one linear gets. What is None comes from the default scheme, then from the method."""

    method: Optional[str] = None
    """Name of a method (`Client.capabilities`)."""
    bits: Optional[float] = None
    """Bits per weight, 1 to 8; 1.58 for three levels."""
    group_size: Optional[int] = None
    """Inputs that share a scale."""
    granularity: Optional[Granularity] = None
    symmetric: Optional[bool] = None
    """Whether zero has the code 0: no zero points."""
    scale_rule: Optional[ScaleRule] = None
    activations: Optional[Activations] = None
    """What happens to the inputs when the model is served."""
    number_format: Optional[NumberFormat] = None
    """What a weight is stored as, instead of `bits`."""
    options: Mapping[str, OptionValue] = field(default_factory=dict)
    """Options of the method alone."""

    def __post_init__(self) -> None:
        wrong = []
        whole = self.bits is not None and float(self.bits).is_integer() and 1 <= self.bits <= 8
        if not (self.bits is None or whole or self.bits == TERNARY_BITS):
            wanted = "1 to 8, or 1.58 for three levels"
            wrong.append(Violation("bits", f"{self.bits:g}", wanted))
        if self.bits is not None and self.number_format is not None:
            wrong.append(Violation("number_format", self.number_format, "one of it and bits"))
        if self.group_size is not None and self.group_size <= 0:
            wrong.append(Violation("group_size", str(self.group_size), "more than 0"))
        for name in ("granularity", "scale_rule", "activations"):
            value = getattr(self, name)
            if value is not None:
                enum_number(_enum_of(name), _WIRE_NAMES.get(value, value), name, wrong)
        if wrong:
            raise recipe_error(wrong)

    def __repr__(self) -> str:
        said = [f"{f.name}={getattr(self, f.name)!r}" for f in fields(self)
                if getattr(self, f.name) not in (None, {})]
        return f"Scheme({', '.join(said)})"

    def to_dict(self) -> Dict[str, Any]:
        """As docs/recipe.md and `recipe.yaml` have it."""
        found: Dict[str, Any] = {}
        for one in fields(self):
            value = getattr(self, one.name)
            if value not in (None, {}):
                found[one.name] = value
        options = dict(self.options)
        if self.bits == TERNARY_BITS:
            found["bits"], options["ternary"] = 2, True
        elif self.bits is not None:
            found["bits"] = int(self.bits)
        if options:
            found["options"] = options
        return found

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Scheme:
        """The other way round; a key that it does not know is refused."""
        known = {one.name for one in fields(cls)}
        unknown = [Violation(key, repr(data[key]), f"one of {', '.join(sorted(known))}")
                   for key in data if key not in known]
        if unknown:
            raise recipe_error(unknown)
        return cls(**data)

    def to_proto(self) -> recipe_pb2.Scheme:
        """As the wire has it; what is not said is not set."""
        message = recipe_pb2.Scheme()
        wrong: List[Violation] = []
        for name, value in self.to_dict().items():
            if name == "options":
                for option, said in value.items():
                    set_value(message.options[option], said)
            elif name in ("granularity", "scale_rule", "activations"):
                number = enum_number(_enum_of(name), _WIRE_NAMES.get(value, value), name, [])
                setattr(message, name, number)
            else:
                set_field(message, name, value, name, wrong)
        if wrong:
            raise recipe_error(wrong)
        return message


def set_value(message: Any, value: OptionValue) -> None:
    """Puts a value into a google.protobuf.Value."""
    if isinstance(value, bool):
        message.bool_value = value
    elif isinstance(value, str):
        message.string_value = value
    else:
        message.number_value = value


def _enum_of(name: str) -> Any:
    return {
        "granularity": recipe_pb2.Granularity,
        "scale_rule": recipe_pb2.ScaleRule,
        "activations": recipe_pb2.Activations,
    }[name]


def _scheme(
    method: str, bits: Optional[float], shared: SchemeFields, **options: Optional[OptionValue]
) -> Scheme:
    said = {name: value for name, value in options.items() if value is not None}
    return Scheme(method=method, bits=bits, options=said, **shared)


def rtn(bits: Optional[float] = None, **shared: Unpack[SchemeFields]) -> Scheme:
    """Round to nearest; needs no calibration."""
    return _scheme("rtn", bits, shared)


def awq(
    bits: Optional[float] = None,
    *,
    grid: Optional[int] = None,
    duo: Optional[bool] = None,
    loss: Optional[Literal["diagonal", "blocks", "gram"]] = None,
    search: Optional[Literal["auto", "range", "rule"]] = None,
    clip: Optional[bool] = None,
    reference: Optional[bool] = None,
    **shared: Unpack[SchemeFields],
) -> Scheme:
    """Activation-aware scales of input channels."""
    return _scheme("awq", bits, shared, grid=grid, duo=duo, loss=loss, search=search, clip=clip,
                   reference=reference)


def gptq(
    bits: Optional[float] = None,
    *,
    damping: Optional[float] = None,
    act_order: Optional[Literal["none", "static", "group-aware", "desc-act"]] = None,
    refit: Optional[int] = None,
    tune: Optional[Literal["none", "output-scales"]] = None,
    reference: Optional[bool] = None,
    **shared: Unpack[SchemeFields],
) -> Scheme:
    """Column by column, the error of each carried into the next."""
    return _scheme("gptq", bits, shared, damping=damping, act_order=act_order, refit=refit,
                   tune=tune, reference=reference)


def awq_gptq(
    bits: Optional[float] = None,
    *,
    grid: Optional[int] = None,
    duo: Optional[bool] = None,
    loss: Optional[Literal["diagonal", "blocks", "gram"]] = None,
    search: Optional[Literal["auto", "range", "rule"]] = None,
    damping: Optional[float] = None,
    act_order: Optional[Literal["none", "static", "group-aware", "desc-act"]] = None,
    refit: Optional[int] = None,
    tune: Optional[Literal["none", "output-scales"]] = None,
    **shared: Unpack[SchemeFields],
) -> Scheme:
    """AWQ's scales, then GPTQ: the most accurate."""
    return _scheme("awq+gptq", bits, shared, grid=grid, duo=duo, loss=loss, search=search,
                   damping=damping, act_order=act_order, refit=refit, tune=tune)


def hqq(
    bits: Optional[float] = None,
    *,
    solver: Optional[Literal["search", "half-quadratic", "admm"]] = None,
    weighted: Optional[bool] = None,
    axis: Optional[Literal[0, 1]] = None,
    ternary: Optional[bool] = None,
    stop: Optional[Literal["tensor", "group"]] = None,
    iterations: Optional[int] = None,
    lp_norm: Optional[float] = None,
    beta: Optional[float] = None,
    kappa: Optional[float] = None,
    **shared: Unpack[SchemeFields],
) -> Scheme:
    """Real zero points; `bits=1.58` for three levels."""
    return _scheme("hqq", bits, shared, solver=solver, weighted=weighted, axis=axis,
                   ternary=ternary, stop=stop, iterations=iterations, lp_norm=lp_norm, beta=beta,
                   kappa=kappa)


def hqq_gptq(
    bits: Optional[float] = None,
    *,
    damping: Optional[float] = None,
    act_order: Optional[Literal["none", "static", "group-aware", "desc-act"]] = None,
    refit: Optional[int] = None,
    **shared: Unpack[SchemeFields],
) -> Scheme:
    """HQQ's real zero points, then GPTQ."""
    return _scheme("hqq+gptq", bits, shared, damping=damping, act_order=act_order, refit=refit)


def int8(
    *,
    observer: Optional[Literal["minmax", "percentile", "mse", "kl"]] = None,
    percentile: Optional[float] = None,
    activation_symmetric: Optional[bool] = None,
    **shared: Unpack[SchemeFields],
) -> Scheme:
    """W8A8, or W8A16 with `activations="none"`."""
    return _scheme("int8", None, shared, observer=observer, percentile=percentile,
                   activation_symmetric=activation_symmetric)


def smoothquant(
    *,
    alpha: Optional[float] = None,
    alpha_search: Optional[bool] = None,
    smooth_all: Optional[bool] = None,
    observer: Optional[Literal["minmax", "percentile", "mse", "kl"]] = None,
    percentile: Optional[float] = None,
    activation_symmetric: Optional[bool] = None,
    **shared: Unpack[SchemeFields],
) -> Scheme:
    """W8A8 after the range of the inputs has moved into the weights."""
    return _scheme("smoothquant", None, shared, alpha=alpha, alpha_search=alpha_search,
                   smooth_all=smooth_all, observer=observer, percentile=percentile,
                   activation_symmetric=activation_symmetric)


def gguf(
    type: Optional[str] = None,
    *,
    embedding: Optional[str] = None,
    output: Optional[str] = None,
    **shared: Unpack[SchemeFields],
) -> Scheme:
    """Blocks of a GGUF type or mixture, as llama-quantize names them: "Q4_K_M"."""
    return _scheme("gguf", None, shared, type=type, embedding=embedding, output=output)


def auto(
    bits_per_weight: Optional[float] = None,
    *,
    base: Optional[Literal["awq+gptq", "awq", "gptq", "hqq", "rtn"]] = None,
    budget_bytes: Optional[int] = None,
    max_kl: Optional[float] = None,
    widths: Optional[str] = None,
    options: Optional[Mapping[str, OptionValue]] = None,
    **shared: Unpack[SchemeFields],
) -> Scheme:
    """Bits per linear under a budget; `options` are those of the `base` method."""
    return _scheme("auto", None, shared, base=base, bits_per_weight=bits_per_weight,
                   budget_bytes=budget_bytes, max_kl=max_kl, widths=widths, **(options or {}))


FUNCTIONS = {"rtn": rtn, "awq": awq, "gptq": gptq, "awq+gptq": awq_gptq, "hqq": hqq,
             "hqq+gptq": hqq_gptq, "int8": int8, "smoothquant": smoothquant, "gguf": gguf,
             "auto": auto}
"""The function of each method."""
