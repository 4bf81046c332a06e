"""How to run a model: the options, the engines that there are, and C++'s configuration."""

import os
from collections.abc import Collection, Iterable
from enum import Enum
from importlib.util import find_spec
from pathlib import Path
from typing import Final, Literal, NamedTuple, TypedDict

from lenet_cpp import _core
from lenet_cpp._base.files import hint_of_missing
from lenet_cpp.errors import BadInput, FileNotFound

# The names of C++ (``lenet/config.h``), which refuses others.
EngineName = Literal["auto", "native", "onnxruntime", "paddle", "plain"]
AnyEngine = Literal[EngineName, "python", "dygraph", "executor"]
Precision = Literal["fp32", "bf16", "int8", "tf32"]
Accelerator = Literal["auto", "plain", "onednn", "openvino", "tensorrt"]

BUNDLED_DIR = Path(__file__).parents[1] / "bundled" / "lenet"
"""The model that a predictor takes when none is named."""


class Bundled(Enum):
    """The default of an argument that names a model; None, which may be a mistake, is refused."""

    LENET = "the bundled LeNet"

    def __repr__(self) -> str:
        """Say what is taken, as ``help()`` shows it."""
        return f"<{self.value}>"


BUNDLED: Final = Bundled.LENET
File = str | os.PathLike[str] | None
Source = File | Bundled
"""What names a model."""


class Options(TypedDict, total=False):
    """How to run a model; the names are those of the command line and of C++ (``lenet/config.h``).

    Attributes:
        engine: The inference engine:

            * ``"auto"`` (default): the fastest engine that runs the model. That is the native one
              for every float network whose operators it supports (on a processor with AVX2; in
              bf16 with avx512_bf16), and for LeNet and similar networks in int8. For other
              operators and quantized networks, or when ``accelerator``, ``ir_optim`` or
              ``memory_optim`` is not at its default, it is Paddle's, and for an .onnx
              onnxruntime's.
            * ``"native"``: this package's own kernels, for Paddle's formats and .onnx. It needs
              no Paddle, and its speed beside other engines is in docs/benchmark.md.
            * ``"paddle"``: the Paddle library, for Paddle's formats.
            * ``"onnxruntime"``: for .onnx, with the library of the package onnxruntime, which is
              never imported (``pip install onnxruntime``).
            * ``"plain"``: each operator by its definition in double precision, slowly: it judges
              the other engines (docs/plain-engine.md).

        accelerator: ``"auto"`` (default), ``"plain"``, ``"onednn"`` or ``"openvino"``, of the
            Paddle engine, or ``"tensorrt"``, of onnxruntime on a GPU. Auto takes the fastest by
            measurement, for each run: OpenVINO for a .pdmodel; otherwise plain for one image on a
            model under 1 MiB, and oneDNN in all other cases. OpenVINO does not run quantized
            models. The native engine and onnxruntime on the processor have kernels of their own,
            and take ``"auto"`` or ``"plain"``.
        precision: The precision of the arithmetic: ``"fp32"`` (default); ``"bf16"``, for any float
            model where the processor has avx512_bf16; or ``"int8"``, for a quantized .pdmodel. In
            the Paddle engine oneDNN computes bf16 and int8, and ``accelerator="auto"`` then
            chooses it. The native engine has both too: bf16, or float32 where that is faster
            (docs/native-engine.md), and int8 by the scales of the model, which oneDNN does not
            follow exactly (docs/native-int8.md). In onnxruntime ``"fp32"`` runs an .onnx as it was
            exported, and ``"tf32"`` lets a GPU multiply 10 of the 23 bits (docs/gpu.md).
        device: What computes: ``"cpu"`` (default), ``"gpu"`` (the first one) or ``"gpu:ID"``. The
            Paddle engine and onnxruntime have GPUs where their library was built with CUDA
            (docs/gpu.md); ``engine="auto"`` then takes the one of these that reads the model.
        gpu_mem: MB of the GPU's memory: Paddle takes them at first, onnxruntime at most. Default
            0: 100, and all.
        threads: CPU threads of one run, 1 or more; default 1. Clones share them in onnxruntime.
            The native engine starts them with the first batch that is large enough, and keeps
            them.
        ir_optim: Let the engine fuse and rewrite operators; default True. With False the native
            engine computes each operator by itself, and quantized models in float32.
        memory_optim: Save memory at the cost of time: intermediate results share memory, those of
            a .json are freed during the run, and those of an .onnx are not kept for the next run.
            Default False.
        check_finite: Refuse NaN and infinity in the input; default True.
        check_program: Refuse programs that could crash Paddle, and operators that are not known;
            default True. False is for a trusted model with other operators. It has no effect in
            onnxruntime.
        check_hashes: Compare the files with SHA256SUMS beside them when there is one; default
            True.
        max_batch_size: Larger batches are cut into pieces of this many images, which bounds the
            memory of a run. Default 0: 64 for each thread, as with larger pieces the intermediate
            results only leave the processor's caches; with ``"tf32"`` the whole batch, and so for a
            model that takes some numbers of images only, or computes an image's result of several.
            Another size may change the last bits of an output. A model that was exported for a
            fixed number of images always gets pieces of that many.
        time_limit_ms: Milliseconds after which a run ends with :class:`lenet_cpp.BackendFailure`.
            Default 0: no limit. The native engine looks between layers, onnxruntime between
            operators; Paddle does not support it.
        load_seconds: Seconds after which a load by Paddle or onnxruntime is given up with
            :class:`lenet_cpp.BackendFailure`. Default 120; 0: never. Nothing can stop such a load,
            so it goes on in a thread of its own; after four of them this process loads models with
            the native engine alone.
        max_sizes: Of a model whose input has open sizes, such as [N, 3, -1, -1], images of so many
            different sizes are run by the native engine, which compiles the model for each; of
            others it is :class:`lenet_cpp.Unsupported`. Default 0: any number, and the engine keeps
            what it compiled for the last eight.
        self_check: Compare the model with the plain program when it is loaded: three images of
            random values, each alone and all together. A load ends with
            :class:`lenet_cpp.BackendFailure` where they differ by more than docs/same-numbers.md
            allows, and with :class:`lenet_cpp.Unsupported` where the comparison is not possible.
            It takes many times the time of a run (docs/options.md). Default False.
        output_name: A value of the program, by its name as a profile prints it, that is
            the output, in the shape that it has there; or ``"features"``, what the last
            product of a matrix, the classifier, takes. The native engine computes only what it
            needs; others give the program's own outputs alone. Default: the outputs that the
            program declares; "*" is these and every other value that is computed.
    """

    engine: EngineName
    accelerator: Accelerator
    precision: Precision
    device: str
    gpu_mem: int
    threads: int
    ir_optim: bool
    memory_optim: bool
    check_finite: bool
    check_program: bool
    check_hashes: bool
    max_batch_size: int
    time_limit_ms: int
    load_seconds: int
    max_sizes: int
    self_check: bool
    output_name: str


def check_names(
    given: Iterable[str], known: Collection[str] = tuple(Options.__annotations__)
) -> None:
    """Raise :class:`lenet_cpp.BadInput` for a name that no option has, with the closest one."""
    for name in given:
        if name not in known:
            from difflib import get_close_matches

            near = get_close_matches(name, known, n=1)
            remedy = f"did you mean '{near[0]}'?" if near else f"choose among {', '.join(known)}"
            raise BadInput(f"unknown option '{name}'; {remedy}")


def chosen_output(options: Options) -> str:
    """Return the value that ``output_name`` makes the output, or nothing, as for ``"*"``."""
    name = options.get("output_name", "")
    return "" if name == "*" else name


class EngineInfo(NamedTuple):
    """Whether an engine can be used here."""

    name: str
    version: str
    """The version of the library that it runs on; empty when it is not available."""
    unavailable: str
    """Why it is not available, and what to do about it."""


def _use_installed_libraries() -> None:
    """Tell C++ where installed packages keep their libraries, without importing the packages."""
    for engine, folder in (("paddle", "base"), ("onnxruntime", "capi")):
        name, spec = _core.engine_library_name(engine), find_spec(engine)
        if name and spec is not None and spec.origin is not None:
            # onnxruntime's file has its version in its name; before 1.19 there was none.
            for library in sorted(Path(spec.origin).parent.glob(f"{folder}/{name}*"))[:1]:
                _core.set_engine_library(engine, str(library))


def available_engines() -> list[EngineInfo]:
    """Return every engine with its version, or why it is not available; loads their libraries."""
    _use_installed_libraries()
    return [EngineInfo(*engine) for engine in _core.available_engines()]


def paddle_version() -> str:
    """Return the version of the Paddle library that predictors run on; load it first if needed.

    Raises:
        Unsupported: There is no Paddle library.
    """
    _use_installed_libraries()
    return _core.engine_version("paddle")


def named_files(model_file: Source, params_file: File, model_dir: File) -> dict[str, str]:
    """Return the paths that name a model, by their arguments; the bundled model's where none does.

    Raises:
        BadInput: A path is none, or the user named the model by None.
    """
    given = {"model_file": model_file, "params_file": params_file, "model_dir": model_dir}
    named = {name: path for name, path in given.items() if path is not None and path is not BUNDLED}
    if not named and model_file is None:
        raise BadInput("the model is None: name one, or leave it out for the bundled LeNet")
    files = {}
    for name, path in named.items():
        if not isinstance(path, (str, bytes, os.PathLike)):
            raise BadInput(f"{name} is a path, got {type(path).__name__}")
        files[name] = os.fspath(path)
    return files or {"model_dir": str(BUNDLED_DIR)}


def absolute_path(path: str) -> str:
    """Return a path as another process takes it, which may have another working directory.

    Raises:
        FileNotFound: It is a URL, or begins with ``~``, and leads to nothing.
    """
    hint = "" if Path(path).exists() else hint_of_missing(path)
    if hint:
        raise FileNotFound(f"there is no {path!r}: {hint}")
    return str(Path(path).absolute())


def core_config(
    model_file: Source, params_file: File, model_dir: File, options: Options
) -> _core.Config:
    """Return C++'s configuration; of the bundled model where no file is named.

    Raises:
        BadInput: An option is unknown, or its value or a path has another type.
    """
    config = _core.Config()
    files = named_files(model_file, params_file, model_dir)
    # A file among the options of a model in memory is refused by C++, whose message says more.
    check_names(options.keys() - {"model_file", "params_file", "model_dir"})
    named: dict[str, object] = {**options, **files}
    for name, value in named.items():
        try:
            setattr(config, name, value)
        except TypeError as error:  # noqa: PERF203 - it names the option
            raise BadInput(f"option {name} cannot be {value!r}") from error
    _use_installed_libraries()
    return config
