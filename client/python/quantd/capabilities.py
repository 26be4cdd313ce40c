"""What a server can do, as dataclasses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, Mapping, Optional, Tuple

from google.protobuf import json_format

from quantd.choices import word_of
from quantd.v1 import capabilities_pb2, job_pb2

_TYPES = {1: "bool", 2: "integer", 3: "number", 4: "choice"}


@dataclass(frozen=True)
class Option:
    """One option of a method, and what it takes."""

    name: str
    type: str
    """ "bool", "integer", "number" or "choice"."""
    default: Any
    minimum: Optional[float]
    maximum: Optional[float]
    choices: Tuple[str, ...]
    values: str
    """Range or list, for people."""
    description: str

    def takes(self, value: Any) -> bool:
        """Whether a value is of its type and within its range.

        >>> Option("grid", "integer", 10, 1, 100, (), "1..100", "").takes(0)
        False
        """
        if self.type == "bool":
            return isinstance(value, bool)
        if self.type == "choice":
            return value in self.choices
        if isinstance(value, (bool, str)):
            return False
        if self.type == "integer" and not float(value).is_integer():
            return False
        return not (
            (self.minimum is not None and value < self.minimum)
            or (self.maximum is not None and value > self.maximum)
        )


@dataclass(frozen=True)
class Method:
    """A quantization method."""

    name: str
    summary: str
    source: str
    """Paper and equation."""
    bits: Tuple[int, ...]
    group_sizes: str
    needs_calibration: bool
    options: Dict[str, Option]

    def option(self, name: str) -> Optional[Option]:
        """An option or field of the scheme by name."""
        return self.options.get(name)


@dataclass(frozen=True)
class Format:
    """An output format."""

    name: str
    summary: str
    loaders: Dict[str, str]
    """Engine that reads it -> its shape rules, in words."""


@dataclass(frozen=True)
class Capabilities:
    """What this server can do."""

    server_version: str
    methods: Dict[str, Method]
    formats: Dict[str, Format]
    families: Dict[str, str]
    """model_type -> one line."""
    backends: Dict[str, int]
    """Backend -> live workers that have it."""
    model_roots: Tuple[str, ...]
    """Folders of the server that models may be read from."""
    limits: Dict[str, Any]
    """Every limit that a request can meet, by the names of quantd.v1.Limits."""

    def base_option(
        self, method: str, options: Mapping[str, Any], name: str
    ) -> Optional[Option]:
        """Of method auto: the option of the method that quantizes for it."""
        if method != "auto":
            return None
        base = self.methods.get(str(options.get("base", "awq+gptq")))
        return base.option(name) if base else None

    @classmethod
    def from_proto(cls, message: capabilities_pb2.Capabilities) -> Capabilities:
        """From the wire."""
        return cls(
            server_version=message.server_version,
            methods={one.name: _method(one) for one in message.methods},
            formats={one.name: Format(one.name, one.summary,
                                      {loader.name: loader.shape_rules
                                       for loader in one.loaders})
                     for one in message.formats},
            families={one.name: one.summary for one in message.families},
            backends={word_of(job_pb2.BackendKind, one.backend): one.workers
                      for one in message.backends},
            model_roots=tuple(message.model_roots),
            limits={field.name: _limit(value) for field, value in message.limits.ListFields()},
        )


def _limit(value: Any) -> Any:
    return value.ToTimedelta() if hasattr(value, "ToTimedelta") else value


def _method(message: capabilities_pb2.MethodInfo) -> Method:
    return Method(
        name=message.name,
        summary=message.summary,
        source=message.source,
        bits=tuple(message.bits),
        group_sizes=message.group_sizes,
        needs_calibration=message.needs_calibration,
        options={one.name: _option(one) for one in message.options},
    )


def _option(message: capabilities_pb2.OptionInfo) -> Option:
    return Option(
        name=message.name,
        type=_TYPES.get(message.type, ""),
        default=json_format.MessageToDict(message.default_value)
        if message.HasField("default_value") else None,
        minimum=message.minimum if message.HasField("minimum") else None,
        maximum=message.maximum if message.HasField("maximum") else None,
        choices=tuple(message.choices),
        values=message.values,
        description=message.description,
    )
