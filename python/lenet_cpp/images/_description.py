"""``preprocess.json``: a pipeline to JSON and back, strictly."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

from lenet_cpp.images.digit import Digit
from lenet_cpp.images.pipeline import FORMAT_VERSION, MODES, Pipeline, Step
from lenet_cpp.images.steps import INTERPOLATIONS, CenterCrop, Normalize, Resize, ToCHW

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["describe", "parse", "read_json"]

_STEPS: dict[str, type[Step]] = {
    step.__name__: step for step in (Resize, CenterCrop, Digit, Normalize, ToCHW)
}


def describe(pipeline: Pipeline) -> dict[str, Any]:
    """Return the document of a pipeline; fields that are None are left out."""
    steps = [
        {
            "type": type(step).__name__,
            **{
                name: list(value) if isinstance(value, tuple) else value
                for name, value in asdict(step).items()
                if value is not None
            },
        }
        for step in pipeline.steps
    ]
    return {"format_version": FORMAT_VERSION, "mode": pipeline.mode, "steps": steps}


def read_json(data: bytes) -> Any:
    """Parse strict JSON: no NaN, no infinity, no name twice; ValueError otherwise."""
    return json.loads(data, parse_constant=_refuse_constant, object_pairs_hook=_unique)


def parse(document: Any) -> Pipeline:
    """Return the pipeline of a document, or raise ValueError naming the place and the problem."""
    whole = _object(document, "the document", {"format_version", "mode", "steps"})
    version = whole["format_version"]
    if type(version) is not int or version != FORMAT_VERSION:
        raise _wrong("format_version", str(FORMAT_VERSION), version)
    mode = _choice(whole["mode"], "mode", tuple(MODES))
    steps = _list(whole["steps"], "steps", lambda value, where: _step(value, where))
    return Pipeline(mode, steps)


def _step(value: Any, where: str) -> Step:
    if not isinstance(value, dict):
        raise _wrong(where, "an object", value)
    kind = _STEPS[_choice(value.get("type"), f"{where}.type", tuple(_STEPS))]
    expected = {"type", *(field.name for field in fields(kind))}
    if kind is Resize:
        # one of the two; that it is one and not both is the step's to check
        expected -= {"short_side", "size"} - value.keys()
    found = _object(value, where, expected)
    found.pop("type")
    try:
        return kind(
            **{name: _FIELDS[kind, name](item, f"{where}.{name}") for name, item in found.items()}
        )
    except ValueError as error:
        text = str(error)
        raise ValueError(text if text.startswith(where) else f"{where}: {text}") from error


def _integer(value: Any, where: str) -> int:
    if type(value) is not int:
        raise _wrong(where, "an integer", value)
    return value


def _number(value: Any, where: str) -> float:
    if type(value) not in {int, float}:
        raise _wrong(where, "a number", value)
    return float(value)


def _height_width(value: Any, where: str) -> tuple[int, ...]:
    return _list(value, where, _integer)


def _numbers(value: Any, where: str) -> tuple[float, ...]:
    return _list(value, where, _number)


def _interpolation(value: Any, where: str) -> str:
    return _choice(value, where, INTERPOLATIONS)


_FIELDS: dict[tuple[type[Step], str], Callable[[Any, str], Any]] = {
    (Resize, "short_side"): _integer,
    (Resize, "size"): _height_width,
    (Resize, "interpolation"): _interpolation,
    (CenterCrop, "size"): _height_width,
    (Digit, "size"): _integer,
    (Digit, "box"): _integer,
    (Normalize, "scale"): _number,
    (Normalize, "mean"): _numbers,
    (Normalize, "std"): _numbers,
}


def _list(value: Any, where: str, parse_item: Callable[[Any, str], Any]) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise _wrong(where, "a list", value)
    return tuple(parse_item(item, f"{where}[{index}]") for index, item in enumerate(value))


def _choice(value: Any, where: str, choices: tuple[str, ...]) -> str:
    if not isinstance(value, str) or value not in choices:
        raise _wrong(where, f"one of {', '.join(choices)}", value)
    return value


def _object(value: Any, where: str, expected: set[str]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _wrong(where, "an object", value)
    if missing := sorted(expected - value.keys()):
        raise ValueError(f"{where}: {', '.join(missing)} missing")
    if unknown := sorted(value.keys() - expected):
        raise ValueError(f"{where}: unknown {', '.join(unknown)}")
    return dict(value)


def _wrong(where: str, expected: str, found: Any) -> ValueError:
    text = repr(found)
    return ValueError(
        f"{where}: expected {expected}, found {text if len(text) <= 60 else text[:57] + '...'}"
    )


def _refuse_constant(constant: str) -> None:
    raise ValueError(f"{constant} is not a JSON number")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice!r} comes a second time")
    return result
