"""Training: the loop, its checkpoints, and resuming bit for bit.

Everything random is a function of the seed and of the step number (which images a batch holds,
how they are distorted) and so is the learning rate. A checkpoint therefore needs no state of any
random generator: parameters, optimizer moments, averaged parameters and the number of steps done
are enough to continue as if training had never stopped.
"""

from __future__ import annotations

import dataclasses
import fcntl
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from lenet_cpp._base.frameworks import paddle
from lenet_cpp.data.mnist import Mnist, to_model_input
from lenet_cpp.errors import BadInput
from lenet_cpp.formats.checkpoint import array_specs, check_arrays, load_checkpoint, save_checkpoint
from lenet_cpp.models.building import construction
from lenet_cpp.training.augment import warp
from lenet_cpp.training.evaluation import Evaluation, evaluate
from lenet_cpp.training.recipes import TrainingConfig, check_resumable, learning_rate

REPORT_EVERY = 300
_SHUFFLE, _DISTORT = 0, 1
_TRAINING_WEIGHTS = "training_weights/"


@dataclass(frozen=True)
class TrainingResult:
    """The model with the parameters to deploy, in evaluation mode, and how it came about.

    The accuracy, on the test images, is None when training was stopped before its end. ``record``
    is the training record as saved, without the hashes of the files.
    """

    layer: paddle.nn.Layer
    accuracy: Evaluation | None
    steps: int
    total_steps: int
    record: dict[str, Any]

    @property
    def complete(self) -> bool:
        """Whether training reached its end."""
        return self.steps >= self.total_steps


def train(
    config: TrainingConfig,
    mnist: Mnist,
    output_dir: Path,
    *,
    resume: bool = False,
    should_stop: Callable[[], bool] = lambda: False,
    report: Callable[[str], None] = print,
    progress: bool | None = False,
) -> TrainingResult:
    """Train a model and save a checkpoint.

    The checkpoint ``MODEL.pdparams``, ``MODEL.pdopt``, ``MODEL.train.json`` is replaced atomically
    after every epoch, when training is stopped, and at the end.

    Args:
        config: The configuration.
        mnist: The data. The test images are used only once, after the last step.
        output_dir: The folder of the checkpoint; created if necessary.
        resume: Continue from the checkpoint in the folder. The result is then bit for bit that of
            an uninterrupted training with the same machine, Paddle version and thread count.
        should_stop: Called after every step; True saves a checkpoint and returns.
        report: Receives a line with the loss and the accuracy of a batch, every 300 batches of an
            epoch.
        progress: Show a progress bar on stderr; None shows it when stderr is a terminal.

    Returns:
        The trained model, or its state when training was stopped.

    Raises:
        FileNotFound: With ``resume``, there is no checkpoint.
        BadModel: With ``resume``, the checkpoint is damaged or does not fit the model.
        BadInput: With ``resume``, the checkpoint has another configuration or other data; or the
            loss became infinite or not a number; or another training writes to the folder.
        Unsupported: Paddle is not installed.
    """
    run = _Run(config, mnist, output_dir)
    with _exclusive(output_dir):
        if resume:
            run.restore()
        with tqdm(
            total=run.total,
            initial=run.step,
            unit="batch",
            disable=None if progress is None else not progress,
            file=sys.stderr,
        ) as bar:
            while run.step < run.total:
                epoch, batch = divmod(run.step, run.per_epoch)
                loss, accuracy = run.advance()
                bar.update()
                if batch % REPORT_EVERY == 0:
                    bar.clear()
                    report(
                        f"epoch: {epoch}, batch_id: {batch}, loss is: {loss:.4f},"
                        f" acc is: {accuracy:.4f}"
                    )
                stopping = should_stop()
                if run.step < run.total and (stopping or run.step % run.per_epoch == 0):
                    run.save()
                if stopping:
                    break
        return run.finish()


@contextmanager
def _exclusive(folder: Path) -> Iterator[None]:
    """Keep a second training out of the folder; the system releases the lock if we die."""
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BadInput(f"another training is writing to {folder}") from None
        yield
    finally:
        os.close(handle)


class _Run:
    """One training in progress."""

    def __init__(self, config: TrainingConfig, mnist: Mnist, folder: Path) -> None:
        self.config = config
        self.mnist = mnist
        self.folder = folder
        self.per_epoch = config.steps_per_epoch(len(mnist.train))
        self.total = config.total_steps(len(mnist.train))
        self.step = 0
        self._seconds = 0.0
        self._started = time.monotonic()
        self._order: tuple[int, npt.NDArray[np.int64]] | None = None
        self._accuracy: Evaluation | None = None
        # The optimizer's state is keyed by generated names, which must be the same every time.
        with construction(config.seed):
            self.layer, self.optimizer = _build(config)
        self.layer.train()
        self._tensors = self.layer.state_dict()
        self._average: dict[str, npt.NDArray[np.float32]] | None = None
        if config.recipe.average_decay:
            self._average = self._weights()

    def _weights(self) -> dict[str, npt.NDArray[np.float32]]:
        return {name: tensor.numpy().copy() for name, tensor in self._tensors.items()}

    def advance(self) -> tuple[float, float]:
        """Do one step; return the loss and the accuracy of its batch."""
        recipe = self.config.recipe
        images, labels = self._batch()
        if recipe.schedule != "constant":
            self.optimizer.set_lr(
                learning_rate(recipe, self.step, total=self.total, per_epoch=self.per_epoch)
            )
        logits = self.layer(images)
        loss = paddle.nn.functional.cross_entropy(
            logits, paddle.to_tensor(labels), label_smoothing=recipe.label_smoothing
        )
        loss.backward()
        # The first step names the moments, whatever optimizers this process had before.
        with paddle.utils.unique_name.guard():
            self.optimizer.step()
        self.optimizer.clear_grad()
        value = float(loss)
        if not math.isfinite(value):
            raise BadInput(
                f"the loss became {value} at step {self.step}: lower the learning rate, then"
                " train again or resume"
            )
        self.step += 1
        self._update_average()
        return value, float((logits.numpy().argmax(axis=1) == labels).mean())

    def _batch(self) -> tuple[paddle.Tensor, npt.NDArray[np.int64]]:
        epoch, batch = divmod(self.step, self.per_epoch)
        if self._order is None or self._order[0] != epoch:
            generator = np.random.default_rng((self.config.seed, _SHUFFLE, epoch))
            self._order = (epoch, generator.permutation(len(self.mnist.train)))
        size = self.config.recipe.batch_size
        chosen = self._order[1][batch * size : (batch + 1) * size]
        pixels = to_model_input(self.mnist.train.images[chosen])
        labels = self.mnist.train.labels[chosen]
        if self.config.recipe.augmentation is None:
            return paddle.to_tensor(pixels), labels
        generator = np.random.default_rng((self.config.seed, _DISTORT, self.step))
        return warp(pixels, self.config.recipe.augmentation, generator), labels

    def _update_average(self) -> None:
        if self._average is None:
            return
        # The average of the first few steps would otherwise be mostly the random initial weights.
        decay = min(self.config.recipe.average_decay, (1 + self.step) / (10 + self.step))
        for name, tensor in self._tensors.items():
            average = self._average[name]
            average += np.float32(1 - decay) * (tensor.numpy() - average)

    def restore(self) -> None:
        """Continue from the checkpoint in the folder."""
        checkpoint = load_checkpoint(self.folder, self.config.spec.name)
        record = checkpoint.record
        check_resumable(record, self.config, self.mnist, self.folder)
        params_path = self.folder / f"{self.config.spec.name}.pdparams"
        opt_path = self.folder / f"{self.config.spec.name}.pdopt"
        weight_specs = array_specs(self._tensors)
        check_arrays(params_path, checkpoint.parameters, weight_specs)
        expected = _optimizer_arrays(self.config)
        if self._average is not None:
            expected |= {f"{_TRAINING_WEIGHTS}{name}": spec for name, spec in weight_specs.items()}
        check_arrays(opt_path, checkpoint.optimizer, expected)
        weights = checkpoint.parameters
        if self._average is not None:
            self._average = {name: array.copy() for name, array in weights.items()}
            weights = {name: checkpoint.optimizer[f"{_TRAINING_WEIGHTS}{name}"] for name in weights}
        self.layer.set_state_dict(weights)
        self.optimizer.set_state_dict(
            {k: v for k, v in checkpoint.optimizer.items() if not k.startswith(_TRAINING_WEIGHTS)}
        )
        self.step = record["steps_done"]
        self._seconds = record["seconds"]
        if record.get("test") and self.step == self.total:
            self._accuracy = Evaluation(record["test"]["correct"], record["test"]["count"])

    def save(self, weights: dict[str, npt.NDArray[np.float32]] | None = None) -> None:
        """Replace the checkpoint; ``weights``: those in training, when they are not the layer's."""
        weights = weights or self._weights()
        optimizer = dict(self.optimizer.state_dict())
        if self._average is not None:
            optimizer |= {f"{_TRAINING_WEIGHTS}{name}": array for name, array in weights.items()}
            weights = self._average
        save_checkpoint(
            self.folder,
            self.config.spec.name,
            parameters={name: np.asarray(array) for name, array in weights.items()},
            optimizer=optimizer,
            record=self.record(),
            save=paddle.save,
        )

    def record(self) -> dict[str, Any]:
        """Return the training record as of now."""
        test = None
        if self._accuracy is not None:
            test = {**dataclasses.asdict(self._accuracy), "accuracy": self._accuracy.fraction}
        return {
            "model": self.config.spec.name,
            "recipe": dataclasses.asdict(self.config.recipe),
            "seed": self.config.seed,
            "data": self.mnist.record(),
            "steps_done": self.step,
            "steps_total": self.total,
            "complete": self.step >= self.total,
            "test": test,
            "seconds": round(self._seconds + time.monotonic() - self._started, 1),
            "paddle": paddle.__version__,
            "numpy": np.__version__,
        }

    def finish(self) -> TrainingResult:
        """Put the parameters to deploy into the layer; when complete, test and save it."""
        training_weights = self._weights()
        if self._average is not None:
            self.layer.set_state_dict(self._average)
        self.layer.eval()
        if self.step >= self.total and self._accuracy is None:
            self._accuracy = evaluate(self.layer, self.mnist.test)
            self.save(training_weights)
        return TrainingResult(self.layer, self._accuracy, self.step, self.total, self.record())


def _build(config: TrainingConfig) -> tuple[paddle.nn.Layer, paddle.optimizer.Optimizer]:
    layer, recipe = config.spec.build(), config.recipe
    options = {"learning_rate": recipe.learning_rate, "parameters": layer.parameters()}
    if recipe.optimizer == "adamw":
        return layer, paddle.optimizer.AdamW(**options, weight_decay=recipe.weight_decay)
    return layer, paddle.optimizer.Adam(**options)


def _optimizer_arrays(config: TrainingConfig) -> dict[str, tuple[tuple[int, ...], str]]:
    """Return the names, shapes and dtypes of the optimizer's state.

    The state exists only after the first step, so a copy of the network does one step.
    """
    with paddle.utils.unique_name.guard():
        layer, optimizer = _build(config)
        image = paddle.zeros([1, *config.spec.input_shape])
        layer(image).sum().backward()
        optimizer.step()
    return array_specs(optimizer.state_dict())
