"""How to quantize, and the task that a child process gets: the settings, and the data in files."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lenet_cpp._base.worker import PROGRAM_DESC, Report, call
from lenet_cpp.errors import BadInput
from lenet_cpp.quantize import slim
from lenet_cpp.quantize.deployed import as_input, batches
from lenet_cpp.quantize.images import Images
from lenet_cpp.quantize.source import FloatModel

METHODS = {
    "static-ptq": "a program, calibrated",
    "static-qat": "a program, trained with rounded values",
    "dygraph-ptq": "a layer, calibrated",
    "dygraph-qat": "a layer, trained with rounded values",
}
VIA = ("paddle", "paddleslim")
_LAYERS = ("hist", "KL", "avg", "abs_max")
ALGORITHMS = {
    **dict.fromkeys((("static-ptq", way) for way in VIA), (*_LAYERS, "mse", "emd")),
    ("dygraph-ptq", "paddle"): _LAYERS,
    ("dygraph-ptq", "paddleslim"): tuple(slim.QUANTIZERS),
}
"""The ways to calibrate, by method and way; none of a method that trains."""

# Steps before the training: the moving averages of the ranges begin at no sensible value.
_SETTLING_STEPS = 20


@dataclass(frozen=True)
class QuantizationSettings:
    """How to quantize.

    Attributes:
        via: A name in :data:`VIA`.
        algo: How calibration finds the range of an activation: a name in :data:`ALGORITHMS`.
        epochs: Of training.
        steps: Of training, instead of epochs; None for epochs.
        batch_size: Images at a time, in calibration and training. None is 64 for images with
            labels and 8 for others, which may be large.
        learning_rate: Of training, at its start. None is 1e-4 for images with labels and 1e-5 for
            others, of which there are few.
        seed: Of the order of images in training.
        max_drop: The most that the accuracy may fall, in percentage points; without labels, the
            most images that may be classified otherwise. None is 0.5 with labels, and any
            without them, because an untrained model decides by chance.
    """

    via: str = "paddle"
    algo: str = "hist"
    epochs: int = 1
    steps: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    seed: int = 0
    max_drop: float | None = None


def check_settings(method: str, settings: QuantizationSettings) -> None:
    """Check that a method can do what the settings ask for; BadInput names what there is."""
    if method not in METHODS:
        raise BadInput(f"unknown method {method!r}; choose among {', '.join(METHODS)}")
    if settings.via not in VIA:
        raise BadInput(f"unknown way {settings.via!r}; choose among {', '.join(VIA)}")
    known = ALGORITHMS.get((method, settings.via), ())
    if known and settings.algo not in known:
        raise BadInput(
            f"{method} by {settings.via} calibrates by {', '.join(known)}, not {settings.algo!r}"
        )
    for name in ("epochs", "batch_size", "steps"):
        value = getattr(settings, name)
        if value is not None and value < 1:
            raise BadInput(f"{name} is {value}; expected 1 or more")
    if settings.learning_rate is not None and not 0 < settings.learning_rate <= 1:
        raise BadInput(f"the learning rate is {settings.learning_rate}; expected above 0 to 1")
    if settings.max_drop is not None and not settings.max_drop >= 0:
        raise BadInput(f"max_drop is {settings.max_drop}; expected 0 or more")


@dataclass(frozen=True)
class Task:
    """One quantization, with no setting left open.

    Attributes:
        program: The float ``.pdmodel``, with its ``.pdiparams`` beside it.
        output: The folder that gets files of the same names.
        data: The folder with ``calibration.npy`` and ``training.npy``, images as
            :func:`lenet_cpp.quantize.deployed.as_input` takes them, and ``state.npz``, the
            parameters of the network.
        network: What :func:`lenet_cpp.models.resolve` takes; None when the network is not known,
            which static-ptq does not need.
        image_shape: Channels, height and width.
        only: Names of the weights to quantize; all when empty.
    """

    method: str
    via: str
    algo: str
    seed: int
    batch_size: int
    steps: int
    learning_rate: float
    program: str
    input_name: str
    output: str
    data: str
    network: str | None
    num_classes: int
    image_shape: Sequence[int]
    only: Sequence[str] = ()

    @property
    def result(self) -> Path:
        """The ``.pdmodel`` that is written."""
        return Path(self.output, Path(self.program).name)

    def calibration_batches(self) -> list[npt.NDArray[np.float32]]:
        """Return the images to calibrate on."""
        return [*batches(np.load(Path(self.data, "calibration.npy")), self.batch_size)]

    def training_batches(self, progress: Report) -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
        """Yield the number of each step and its images, in an order that only the seed decides.

        Steps below 0 come before the training: in them only the ranges of activations settle.
        """
        images = np.load(Path(self.data, "training.npy"), mmap_mode="r")
        size = min(self.batch_size, len(images))
        order = np.empty(0, np.int64)
        epoch = count()
        for step in range(-_SETTLING_STEPS, self.steps):
            if len(order) < size:
                random = np.random.default_rng((self.seed, next(epoch)))
                order = random.permutation(len(images))
            chosen, order = np.sort(order[:size]), order[size:]
            progress("training", step + _SETTLING_STEPS + 1, self.steps + _SETTLING_STEPS)
            yield step, as_input(images[chosen])

    def rate(self, step: int) -> float:
        """Return the learning rate of a step of the training, which falls to zero."""
        return self.learning_rate * 0.5 * (1 + float(np.cos(np.pi * step / self.steps)))


def make_task(
    source: FloatModel,
    images: Images,
    method: str,
    settings: QuantizationSettings,
    output: Path,
    data: Path,
) -> Task:
    """Describe a quantization to a child process, and write its data into ``data``."""
    np.save(data / "calibration.npy", images.calibration)
    np.save(data / "training.npy", images.training)
    if source.state is not None:
        np.savez(data / "state.npz", **source.state)
    labelled = images.labels is not None
    batch_size = settings.batch_size or (64 if labelled else 8)
    return Task(
        method=method,
        via=settings.via,
        algo=settings.algo,
        seed=settings.seed,
        batch_size=batch_size,
        steps=settings.steps or settings.epochs * max(1, len(images.training) // batch_size),
        learning_rate=settings.learning_rate or (1e-4 if labelled else 1e-5),
        program=str(source.program.resolve()),
        input_name=source.model.input_spec.name,
        output=str(output.resolve()),
        data=str(data),
        network=source.network,
        num_classes=source.num_classes,
        image_shape=source.input_shape,
    )


def run_tasks(tasks: Sequence[Task], *, report: Report | None = None) -> None:
    """Do tasks in one child process, all by the same way, one after the other.

    PaddleSlim's tasks run in its own environment.
    """
    by_slim = tasks[0].via == "paddleslim"
    call(
        "lenet_cpp.quantize.methods:quantize",
        {"tasks": [asdict(task) for task in tasks]},
        doing="quantizing",
        report=report,
        python=slim.environment().make(sys.executable, report=report) if by_slim else None,
        variables=PROGRAM_DESC,
    )
