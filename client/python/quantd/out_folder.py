"""The folder of a download: new, empty, or what it holds of the same result."""

from __future__ import annotations

import json
import pathlib
from typing import List, Sequence

from quantd.credentials import refused
from quantd.download import PARTIAL, check_path, has_file
from quantd.errors import InvalidRequest
from quantd.snapshot import ArtifactFile

_MANIFEST = "quantd/manifest.json"
_CONFIGURATIONS = ("config.json", "params.json", "quantize_config.json")
_WEIGHTS = (".safetensors", ".gguf", ".bin", ".pt", ".pth")
_NAMED = 3  # files that an error names


def _rank(name: str) -> int:
    """Where a file stands in the order of removal; -1: it does not make a model."""
    if name in _CONFIGURATIONS:
        return 0
    if name.endswith(".index.json"):
        return 1
    return 2 if name.endswith(_WEIGHTS) else -1


def check_folder(folder: pathlib.Path, files: Sequence[ArtifactFile]) -> None:
    """Refuses a folder that holds anything but what is being downloaded."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise refused("out", f"{folder} is a file", "a folder", "cannot write there")
    listed = {file.path: file for file in files}
    others: List[str] = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_dir() or PARTIAL in name:
            continue
        if name not in listed or not has_file(folder, listed[name]):
            others.append(name)
    if not others:
        return
    more = f" and {len(others) - _NAMED} more" if len(others) > _NAMED else ""
    raise refused("out", f"{folder} with {', '.join(others[:_NAMED])}{more}",
                  "a new or empty folder, or force=True to replace the result it holds",
                  "the output folder is not empty")


def older_result(folder: pathlib.Path) -> List[str]:
    """What makes a model there, ours or not, in the order in which it goes.

    Without its configuration no engine takes the folder for a model.
    """
    if not folder.is_dir():
        return []
    names = [path.name for path in folder.iterdir() if not path.is_dir()]
    found = sorted((name for name in names if _rank(name) >= 0), key=lambda n: (_rank(n), n))
    for path in _listed(folder):
        if path not in found and (folder / path).is_file():
            found.append(path)
    if (folder / _MANIFEST).is_file():
        found.append(_MANIFEST)
    return found


def _listed(folder: pathlib.Path) -> List[str]:
    """What a manifest of ours lists; nothing for one that cannot be read."""
    paths: List[str] = []
    try:
        manifest = json.loads((folder / _MANIFEST).read_text("utf-8"))
        for file in manifest["files"]:
            check_path(file["path"])
            paths.append(file["path"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, InvalidRequest):
        return paths
    return paths


def remove_older_result(folder: pathlib.Path, files: Sequence[ArtifactFile]) -> None:
    """Removes it, but for files that are the same in the new one."""
    listed = {file.path: file for file in files}
    for path in older_result(folder):
        if path not in listed or not has_file(folder, listed[path]):
            (folder / path).unlink()
