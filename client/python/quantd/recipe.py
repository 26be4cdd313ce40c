"""Which linear gets which scheme (docs/recipe.md).

>>> recipe = (Recipe(awq(bits=4))
...     .override("model.layers.*.mlp.down_proj", rtn(bits=8, granularity="channel"))
...     .leave("model.layers.0.*"))
>>> recipe.to_dict()["overrides"][1]
{'match': 'model.layers.0.*', 'skip': True}
>>> Recipe.from_dict(recipe.to_dict()) == recipe
True
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Dict, List, Literal, Mapping, Optional, Tuple, Union

from quantd.choices import enum_number
from quantd.errors import Violation
from quantd.scheme import Scheme, awq, recipe_error, rtn
from quantd.v1 import recipe_pb2

if TYPE_CHECKING:
    from quantd.capabilities import Capabilities

__all__ = ["Override", "Recipe", "awq", "rtn"]

Propagate = Literal["original", "quantized"]
KvCache = Literal["none", "fp8"]
Rotate = Literal["none", "hadamard"]
_ENUMS = {"propagate": recipe_pb2.Propagate, "kv_cache": recipe_pb2.KvCache,
          "rotate": recipe_pb2.Rotate}
_KEYS = ("default", "overrides", "skip", *_ENUMS)


@dataclass(frozen=True)
class Override:
    """Another scheme for the linears whose module name matches; None: they stay in 16 bit."""

    match: str
    """Glob over whole module names: "*" any run of characters, "?" one."""
    scheme: Optional[Scheme]


@dataclass(frozen=True)
class Recipe:
    """A default scheme and its exceptions. Frozen: each method gives a new recipe."""

    default: Optional[Scheme] = None
    overrides: Tuple[Override, ...] = ()
    """In order; later ones win."""
    skip: Optional[Tuple[str, ...]] = None
    """Globs of modules that stay in 16 bit; None: lm_head."""
    propagate: Optional[Propagate] = None
    """Weights that compute the activations which calibrate later blocks."""
    kv_cache: Optional[KvCache] = None
    """How the engine that serves the model keeps keys and values."""
    rotate: Optional[Rotate] = None
    """By what the residual stream is turned before it is quantized, to spread outliers."""

    def __post_init__(self) -> None:
        wrong: List[Violation] = []
        for i, override in enumerate(self.overrides):
            if not override.match:
                wrong.append(Violation(f"overrides[{i}].match", "nothing", "a glob"))
        for name, enum in _ENUMS.items():
            if getattr(self, name) is not None:
                enum_number(enum, getattr(self, name), name, wrong)
        if wrong:
            raise recipe_error(wrong)

    def override(self, match: str, scheme: Scheme) -> Recipe:
        """With another scheme for some linears; what it leaves out comes from the default."""
        return replace(self, overrides=(*self.overrides, Override(match, scheme)))

    def leave(self, match: str) -> Recipe:
        """With some linears left in 16 bit."""
        return replace(self, overrides=(*self.overrides, Override(match, None)))

    def to_dict(self) -> Dict[str, Any]:
        """As docs/recipe.md and `recipe.yaml` have it; what is not said is left out."""
        found: Dict[str, Any] = {}
        if self.default is not None:
            found["default"] = self.default.to_dict()
        if self.overrides:
            found["overrides"] = [
                {"match": one.match, **(one.scheme.to_dict() if one.scheme else {"skip": True})}
                for one in self.overrides
            ]
        if self.skip is not None:
            found["skip"] = list(self.skip)
        for name in _ENUMS:
            if getattr(self, name) is not None:
                found[name] = getattr(self, name)
        return found

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Recipe:
        """The other way round; a key that it does not know is refused."""
        unknown = [Violation(key, repr(data[key]), f"one of {', '.join(_KEYS)}")
                   for key in data if key not in _KEYS]
        if unknown:
            raise recipe_error(unknown)
        overrides = []
        for entry in data.get("overrides") or ():
            rest = {key: value for key, value in entry.items() if key not in ("match", "skip")}
            scheme = None if entry.get("skip") else Scheme.from_dict(rest)
            overrides.append(Override(entry.get("match", ""), scheme))
        default, skip = data.get("default"), data.get("skip")
        return cls(
            default=None if default is None else Scheme.from_dict(default),
            overrides=tuple(overrides),
            skip=None if skip is None else tuple(skip),
            **{name: data.get(name) for name in _ENUMS},
        )

    @classmethod
    def load(cls, path: Union[str, os.PathLike[str]]) -> Recipe:
        """From a file: JSON, or YAML where PyYAML is installed."""
        with open(path, encoding="utf-8") as file:
            text = file.read()
        if os.fspath(path).endswith(".json"):
            return cls.from_dict(json.loads(text))
        import yaml  # type: ignore[import-untyped,unused-ignore]

        return cls.from_dict(yaml.safe_load(text) or {})

    def to_proto(self) -> recipe_pb2.Recipe:
        """As the wire has it; what is not said is not set."""
        message = recipe_pb2.Recipe()
        if self.default is not None:
            message.default_scheme.CopyFrom(self.default.to_proto())
        for override in self.overrides:
            entry = message.overrides.add(match=override.match)
            if override.scheme is None:
                entry.skip = True
            else:
                entry.scheme.CopyFrom(override.scheme.to_proto())
        if self.skip is not None:
            message.skip.CopyFrom(recipe_pb2.SkipList(globs=self.skip))
        for name, enum in _ENUMS.items():
            if getattr(self, name) is not None:
                setattr(message, name, enum_number(enum, getattr(self, name), name, []))
        return message

    def check(self, capabilities: Capabilities) -> None:
        """Raises InvalidRequest with all that the methods of this server would not take.

        Without a model: whether linears and formats can have it, `Client.validate` tells.
        """
        wrong: List[Violation] = []
        base = self.default or Scheme()
        _check(base, base.method or "rtn", "default", capabilities, wrong)
        for i, override in enumerate(self.overrides):
            if override.scheme is not None:
                method = override.scheme.method or base.method or "rtn"
                _check(override.scheme, method, f"overrides[{i}]", capabilities, wrong)
        if wrong:
            raise recipe_error(wrong)


def _check(scheme: Scheme, method: str, where: str, capabilities: Capabilities,
           wrong: List[Violation]) -> None:
    known = capabilities.methods.get(method)
    if known is None:
        names = ", ".join(capabilities.methods)
        wrong.append(Violation(f"{where}.method", method, f"one of {names}"))
        return
    said = scheme.to_dict()
    options = said.pop("options", {})
    bits = said.pop("bits", None)
    if bits is not None and bits not in known.bits:
        wanted = f"one of {', '.join(map(str, known.bits))}"
        wrong.append(Violation(f"{where}.bits", str(bits), wanted))
    for name, value in options.items():
        option = known.option(name) or capabilities.base_option(method, options, name)
        if option is None:
            names = ", ".join(known.options) or "none"
            wrong.append(Violation(f"{where}.options.{name}", str(value), f"one of {names}"))
        elif not option.takes(value):
            wrong.append(Violation(f"{where}.options.{name}", str(value), option.values))
    for name, value in said.items():
        option = known.option(name)
        if option is not None and not option.takes(value):
            wrong.append(Violation(f"{where}.{name}", str(value), option.values))
