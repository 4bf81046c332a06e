"""The Python binding of the C++ predictor."""

from __future__ import annotations

import os
import warnings
from functools import partial
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NamedTuple, NoReturn, TypeVar, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lenet_cpp import _core
from lenet_cpp._base.closing import Closing
from lenet_cpp._base.interrupt import call_interruptibly, cancel_on_interrupt
from lenet_cpp._base.lazy import LazyModule, Self, Unpack
from lenet_cpp._base.memory import memory_errors
from lenet_cpp.data.arrays import as_input, as_pixels
from lenet_cpp.errors import BackendFailure, BadInput
from lenet_cpp.formats.tensor_spec import OutputSpec, TensorSpec
from lenet_cpp.inference.input_range import InputRange
from lenet_cpp.inference.options import BUNDLED, Options, Source, core_config
from lenet_cpp.inference.profile import Profile, from_core

if TYPE_CHECKING:
    from concurrent import futures

    from lenet_cpp.data import images as of_images
else:
    futures, of_images = LazyModule("concurrent.futures"), LazyModule("lenet_cpp.data.images")


class LayerOutput(NamedTuple):
    """What one operator of the network computed."""

    op_type: str
    name: str
    values: NDArray[np.float32]


def bytes_of(*parts: bytes | bytearray | memoryview) -> tuple[bytes, ...]:
    """Return the contents of a model's files as bytes; refuse what are none."""
    try:
        return tuple(
            part if isinstance(part, bytes) else memoryview(part).tobytes() for part in parts
        )
    except TypeError as error:
        given = ", ".join(type(part).__name__ for part in parts)
        raise BadInput(f"program and params are to be bytes, got {given}") from error


def run_dtype(dtype: str) -> str:
    """Return the dtype of what a run gives of an output of ``dtype``: float32 of any float."""
    return "float32" if np.dtype(dtype).kind == "f" else dtype


def _spec(spec: _core.TensorSpec) -> TensorSpec:
    return TensorSpec(spec.name, spec.shape, spec.dtype)


class Specified(Closing):
    """Base of what has an input and an output, and belongs to one process."""

    _COPY: ClassVar[tuple[str, str]]
    """What it is, and what to do instead of copying it."""
    _input_spec: TensorSpec
    _output_spec: TensorSpec

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled or copied."""
        name, remedy = self._COPY
        raise TypeError(f"{name} cannot be pickled or copied: {remedy}")

    @property
    def input_spec(self) -> TensorSpec:
        """Name, shape and dtype of the input."""
        return self._input_spec

    @property
    def output_spec(self) -> TensorSpec:
        """Name, shape and dtype of the output."""
        return self._output_spec


# Bytes of a batch that may run for seconds. To watch for Ctrl-C takes a thread.
_LONG = 1 << 24


def _is_long(images: object) -> bool:
    return type(images) is np.ndarray and images.nbytes >= _LONG


_Core = TypeVar("_Core", _core.Predictor, _core.PredictorPool)


class _Running(Specified, Generic[_Core]):
    """Base of what runs a model by an object of C++."""

    def _hold(self, core: _Core, named: str = "", stacklevel: int = 3) -> Self:
        taken = core.config.model_file
        # In a folder of that name, or with a suffix, it is the named one.
        if not taken.startswith(named):
            warnings.warn(f"there is no {named}: running {taken}", stacklevel=stacklevel)
        self._core: _Core | None = core
        # None once the first batches were compared with it.
        self._input_range = InputRange(taken) if taken else None
        self._input_spec, self._output_spec = map(_spec, (core.input_spec, core.output_spec))
        self._input_shape = self._input_spec.shape
        file = repr(taken) if taken else "a model in memory"
        self._shown = f"{file}, input {list(self._input_shape)}, engine {core.config.engine}"
        return self

    def __repr__(self) -> str:
        """Return one line: the model, its input, the engine, and whether it is closed."""
        closed = ", closed" if self._core is None else ""
        return f"<{type(self).__name__} of {self._shown}{closed}>"

    def _alive(self) -> _Core:
        if self._core is None:
            raise BadInput("the predictor is closed")
        return self._core

    _require_open = _alive

    def close(self) -> None:
        """Free the model; later runs raise :class:`lenet_cpp.BadInput`. May be called again."""
        self._core = None

    def run(
        self, images: ArrayLike, *, pipeline: of_images.Pipeline | None = None
    ) -> NDArray[np.float32]:
        """Return the model's raw outputs, for a classifier its logits.

        Args:
            images: float16, float32 or float64 values, or uint8 pixels (scaled by 1/255), of
                shape [N, C, H, W], or [C, H, W] for one image; with one channel also [N, H, W]
                or [H, W]. Any strides and byte order; C-contiguous float32 and uint8 is not copied.
                For a model whose :attr:`input_spec` has another dtype, such as ``uint8``, the
                numbers that it takes, which are not scaled, in any type that has them.
            pipeline: A preprocessing, such as ``images.Pipeline.load("preprocess.json")``, whose
                Normalize and ToCHW the images then get, which are uint8 pixels [N, H, W, C] or
                [H, W, C], red first. Its other steps are the caller's.

        Returns:
            [N, classes], float32, or the integers or bools that :attr:`output_spec` names; N = 0
            gives [0, classes]. An output without a batch axis, such as a scalar, is that of all
            images together.

        Raises:
            lenet_cpp.BadInput: Wrong type or shape, or a value that is not finite.
            lenet_cpp.BackendFailure: The engine failed; the predictor can be used again.

        Warns:
            lenet_cpp.InputRangeWarning: Once, in one of the first runs: values are more than 8
                times as large as those that ``preprocess.json`` beside the model gives.
        """
        core = self._core
        if core is None:
            core = self._alive()
        fast = self._input_range is None and pipeline is None and not _is_long(images)
        try:  # which costs nothing, as memory_errors would
            if fast and (found := core.run_if_ready(images)) is not None:
                return found
            return self._run(core, images, pipeline)
        except MemoryError as error:
            raise BackendFailure("out of memory while running the model") from error

    def _run(
        self, core: _Core, images: ArrayLike, pipeline: of_images.Pipeline | None
    ) -> NDArray[np.float32]:
        if pipeline is not None:
            return core.run_pixels(as_pixels(images), pipeline.compiled)
        batch = as_input(images, self._input_shape, self._input_spec.dtype)
        unchecked = self._input_range
        if unchecked is not None and unchecked.check(batch):
            self._input_range = None
        if not _is_long(batch) or not isinstance(core, _core.Predictor):
            return core.run(batch)
        return call_interruptibly(partial(core.run, batch), core)

    @property
    def quantized(self) -> bool:
        """Whether the model is quantized.

        Its weights are then int8. In a Paddle model with the option ``precision="fp32"`` every run
        turns them into float32, which gives int8's accuracy at less than float32's speed.
        """
        return self._alive().quantized

    def accelerator(self, images: int = 1) -> str:
        """Return the accelerator that runs this many images at once; what ``"auto"`` chooses."""
        return self._alive().accelerator(images)


def _log_choices(core: _core.Predictor) -> _core.Predictor:
    """Log, at level INFO, why a model does not run on the first engine or in its precision."""
    for reason in (core.engine_refusals, core.precision_reason):
        if reason:
            import logging

            logging.getLogger(__name__).info("%s: %s", core.config.model_file, reason)
    return core


class Predictor(_Running[_core.Predictor]):
    """A loaded image classifier.

    Thread-safety: may be shared; calls from several threads then take turns. For parallel runs
    give each thread a :meth:`clone`, or use :class:`PredictorPool`. The GIL is released meanwhile.

    Example:
        >>> Predictor().run(digits)  # the bundled LeNet
        >>> with Predictor("lenet.pdmodel", "lenet.pdiparams", threads=2) as predictor:
        ...     logits = predictor.run(images)
    """

    _COPY = ("a Predictor", "use clone() for a thread, and load the model again in another process")

    def __init__(
        self,
        model_file: Source = BUNDLED,
        params_file: str | os.PathLike[str] | None = None,
        *,
        model_dir: str | os.PathLike[str] | None = None,
        **options: Unpack[Options],
    ) -> None:
        """Load a model; the bundled LeNet when none is named.

        Args:
            model_file: The program, ``NAME.pdmodel`` or ``NAME.json``, or an ONNX model,
                ``NAME.onnx``.
            params_file: Its parameters; by default ``NAME.pdiparams`` beside the program. An .onnx
                has no such file. Where ``model_file`` is a folder, the name of the files in it
                without a suffix, as in Paddle 3's ``Config(dir, prefix)``.
            model_dir: Instead of both, the folder of an exported model or of ``__model__`` and
                one file per variable. An .onnx is used when there is no Paddle model, or with
                ``engine="onnxruntime"``. Or a model's path without its suffix, as
                ``paddle.jit.save`` takes it.
            **options: See :class:`Options`.

        Raises:
            lenet_cpp.Error: ``FileNotFound``, ``BadModel``, ``BadInput`` (an option),
                ``Unsupported``, ``VersionMismatch`` or ``BackendFailure``.

        Warns:
            UserWarning: ``D/NAME/NAME.pdmodel`` was named and ``D/NAME`` is no folder:
                ``D/NAME.pdmodel`` or ``.json``, as ``paddle.jit.save`` writes it, is used instead.
        """
        config = core_config(model_file, params_file, model_dir, options)
        self._hold(_log_choices(_core.Predictor(config)), config.model_file)
        cancel_on_interrupt(self)

    @classmethod
    def from_bytes(
        cls,
        program: bytes | bytearray | memoryview,
        params: bytes | bytearray | memoryview = b"",
        **options: Unpack[Options],
    ) -> Self:
        """Load a model that is in memory; C++ keeps a copy.

        Args:
            program: What a .pdmodel, .json or .onnx file holds; the first bytes tell which. An
                .onnx has its values within.
            params: What the .pdiparams file holds; empty for an .onnx.
            **options: See :class:`Options`.

        Raises:
            lenet_cpp.Error: ``BadModel``, ``BadInput`` (an option, or no bytes), ``Unsupported``,
                ``VersionMismatch`` or ``BackendFailure``.
        """
        core = _core.Predictor(core_config(None, None, "", options), *bytes_of(program, params))
        # __init__ takes files: an object is made without it, by a private method of its own class,
        # which SLF001 takes for another one's.
        return cls.__new__(cls)._hold(_log_choices(core))  # noqa: SLF001 - of this class, as all here

    @property
    def output_specs(self) -> list[OutputSpec]:
        """The outputs that :meth:`run_outputs` gives; the first is :attr:`output_spec`.

        Those of floating-point values come first, and behind them integers, such as the int64 of an
        ArgMax, and bools. ``dtype`` is the model's. Each has its role, by the
        operators of the program.
        """
        core = self._alive()
        return [
            OutputSpec(spec.name, spec.shape, spec.dtype, *meaning)
            for spec, meaning in zip(core.output_specs, core.output_meanings, strict=True)
        ]

    @memory_errors("running the model")
    def run_outputs(
        self, images: ArrayLike, *names: str, pipeline: of_images.Pipeline | None = None
    ) -> dict[str, NDArray[Any]]:
        """Return several outputs of one run, by name; all of them when none is named.

        Integers and bools have the dtype that :attr:`output_specs` names, and floating-point values
        are float32. Arguments and errors are those of
        :meth:`run`, and :class:`lenet_cpp.Unsupported` when the engine gives no output of that
        name, or an integer that float32 does not hold.
        """
        core = self._alive()
        dtypes = {spec.name: spec.dtype for spec in core.output_specs}
        wanted = list(names) or list(dtypes)
        if pipeline is None:
            batch = as_input(images, self._input_shape, self._input_spec.dtype)
        else:
            batch = as_pixels(images)
        compiled = None if pipeline is None else pipeline.compiled
        run = partial(core.run_outputs, batch, wanted, compiled)
        outputs = call_interruptibly(run, core) if _is_long(batch) else run()
        return {
            name: output.astype(run_dtype(dtypes[name]), copy=False)
            for name, output in zip(wanted, outputs, strict=True)
        }

    @memory_errors("running the model")
    def run_layers(self, images: ArrayLike) -> list[LayerOutput]:
        """Return what every operator computed, in the order of execution.

        With the options ``accelerator="plain", ir_optim=False`` these are the operators of the
        exported program; otherwise those that fusion left. The native engine reads the files again
        and computes the whole program in float32. Arguments and errors are those of :meth:`run`,
        and :class:`lenet_cpp.Unsupported` with onnxruntime.
        """
        layers = self._alive().run_layers(
            as_input(images, self._input_shape, self._input_spec.dtype)
        )
        return [LayerOutput(*layer) for layer in layers]

    def nan_origin(self, image: NDArray[Any], *, pipeline: of_images.Pipeline | None = None) -> str:
        """Return which layer gives the first NaN of an image, as a clause for an error.

        It is empty where that is not known: another engine than the native one runs the model, or
        its files are not there. Arguments are those of :meth:`run`, of one image, as arrays that
        are not converted.
        """
        return self._alive().nan_origin(image, None if pipeline is None else pipeline.compiled)

    def profile(self, images: int = 1, *, runs: int = 0) -> Profile:
        """Measure what each layer costs in a batch.

        It takes up to 256 MiB of memory, from which it measures how fast memory is read.

        Args:
            images: Number of images; the layers are timed for 64 when there are more.
            runs: Number of measured runs, at most 10,000; 0 for as many as half a second allows.

        Raises:
            lenet_cpp.Unsupported: The engine is not the native one.
            lenet_cpp.BadInput: A number is out of range, or the model takes another number of
                images.
        """
        try:
            return from_core(*self._alive().profile(images, runs))
        except TypeError as error:
            raise BadInput(f"cannot profile {runs!r} runs of {images!r} images") from error

    def cancel(self) -> None:
        """End the run or profile that another thread is in, if there is one.

        It raises :class:`lenet_cpp.BackendFailure` there, and the predictor can be used again.

        Raises:
            lenet_cpp.Unsupported: Paddle runs the model.
        """
        self._alive().cancel()

    def clone(self) -> Self:
        """Return a predictor of the same model, for another thread.

        The clone shares the weights, except with OpenVINO, which loads the model again. It may
        outlive the predictor it came from.

        Raises:
            lenet_cpp.Error: The predictor is closed; with OpenVINO also what :class:`Predictor`
                raises.
        """
        # As in from_bytes.
        clone = type(self).__new__(type(self))._hold(self._alive().clone())  # noqa: SLF001 - its own
        clone._input_range = self._input_range  # noqa: SLF001 - its own
        return clone

    @property
    def output_role(self) -> str:
        """The role of the first output, which :meth:`run` returns; see :class:`OutputSpec`."""
        return self.output_specs[0].role

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes, in output order, that the program itself has.

        An .onnx of scikit-learn or Custom Vision has them. Empty where there are none, or they are
        the numbers 0, 1 and so on.
        """
        return tuple(self._alive().class_names)

    @property
    def model_file(self) -> Path:
        """The program that was loaded; an empty path for one from memory."""
        return Path(self._alive().config.model_file)

    @property
    def params_file(self) -> Path | None:
        """Its parameters; None in the layout with one file for each variable, and from memory."""
        path = self._alive().config.params_file
        return Path(path) if path else None

    @property
    def options(self) -> Options:
        """How it runs: every option, with its value."""
        config = self._alive().config
        values = {name: getattr(config, name) for name in Options.__annotations__}
        return cast("Options", values)


class PredictorPool(_Running[_core.PredictorPool]):
    """Predictors of one model that share their weights, for several threads.

    Thread-safety: :meth:`run` and :meth:`submit` may be called from any number of threads; each
    run takes a predictor that is free, so that ``size`` of them run in parallel, and the others
    wait.

    Example:
        >>> with PredictorPool("lenet.pdmodel", size=4) as pool:
        ...     results = [future.result() for future in map(pool.submit, batches)]
    """

    _COPY = (
        "a PredictorPool",
        "share it between threads, and load the model again in another process",
    )

    def __init__(
        self,
        model_file: Source = BUNDLED,
        params_file: str | os.PathLike[str] | None = None,
        *,
        model_dir: str | os.PathLike[str] | None = None,
        size: int,
        **options: Unpack[Options],
    ) -> None:
        """Load a model ``size`` times, 1 or more, over the same weights.

        Other arguments and errors are those of :class:`Predictor`; each has ``threads`` threads.
        """
        self._load(core_config(model_file, params_file, model_dir, options), size)

    @classmethod
    def from_bytes(
        cls,
        program: bytes | bytearray | memoryview,
        params: bytes | bytearray | memoryview = b"",
        *,
        size: int,
        **options: Unpack[Options],
    ) -> Self:
        """Load a model that is in memory ``size`` times; else as :meth:`Predictor.from_bytes`."""
        pool = cls.__new__(cls)
        files = bytes_of(program, params)
        # As in Predictor.from_bytes.
        pool._load(core_config(None, None, "", options), size, *files)  # noqa: SLF001 - its own
        return pool

    def _load(self, config: _core.Config, size: int, *files: bytes) -> None:
        try:
            core = _core.PredictorPool(config, size, *files)
        except TypeError as error:
            raise BadInput(f"size is {size!r}; expected an integer, 1 or more") from error
        self._hold(core, config.model_file, stacklevel=4)
        self._threads: tuple[int, futures.ThreadPoolExecutor] | None = None  # of which process
        self._starting = Lock()

    def submit(
        self, images: ArrayLike, *, pipeline: of_images.Pipeline | None = None
    ) -> futures.Future[NDArray[np.float32]]:
        """Run in one of the pool's own threads, as many as predictors; return the future output.

        Arguments and errors are those of :meth:`run`. ``images`` must not change until the future
        is done. What waits for a thread stays in memory.
        """
        with self._starting:
            core = self._alive()
            if self._threads is None or self._threads[0] != os.getpid():
                self._threads = os.getpid(), futures.ThreadPoolExecutor(len(core), "lenet-cpp")
            return self._threads[1].submit(self._run, core, images, pipeline)

    def close(self) -> None:
        """End the pool's threads and free the model, once all that was given to them is done.

        It does not wait. Later runs raise :class:`lenet_cpp.BadInput`. May be called again.
        """
        with self._starting:
            super().close()
            threads, self._threads = self._threads, None
        if threads is not None and threads[0] == os.getpid():
            threads[1].shutdown(wait=False)

    def __len__(self) -> int:
        """Return the number of predictors; 0 when the pool is closed."""
        return 0 if self._core is None else len(self._core)
