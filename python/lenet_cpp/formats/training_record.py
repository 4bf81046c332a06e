"""Training records: ``NAME.train.json`` beside parameters says how they came about.

A record names the SHA-256 of the files that it is about, so that it is never taken for a
description of other parameters that later have the same name.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lenet_cpp._base.files import read_text, reading, write_text
from lenet_cpp._base.strict_json import read_json
from lenet_cpp.errors import BadModel
from lenet_cpp.formats.manifest import MeasuredAccuracy, sha256_file

RECORD_FORMAT = 1


def record_path(path: Path) -> Path:
    """Return where the record of a file is: ``net.train.json`` for ``net.prm``."""
    return path.with_suffix(".train.json")


def record_text(record: Mapping[str, Any], files: Mapping[str, str]) -> str:
    """Return a record about files, of which the SHA-256 are given by name, as it is written."""
    return json.dumps({"format": RECORD_FORMAT, **record, "files": files}, indent=2) + "\n"


def load_record(where: Path) -> dict[str, Any]:
    """Read a record; FileNotFound when it cannot be read, BadModel when it is damaged."""
    try:
        with reading(f"the training record {where}"):
            record = read_json(read_text(where))
    except ValueError as error:
        raise BadModel(f"the training record {where} is damaged: {error}") from error
    if not isinstance(record, dict) or record.get("format") != RECORD_FORMAT:
        raise BadModel(f"{where} is not a training record of format {RECORD_FORMAT}")
    return record


def measured_accuracy(record: Mapping[str, Any], path: Path | None) -> MeasuredAccuracy | None:
    """Return the accuracy that a training measured, if any; BadModel when the record is damaged."""
    test = record.get("test")
    if test is None:
        return None
    try:
        of = test.get("of") or f"MNIST test images ({record['data']['kind']})"
        return MeasuredAccuracy(test["correct"] / test["count"], test["count"], of)
    except (AttributeError, KeyError, TypeError, ZeroDivisionError) as error:
        raise BadModel(f"the training record of {path} is damaged: test is {test!r}") from error


def write_torch_record(path: Path, record: Mapping[str, Any]) -> None:
    """Write the record of PyTorch's parameters, whose file has to be there, atomically."""
    text = record_text({"framework": "torch", **record}, {path.name: sha256_file(path)})
    write_text(record_path(path), text)


def read_torch_record(path: Path) -> dict[str, Any]:
    """Read the record of PyTorch's parameters; empty when there is none about these very bytes."""
    where = record_path(path)
    record = load_record(where) if where.is_file() else {}
    files = record.pop("files", None)
    about_it = isinstance(files, dict) and sha256_file(path) in files.values()
    return record if about_it and record.get("framework") == "torch" else {}
