"""Write a pipeline as ``preprocess.json``, and read it strictly."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any, TypeAlias

from lenet_cpp._base.strict_json import choice, integer, number, object_, sequence, wrong
from lenet_cpp.data.images.digit import Digit
from lenet_cpp.data.images.steps import INTERPOLATIONS, CenterCrop, Normalize, Resize, ToCHW

if TYPE_CHECKING:
    from collections.abc import Callable

_FORMAT_VERSION = 1
MODES = {"L": 1, "RGB": 3, "BGR": 3}
"""Each mode and its number of channels."""

Step: TypeAlias = Resize | CenterCrop | Digit | Normalize | ToCHW

_STEPS: dict[str, type[Step]] = {
    step.__name__: step for step in (Resize, CenterCrop, Digit, Normalize, ToCHW)
}


def describe(mode: str, steps: tuple[Step, ...]) -> dict[str, Any]:
    """Return the JSON document of a pipeline, without the fields that are None."""
    described = [
        {
            "type": type(step).__name__,
            **{
                name: list(value) if isinstance(value, tuple) else value
                for name, value in asdict(step).items()
                if value is not None
            },
        }
        for step in steps
    ]
    return {"format_version": _FORMAT_VERSION, "mode": mode, "steps": described}


def parse(document: Any) -> tuple[str, tuple[Step, ...]]:
    """Return the mode and the steps of a document.

    Raises:
        ValueError: The document is invalid; the message has the place and the problem.
    """
    whole = object_(document, "the document", {"format_version", "mode", "steps"})
    version = whole["format_version"]
    if type(version) is not int or version != _FORMAT_VERSION:
        raise wrong("format_version", str(_FORMAT_VERSION), version)
    mode = choice(whole["mode"], "mode", tuple(MODES))
    steps = sequence(_step, whole["steps"], "steps")
    return mode, steps


def _step(value: Any, where: str) -> Step:
    if not isinstance(value, dict):
        raise wrong(where, "an object", value)
    kind = _STEPS[choice(value.get("type"), f"{where}.type", tuple(_STEPS))]
    expected = {"type", *(field.name for field in fields(kind))}
    if kind is Resize:
        # one of the two; the step itself checks that it is not both
        expected -= {"short_side", "size"} - value.keys()
    found = object_(value, where, expected)
    found.pop("type")
    try:
        return kind(
            **{name: _FIELDS[kind, name](item, f"{where}.{name}") for name, item in found.items()}
        )
    except ValueError as error:
        text = str(error)
        raise ValueError(text if text.startswith(where) else f"{where}: {text}") from error


def _height_width(value: Any, where: str) -> tuple[int, ...]:
    return sequence(integer, value, where)


def _numbers(value: Any, where: str) -> tuple[float, ...]:
    return sequence(number, value, where)


def _interpolation(value: Any, where: str) -> str:
    return choice(value, where, INTERPOLATIONS)


_FIELDS: dict[tuple[type[Step], str], Callable[[Any, str], Any]] = {
    (Resize, "short_side"): integer,
    (Resize, "size"): _height_width,
    (Resize, "interpolation"): _interpolation,
    (CenterCrop, "size"): _height_width,
    (Digit, "size"): integer,
    (Digit, "box"): integer,
    (Normalize, "scale"): number,
    (Normalize, "mean"): _numbers,
    (Normalize, "std"): _numbers,
}
