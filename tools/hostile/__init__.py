"""Damaged and hostile variants of a model, made from seeds and run in child processes.

A mutant is named by the format of its model, a seed and an index, and is made the same each time.
Thread-safety: the functions may be called from any thread; a :class:`Workshop` from one at a time.
"""

from __future__ import annotations

from tools.hostile.changes import make_mutant
from tools.hostile.files import read_model
from tools.hostile.message import parse_message, serialize
from tools.hostile.model import ACCELERATORS, FORMATS, Mutant, Outcome
from tools.hostile.survey import Tally, survey, tabulate_outcomes
from tools.hostile.workshop import Workshop

__all__ = [
    "ACCELERATORS",
    "FORMATS",
    "Mutant",
    "Outcome",
    "Tally",
    "Workshop",
    "make_mutant",
    "parse_message",
    "read_model",
    "serialize",
    "survey",
    "tabulate_outcomes",
]
