"""The training record: how the parameters in a file came about, in ``NAME.train.json`` beside it.

It names the SHA-256 of the file that it is about, so that it is never taken for a description of
other parameters that later have the same file name.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from lenet_cpp._base.files import write_text
from lenet_cpp.errors import BadModel
from lenet_cpp.formats.manifest import sha256_file

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_FORMAT = 1
_FRAMEWORK = "torch"


def record_path(path: Path) -> Path:
    """Where the record of a file of parameters is: ``net.train.json`` for ``net.prm``."""
    return path.with_suffix(".train.json")


def write_record(path: Path, record: Mapping[str, Any]) -> None:
    """Write the record of a file of parameters, which has to be there, atomically."""
    head = {"format": _FORMAT, "framework": _FRAMEWORK}
    document = {**head, **record, "files": {path.name: sha256_file(path)}}
    write_text(record_path(path), json.dumps(document, indent=2) + "\n")


def read_record(path: Path) -> dict[str, Any] | None:
    """Read the record of a file of parameters; None when there is none about these very bytes.

    Raises:
        BadModel: The record is damaged.
        FileNotFound: The file cannot be read.
    """
    where = record_path(path)
    try:
        record = json.loads(where.read_text(encoding="utf-8"))
    except OSError:
        return None
    except ValueError as error:
        raise BadModel(f"the training record {where} is damaged: {error}") from error
    if not isinstance(record, dict) or record.get("framework") != _FRAMEWORK:
        return None
    files = record.pop("files", None)
    if not isinstance(files, dict) or sha256_file(path) not in files.values():
        return None
    return record
