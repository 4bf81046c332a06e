"""How to quantize: the methods, and what each can be told."""

from __future__ import annotations

from dataclasses import dataclass

from lenet_cpp.errors import BadInput
from lenet_cpp.quantize import slim, static_ptq

METHODS = {
    "static-ptq": "a program, calibrated",
    "static-qat": "a program, trained with rounded values",
    "dygraph-ptq": "a layer, calibrated",
    "dygraph-qat": "a layer, trained with rounded values",
}
VIA = ("paddle", "paddleslim")
# Those of lenet_cpp.quantize.observers, which needs Paddle.
_DYGRAPH_ALGORITHMS = ("hist", "KL", "avg", "abs_max")


@dataclass(frozen=True)
class QuantizationSettings:
    """How to quantize.

    Attributes:
        via: A name in :data:`VIA`.
        algo: How calibration finds the range of an activation: a name in :func:`algorithms`.
        epochs: Of training.
        steps: Of training, instead of epochs; None for epochs.
        batch_size: Images at a time, in calibration and training.
        learning_rate: Of training.
        seed: Of the order of images in training.
        max_drop: The most that the accuracy may fall, in percentage points; without labels, the
            most images that may be classified otherwise. None is 0.5 with labels, and without
            them any, because an untrained model decides by chance.
    """

    via: str = "paddle"
    algo: str = "hist"
    epochs: int = 1
    steps: int | None = None
    batch_size: int = 64
    learning_rate: float = 1e-4
    seed: int = 0
    max_drop: float | None = None


def algorithms(method: str, via: str = "paddle") -> tuple[str, ...]:
    """Return the names of the ways to calibrate that a method has; none when it trains."""
    if method.endswith("qat"):
        return ()
    if via == "paddleslim":
        return slim.ALGORITHMS if method == "static-ptq" else tuple(slim.DYGRAPH_ALGORITHMS)
    return static_ptq.ALGORITHMS if method == "static-ptq" else _DYGRAPH_ALGORITHMS


def check_settings(method: str, settings: QuantizationSettings) -> None:
    """Check that a method can do what the settings ask for.

    Raises:
        BadInput: It cannot; names what there is.
    """
    if method not in METHODS:
        raise BadInput(f"unknown method {method!r}; choose among {', '.join(METHODS)}")
    if settings.via not in VIA:
        raise BadInput(f"unknown way {settings.via!r}; choose among {', '.join(VIA)}")
    known = algorithms(method, settings.via)
    if known and settings.algo not in known:
        raise BadInput(
            f"{method} by {settings.via} calibrates by {', '.join(known)}, not {settings.algo!r}"
        )
    for name in ("epochs", "batch_size"):
        if getattr(settings, name) < 1:
            raise BadInput(f"{name} is {getattr(settings, name)}; expected 1 or more")
    if settings.steps is not None and settings.steps < 1:
        raise BadInput(f"steps is {settings.steps}; expected 1 or more")
    if not 0 < settings.learning_rate <= 1:
        raise BadInput(f"the learning rate is {settings.learning_rate}; expected above 0 to 1")
    if settings.max_drop is not None and not settings.max_drop >= 0:
        raise BadInput(f"max_drop is {settings.max_drop}; expected 0 or more")
