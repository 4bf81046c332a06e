"""A damaged model, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ACCELERATORS", "FORMATS", "Files", "Mutant", "Outcome"]

FORMATS = ("pdmodel", "json", "separate")
ACCELERATORS: dict[str, tuple[str, ...]] = {
    "pdmodel": ("plain", "onednn", "openvino"),
    "json": ("plain", "onednn"),
    "separate": ("plain", "onednn"),
}
"""What can run each format."""

Files = dict[str, bytes]
"""The files of a model by name; the program is the first."""


@dataclass(frozen=True)
class Mutant:
    """A changed model.

    Attributes:
        format: One of :data:`FORMATS`.
        seed: Seed of the series.
        index: Place in the series.
        changes: What was done, such as ``lenet.json: set number``.
        files: The contents by name; the program is the first.
    """

    format: str
    seed: int
    index: int
    changes: tuple[str, ...]
    files: Files

    @property
    def name(self) -> str:
        """How to ask for it again: ``format/seed/index``."""
        return f"{self.format}/{self.seed}/{self.index}"


@dataclass(frozen=True)
class Outcome:
    """What happened to a mutant.

    Attributes:
        kind: ``refused`` (a typed error), ``equal`` (output bit-identical to the original's),
            ``different`` (other output, or non-finite), or ``killed`` (the child died or hung).
        detail: The class of the error, ``finite`` or ``non-finite``, the signal, or ``timeout``.
        message: The error's message, or the end of what the child wrote to stderr.
        accelerator: The one it happened with.
    """

    kind: str
    detail: str = ""
    message: str = ""
    accelerator: str = ""
