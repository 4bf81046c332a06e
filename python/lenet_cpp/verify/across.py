"""Run the same weights and images in every installed framework, and compare the outputs.

The weights are those of an exported model, read from its files. If PyTorch has the same network,
they are loaded into it (:func:`lenet_cpp.interchange.torch.state.torch_state`), and exported from
there to ONNX. A route that cannot run gives the reason.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from lenet_cpp import models
from lenet_cpp._base.frameworks import paddle, torch
from lenet_cpp._base.optional import require, require_paddle
from lenet_cpp.agreement import TOLERANCE, Comparison, compare, predicted
from lenet_cpp.errors import Unsupported
from lenet_cpp.formats.checkpoint import StateMismatch
from lenet_cpp.formats.source import Source
from lenet_cpp.inference.model import Model, check_model
from lenet_cpp.inference.outputs import softmax
from lenet_cpp.interchange.onnx.export import export_paddle, export_torch
from lenet_cpp.interchange.onnx.files import OnnxSession
from lenet_cpp.interchange.torch import models as torch_models
from lenet_cpp.interchange.torch.state import torch_state
from lenet_cpp.models import ModelSpec
from lenet_cpp.models.building import build_layer
from lenet_cpp.models.state import load_state
from lenet_cpp.verify.files import find_models
from lenet_cpp.verify.report import Compared, comparison_entry
from lenet_cpp.verify.routes import (
    NO_PROGRAM,
    Case,
    batches,
    run_dygraph,
    run_lenet_cpp,
    run_paddle_inference,
    run_program,
)

Outputs = NDArray[np.float32]
Route = Callable[["Context"], Outputs]

_BATCH = 64


@dataclass(frozen=True)
class Across(Compared):
    """The result of :func:`across`.

    Attributes:
        images: The number of images.
        routes: The routes that ran.
        pairs: The comparison of every two routes.
        unavailable: The routes that could not run, with the reason.
        correct: The correct predictions of each route; empty without labels.
    """

    model_dir: Path
    images: int
    routes: tuple[str, ...]
    pairs: tuple[Comparison, ...]
    unavailable: dict[str, str]
    correct: dict[str, int]
    tolerance: float

    def _all(self) -> Iterable[Comparison]:
        return self.pairs

    @property
    def equal_predictions(self) -> int:
        """The images of one class in both routes, the fewest of all pairs."""
        return min((pair.equal_predictions for pair in self.pairs), default=self.images)

    def to_dict(self) -> dict[str, Any]:
        """Return the report for JSON, with None for differences that are not finite."""
        named = self.summary("images", "routes", "tolerance", "correct", "unavailable")
        return named | {"pairs": [comparison_entry(pair) for pair in self.pairs]}


@dataclass
class Context:
    """The objects that the routes run, made once and shared."""

    model: Source
    opened: Model
    images: NDArray[np.float32]
    program: Path | None
    threads: int
    work: Path
    spec: ModelSpec | None
    torch_params: Path | None

    @property
    def case(self) -> Case:
        """The exported model with plain kernels."""
        return Case(self.model, "plain", _BATCH, self.threads)

    @property
    def softmax(self) -> bool:
        """Whether the exported model adds a softmax to the network."""
        return self.opened.output_role == "probabilities"

    @property
    def network(self) -> ModelSpec:
        """The network, which has to be known."""
        if self.spec is None:
            raise Unsupported("the network is not known: name it with --model")
        return self.spec

    @cached_property
    def layer(self) -> paddle.nn.Layer:
        """The network in Paddle with the exported model's own weights."""
        layer = build_layer(self.network, self.opened.num_classes, self.opened.image_size)
        try:
            load_state(self.model, self.opened, layer)
        except StateMismatch as error:
            raise Unsupported(
                f"the weights have other names than in {self.network.name}, as after an import"
                " from ONNX"
            ) from error
        return layer

    def torch_name(self) -> str:
        """Return the name of the same network in PyTorch."""
        torch_models.require_torch()
        names = {each.spec.name: each.name for each in torch_models.NETWORKS.values()}
        if self.network.name not in names:
            raise Unsupported(
                f"there is no {self.network.name} in PyTorch here, only {', '.join(names)}"
            )
        return names[self.network.name]

    @cached_property
    def net(self) -> torch.nn.Module:
        """The network in PyTorch, with the same weights or those of the given file."""
        name = self.torch_name()
        if self.torch_params is not None:
            state = torch_models.load_state(self.torch_params)
        else:
            arrays = {key: value.numpy() for key, value in self.layer.state_dict().items()}
            arrays = torch_state(arrays, name)
            state = {key: torch.from_numpy(value.copy()) for key, value in arrays.items()}
        net = torch_models.create_network(name, self.opened.num_classes)
        # PyTorch's counters of batches may be missing.
        kept = {k: value for k, value in net.state_dict().items() if k.endswith("_tracked")}
        net.load_state_dict({**kept, **state})
        return net.eval()

    @cached_property
    def paddle_onnx(self) -> Path:
        """The exported model as an ONNX file."""
        path = self.work / "paddle.onnx"
        export_paddle(self.model.program, self.model.combined_params, path)
        return path


def across(
    model_dir: Path,
    images: NDArray[np.float32],
    labels: NDArray[np.int64] | None = None,
    *,
    program: Path | None,
    torch_params: Path | None = None,
    formats: Sequence[str] | None = None,
    threads: int = 1,
    spec: ModelSpec | None = None,
    tolerance: float | None = None,
    progress: bool = False,
    more_routes: Mapping[str, Route] | None = None,
) -> Across:
    """Run the same images in every framework, and compare every two of them.

    The arguments and errors are as for :func:`lenet_cpp.verify.verify`; of the models in the folder
    the first is used. ``torch_params`` is a file of parameters for PyTorch, such as the one that
    the model was imported from; by default the exported model's weights. ``more_routes`` come after
    those of :data:`WAYS`.
    """
    require_paddle()
    tolerance = TOLERANCE if tolerance is None else tolerance
    model = find_models(model_dir, formats)[0]
    outputs: dict[str, Outputs] = {}
    unavailable: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="lenet-") as folder:
        opened = check_model(model.program, model.params)
        if spec is None and opened.manifest is not None:
            spec = models.find(opened.manifest.topology)
        context = Context(model, opened, images, program, threads, Path(folder), spec, torch_params)
        routes = {**WAYS, **(more_routes or {})}
        bar = tqdm(routes.items(), desc="across", unit="way", disable=None if progress else True)
        for name, route in bar:
            bar.set_postfix_str(name)
            try:
                outputs[name] = route(context)
            except Unsupported as error:
                unavailable[name] = str(error)
    pairs = tuple(
        compare(outputs[a], outputs[b], names=(a, b), tolerance=tolerance)
        for a, b in combinations(outputs, 2)
    )
    correct = {}
    if labels is not None:
        correct = {name: int((predicted(x) == labels).sum()) for name, x in outputs.items()}
    return Across(model_dir, len(images), tuple(outputs), pairs, unavailable, correct, tolerance)


def softmax_of(context: Context, logits: Outputs) -> Outputs:
    """Apply the softmax that the exported model adds to the network, if any."""
    return softmax(logits) if context.softmax else logits


def _torch(context: Context) -> Outputs:
    net = context.net
    with torch.inference_mode():
        return softmax_of(context, _run(context, lambda x: net(torch.from_numpy(x)).numpy()))


def _torch_onnx(context: Context) -> Outputs:
    path = context.work / "torch.onnx"
    export_torch(context.net, context.images.shape[1:], path)
    return softmax_of(context, _onnxruntime(context, path))


def _onnxruntime(context: Context, path: Path) -> Outputs:
    session = OnnxSession(path, threads=context.threads)
    return _run(context, lambda batch: session.run(batch)[0])


def _openvino(context: Context) -> Outputs:
    require("openvino", extra="bench")
    from openvino import Core

    core = Core()
    if context.model.format == "pdmodel":
        network = core.read_model(context.model.program, context.model.params)
    else:
        network = core.read_model(context.paddle_onnx)
    how = {"INFERENCE_NUM_THREADS": context.threads, "INFERENCE_PRECISION_HINT": "f32"}
    compiled = core.compile_model(network, "CPU", how)
    return _run(context, lambda batch: compiled([batch])[0])


def _run(context: Context, run: Callable[[Outputs], Outputs]) -> Outputs:
    return np.concatenate([run(batch) for batch in batches(context.images, _BATCH)])


def _only(outputs: Mapping[str, NDArray[Any]]) -> Outputs:
    """Return the output of a network that has one."""
    if len(outputs) != 1:
        names = ", ".join(outputs)
        raise Unsupported(f"frameworks are compared by one output, and the model has {names}")
    return next(iter(outputs.values()))


def _program(context: Context, case: Case) -> Outputs:
    if context.program is None:
        raise Unsupported(NO_PROGRAM)
    return _only(run_program(context.program, case, context.images))


def _program_onnx(context: Context) -> Outputs:
    """Run the ONNX file itself in the C++ program's onnxruntime engine."""
    model = Source("onnx", context.paddle_onnx, None)
    return _program(context, replace(context.case, model=model, accelerator="auto"))


WAYS: dict[str, Route] = {
    "torch": _torch,
    "torch's ONNX in onnxruntime": _torch_onnx,
    "Paddle dygraph": lambda one: softmax_of(
        one, _only(run_dygraph(one.layer, one.images, _BATCH))
    ),
    "paddle.inference": lambda one: _only(run_paddle_inference(one.case, one.images)),
    "Paddle's ONNX in onnxruntime": lambda one: _onnxruntime(one, one.paddle_onnx),
    "OpenVINO": _openvino,
    "C++ program": lambda one: _program(one, one.case),
    "C++ program, onnxruntime": _program_onnx,
    "lenet_cpp": lambda one: _only(run_lenet_cpp(one.case, one.images)),
}
"""The routes, in the order of the table; each raises Unsupported when it cannot run."""
