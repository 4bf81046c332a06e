"""Predictions, and their files: CSV, JSON or JSON Lines."""

import csv
import json
import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, repeat
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lenet_cpp._base.files import atomic_path
from lenet_cpp.errors import BadInput, Error

_LEAST_SHOWN = 0.0005  # which is 0.1 %
_THUMBNAIL = 160
SUFFIXES = (".csv", ".json", ".jsonl")
CSV_COLUMNS = ("file", "rank", "head", "class_id", "label", "probability", "error")
"""With ``score`` in place of ``probability`` where that is not known; ``head`` is left out where
the model gives one answer about an image."""


class Prediction(NamedTuple):
    """One class of one image."""

    class_id: int
    label: str | None
    """None when the label of the class is not known."""
    probability: float | None
    """None where it is not known what the model's outputs are."""
    score: float | None
    """The model's output for this class, as it is; None where that is the class's number alone."""
    head: str | None = None
    """The name of the answer, where a model gives several about an image, such as attributes."""

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
    features: tuple[float, ...] = ()
    """What a model gives that has no classes."""


@dataclass(frozen=True, eq=False, repr=False)
class Result:
    """What a picture shows, as :class:`lenet_cpp.Classifier` returns it.

    Attributes:
        predictions: The classes, the most probable first, as many as the classifier's ``top``; of
            a model with a description of several labels those that it finds, which may be none; of
            one that gives several answers those of each one, which ``head`` names.
        attributes: Of a description of attributes what it finds, and then there are no classes.
        probabilities: float32 [classes], of every class; None where they are not known, or there
            are several answers.
        logits: float32 [classes]; None where the model gives something else, or several answers.
        features: What the model gives of the image beside its classes, as it is; None where it
            gives no features.
        outputs: What the model gave for this image, as it is; of several outputs that tell the
            classes, such as the values and the indices of a top-k, a tuple.
        source: The path, the bytes, the image or the array that was given.
    """

    predictions: tuple[Prediction, ...]
    attributes: tuple[str, ...]
    probabilities: NDArray[np.float32] | None
    logits: NDArray[np.float32] | None
    features: NDArray[Any] | None
    outputs: NDArray[Any] | tuple[NDArray[Any], ...]
    source: Any
    _picture: Any  # the source as the preprocessing takes it; None of floats
    _top: Callable[[int], tuple[Prediction, ...]]

    @property
    def class_id(self) -> int | None:
        """The number of the first class; None when none was found."""
        return self.predictions[0].class_id if self.predictions else None

    @property
    def label(self) -> str | None:
        """The label of the first class; None when it is not known or none was found."""
        return self.predictions[0].label if self.predictions else None

    @property
    def probability(self) -> float | None:
        """The probability of the first class; None when it is not known or none was found."""
        return self.predictions[0].probability if self.predictions else None

    def top(self, k: int) -> tuple[Prediction, ...]:
        """Return the ``k`` most probable classes, or all, whatever a description says.

        Raises:
            BadInput: ``k`` is less than 1.
        """
        return self._top(k)

    def __repr__(self) -> str:
        """Return the classes that are worth a tenth of a percent, in one line."""
        first, *others = [*self._shown()] or [("nothing above the threshold", "", 0.0)]
        shown = [first, *(one for one in others if one[2] is None or one[2] >= _LEAST_SHOWN)]
        return ", ".join(f"{name} ({value})" if value else name for name, value, _ in shown)

    def _shown(self) -> Iterator[tuple[str, str, float | None]]:
        """Yield names, what stands behind them, and the part of 1 that it is."""
        for attribute in self.attributes:
            yield attribute, "", None
        for one in self.predictions:
            name = f"class {one.class_id}" if one.label is None else one.label
            name = name if one.head is None else f"{one.head}: {name}"
            name = name if name.isprintable() else repr(name)
            part, score = one.probability, one.score
            value = f"{100 * part:.1f} %" if part is not None else ""
            yield name, value or ("" if score is None else f"score {score:.4g}"), part

    def _repr_html_(self) -> str:
        """Return the picture and a bar for each class, for a notebook."""
        from html import escape

        rows = "".join(
            f"<tr><td>{escape(name)}</td><td><div style='width:{120 * (part or 0):.0f}px;"
            f"height:1em;background:#4a90d9'></div></td><td>{escape(value)}</td></tr>"
            for name, value, part in self._shown()
        )
        named = isinstance(self.source, (str, os.PathLike))
        caption = f"<caption>{escape(str(self.source))}</caption>" if named else ""
        return f"{self._image()}<table>{caption}{rows or escape(repr(self))}</table>"

    def _image(self) -> str:
        from base64 import b64encode
        from io import BytesIO

        from lenet_cpp.data.images import read_image

        if self._picture is None:
            return ""
        try:
            image = read_image(self._picture, "RGB")
        except Error:  # the file is no longer there
            return ""
        image.thumbnail((_THUMBNAIL, _THUMBNAIL))
        file = BytesIO()
        image.save(file, "PNG")
        return f'<img src="data:image/png;base64,{b64encode(file.getvalue()).decode()}">'


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
    target: Path, value: str = "probability", *, heads: bool = False
) -> Iterator[Callable[[ImageResult], None]]:
    """Write results to a file, in the format of its suffix.

    * ``.csv``: one line for each class of each image, with the columns :data:`CSV_COLUMNS`; the
      rank counts from 1; an image that could not be read has one line, with ``error``;
    * ``.json``: a list with one object for each image: ``file``, and ``predictions`` with
      ``class_id``, ``label`` and ``probability`` (or ``score``, where that is not known), or
      ``error``; of a model that gives class numbers alone, ``score`` is null, and empty in a .csv;
      of attributes ``attributes`` and ``output``, and in a .csv a line for each, as a label;
    * ``.jsonl``: the same objects, one per line.

    The block gets a function that writes the result of one image. The complete file, in a folder
    that is created if necessary, appears when the block ends; when it raises, an older file stays.
    ``value`` is the column of the probabilities in a ``.csv``, and ``heads`` says whether it has
    the column ``head``.

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
    ):
        if target.suffix == ".csv":
            writer = csv.writer(file, lineterminator="\n")
            columns = [name for name in CSV_COLUMNS if heads or name != "head"]
            writer.writerow(value if name == "probability" else name for name in columns)
            yield lambda result: writer.writerows(_rows(result, columns))
        elif target.suffix == ".jsonl":
            yield lambda result: print(json.dumps(document(result)), file=file)
        else:
            before = chain(["[\n"], repeat(",\n"))
            yield lambda result: print(
                next(before) + json.dumps(document(result)), end="", file=file
            )
            file.write("[]\n" if next(before) == "[\n" else "\n]\n")


def _rows(result: ImageResult, columns: Sequence[str]) -> Iterator[list[Any]]:
    """Yield the lines of a CSV file, which has nothing where there is None."""
    found: list[dict[str, Any]] = [{"label": each} for each in result.found.attributes]
    found += (
        {**each._asdict(), "probability": None if each.score is None else each.value}
        for each in result.found.predictions
    )
    for rank, values in enumerate(found, start=1):
        row = {**values, "file": result.file, "rank": rank}
        yield [row.get(name) for name in columns]
    if result.error is not None:
        yield [{"file": result.file, "error": result.error}.get(name) for name in columns]


def document(result: ImageResult) -> dict[str, Any]:
    """Return what a JSON file says of an image."""
    if result.error is not None:
        return {"file": result.file, "error": result.error}
    found = result.found
    if found.features:
        return {"file": result.file, "features": found.features}
    if found.attributes:
        return {"file": result.file, "attributes": found.attributes, "output": found.output}
    entries = [each._asdict() for each in found.predictions]
    for entry in entries:
        del entry["probability" if entry["probability"] is None else "score"]
        head = entry.pop("head")
        if head is not None:
            entry["head"] = head
    return {"file": result.file, "predictions": entries}
