"""Damaged and hostile variants of a model, made from seeds and run in child processes.

A mutant is named by the format of its model, a seed and an index, and is made the same each time.
Thread-safety: the functions may be called from any thread; a :class:`Workshop` from one at a time.
"""

from __future__ import annotations

from lenet_cpp.mutants.changes import make_mutant
from lenet_cpp.mutants.files import read_model
from lenet_cpp.mutants.message import parse_message, serialize
from lenet_cpp.mutants.model import ACCELERATORS, FORMATS, Mutant, Outcome
from lenet_cpp.mutants.survey import Tally, survey, tabulate_outcomes
from lenet_cpp.mutants.workshop import Workshop

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
