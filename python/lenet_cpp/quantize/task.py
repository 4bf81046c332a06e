"""What a child process is asked to quantize: the request, with the data in files."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt
    import paddle

INPUT_NAME = "x"
QUANTIZED_OPS = ("conv2d", "depthwise_conv2d", "mul", "matmul_v2")
"""Operators with weights that are quantized; Paddle's own default leaves out ``matmul_v2``."""

SETTLING_STEPS = 20
"""The moving averages of the ranges begin at no sensible value."""


def as_input(images: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Return float32 [N, C, H, W]; uint8 [N, H, W] is divided by 255."""
    if images.dtype == np.uint8:
        return images[:, np.newaxis].astype(np.float32) / np.float32(255)
    return np.ascontiguousarray(images, np.float32)


@dataclass(frozen=True)
class Task:
    """One quantization.

    Attributes:
        method: A key of :data:`lenet_cpp.quantize.METHODS`.
        via: ``paddle`` or ``paddleslim``.
        program: The float ``.pdmodel``.
        params: Its ``.pdiparams``.
        output: Where ``STEM.pdmodel`` and ``STEM.pdiparams`` go.
        stem: See ``output``.
        model: What :func:`lenet_cpp.models.resolve` takes; empty for a static-ptq of a program
            without its network.
        class_dim: Number of classes.
        img_size: Height and width of the images.
        state: ``.npz`` with the network's parameters; empty as ``model``.
        calibration: ``.npy`` with the images to calibrate on, as :func:`as_input` takes them.
        training: ``.npy`` with the images to train on.
        algo: How the range of an activation is found after training.
        batch_size: Images at a time.
        steps: Of the training.
        learning_rate: Of the training, at its start.
        seed: Of the order of the images in training.
        only: Names of the weights to quantize; all when empty.
    """

    method: str
    via: str
    program: str
    params: str
    output: str
    stem: str
    model: str
    class_dim: int | None
    img_size: int | None
    state: str
    calibration: str
    training: str
    algo: str
    batch_size: int
    steps: int
    learning_rate: float
    seed: int
    only: tuple[str, ...] = field(default=())

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Task:
        """Make the task that :meth:`to_json` described."""
        return cls(**{**document, "only": tuple(document["only"])})

    def to_json(self) -> dict[str, Any]:
        """Describe the task in JSON."""
        return asdict(self)

    @property
    def prefix(self) -> Path:
        """The path of what is written, without suffix."""
        return Path(self.output) / self.stem

    def calibration_batches(self) -> list[npt.NDArray[np.float32]]:
        """The images to calibrate on."""
        images = np.load(self.calibration)
        return [
            as_input(images[begin : begin + self.batch_size])
            for begin in range(0, len(images), self.batch_size)
        ]

    @property
    def all_steps(self) -> int:
        """Steps of training, and those before in which only the ranges of activations settle."""
        return SETTLING_STEPS + self.steps

    def training_batches(self) -> Iterator[npt.NDArray[np.float32]]:
        """``all_steps`` batches of images, in an order that only the seed decides."""
        images = np.load(self.training, mmap_mode="r")
        size = min(self.batch_size, len(images))
        order = np.empty(0, np.int64)
        epoch = 0
        for _ in range(self.all_steps):
            if len(order) < size:
                order = np.random.default_rng((self.seed, epoch)).permutation(len(images))
                epoch += 1
            chosen, order = np.sort(order[:size]), order[size:]
            yield as_input(images[chosen])

    def rate(self, step: int) -> float:
        """The learning rate of a step, falling to zero; the steps count from 0 after settling."""
        return self.learning_rate * 0.5 * (1 + float(np.cos(np.pi * step / self.steps)))

    def build(self) -> paddle.nn.Layer:
        """Build the network in evaluation mode, in Paddle's current mode, without parameters."""
        from lenet_cpp.models import resolve

        layer = resolve(self.model).build(self.class_dim, self.img_size)
        layer.eval()
        return layer

    def float_layer(self) -> paddle.nn.Layer:
        """Build the network with its parameters; in dynamic mode."""
        import paddle

        with paddle.utils.unique_name.guard():
            layer = self.build()
        with np.load(self.state) as state:
            missing, unexpected = layer.set_state_dict(dict(state))
        if missing or unexpected:
            raise AssertionError(f"parameters differ: {missing} {unexpected}")
        return layer

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Channels, height and width."""
        from lenet_cpp.models import resolve

        return resolve(self.model).shape(self.img_size)
