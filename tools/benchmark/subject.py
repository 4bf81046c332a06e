"""What is measured: a network, its images, and the outputs that every contender has to give."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lenet_cpp.data.mnist import read_mnist_dir, sample_dir, to_model_input
from lenet_cpp.errors import BadInput, Unsupported
from lenet_cpp.formats.manifest import has_manifest, read_manifest
from lenet_cpp.verify import find_models
from tools.benchmark import graphs
from tools.benchmark.making import call_maker

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["Subject", "is_lenet", "lenet_subject", "network_subject", "read_subject"]

_LENET = "lenet"
_DIFFERENT = 8
_SEED = 20_261_120


@dataclass(frozen=True)
class Subject:
    """A network, and what is put into it.

    Attributes:
        network: What builds it: a name in the registry, or ``FILE.py:SPEC``.
        model_dir: Its exported model.
        images: float32 [N, C, H, W], for batches of any of the sizes, without a smaller one.
        different: How many of them are different: the first; after these they come again.
        expected: float32 [N, classes], the right outputs.
        multiply_adds: Of one image, by the definition.
        labels: int64 [different], of the first; None where the classes mean nothing.
        weights: LeNet's, from :func:`tools.benchmark.graphs.read_weights`; None of others.
        weight_file: Of others, ``.npz``, the state dict of the layer.
    """

    network: str
    model_dir: Path
    images: NDArray[np.float32]
    different: int
    expected: NDArray[np.float32]
    multiply_adds: int
    labels: NDArray[np.int64] | None = None
    weights: graphs.Weights | None = None
    weight_file: Path | None = None

    @property
    def name(self) -> str:
        """As people write it."""
        return "LeNet" if self.network == _LENET else self.network.rpartition("/")[2]

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Of one image, channels first."""
        return self.images.shape[1:]

    def count(self, batch_size: int) -> int:
        """How many images are checked: all that are different, in whole batches."""
        return whole_batches(self.different, batch_size)


def whole_batches(images: int, batch_size: int) -> int:
    """Return the least number of images from ``images`` on that is whole batches."""
    return -(-images // batch_size) * batch_size


def _repeated(values: NDArray[np.float32], batch_sizes: Sequence[int]) -> NDArray[np.float32]:
    count = max(whole_batches(len(values), size) for size in batch_sizes)
    return np.ascontiguousarray(np.resize(values, (count, *values.shape[1:])), np.float32)


def lenet_subject(model_dir: Path, batch_sizes: Sequence[int]) -> Subject:
    """Take an exported LeNet and the test digits of the embedded sample, for which NumPy computes.

    Args:
        model_dir: The exported model.
        batch_sizes: Those that are to be measured.

    Raises:
        FileNotFound: The model is missing.
        BadModel: The model is damaged.
        Unsupported: It is not the LeNet with ten classes, or it ends in a softmax.
    """
    if has_manifest(model_dir) and read_manifest(model_dir).softmax:
        raise Unsupported(f"{model_dir} was exported with --softmax; export it without")
    weights = graphs.read_weights(find_models(model_dir)[0].combined_params)
    test = read_mnist_dir(sample_dir()).test
    digits = to_model_input(test.images)
    return Subject(
        _LENET,
        model_dir,
        _repeated(digits, batch_sizes),
        len(digits),
        _repeated(graphs.reference(weights, digits), batch_sizes),
        graphs.MULTIPLY_ADDS,
        test.labels,
        weights,
    )


def network_subject(
    network: str,
    model_dir: Path,
    batch_sizes: Sequence[int],
    folder: Path,
    *,
    params: Path | None = None,
) -> Subject:
    """Take an exported network and made images; Paddle's training engine computes the outputs.

    Args:
        network: What builds it.
        model_dir: Its exported model.
        batch_sizes: Those that are to be measured.
        folder: For the images, the outputs and the weights.
        params: The ``.pdparams`` it was exported from; None when these were random ones.

    Raises:
        FileNotFound: The model or the parameters are missing.
        BadModel: One of them is damaged, or they do not fit the network.
        BadInput: The network is not known, or the parameters were not named.
        Unsupported: The size of the images is not fixed.
    """
    found = find_models(model_dir)[0].program.name
    known = read_manifest(model_dir).models.get(found) if has_manifest(model_dir) else None
    if known is None or min(shape := known.inputs[0].shape[1:]) < 1:
        raise Unsupported(
            f"{model_dir} has no manifest that says what images it takes: export the model again"
            " with scripts/export_model.py"
        )
    random = np.random.default_rng(_SEED)
    different = random.random((_DIFFERENT, *shape), np.float32)
    images, outputs, state = (
        folder / name for name in ("different.npy", "expected.npy", "state.npz")
    )
    np.save(images, different)
    result = call_maker(
        folder,
        do="reference",
        network=network,
        model_dir=str(model_dir.resolve()),
        params=None if params is None else str(params.resolve()),
        images=str(images),
        outputs=str(outputs),
        weights=str(state),
    )
    return Subject(
        network,
        model_dir,
        _repeated(different, batch_sizes),
        _DIFFERENT,
        _repeated(np.load(outputs), batch_sizes),
        result["multiply_adds"],
        weight_file=state,
    )


def _topology(model_dir: Path) -> str | None:
    return read_manifest(model_dir).topology if has_manifest(model_dir) else None


def is_lenet(model_dir: Path) -> bool:
    """Return whether an exported model is a LeNet, as one without a manifest is taken to be."""
    return _topology(model_dir) in {None, _LENET}


def read_subject(
    model_dir: Path,
    batch_sizes: Sequence[int],
    folder: Path,
    *,
    network: str | None = None,
    params: Path | None = None,
) -> Subject:
    """Take an exported model: LeNet with the digits, another as :func:`network_subject` has it.

    Args:
        model_dir: The exported model.
        batch_sizes: Those that are to be measured.
        folder: For files that are made.
        network: What builds the network, also when it is a LeNet; what the manifest says when
            None.
        params: See :func:`network_subject`.

    Raises:
        lenet_cpp.Error: As :func:`lenet_subject` and :func:`network_subject`.
    """
    if network is None and is_lenet(model_dir):
        if params is not None:
            raise BadInput("--params is for other networks than LeNet, whose files say it all")
        return lenet_subject(model_dir, batch_sizes)
    name = network or str(_topology(model_dir))
    return network_subject(name, model_dir, batch_sizes, folder, params=params)
