"""The engines that need Paddle's Python package: ``python``, ``executor`` and ``dygraph``."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenet_cpp._base.frameworks import paddle
from lenet_cpp.errors import BadInput, Unsupported
from lenet_cpp.formats.source import find_parameters
from lenet_cpp.formats.tensor_spec import OutputSpec, TensorSpec
from lenet_cpp.inference.model import Model, check_model
from lenet_cpp.inference.options import BUNDLED, Accelerator, File, Precision, Source
from lenet_cpp.inference.paddle_package import library_facts
from lenet_cpp.models.building import build_layer
from lenet_cpp.models.specs import resolve
from lenet_cpp.models.weights import load_parameters
from lenet_cpp.paddle_engines.engine import Engine, RunSettings, require_finite, settings_of
from lenet_cpp.paddle_engines.running import (
    ConfiguredPredictor,
    as_given,
    find_gpu,
    inference_config,
    paddle_failures,
)

_CHECKS = frozenset({"check_program", "check_hashes"})
_ACCELERATORS = ("plain", "onednn", "openvino")


class PaddleInferenceEngine:
    """An engine that runs an exported model with ``paddle.inference``."""

    def __init__(
        self,
        model: Model,
        *,
        accelerator: Accelerator = "auto",
        threads: int = 1,
        ir_optim: bool = True,
        memory_optim: bool = False,
        precision: Precision = "fp32",
        device: str = "cpu",
        gpu_mem: int = 0,
    ) -> None:
        """Load a model, which ``check_model`` has checked, also for the precision.

        The options are those of :class:`lenet_cpp.Options`, but ``auto`` is oneDNN, and on a GPU
        ``plain``.

        Raises:
            BadInput: An option is wrong.
            Unsupported: There is no such GPU, or what it is asked for is computed by the processor
                alone; OpenVINO for a model that is not a ``.pdmodel``.
            BackendFailure: Paddle could not load the model.
        """
        accelerator = _choose_accelerator(accelerator, precision, device)
        if threads < 1:
            raise BadInput(f"threads is {threads}; expected 1 or more")
        _check_accelerator(accelerator, model, precision, ir_optim=ir_optim)
        self._known: dict[str, Any] = {
            "accelerator": accelerator,
            "memory_optim": memory_optim,
            "precision": precision,
        }
        self._names = [output.name for output in model.outputs]
        self._cache = tempfile.TemporaryDirectory(prefix="lenet-")
        try:
            with paddle_failures(f"loading {model.program}"):
                config = inference_config(
                    model.program,
                    model.params,
                    threads=threads,
                    ir_optim=ir_optim,
                    device=device,
                    gpu_mem=gpu_mem,
                    cache=self._cache.name,
                    **self._known,
                )
                self._predictor = ConfiguredPredictor(config)
        except BaseException:
            self._cache.cleanup()
            raise

    def run(self, batch: NDArray[np.float32], wanted: Sequence[int]) -> list[NDArray[Any]]:
        """Compute outputs."""
        require_finite(batch)
        with paddle_failures("running the model"):
            outputs = self._predictor.run(batch)
        names = self._predictor.output_names
        return [as_given(outputs[names.index(self._names[number])]) for number in wanted]

    def settings(self, batch_size: int) -> RunSettings:  # noqa: ARG002 - the interface has it
        """Return how batches of any size are computed."""
        return settings_of(self._predictor.config, engine="python", **self._known)

    def close(self) -> None:
        """Free the model."""
        del self._predictor
        self._cache.cleanup()


def _choose_accelerator(accelerator: Accelerator, precision: Precision, device: str) -> Accelerator:
    """Return what computes on a device: never ``auto``, and on a GPU always ``plain``."""
    gpu = find_gpu(device) >= 0
    if accelerator == "auto":
        accelerator = "plain" if gpu else "onednn"
    if gpu and (accelerator != "plain" or precision != "fp32"):
        raise Unsupported(f"device {device}: a GPU computes with accelerator plain, in fp32")
    if accelerator not in _ACCELERATORS:
        known = ", ".join(("auto", *_ACCELERATORS))
        raise BadInput(f"unknown accelerator {accelerator!r}; choose among {known}")
    return accelerator


def _check_accelerator(
    accelerator: Accelerator, model: Model, precision: Precision, *, ir_optim: bool
) -> None:
    """Refuse a precision, or a model, that an accelerator does not compute."""
    if precision != "fp32" and (accelerator != "onednn" or not ir_optim):
        raise BadInput(
            f"precision {precision} is computed by oneDNN with ir_optim: leave out accelerator"
            " and ir_optim, or set them to onednn and True"
        )
    if accelerator == "openvino" and (model.is_pir or model.params is None):
        raise Unsupported(f"{model.program}: OpenVINO runs .pdmodel programs only")


def _place(device: str) -> paddle.CPUPlace | paddle.CUDAPlace:
    """Return Paddle's name for a device."""
    number = find_gpu(device)
    return paddle.CPUPlace() if number < 0 else paddle.CUDAPlace(number)


def _settings(engine: str, place: paddle.CPUPlace | paddle.CUDAPlace) -> RunSettings:
    """Return the settings of training engines: Paddle's own kernels and its flags."""
    flags = paddle.get_flags(["FLAGS_paddle_num_threads", "FLAGS_use_mkldnn"])
    return RunSettings(
        engine=engine,
        **library_facts(str(paddle.__version__)),
        accelerator="onednn" if flags["FLAGS_use_mkldnn"] else "plain",
        ir_optim=False,
        memory_optim=False,
        threads=int(flags["FLAGS_paddle_num_threads"]),
        runtime_device="gpu" if isinstance(place, paddle.CUDAPlace) else "cpu",
    )


class DygraphEngine:
    """An engine that runs a layer, operator by operator."""

    def __init__(self, layer: paddle.nn.Layer, device: str = "cpu") -> None:
        """Put a layer into evaluation mode, on a device; Unsupported if there is no such GPU."""
        layer.eval()
        self._place = _place(device)
        self._layer = layer.to(device=self._place)

    def run(
        self,
        batch: NDArray[np.float32],
        wanted: Sequence[int],  # noqa: ARG002 - a registered network has one output
    ) -> list[NDArray[Any]]:
        """Compute the output."""
        require_finite(batch)
        with paddle_failures("running the layer"), paddle.no_grad():
            return [self._layer(paddle.to_tensor(batch, place=self._place)).numpy()]

    def settings(self, batch_size: int) -> RunSettings:  # noqa: ARG002 - the interface has it
        """Return how batches of any size are computed."""
        return _settings("dygraph", self._place)

    def close(self) -> None:
        """Free the parameters."""
        del self._layer


class ExecutorEngine:
    """An engine that runs an exported model with ``paddle.static.Executor``.

    While a model is loaded or run, Paddle's static mode is on, and for programs other than .json
    its older intermediate representation too; both are restored afterwards. They are states of the
    whole process: other threads must not call Paddle at the same time.
    """

    def __init__(self, model: Model, device: str = "cpu") -> None:
        """Load a model, with combined parameters or one file for each variable.

        Raises:
            Unsupported: There is no such GPU.
            BackendFailure: Paddle could not load the model.
        """
        self._pir = model.is_pir
        self._names = [output.name for output in model.outputs]
        self._place = _place(device)
        self._scope = paddle.static.Scope()
        with paddle_failures(f"loading {model.program}"), self._static():
            self._executor = paddle.static.Executor(self._place)
            load = self._load_separate if model.params is None else self._load_combined
            self._program, self._inputs, self._outputs = load(model)

    def _load_combined(self, model: Model) -> Any:
        program, params = model.program.resolve(), Path(str(model.params)).resolve()
        # Paddle prefers other files of similar names: this folder has no others.
        with tempfile.TemporaryDirectory(prefix="lenet-") as folder:
            prefix = Path(folder, "model")
            prefix.with_suffix(".json" if self._pir else ".pdmodel").symlink_to(program)
            prefix.with_suffix(".pdiparams").symlink_to(params)
            return paddle.static.load_inference_model(str(prefix), self._executor)

    def _load_separate(self, model: Model) -> Any:
        # Paddle warns that this layout is deprecated each time it reads it.
        logger = logging.getLogger("paddle.static.io")
        level = logger.level
        logger.setLevel(logging.ERROR)
        try:
            return paddle.static.load_inference_model(
                str(model.program.resolve().parent),
                self._executor,
                model_filename=model.program.name,
                params_filename=None,
            )
        finally:
            logger.setLevel(level)

    @contextmanager
    def _static(self) -> Iterator[None]:
        guards = paddle.pir_utils
        guard = guards.IrGuard if self._pir else guards.OldIrGuard
        with guard(), paddle.static.scope_guard(self._scope):
            yield

    def run(self, batch: NDArray[np.float32], wanted: Sequence[int]) -> list[NDArray[Any]]:
        """Compute outputs."""
        outputs = self.run_outputs(batch)
        return [outputs[self._index_of(self._names[number])] for number in wanted]

    def run_outputs(self, batch: NDArray[np.float32]) -> list[NDArray[Any]]:
        """Compute all outputs, in the program's order."""
        require_finite(batch)
        with paddle_failures("running the model"), self._static():
            outputs: list[NDArray[Any]] = self._executor.run(
                self._program, feed={self._inputs[0]: batch}, fetch_list=self._outputs
            )
        return list(map(as_given, outputs))

    def _index_of(self, name: str) -> int:
        """Return the number of the output that ``paddle.inference`` calls by a name."""
        if self._pir:  # where values have no names: Paddle numbers those that are fetched
            number = name.removeprefix("fetch_name_")
            return int(number) if number.isdecimal() else 0
        names = [each.name for each in self._outputs]
        return names.index(name) if name in names else 0

    def settings(self, batch_size: int) -> RunSettings:  # noqa: ARG002 - the interface has it
        """Return how batches of any size are computed."""
        return _settings("executor", self._place)

    def close(self) -> None:
        """Free the model."""
        self._executor.close()
        del self._executor, self._program, self._inputs, self._outputs, self._scope


def _load_python(
    model_file: Source, params_file: File, *, model_dir: File, **options: Any
) -> tuple[Engine, Model]:
    checks = {name: options.pop(name) for name in _CHECKS & options.keys()}
    precision = options.get("precision", "fp32")
    files = {"params_file": params_file, "model_dir": model_dir}
    model = check_model(model_file, precision=precision, **files, **checks)
    return PaddleInferenceEngine(model, **options), model


def _load_executor(
    model_file: Source, params_file: File, *, device: str = "cpu", **checks: Any
) -> tuple[Engine, Model]:
    model = check_model(model_file, params_file, **checks)
    return ExecutorEngine(model, device), model


def _load_layer(
    network: Source,
    params_file: File,
    *,
    model_dir: File,
    num_classes: int | None = None,
    image_size: int | None = None,
    device: str = "cpu",
) -> tuple[Engine, Model]:
    named = network is not None and network is not BUNDLED
    if not named or params_file is None or model_dir is not None:
        raise BadInput("the dygraph engine takes a registered model's name and its parameters")
    spec = resolve(str(network))
    shape = (-1, *spec.shape(image_size))
    params = find_parameters(params_file).path
    layer = build_layer(spec, num_classes, image_size)
    load_parameters(layer, params)
    output = OutputSpec("", (-1, num_classes or spec.classes), "float32", role="logits")
    model = Model(params, None, TensorSpec("", shape, "float32"), (output,))
    # There are no files of a model to read these from.
    model.manifest = None
    model.network = spec
    model.own_name = spec.name
    model.own_labels = spec.class_names(num_classes)
    return DygraphEngine(layer, device), model


_OTHERS = {"accelerator", "threads", "ir_optim", "memory_optim", "precision", "device", "gpu_mem"}
ENGINES: dict[str, tuple[Callable[..., tuple[Engine, Model]], AbstractSet[str]]] = {
    "python": (_load_python, _CHECKS | _OTHERS),
    "executor": (_load_executor, _CHECKS | {"device"}),
    "dygraph": (_load_layer, {"num_classes", "image_size", "device"}),
}
"""Name to the function that opens the engine, and the names of the options that it supports."""
