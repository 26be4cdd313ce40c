"""Where a model or a text is.

>>> model_source("org/model@v2").hub.revision
'v2'
>>> model_source("/models/llama").path
'/models/llama'
>>> text_source("builtin:evaluation").builtin
'evaluation'
"""

from __future__ import annotations

import os
import re
from typing import Union

from quantd.errors import InvalidRequest, Violation
from quantd.upload import Upload
from quantd.v1 import sources_pb2

Model = Union[str, "os.PathLike[str]", Upload, sources_pb2.ModelSource]
Text = Union[str, "os.PathLike[str]", Upload, sources_pb2.DatasetSource]

_HUB = re.compile(r"([\w.-]+/[\w.-]+)(?:@(\S+))?")
_ID = r"[a-z0-9][a-z0-9-]{0,62}"
_UPLOADED = {kind: re.compile(f"{kind}/{_ID}") for kind in ("models", "datasets")}


def _is_path(name: Union[str, os.PathLike[str]]) -> bool:
    return (not isinstance(name, str) or name.startswith(("/", "./", "../", "~"))
            or name.endswith(".gguf") or os.path.exists(name))


def _path(name: Union[str, os.PathLike[str]]) -> str:
    # The server may run in another folder, so a path is made absolute here.
    return os.path.abspath(os.path.expanduser(os.fspath(name)))


def model_source(model: Model) -> sources_pb2.ModelSource:
    """What a name stands for.

    A path (one that exists here, ends in .gguf, or begins with "/", "./", "../" or "~"; the server
    must see it too); "s3://bucket/prefix"; "models/{id}", which was uploaded; else a repository of
    the hub that the server is configured for, "hub:org/name@revision" or in short "org/name". What
    this server cannot read yet, it refuses by name.
    """
    if isinstance(model, sources_pb2.ModelSource):
        return model
    if isinstance(model, Upload):
        return sources_pb2.ModelSource(uploaded=model.name)
    if isinstance(model, str):
        if model.startswith("s3://"):
            return sources_pb2.ModelSource(s3=sources_pb2.S3Location(uri=model))
        for scheme in ("hub:", "hf://"):
            if model.startswith(scheme):
                return _hub(model[len(scheme) :], model)
    if not _is_path(model):
        name = str(model)
        if _UPLOADED["models"].fullmatch(name):
            return sources_pb2.ModelSource(uploaded=name)
        if _HUB.fullmatch(name):
            return _hub(name, name)
    return sources_pb2.ModelSource(path=_path(model))


def _hub(name: str, given: str) -> sources_pb2.ModelSource:
    found = _HUB.fullmatch(name)
    if found is None:
        raise InvalidRequest(
            "not a repository", reason="INVALID_FIELD",
            violations=[Violation("model", given, "hub:organisation/name or …@revision")])
    hub = sources_pb2.HubModel(repo=found.group(1), revision=found.group(2) or "")
    return sources_pb2.ModelSource(hub=hub)


def text_source(text: Text) -> sources_pb2.DatasetSource:
    """A path, "s3://…", "datasets/{id}", or "builtin:calibration" and "builtin:evaluation"."""
    if isinstance(text, sources_pb2.DatasetSource):
        return text
    if isinstance(text, Upload):
        return sources_pb2.DatasetSource(uploaded=text.name)
    if isinstance(text, str):
        if text.startswith("s3://"):
            return sources_pb2.DatasetSource(s3=sources_pb2.S3Location(uri=text))
        if text.startswith("builtin:"):
            return sources_pb2.DatasetSource(builtin=text[len("builtin:") :])
        if not _is_path(text) and _UPLOADED["datasets"].fullmatch(text):
            return sources_pb2.DatasetSource(uploaded=text)
    return sources_pb2.DatasetSource(path=_path(text))
