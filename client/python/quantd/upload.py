"""Models and texts of this machine to the server: resumed where they broke off, checked.

What the server holds already is not sent; every piece has a CRC-32C, every file a SHA-256.
"""

from __future__ import annotations

import hashlib
import os
import pathlib
import re
from dataclasses import dataclass
from functools import partial
from typing import Callable, Dict, Iterator, List, Literal, Optional, Union

from quantd.crc32c import crc32c
from quantd.errors import InvalidRequest, NotFound, QuantdError, Violation, is_transient
from quantd.retry import Backoff, RetryPolicy
from quantd.steps import Send, Sleep, Steps, call, work
from quantd.v1 import quantization_service_rpc as rpcs
from quantd.v1 import uploads_pb2

Collection = Literal["models", "datasets"]
OnSent = Callable[[str, int], None]
"""Told of each file and how many more of its bytes are sent."""

_PIECE = 1 << 20
_OTHER_WEIGHTS = (".bin", ".pt", ".pth", ".h5", ".msgpack", ".onnx", ".ot", ".ckpt")
# A file that changes under our hands is damaged at the server each time.
_MOST_DAMAGED = 3


@dataclass(frozen=True)
class Upload:
    """A model or text that the server holds; `quantize` takes it."""

    name: str
    """models/{id} or datasets/{id}."""
    ready: bool
    """Complete: jobs may use it."""
    bytes: int

    @classmethod
    def from_proto(cls, message: uploads_pb2.Upload) -> Upload:
        """From the wire."""
        return cls(message.name, message.state == uploads_pb2.Upload.READY, message.bytes)


def id_of(path: Union[str, os.PathLike[str]]) -> str:
    """An id out of what the file or folder is called.

    >>> id_of("/models/Llama-3.2-1B.gguf")
    'llama-3-2-1b'
    """
    name = pathlib.Path(path).resolve()
    stem = name.name if name.is_dir() else name.stem
    return re.sub(r"[^a-z0-9]+", "-", stem.lower()).strip("-")[:63].strip("-")


def files_to_send(collection: Collection, path: pathlib.Path) -> List[pathlib.Path]:
    """Of a model folder those files that are worth sending; a file stands for itself.

    Left out: hidden and empty ones, folders, and, beside .safetensors or .gguf, weights in other
    forms.
    """
    wanted = "a model folder, or a .gguf file"
    if collection == "datasets":
        wanted = "a text, JSONL, JSON or CSV file"
    if path.is_file() and (collection == "datasets" or path.suffix == ".gguf"):
        return [path]
    files: List[pathlib.Path] = []
    if path.is_dir() and collection == "models":
        names = sorted(entry for entry in path.iterdir() if entry.is_file())
        has_weights = any(entry.suffix in (".safetensors", ".gguf") for entry in names)
        files = [entry for entry in names
                 if not entry.name.startswith(".") and entry.stat().st_size
                 and not (has_weights and entry.name.endswith(_OTHER_WEIGHTS))]
    if files:
        return files
    raise NotFound(f"there is nothing to send at {path}", reason="MODEL_NOT_FOUND",
                   violations=[Violation("path", str(path), wanted)])


def _described(name: str, files: Dict[str, pathlib.Path]) -> uploads_pb2.CreateUploadRequest:
    request = uploads_pb2.CreateUploadRequest()
    request.upload.name = name
    for file, path in files.items():
        digest = hashlib.sha256()
        size = 0
        with open(path, "rb") as source:
            for piece in iter(partial(source.read, _PIECE), b""):
                digest.update(piece)
                size += len(piece)
        request.upload.files.add(path=file, bytes=size, sha256=digest.hexdigest())
    return request


def push(
    collection: Collection, path: Union[str, os.PathLike[str]], name: Optional[str],
    policy: RetryPolicy, on_sent: Optional[OnSent] = None,
) -> Steps[Upload]:
    """Sends what is missing and seals the upload; called again, it goes on."""
    chosen = name or id_of(path)
    if not chosen:
        raise InvalidRequest("the upload needs a name", reason="INVALID_FIELD",
                             violations=[Violation("name", str(path), "letters or digits in it")])
    full = chosen if chosen.startswith(f"{collection}/") else f"{collection}/{chosen}"
    files = {file.name: file for file in files_to_send(collection, pathlib.Path(path))}
    request = yield from work(partial(_described, full, files))
    upload = yield from call(rpcs.CreateUpload, request, policy)
    if upload.state != uploads_pb2.Upload.READY:
        for file in upload.files:
            if not file.complete:
                yield from _send_file(full, file, files[file.path], policy, on_sent)
        committed = uploads_pb2.CommitUploadRequest(name=full)
        upload = yield from call(rpcs.CommitUpload, committed, policy)
    return Upload.from_proto(upload)


def _send_file(
    name: str, file: uploads_pb2.UploadFile, path: pathlib.Path, policy: RetryPolicy,
    on_sent: Optional[OnSent],
) -> Steps[None]:
    """Until the server says that the file is complete."""
    backoff = Backoff(policy, policy.stream_patience)
    damaged = 0
    while not file.complete:
        before = file.committed_size
        try:
            answer = yield Send(rpcs.WriteUploadFile,
                                _pieces(name, file.path, path, before, on_sent))
            file = answer.file
            continue
        except QuantdError as error:
            if error.reason == "UPLOAD_CORRUPT":
                damaged += 1
            if damaged == _MOST_DAMAGED or not (damaged or is_transient(error)):
                raise
            failure = error
        asked = uploads_pb2.GetUploadRequest(name=name)
        upload = yield from call(rpcs.GetUpload, asked, policy)
        file = next(one for one in upload.files if one.path == file.path)
        if file.committed_size > before:
            backoff.reset()
        wait = backoff.next(failure)
        if wait is None:
            raise failure
        yield Sleep(wait)


def _pieces(
    name: str, file: str, path: pathlib.Path, offset: int, on_sent: Optional[OnSent]
) -> Iterator[uploads_pb2.WriteUploadFileRequest]:
    """The requests of one call. One at least: a file that is whole needs a call to be checked."""
    with open(path, "rb") as source:
        source.seek(offset)
        first = True
        while True:
            piece = source.read(_PIECE)
            if not piece and not first:
                return
            yield uploads_pb2.WriteUploadFileRequest(
                name=name if first else "", path=file if first else "", offset=offset,
                data=piece, crc32c=crc32c(piece))
            first = False
            offset += len(piece)
            if on_sent is not None:
                on_sent(file, len(piece))


def list_uploads(collection: Collection, policy: RetryPolicy) -> Steps[List[Upload]]:
    """All pages, in order of name."""
    found: List[Upload] = []
    token = ""
    while True:
        request = uploads_pb2.ListUploadsRequest(collection=collection, page_token=token)
        page = yield from call(rpcs.ListUploads, request, policy)
        found += [Upload.from_proto(upload) for upload in page.uploads]
        token = page.next_page_token
        if not token:
            return found


def delete(name: str, policy: RetryPolicy) -> Steps[None]:
    """Removes an upload."""
    yield from call(rpcs.DeleteUpload, uploads_pb2.DeleteUploadRequest(name=name), policy)
