"""Run and export a network in its framework, with random parameters."""

from __future__ import annotations

import importlib
import tempfile
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from numpy.typing import NDArray

    Outputs = list[NDArray[Any]]

RECIPE = 1
"""Changes whenever the files or answers change that are made here of the same network."""
DYNAMO_OPSET = 20


def disturb(values: NDArray[Any], random: np.random.RandomState) -> NDArray[Any]:
    """Return numbers of a parameter that is not constant.

    What is constant before training, as 0 in the last layer or 1e-6 as the scale of a branch, would
    hide wrong answers.
    """
    if values.size and np.ptp(values) == 0:
        values = values + random.normal(0, 0.1, values.shape)
    return values.astype("float32")


def draw_statistics(
    inputs: NDArray[Any], channels: int, random: np.random.RandomState
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return a mean and a variance of each channel that fit the inputs of a batch norm.

    They are of all channels together: those of each, from few images, would let rounding errors
    grow from layer to layer.
    """
    size = max(float((inputs.astype("float64") ** 2).mean()), 1e-6)
    mean = 0.1 * size**0.5 * random.standard_normal(channels)
    return mean.astype("float32"), (size * random.uniform(0.5, 1.5, channels)).astype("float32")


def flatten(outputs: Any) -> list[Any]:
    """Return the tensors in what a network gives, in the order of an export."""
    if outputs is None:
        return []
    if isinstance(outputs, dict):
        outputs = list(outputs.values())
    if isinstance(outputs, list | tuple):
        return [tensor for each in outputs for tensor in flatten(each)]
    return [outputs]


def with_hooks(layers: Iterable[Any], before: Callable[..., None], run: Callable[[], Any]) -> None:
    """Run once, with a function that is called before each of these layers."""
    hooks = [each.register_forward_pre_hook(before) for each in layers]
    run()
    for hook in hooks:
        hook.remove()


class Paddle:
    """A network of dygraph Paddle."""

    formats = ("json", "pdmodel")

    @staticmethod
    def seed(number: int) -> None:
        """Seed what draws the parameters of a network."""
        importlib.import_module("paddle").seed(number)

    @staticmethod
    def count_parameters(build: Callable[[], Any]) -> int:
        """Return the number of parameters of what ``build`` returns, without making them."""
        with importlib.import_module("paddle").LazyGuard():
            return sum(int(np.prod(each.shape)) for each in build().parameters())

    def __init__(self, network: Any, images: NDArray[Any], random: np.random.RandomState) -> None:
        """Give it random numbers, all of ``random``, with which values do not vanish or explode."""
        self._paddle = importlib.import_module("paddle")
        self._network = network
        for parameter in network.parameters():
            if "float" in str(parameter.dtype):
                parameter.set_value(disturb(parameter.numpy(), random))
        network.eval()

        def normalize(norm: Any, inputs: Any) -> None:
            channels = norm._mean.shape[0]  # noqa: SLF001 - Paddle has no public name for it
            mean, variance = draw_statistics(inputs[0].numpy(), channels, random)
            norm._mean.set_value(mean)  # noqa: SLF001 - as above
            norm._variance.set_value(variance)  # noqa: SLF001 - as above

        norms = [each for each in network.sublayers() if hasattr(each, "_variance")]
        with_hooks(norms, normalize, lambda: self.run(images))

    def run(self, images: NDArray[Any]) -> Outputs:
        """Return the answers."""
        with self._paddle.no_grad():
            outputs = flatten(self._network(self._paddle.to_tensor(images)))
        return [output.numpy() for output in outputs]

    def export(self, folder: Path, suffix: str, images: NDArray[Any]) -> Path:
        """Write a file with an open batch; return its path."""
        shape = [None, *images.shape[1:]]
        spec = [self._paddle.static.InputSpec(shape, "float32", "x")]
        guards = importlib.import_module("paddle.pir_utils")
        guard = guards.DygraphPirGuard if suffix == "json" else guards.DygraphOldIrGuard
        with guard():
            static = self._paddle.jit.to_static(self._network, input_spec=spec, full_graph=True)
            self._paddle.jit.save(static, str(folder / "model"))
        return folder / f"model.{suffix}"

    def run_exactly(self, images: NDArray[Any]) -> Outputs:
        """Return the answers in float64; the network is of no use after it."""
        self._paddle.set_default_dtype("float64")
        self._network.to(dtype="float64")
        return self.run(images.astype("float64"))

    @staticmethod
    def run_file(path: Path, batches: Iterable[NDArray[Any]], accelerator: str) -> Any:
        """Return the answers of Paddle's own Python, a list of outputs for each batch."""
        ours = importlib.import_module("lenet_cpp.paddle_engines.running")
        with tempfile.TemporaryDirectory() as cache:
            config = ours.inference_config(
                path, path.with_suffix(".pdiparams"), accelerator=accelerator, cache=cache
            )
            return ours.run_config(config, batches).outputs


class Torch:
    """A network of PyTorch."""

    formats = ("onnx", "dynamo")

    @staticmethod
    def seed(number: int) -> None:
        """Seed what draws the parameters of a network."""
        importlib.import_module("torch").manual_seed(number)

    @staticmethod
    def count_parameters(build: Callable[[], Any]) -> int:
        """Return the number of parameters of what ``build`` returns, without making them."""
        with importlib.import_module("torch").device("meta"):
            return sum(each.numel() for each in build().parameters())

    def __init__(self, network: Any, images: NDArray[Any], random: np.random.RandomState) -> None:
        """Give it random numbers, as :class:`Paddle` does."""
        self._torch = importlib.import_module("torch")
        self._network = network.eval()
        for parameter in network.parameters():
            if parameter.dtype == self._torch.float32:
                parameter.data = self._torch.from_numpy(disturb(parameter.detach().numpy(), random))

        def normalize(norm: Any, inputs: Any) -> None:
            found = draw_statistics(inputs[0].numpy(), len(norm.running_mean), random)
            norm.running_mean, norm.running_var = map(self._torch.from_numpy, found)

        norms = [each for each in network.modules() if hasattr(each, "running_mean")]
        norms = [each for each in norms if each.running_mean is not None]
        with_hooks(norms, normalize, lambda: self.run(images))

    def run(self, images: NDArray[Any]) -> Outputs:
        """Return the answers."""
        with self._torch.no_grad():
            outputs = flatten(self._network(self._torch.from_numpy(images)))
        return [output.numpy() for output in outputs]

    def export(self, folder: Path, suffix: str, images: NDArray[Any]) -> Path:
        """Write a file with an open batch, by the older or the newer exporter; return its path."""
        path = folder / "model.onnx"
        tensor = self._torch.from_numpy(images[:2])
        with self._torch.no_grad():
            count = len(flatten(self._network(tensor)))
        names = [f"y{number}" for number in range(count)]
        if suffix == "dynamo":
            self._torch.onnx.export(
                self._network,
                (tensor,),
                str(path),
                opset_version=DYNAMO_OPSET,
                dynamo=True,
                input_names=["x"],
                output_names=names,
                external_data=False,
                verbose=False,
                dynamic_shapes=({0: self._torch.export.Dim.DYNAMIC},),
            )
            return path
        self._torch.onnx.export(
            self._network,
            (tensor,),
            str(path),
            opset_version=17,
            dynamo=False,
            input_names=["x"],
            output_names=names,
            dynamic_axes={name: {0: "n"} for name in ("x", *names)},
        )
        return path

    def run_exactly(self, images: NDArray[Any]) -> Outputs:
        """Return the answers in float64; the network is of no use after it."""
        self._torch.set_default_dtype(self._torch.float64)
        self._network.double()
        return self.run(images.astype("float64"))

    @staticmethod
    def run_file(path: Path, batches: Iterable[NDArray[Any]], accelerator: str) -> Any:  # noqa: ARG004 - called as Paddle.run_file is, which has accelerators
        """Return the answers of onnxruntime's own Python, a list of outputs for each batch."""
        runtime = importlib.import_module("onnxruntime")
        options = runtime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = 1, 4
        session = runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        return [session.run(None, {"x": batch}) for batch in batches]


FRAMEWORKS: dict[str, Any] = {"paddle": Paddle, "torch": Torch}
