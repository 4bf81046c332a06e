"""The subject of a benchmark: a network, its images, the right outputs, and the model files."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from lenet_cpp.data.mnist import read_mnist_dir, sample_dir, to_model_input
from lenet_cpp.errors import BackendFailure, BadInput, Error, FileNotFound, Unsupported
from lenet_cpp.formats.manifest import has_manifest, read_manifest
from lenet_cpp.formats.source import find_sources
from lenet_cpp.models import get
from lenet_cpp.verify.files import find_models
from tools.benchmark import lenet
from tools.benchmark.contenders import PEERS
from tools.benchmark.making import calibration_images, make, make_in_peers
from tools.benchmark.tflite import write_tflite

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from tools.benchmark.contenders import Contender

    Files = dict[str, dict[str, str]]
    """What contenders read (:attr:`Contender.reads`) to what a model (``engines.py``) has of it."""

_DIFFERENT = 8
_SUFFIXES = (".onnx", ".json", ".pdmodel")
_COMMON = {"model", "inference", "__model__"}  # names of files that say nothing
_SIZE = 224  # of images, where a file has open sizes
_SEED = 20_261_120


@dataclass(frozen=True)
class Settings:
    """What to measure, and how; the options of the command say more.

    Attributes:
        networks: Names in the registry, ``FILE.py:SPEC``, or model files, instead of ``model_dir``.
        seconds: Measured time of each contender, batch size and number of threads, cut into
            ``rounds``; the most time of a row of a comparison.
        starts: Processes of each kind that are started to time the first result.
        runs: Of one predictor, to watch the memory; a hundredth of that is made and dropped.
        same_within: Largest difference of two builds that counts as none, as a share; None is 0.02
            of running and 0.1 of loading.
        half_width: How near both ends of the interval have to be to its middle, as a share, until
            a row is done; half of ``same_within`` when None.
    """

    model_dir: Path
    program: Path
    networks: Sequence[str] = ()
    image_size: int | None = None
    batch_sizes: Sequence[int] = (1, 8, 64, 1024)
    threads: Sequence[int] = (1,)
    seconds: float = 0.5
    rounds: int = 5
    starts: int = 20
    runs: int = 100_000
    seed: int = 1
    baseline: str = ""
    same_within: float | None = None
    half_width: float | None = None


@dataclass(frozen=True)
class Subject:
    """A network, and what is put into it.

    Attributes:
        network: What builds it: a name in the registry, ``FILE.py:SPEC``, or a model file.
        folder: A temporary one; ``images.npy`` in it are :attr:`images`.
        images: float32 [N, C, H, W], for batches of any of the sizes, without a smaller one.
        different: How many of them are different: the first; after these they come again.
        expected: float64 [N, classes], the right outputs; [N, values] of a network that is not a
            classifier.
        reference: What computed them.
        multiply_adds: Of one image, by the definition; None of model files, where nobody counts.
        labels: int64 [different], of the first; None where the classes mean nothing.
        weights: LeNet's; None of others.
        files: The model files that ``network`` names, if it names some.
    """

    network: str
    model_dir: Path
    folder: Path
    images: NDArray[np.float32]
    different: int
    expected: NDArray[np.float64]
    reference: str
    multiply_adds: int | None
    labels: NDArray[np.int64] | None = None
    weights: lenet.Weights | None = None
    files: Files | None = None

    @property
    def name(self) -> str:
        """Return the name as people write it."""
        if self.files:
            path = Path(self.network)
            name = path.stem if path.suffix in _SUFFIXES else path.name
            return path.parent.name if name in _COMMON else name
        return "LeNet" if self.network == "lenet" else self.network.rpartition("/")[2]

    def count(self, batch_size: int) -> int:
        """Return how many images are checked: all that are different, in whole batches."""
        return -(-self.different // batch_size) * batch_size


def network_reference(network: str, image_size: int | None = None) -> str:
    """Return what builds a network, as any folder understands it; check that there is such one."""
    if model_files(network):
        return str(Path(network).absolute())
    file, colon, attribute = network.rpartition(":")
    if colon:
        return f"{Path(file).absolute()}:{attribute}"
    spec = get(network)
    spec.shape(image_size)
    return spec.name


def model_files(network: str) -> Files:
    """Return the files that a network names: a file, a folder, or a path without suffix.

    Beside a ``.json`` or ``.pdmodel`` that is also an ``.onnx`` of that name. Nothing is returned
    of names in the registry and of ``FILE.py:SPEC``.

    Raises:
        FileNotFound: There is no such file.
        BadInput: The folder has several models.
    """
    path = Path(network)
    if path.suffix not in _SUFFIXES and len(path.parts) == 1:
        return {}
    sources = find_sources(path) if path.suffix != ".onnx" else []
    found = {one.format: _paths(one) for one in sources if f".{one.format}" in _SUFFIXES}
    if path.is_dir():
        exports = sorted(path.glob("*.onnx"))
    else:
        whole = path.with_suffix(".onnx") if path.suffix in _SUFFIXES else Path(f"{path}.onnx")
        exports = [whole] if whole.is_file() else []
    if len(exports) > 1:
        raise BadInput(f"{path} has several models: {exports[0]} and {exports[1]}; name one")
    if exports:
        found["onnx"] = {"onnx": str(exports[0].resolve())}
    if not found and path.suffix in _SUFFIXES:
        raise FileNotFound(f"there is no model {path}; check the path")
    return found


def reads_of(one: Contender, files: Files) -> str:
    """Return what a contender reads: where there is no ``.pdmodel``, another file that it can."""
    if one.reads != "pdmodel" or "pdmodel" in files:
        return one.reads
    if one.engine in {"native", "auto"}:
        return "json" if "json" in files else "onnx"
    return "onnx" if one.group == "openvino" else one.reads


def subjects(settings: Settings) -> Iterator[Subject]:
    """Yield each network, exported, in a temporary folder of its own.

    Raises:
        BadInput: The network is not known, or there are fewer processors than threads.
        lenet_cpp.Error: The model is missing or damaged, or not one that can be measured.
    """
    usable = len(os.sched_getaffinity(0))
    if not all(1 <= threads <= usable for threads in settings.threads):
        raise BadInput(f"threads are from 1 to {usable}, the processors that can be used")
    size, sizes = settings.image_size, settings.batch_sizes
    networks = [network_reference(one, size) for one in settings.networks]
    for network in networks or [""]:
        with tempfile.TemporaryDirectory(prefix="lenet-benchmark-") as folder:
            if network and model_files(network):
                yield file_subject(network, size, sizes, Path(folder))
            elif network:
                yield network_subject(network, size, sizes, Path(folder))
            else:
                yield lenet_subject(settings.model_dir, sizes, Path(folder))


def lenet_subject(model_dir: Path, batch_sizes: Sequence[int], folder: Path) -> Subject:
    """Take an exported LeNet and the test digits of the embedded sample; NumPy computes."""
    if has_manifest(model_dir) and read_manifest(model_dir).softmax:
        raise Unsupported(f"{model_dir} was exported with --softmax; export it without")
    weights = lenet.read_weights(find_models(model_dir)[0].combined_params)
    test = read_mnist_dir(sample_dir()).test
    digits = to_model_input(test.images)
    logits = lenet.activations(weights, digits)["linear3"]
    images, different, expected = _repeated(digits, logits, batch_sizes, folder)
    return Subject(
        network="lenet",
        model_dir=model_dir,
        folder=folder,
        images=images,
        different=different,
        expected=expected,
        reference="NumPy in float64",
        multiply_adds=lenet.MULTIPLY_ADDS,
        labels=test.labels,
        weights=weights,
    )


def network_subject(
    network: str, image_size: int | None, batch_sizes: Sequence[int], folder: Path
) -> Subject:
    """Export a network; make images, for which Paddle's training engine computes the outputs.

    It does so in float64.
    """
    model_dir, file = folder / "exported", folder / "different.npy"
    make("export", folder, network=network, image_size=image_size, target=model_dir)
    first = find_models(model_dir)[0].program.name
    shape = read_manifest(model_dir).models[first].inputs[0].shape[1:]
    drawn = np.random.default_rng(_SEED).random((_DIFFERENT, *shape), np.float32)
    np.save(file, drawn)
    multiply_adds = make(
        "reference", folder, target=folder, network=network, model_dir=model_dir, images=file
    )
    outputs = np.load(folder / "expected.npy")
    images, different, expected = _repeated(drawn, outputs, batch_sizes, folder)
    return Subject(
        network=network,
        model_dir=model_dir,
        folder=folder,
        images=images,
        different=different,
        expected=expected,
        reference="Paddle's training engine in float64",
        multiply_adds=multiply_adds,
    )


def file_subject(
    network: str, image_size: int | None, batch_sizes: Sequence[int], folder: Path
) -> Subject:
    """Take model files; make images, for which PyTorch computes the outputs in float64.

    Where its environment is not there, where pnnx cannot convert the file, or where there is no
    ``.onnx``, Paddle's plain kernels or onnxruntime without optimizations do so in float32.
    """
    files, images_file = model_files(network), folder / "different.npy"
    first = next(iter(files.values()))
    shape = make("image_shape", folder, **first)
    sizes = [size if size > 0 else image_size or _SIZE for size in shape]
    if image_size is not None and sizes[-2:] != [image_size] * 2:
        raise BadInput(f"{network} takes images of {' x '.join(map(str, shape))} only")
    drawn = np.random.default_rng(_SEED).random((_DIFFERENT, *sizes), np.float32)
    np.save(images_file, drawn)
    reference = "onnxruntime in float32" if "onnx" in first else "Paddle in float32"
    if "onnx" in files and PEERS.find() is not None:
        with suppress(BackendFailure):
            make_in_peers("double", folder, **files["onnx"], images=images_file, target=folder)
            reference = "PyTorch in float64"
    if not (folder / "expected.npy").exists():
        make("file_reference", folder, **first, images=images_file, target=folder)
    outputs = np.load(folder / "expected.npy")
    images, different, expected = _repeated(drawn, outputs, batch_sizes, folder)
    return Subject(
        network=network,
        model_dir=Path(next(iter(first.values()))).parent,
        folder=folder,
        images=images,
        different=different,
        expected=expected,
        reference=reference,
        multiply_adds=None,
        files=files,
    )


def _repeated(
    images: NDArray[Any], expected: NDArray[Any], batch_sizes: Sequence[int], folder: Path
) -> tuple[NDArray[np.float32], int, NDArray[np.float64]]:
    """Return enough images for whole batches, how many are different, and the outputs.

    The outputs of an image become one row, whatever their rank is.
    """
    expected = expected.reshape(len(images), -1)
    count = max(-(-len(images) // size) * size for size in batch_sizes)

    def repeated(values: NDArray[Any], dtype: Any) -> NDArray[Any]:
        return np.ascontiguousarray(np.resize(values, (count, *values.shape[1:])), dtype)

    taken = repeated(images, np.float32)
    np.save(folder / "images.npy", taken)
    return taken, len(images), repeated(expected, np.float64)


def prepare(
    contenders: Sequence[Contender], subject: Subject, program: Path
) -> tuple[Files, dict[str, dict[str, str]]]:
    """Write what contenders read, the quantized models among them.

    Returns:
        The files; and for each contender that cannot take part the ``status``, ``unavailable`` or
        ``refused``, and the ``reason``.
    """
    files = dict(subject.files or {})
    if not files:
        files = {one.format: _paths(one) for one in find_models(subject.model_dir) if one.params}
    absent: dict[str, dict[str, str]] = {}
    users: dict[str, list[str]] = {}  # the contenders that need a file which is not there yet
    for one in contenders:
        reads = reads_of(one, files)
        reason = _why_absent(one, reads, subject, files, program)
        if reason is not None:
            absent[one.name] = {"status": "unavailable", "reason": reason}
        elif reads not in files:
            users.setdefault(reads, []).append(one.name)
    for kind in (bar := tqdm(users, desc="preparing", leave=False, disable=None)):
        bar.set_postfix_str(kind)
        try:
            files[kind] = _write(kind, subject, files)
        except Error as error:
            absent |= dict.fromkeys(users[kind], failure(error, "refused"))
    return files, absent


def _why_absent(
    one: Contender, reads: str, subject: Subject, files: Files, program: Path
) -> str | None:
    """Return why a contender cannot take part, or None if it can."""
    if subject.weights is None and one.reads.startswith("tflite"):
        return "a .tflite is written of LeNet only"
    if (reason := one.missing()) is not None:
        return reason
    if reads in {"pdmodel", "json"} and reads not in files:
        return f"{subject.model_dir} has no .{reads}"
    if subject.files and reads in {"weights", "quantized"}:
        return "it takes networks by their names only"
    if one.factory is None and not program.is_file():
        return f"there is no {program}: build it with ./run.sh"
    return None


def failure(error: Error, status: str) -> dict[str, str]:
    """Return this ``status``, or that the engine does not support the model, and the ``reason``."""
    status = "unavailable" if isinstance(error, Unsupported) else status
    return {"status": status, "reason": str(error)}


def _paths(model: Any) -> dict[str, str]:
    return {"program": str(model.program.resolve()), "params": str(model.params.resolve())}


def _write(kind: str, subject: Subject, files: Files) -> dict[str, str]:
    """Write one of the files that are made; a ``.tflite`` of LeNet only."""
    suffix = kind.partition("_")[0]
    path = subject.folder / f"{kind}.{suffix}"
    if kind == "quantized":
        model_dir = subject.model_dir.resolve()
        images = _calibration_file(subject)
        make(kind, subject.folder, model_dir=model_dir, images=images, target=path)
        return _paths(find_models(path, ["pdmodel"])[0])
    if kind == "weights":
        path = _write_weights(subject)
    elif kind == "onnx_int8":
        onnx = files.get("onnx") or _write("onnx", subject, files)
        images = _calibration_file(subject)
        make(kind, subject.folder, source=onnx["onnx"], images=images, target=path)
    elif subject.weights is None:
        program: Any = next(iter(files.values()))
        make(kind, subject.folder, **program, target=path)
    elif kind == "onnx":
        lenet.write_onnx(subject.weights, path)
    else:
        calibration = calibration_images() if kind == "tflite_int8" else None
        write_tflite(subject.weights, path, calibration)
    return {suffix: str(path)}


def _calibration_file(subject: Subject) -> Path:
    """Write the images for calibration, unless they are there; return their file."""
    path = subject.folder / "calibration.npy"
    if not path.exists():
        # Digits calibrate LeNet only.
        lenet_is_measured = subject.weights is not None
        np.save(path, calibration_images() if lenet_is_measured else subject.images[:_DIFFERENT])
    return path


def _write_weights(subject: Subject) -> Path:
    """Write the parameters of LeNet; those of other networks are in the file already."""
    path = subject.folder / "state.npz"
    arrays: dict[str, Any] = {**(subject.weights or {})}
    if not path.exists():
        np.savez(path, **arrays)
    return path
