"""Read JSON strictly: an unexpected value is an error that names the place.

Every function with the arguments ``value`` and ``where`` checks and returns the value, or raises a
ValueError that begins with the place.
"""

import json
from collections.abc import Callable, Iterable
from math import isfinite
from typing import Any, TypeVar

_Record = TypeVar("_Record")

_SHOWN = 60


def read_json(data: bytes | str) -> Any:
    """Parse JSON; refuse NaN, infinity, numbers beyond float64, and repeated names in an object.

    Raises:
        ValueError: The text is not such a document.
    """
    try:
        return json.loads(
            data,
            parse_float=_finite,
            parse_constant=_refuse_constant,
            object_pairs_hook=_unique,
        )
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def wrong(where: str, expected: str, found: Any) -> ValueError:
    """Return the error for an unexpected value."""
    shown = json.dumps(found)
    shown = shown if len(shown) <= _SHOWN else shown[: _SHOWN - 3] + "..."
    return ValueError(f"{where}: expected {expected}, found {shown}")


def object_(value: Any, where: str, keys: Iterable[str] | None = None) -> dict[str, Any]:
    """Return a copy of an object; when keys are given, it must have exactly these."""
    if not isinstance(value, dict):
        raise wrong(where, "an object", value)
    if keys is not None:
        expected = set(keys)
        if missing := sorted(expected - value.keys()):
            raise ValueError(f"{where}: {', '.join(missing)} missing")
        if unknown := sorted(value.keys() - expected):
            raise ValueError(f"{where}: unknown {', '.join(unknown)}")
    return dict(value)


def record(
    kind: Callable[..., _Record], value: Any, where: str, /, **fields: Callable[[Any, str], Any]
) -> _Record:
    """Return an object with exactly these fields, each parsed, as an instance of a class."""
    found = object_(value, where or "the document", fields)
    prefix = f"{where}." if where else ""
    return kind(**{name: parse(found[name], prefix + name) for name, parse in fields.items()})


def sequence(parse: Callable[[Any, str], Any], value: Any, where: str) -> tuple[Any, ...]:
    """Return the elements of a list, each parsed."""
    if not isinstance(value, list):
        raise wrong(where, "a list", value)
    return tuple(parse(item, f"{where}[{index}]") for index, item in enumerate(value))


def optional(parse: Callable[[Any, str], Any], value: Any, where: str) -> Any:
    """Return None for null, and otherwise the result of ``parse``."""
    return None if value is None else parse(value, where)


def text(value: Any, where: str) -> str:
    """Return a non-empty string."""
    if not isinstance(value, str) or not value:
        raise wrong(where, "a non-empty string", value)
    return value


def choice(value: Any, where: str, choices: tuple[str, ...]) -> str:
    """Return one of some strings."""
    if not isinstance(value, str) or value not in choices:
        raise wrong(where, f"one of {', '.join(choices)}", value)
    return value


def boolean(value: Any, where: str) -> bool:
    """Return true or false."""
    if not isinstance(value, bool):
        raise wrong(where, "true or false", value)
    return value


def integer(value: Any, where: str, least: int | None = None) -> int:
    """Return an integer; it must be ``least`` or more when that is given."""
    if type(value) is not int or (least is not None and value < least):
        raise wrong(where, "an integer" + ("" if least is None else f" of at least {least}"), value)
    return value


def _finite(number: str) -> float:
    """Return a number; one that float64 cannot hold could not be written again."""
    value = float(number)
    if not isfinite(value):
        raise ValueError(f"{number[:_SHOWN]} is too large")
    return value


def _refuse_constant(constant: str) -> None:
    raise ValueError(f"{constant} is not a JSON number")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice!r} comes a second time")
    return result
