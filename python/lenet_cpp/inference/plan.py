"""How an engine computes a network: its steps and their costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lenet_cpp import _core


@dataclass(frozen=True)
class PlanStep:
    """Layers that are computed together."""

    name: str
    """The operators and their outputs, or the name of other work."""
    kernel: str
    """The kernel of each operator; empty for other work."""
    output: tuple[int, ...]
    """The shape for one image: channels, height, width."""
    multiply_adds: int
    """For one image."""
    microseconds: float
    """The median time for the images of the part that are computed at once."""


@dataclass(frozen=True)
class PlanPart:
    """Images that are computed in the same way."""

    layout: str
    """For example ``"one by one"`` or ``"16 side by side"``."""
    images: int
    """The number of images of the batch, or of its first 64."""
    at_once: int
    """The number of images that the times of the steps are for."""
    steps: tuple[PlanStep, ...]


@dataclass(frozen=True)
class Plan:
    """The result of :meth:`lenet_cpp.Predictor.explain`."""

    engine: str
    reason: str
    """The reason for the choice of this engine."""
    instructions: str
    """The instruction set of the kernels."""
    images: int
    """The number of images in the batch."""
    runs: int
    """The number of measured runs."""
    multiply_adds: int
    """For one image."""
    microseconds: float
    """The median time for the batch, without a clock between the steps."""
    limit: float
    """The multiply-adds per second of one core of this processor at best, in the precision of the
    model, float32 or int8."""
    parts: tuple[PlanPart, ...]


def from_core(plan: _core.Plan) -> Plan:
    """Convert the plan of the C++ module, which counts multiply-adds in double."""
    parts = tuple(
        PlanPart(part.layout, part.images, part.at_once, tuple(map(_step, part.steps)))
        for part in plan.parts
    )
    names = ("engine", "reason", "instructions", "images", "runs", "microseconds", "limit")
    same = {name: getattr(plan, name) for name in names}
    return Plan(**same, multiply_adds=int(plan.multiply_adds), parts=parts)


def _step(step: _core.PlanStep) -> PlanStep:
    multiply_adds = int(step.multiply_adds)
    return PlanStep(step.name, step.kernel, step.output, multiply_adds, step.microseconds)
