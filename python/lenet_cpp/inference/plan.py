"""How an engine computes a network: its steps, and what each costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lenet_cpp import _core


@dataclass(frozen=True)
class PlanStep:
    """Layers that are computed together."""

    name: str
    """Operators and what they give; or what is done besides."""
    kernel: str
    """Of each of them; empty for what is no layer."""
    output: tuple[int, ...]
    """Shape of one image: channels, height, width."""
    multiply_adds: int
    """For one image."""
    microseconds: float
    """For the images of the part that are computed at once; the median of the runs."""


@dataclass(frozen=True)
class PlanPart:
    """Images that are computed in the same way."""

    layout: str
    """``"one by one"``, or such as ``"16 side by side"``."""
    images: int
    """Of the batch, or of the first 64."""
    at_once: int
    """How many the times of the steps are for."""
    steps: tuple[PlanStep, ...]


@dataclass(frozen=True)
class Plan:
    """What :meth:`lenet_cpp.Predictor.explain` returns."""

    engine: str
    reason: str
    """Why it is this engine."""
    instructions: str
    """The instruction set of its kernels."""
    images: int
    """Of the batch."""
    runs: int
    """How many were measured."""
    multiply_adds: int
    """For one image."""
    microseconds: float
    """For the batch, with no clock between the steps; the median of the runs."""
    limit: float
    """Multiply-adds a second that one core of this processor could do, in the precision that the
    model is computed in, float32 or int8."""
    parts: tuple[PlanPart, ...]


def from_core(plan: _core.Plan) -> Plan:
    """Return the plan that the C++ module gave."""
    parts = (
        PlanPart(
            part.layout,
            part.images,
            part.at_once,
            tuple(
                PlanStep(
                    step.name, step.kernel, step.output, int(step.multiply_adds), step.microseconds
                )
                for step in part.steps
            ),
        )
        for part in plan.parts
    )
    return Plan(
        plan.engine,
        plan.reason,
        plan.instructions,
        plan.images,
        plan.runs,
        int(plan.multiply_adds),
        plan.microseconds,
        plan.limit,
        tuple(parts),
    )
