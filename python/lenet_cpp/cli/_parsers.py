"""What the parsers of the commands have in common."""

from __future__ import annotations

import argparse
import sys
from typing import Any


class _Parser(argparse.ArgumentParser):
    """Takes hyphens and underscores in the names of options alike."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        given = sys.argv[1:] if args is None else args
        return super().parse_known_args([self._declared(text) for text in given], namespace)

    def _declared(self, argument: str) -> str:
        name, equals, value = argument.partition("=")
        if name.startswith("--"):
            for known in self._option_string_actions:
                if known.replace("_", "-") == name.replace("_", "-"):
                    return known + equals + value
        return argument


def new_parser(description: str, epilog: str = "") -> argparse.ArgumentParser:
    """Make a parser that shows both texts as they are, and takes no shortened options.

    Names of options may be written with hyphens or underscores.

    Args:
        description: What the command does.
        epilog: Examples and exit codes.
    """
    return _Parser(
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def positive(text: str) -> int:
    """Type of an option: a whole number, 1 or more.

    Raises:
        argparse.ArgumentTypeError: It is another text.
    """
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number, 1 or more")
    return value


def positives(text: str) -> tuple[int, ...]:
    """Type of an option: such numbers, separated by commas, each once and as they were given."""
    return tuple(dict.fromkeys(positive(part) for part in text.split(",")))


def names(text: str) -> tuple[str, ...]:
    """Type of an option: names, separated by commas, each once and as they were given."""
    return tuple(dict.fromkeys(text.split(",")))


def seconds(text: str) -> float:
    """Type of an option: a time above 0, an hour at most.

    Raises:
        ValueError: It is no number.
        argparse.ArgumentTypeError: It is out of that range.
    """
    value = float(text)
    if not 0 < value <= 3600:
        raise argparse.ArgumentTypeError(f"{text} is not above 0 and at most 3600")
    return value
