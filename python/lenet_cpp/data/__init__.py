"""Images and labels: MNIST, image files as arrays, and arrays as models take them."""

from typing import TYPE_CHECKING

from lenet_cpp._base.lazy import lazy_exports

if TYPE_CHECKING:
    from lenet_cpp.data.mnist import (
        Mnist,
        Split,
        load_mnist,
        read_idx,
        read_mnist_dir,
        sample_dir,
        to_model_input,
        write_idx,
    )

__all__ = [
    "Mnist",
    "Split",
    "load_mnist",
    "read_idx",
    "read_mnist_dir",
    "sample_dir",
    "to_model_input",
    "write_idx",
]

__getattr__, __dir__ = lazy_exports(__name__, dict.fromkeys(__all__, "lenet_cpp.data.mnist"))
