"""Files of an artifact: resumed where they broke off, checked, complete under their name or absent.

A file grows as `NAME.partial-DIGEST`. A broken connection is taken up at the offset reached, and
so is a download that another process began: what it has is hashed, not fetched again. Each chunk
has a CRC-32C, the whole a SHA-256.
"""

from __future__ import annotations

import hashlib
import os
import pathlib
from functools import partial
from typing import Any, BinaryIO, Callable, List, Optional

from quantd.crc32c import crc32c
from quantd.errors import Damaged, InvalidRequest, QuantdError, Unavailable, Violation, is_transient
from quantd.retry import Backoff, RetryPolicy
from quantd.snapshot import ArtifactFile
from quantd.steps import Close, Open, Receive, Sleep, Steps, work
from quantd.v1 import quantization_service_pb2 as api
from quantd.v1 import quantization_service_rpc as rpcs

PARTIAL = ".partial-"
_PIECE = 1 << 20

OnBytes = Callable[[ArtifactFile, int], None]
"""Told of each file and how many more of its bytes are there."""


def _broken(what: str) -> Unavailable:
    """Of a stream that is thrown away and asked for again from the offset reached."""
    return Unavailable(what, reason="UNAVAILABLE")


class Assembly:
    """What has been received of one file, and whether the next chunk belongs behind it."""

    def __init__(self, job: str, path: str, file: Optional[ArtifactFile] = None) -> None:
        self.job, self.path = job, path
        self.file = file
        """As it was listed, or as the first chunk says."""
        self.offset = 0
        self._digest = hashlib.sha256()

    @property
    def complete(self) -> bool:
        """Whether nothing is missing."""
        return self.file is not None and self.offset == self.file.bytes

    def add(self, data: bytes) -> None:
        """Takes bytes as the next ones."""
        self._digest.update(data)
        self.offset += len(data)

    def take(self, chunk: api.ArtifactChunk) -> bytes:
        """The bytes of a chunk once they are known to be right and to come next."""
        if chunk.HasField("file"):
            found = ArtifactFile.from_proto(chunk.file)
            if self.file is not None and (found.sha256, found.bytes) != (
                    self.file.sha256, self.file.bytes):
                raise self._damaged(f"another file: sha256 {found.sha256}", self.file.sha256)
            self.file = self.file or found
        if self.file is None or chunk.offset != self.offset:
            raise _broken(f"{self.path}: a chunk begins at {chunk.offset}, not at {self.offset}")
        if crc32c(chunk.data) != chunk.crc32c:
            raise _broken(f"{self.path}: the chunk at {self.offset} is not what its crc32c says")
        if len(chunk.data) > self.file.bytes - self.offset:
            raise _broken(f"{self.path}: more bytes than the file's {self.file.bytes}")
        self.add(chunk.data)
        return chunk.data

    def check(self) -> None:
        """Raises Damaged unless the whole has the digest."""
        found = self._digest.hexdigest()
        if self.file is not None and found != self.file.sha256:
            raise self._damaged(f"sha256 {found}", self.file.sha256)

    def _damaged(self, got: str, wanted: str) -> Damaged:
        return Damaged("the file was damaged on its way", code="DATA_LOSS",
                       violations=[Violation(f"{self.job} {self.path}", got, wanted)])


def read(assembly: Assembly, sink: Callable[[bytes], Any], policy: RetryPolicy) -> Steps[None]:
    """Gives the bytes that are missing to `sink`, in order, and checks the whole."""
    backoff = Backoff(policy, policy.stream_patience)
    while not assembly.complete:
        before = assembly.offset
        request = api.ReadArtifactFileRequest(
            job=assembly.job, path=assembly.path, offset=assembly.offset)
        stream = yield Open(rpcs.ReadArtifactFile, request)
        try:
            while True:
                chunk = yield Receive(stream)
                if chunk is None:
                    break
                data = assembly.take(chunk)
                yield from work(partial(sink, data))
            if assembly.complete:
                break
            raise _broken("the server ended the stream")
        except QuantdError as error:
            if assembly.offset > before:
                backoff.reset()
            wait = backoff.next(error) if is_transient(error) else None
            if wait is None:
                raise
        yield Close(stream)
        yield Sleep(wait)
    assembly.check()


def read_bytes(job: str, path: str, policy: RetryPolicy) -> Steps[bytes]:
    """A whole file in memory."""
    pieces: List[bytes] = []
    yield from read(Assembly(job, path), pieces.append, policy)
    return b"".join(pieces)


def check_path(path: str) -> None:
    """Refuses a path that would leave the folder.

    >>> check_path("../x")
    Traceback (most recent call last):
    ...
    quantd.errors.InvalidRequest: the server named a file that cannot be written (INVALID_FIELD)
      path: got ../x, wanted a relative path without empty, "." or ".." parts
    """
    wanted = ""
    if any(ord(c) < 32 or ord(c) == 127 or c == "\\" for c in path):
        wanted = "no control characters and no backslash"
    elif any(part in ("", ".", "..") for part in path.split("/")):
        wanted = 'a relative path without empty, "." or ".." parts'
    if wanted:
        raise InvalidRequest("the server named a file that cannot be written",
                             reason="INVALID_FIELD", violations=[Violation("path", path, wanted)])


def has_file(folder: pathlib.Path, file: ArtifactFile) -> bool:
    """Whether it is there with this size and digest."""
    check_path(file.path)
    path = folder / file.path
    if not path.is_file() or path.stat().st_size != file.bytes:
        return False
    assembly = Assembly("", file.path)
    _hash(path, assembly)
    return assembly._digest.hexdigest() == file.sha256


def _hash(path: pathlib.Path, assembly: Assembly) -> None:
    with open(path, "rb") as source:
        while True:
            piece = source.read(_PIECE)
            if not piece:
                return
            assembly.add(piece)


def _resumed(unfinished: pathlib.Path, job: str, file: ArtifactFile) -> Assembly:
    """An assembly that has what an earlier download left."""
    assembly = Assembly(job, file.path, file)
    if unfinished.is_file():
        if unfinished.stat().st_size <= file.bytes:
            _hash(unfinished, assembly)
        else:
            unfinished.unlink()
    return assembly


def _seal(unfinished: pathlib.Path, target: BinaryIO, path: pathlib.Path) -> None:
    target.flush()
    os.fsync(target.fileno())
    target.close()
    os.replace(unfinished, path)


def download_file(
    job: str, file: ArtifactFile, folder: pathlib.Path, policy: RetryPolicy,
    on_bytes: Optional[OnBytes] = None,
) -> Steps[bool]:
    """Fetches one file unless the folder has it; whether it was fetched."""
    tell = on_bytes or (lambda file, count: None)
    if (yield from work(lambda: has_file(folder, file))):
        tell(file, file.bytes)
        return False
    path = folder / file.path
    unfinished = path.with_name(f"{path.name}{PARTIAL}{file.sha256[:16]}")
    path.parent.mkdir(parents=True, exist_ok=True)
    for last_try in (False, True):
        assembly = yield from work(lambda: _resumed(unfinished, job, file))
        resumed = assembly.offset > 0
        tell(file, assembly.offset)
        try:
            with open(unfinished, "ab") as target:
                def write(data: bytes, target: BinaryIO = target) -> None:
                    target.write(data)
                    tell(file, len(data))

                yield from read(assembly, write, policy)
                yield from work(partial(_seal, unfinished, target, path))
            return True
        except Damaged:
            # What an earlier process left may be at fault; what is fetched now is not trusted more.
            unfinished.unlink()
            tell(file, -assembly.offset)
            if last_try or not resumed:
                raise
    raise AssertionError("unreachable")


def download(
    job: str, files: List[ArtifactFile], folder: pathlib.Path, policy: RetryPolicy,
    on_bytes: Optional[OnBytes] = None,
) -> Steps[None]:
    """Fetches files, config.json last: a folder that lacks something does not look like a model."""
    for file in sorted(files, key=lambda file: (file.path == "config.json", file.path)):
        yield from download_file(job, file, folder, policy, on_bytes)
