"""Predictions, and their files: CSV, JSON or JSON Lines."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple

from lenet_cpp._base.files import atomic_path
from lenet_cpp.errors import BadInput

SUFFIXES = (".csv", ".json", ".jsonl")
CSV_COLUMNS = ("file", "rank", "class_id", "label", "probability", "error")
"""With ``score`` in place of ``probability`` where that is not known."""


class Prediction(NamedTuple):
    """One class of one image."""

    class_id: int
    label: str | None
    """None when the label of the class is not known."""
    probability: float | None
    """None where it is not known what the model's outputs are."""
    score: float | None
    """The model's output for this class, as it is; None where that is the class's number alone."""

    @property
    def value(self) -> float:
        """The probability, or else the score, or else NaN."""
        found = self.score if self.probability is None else self.probability
        return math.nan if found is None else found


class Finding(NamedTuple):
    """What was found in one image."""

    predictions: tuple[Prediction, ...] = ()
    """The classes, in the order of the description: mostly the most probable one first."""
    attributes: tuple[str, ...] = ()
    """Of a post-processing whose name ends in Attribute, which has no predictions."""
    output: tuple[int, ...] = ()
    """With the attributes: 1 for each output above its threshold, else 0."""


NOTHING = Finding()


@dataclass(frozen=True)
class ImageResult:
    """The result for one image."""

    file: str
    found: Finding = NOTHING
    error: str | None = None
    """Why the image could not be read; None when it could."""


@contextmanager
def open_results(
    target: Path, value: str = "probability"
) -> Iterator[Callable[[ImageResult], None]]:
    """Write results to a file, in the format of its suffix.

    * ``.csv``: one line for each class of each image, with the columns :data:`CSV_COLUMNS`; the
      rank counts from 1; an image that could not be read has one line, with ``error``;
    * ``.json``: a list with one object for each image: ``file``, and ``predictions`` with
      ``class_id``, ``label`` and ``probability`` (or ``score``, where that is not known), or
      ``error``; of a model that gives class numbers alone, ``score`` is null, and empty in a .csv;
      of attributes ``attributes`` and ``output``, and in a .csv a line for each, as a label;
    * ``.jsonl``: the same objects, one per line.

    The complete file appears when the block ends; when the block raises, an older file stays.

    Args:
        target: The file. Its folder is created if necessary.
        value: The column of the probabilities in a ``.csv``.

    Yields:
        A function that writes the result of one image.

    Raises:
        BadInput: The suffix is not one of these.
        OSError: The file cannot be written.
    """
    if target.suffix not in SUFFIXES:
        raise BadInput(f"{target}: choose a name that ends in {', '.join(SUFFIXES)}")
    with (
        atomic_path(target) as temporary,
        # File names may be any bytes, which JSON escapes and CSV keeps as they are.
        temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file,
        _FORMATS[target.suffix](file, value) as write,
    ):
        yield write


@contextmanager
def _csv(file: IO[str], value: str) -> Iterator[Callable[[ImageResult], None]]:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(value if name == "probability" else name for name in CSV_COLUMNS)

    def write(result: ImageResult) -> None:
        if result.error is not None:
            writer.writerow([result.file, "", "", "", "", result.error])
        for rank, attribute in enumerate(result.found.attributes, start=1):
            writer.writerow([result.file, rank, "", attribute, "", ""])
        for rank, prediction in enumerate(result.found.predictions, start=1):
            label = "" if prediction.label is None else prediction.label
            value = "" if prediction.score is None else prediction.value
            writer.writerow([result.file, rank, prediction.class_id, label, value, ""])

    yield write


@contextmanager
def _json(file: IO[str], _value: str) -> Iterator[Callable[[ImageResult], None]]:
    separator = "[\n"

    def write(result: ImageResult) -> None:
        nonlocal separator
        file.write(separator + json.dumps(_document(result)))
        separator = ",\n"

    yield write
    file.write("[]\n" if separator == "[\n" else "\n]\n")


@contextmanager
def _jsonl(file: IO[str], _value: str) -> Iterator[Callable[[ImageResult], None]]:
    yield lambda result: print(json.dumps(_document(result)), file=file)


def _document(result: ImageResult) -> dict[str, Any]:
    if result.error is not None:
        return {"file": result.file, "error": result.error}
    found = result.found
    if found.attributes:
        return {"file": result.file, "attributes": found.attributes, "output": found.output}
    return {"file": result.file, "predictions": [*map(_entry, found.predictions)]}


def _entry(prediction: Prediction) -> dict[str, Any]:
    fields = prediction._asdict()
    del fields["score" if prediction.probability is not None else "probability"]
    return fields


_FORMATS = {".csv": _csv, ".json": _json, ".jsonl": _jsonl}
