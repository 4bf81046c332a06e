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
