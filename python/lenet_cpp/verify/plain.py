"""Compare engines with the plain program, which computes each operator by its definition.

This needs no other library: the plain program is an engine of this package. Other engines are
compared too where their libraries are installed. Where the native engine differs, the layer is
searched at which its values become wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from lenet_cpp import _core
from lenet_cpp.agreement import Comparison, compare_outputs, difference, differences
from lenet_cpp.data.arrays import random_input
from lenet_cpp.errors import BadInput, Error, Unsupported, VersionMismatch
from lenet_cpp.formats.tensor_spec import TensorSpec
from lenet_cpp.inference.model import Model
from lenet_cpp.inference.options import Precision, available_engines, core_config
from lenet_cpp.inference.predictor import Predictor
from lenet_cpp.verify.report import Compared, comparison_entry, finite
from lenet_cpp.verify.routes import NATIVE, Outputs, batches

PLAIN = "plain"
"""The engine that the others are compared with."""
PLAIN_BATCH_SIZES = (1, 2, 3)
PLAIN_THREADS = (1, 2)
_SEED = 98
_IMAGES = 3
# Height and width to try of a model with open sizes.
_OPEN_SIZES = (64, 224, 32, 28, 96, 128, 256, 299, 384, 512)


class Files(TypedDict, total=False):
    """What names a model, as the arguments of :class:`lenet_cpp.Predictor`."""

    model_file: Path
    params_file: Path
    model_dir: Path


@dataclass(frozen=True)
class Row(Compared):
    """An engine's runs of all images, so many at a time, beside those of the reference."""

    engine: str
    threads: int
    batch_size: int
    comparisons: tuple[Comparison, ...]
    """One for each batch."""

    def _all(self) -> Iterable[Comparison]:
        return self.comparisons

    @property
    def equal_predictions(self) -> int:
        """The images that both put into the same class."""
        return sum(one.equal_predictions for one in self.comparisons)


@dataclass(frozen=True)
class WrongLayer:
    """The first layer of the native engine that differs from the plain program."""

    operator: str
    """The operator's type."""
    name: str
    """The value that it gives."""
    shape: tuple[int, ...]
    largest_difference: float
    share: float
    """The largest difference as a share of the tolerance: 1 is the limit."""

    def __str__(self) -> str:
        """Return the layer and its difference in a few words."""
        size = difference(self.largest_difference, self.share)
        return f"{self.operator} '{self.name}' {list(self.shape)}, largest difference {size}"


@dataclass(frozen=True)
class AgainstPlain(Compared):
    """The result of :func:`compare_with_plain`."""

    model: Path
    images: int
    precision: Precision
    reference: str
    """``plain``; or where the plain program refuses the model, the first engine that runs it."""
    rows: tuple[Row, ...]
    refusals: Mapping[str, str]
    """Why an engine is not compared."""
    layer: WrongLayer | None = None
    """Where the native engine differs."""
    cause: str = ""
    """What the native engine is wrong in, as far as that is known."""

    def _all(self) -> Iterable[Comparison]:
        return [one for row in self.rows for one in row.comparisons]

    @property
    def equal_predictions(self) -> int:
        """The images that an engine puts into the reference's class, the fewest of all rows."""
        return min(row.equal_predictions for row in self.rows)

    def to_dict(self) -> dict[str, Any]:
        """Return the report for JSON, with None for differences that are not finite."""
        layer = None
        if self.layer is not None:
            layer = asdict(self.layer)
            layer["share_of_tolerance"] = finite(layer.pop("share"))
            layer["largest_difference"] = finite(self.layer.largest_difference)
        return {
            **self.summary("images", "precision", "reference", "cause"),
            "model": str(self.model),
            "rows": [
                {
                    "engine": row.engine,
                    "threads": row.threads,
                    "batch_size": row.batch_size,
                    "equal_predictions": row.equal_predictions,
                    "verdict": row.verdict,
                    "comparisons": [comparison_entry(one) for one in row.comparisons],
                }
                for row in self.rows
            ],
            "refusals": dict(self.refusals),
            "first_differing_layer": layer,
        }


def random_images(
    spec: TensorSpec, count: int, image_size: int | None = None
) -> Iterator[NDArray[Any]]:
    """Yield random images, the same each time, of each size to try: of one without open sizes.

    Args:
        spec: The model's input.
        count: How many images, unless the model is for a fixed number.
        image_size: Height and width where they are open; None to try several.
    """
    first, *sizes = spec.shape
    has_open_channels = len(sizes) == 3 and sizes[0] < 0 and sizes[2] < 0
    is_open = min(sizes, default=0) < 0
    tried: Sequence[int] = _OPEN_SIZES if is_open else [0]
    if image_size:
        tried = [image_size]
    for pixels in tried:
        for channels in (3, 1) if has_open_channels else [pixels]:
            shape = [pixels if size < 0 else size for size in sizes]
            if has_open_channels:
                shape[0] = channels
            shape.insert(0, count if first < 0 else first)
            yield random_input(np.random.default_rng(_SEED), shape, spec.dtype)


def compare_with_plain(
    files: Files,
    prepare: Callable[[Model], NDArray[Any]] | None = None,
    *,
    count: int = _IMAGES,
    image_size: int | None = None,
    precision: Precision = "fp32",
    batch_sizes: Sequence[int] = PLAIN_BATCH_SIZES,
    threads: Sequence[int] = PLAIN_THREADS,
    tolerance: float | None = None,
    progress: bool = False,
) -> AgainstPlain:
    """Run the same images in each engine that reads the model, and compare with the plain program.

    Args:
        files: What names the model.
        prepare: Returns the images for a model; when None, they are random.
        count: How many random images.
        image_size: Height and width of random images, where the model has open ones.
        precision: The arithmetic of the engines; the plain program computes in float64.
        batch_sizes: How many images run at a time. A model for a fixed number gets that many.
        threads: The numbers of threads.
        tolerance: As for :func:`lenet_cpp.agreement.compare`; when None, that of the precision and
            the engine, :data:`lenet_cpp.agreement.TOLERANCES` or ``ROUNDING_TOLERANCE``.
        progress: Whether to show a progress bar on a terminal.

    Raises:
        lenet_cpp.Error: As :class:`lenet_cpp.Predictor` raises it; Unsupported where fewer than two
            engines run the model, with what each of them says.
    """
    check = _Check(files, precision, tolerance)
    check.open_engines(threads)
    images = check.images(prepare, count, image_size)
    sizes = [len(images)] if check.is_fixed else sorted({min(n, len(images)) for n in batch_sizes})
    cases = [(each, size) for each in check.predictors for size in sizes]
    bar = tqdm(cases, desc="verify", unit="case", disable=None if progress else True)
    for (engine, of_threads), size in bar:
        bar.set_postfix_str(f"{engine}, {of_threads} threads, {size} images")
        check.add(engine, of_threads, images, size)
    found = check.report(len(images))
    wrong = check.first_wrong
    if wrong is None or found.reference != PLAIN:
        return found
    return replace(found, layer=check.find_layer(*wrong), cause=check.find_cause(*wrong))


class _Check:
    """Collects the rows of a comparison, and what is known of the engines."""

    def __init__(self, files: Files, precision: Precision, tolerance: float | None) -> None:
        """Begin without engines."""
        self.predictors: dict[tuple[str, int], Predictor] = {}
        self.first_wrong: tuple[Predictor, NDArray[Any], str] | None = None
        """A run of the native engine that differs: the predictor, the images and the output."""
        self._files, self._precision, self._tolerance = files, precision, tolerance
        self._refusals: dict[str, str] = {}
        self._rows: list[Row] = []
        self._expected: dict[int, list[Outputs | None]] = {}  # by the batch size

    def _open(self, engine: str, **options: Any) -> Predictor:
        options["engine"] = engine
        options["precision"] = "fp32" if engine == PLAIN else self._precision
        return Predictor(**self._files, **options)

    def open_engines(self, threads: Sequence[int]) -> None:
        """Load the model in the reference, and in each engine with each number of threads."""
        reference: tuple[str, Predictor] | None = None
        others = [engine for engine in available_engines() if engine.name != PLAIN]
        missing = {engine.name: engine.unavailable for engine in others if engine.unavailable}
        for engine in (PLAIN, *(engine.name for engine in others)):
            if reference is not None and not _reads(engine, reference[1].model_file):
                continue
            if engine in missing:
                self._refusals[engine] = missing[engine]
                continue
            try:
                if reference is None:
                    reference = engine, self._open(engine)
                    self._files = _files_of(reference[1])
                else:
                    opened = {(engine, n): self._open(engine, threads=n) for n in threads}
                    self.predictors |= opened
            except (Unsupported, VersionMismatch) as error:
                self._refusals[engine] = str(error)
        if reference is None or not self.predictors:
            said = "; ".join(f"{engine}: {why}" for engine, why in self._refusals.items())
            raise Unsupported(f"nothing to compare: {said}")
        self._reference, self._plain = reference

    @property
    def is_fixed(self) -> bool:
        """Whether the model is for a fixed number of images."""
        return self._plain.input_spec.shape[0] > 0

    def images(
        self,
        prepare: Callable[[Model], NDArray[Any]] | None,
        count: int,
        image_size: int | None,
    ) -> NDArray[Any]:
        """Return images that the model takes: those prepared, or random ones."""
        if prepare is not None:
            images = prepare(Model.of(self._plain))
            # A model for more images gets the first ones once more.
            number = self._plain.input_spec.shape[0] if self.is_fixed else len(images)
            return np.resize(images, (number, *images.shape[1:]))
        why: Error | None = None
        for tried in random_images(self._plain.input_spec, count, image_size):
            # A model may take some numbers of images only.
            for number in dict.fromkeys((len(tried), 2, 1)):
                images = tried[:number]
                try:
                    self._expected[number] = [self._plain.run_outputs(images)]
                except BadInput as error:
                    why = error
                else:
                    return images
        raise why or BadInput("the model takes no images")

    def add(self, engine: str, threads: int, images: NDArray[Any], size: int) -> None:
        """Run all images, so many at a time, and compare each batch."""
        predictor = self.predictors[engine, threads]
        tolerance = self._tolerance_of(predictor)
        if size not in self._expected:
            self._expected[size] = [self._run_plain(batch) for batch in batches(images, size)]
        comparisons = []
        for batch, expected in zip(batches(images, size), self._expected[size], strict=True):
            if expected is None:
                continue
            # The plain program, as native, leaves integers out that say less than the scores.
            names = [spec.name for spec in predictor.output_specs if spec.name in expected]
            found = predictor.run_outputs(batch, *names)
            one = compare_outputs(
                {name: expected[name] for name in names},
                found,
                names=(self._reference, engine),
                images=len(batch),
                tolerance=tolerance,
            )
            comparisons.append(one)
            if engine == NATIVE and not one.agrees and self.first_wrong is None:
                self.first_wrong = predictor, batch, _worst(expected, found, tolerance)
        if comparisons:
            self._rows.append(Row(engine, threads, size, tuple(comparisons)))

    def _run_plain(self, batch: NDArray[Any]) -> Outputs | None:
        """Return the reference's outputs; None where the model does not take so many images."""
        with suppress(BadInput):
            return self._plain.run_outputs(batch)
        return None

    def _tolerance_of(self, predictor: Predictor) -> float:
        if self._tolerance is not None:
            return self._tolerance
        config = _core.Config()
        config.engine = predictor.options["engine"]
        config.precision = self._precision
        return _core.plain_tolerance(config, predictor.quantized)

    def report(self, images: int) -> AgainstPlain:
        """Return what was found so far.

        Raises:
            Unsupported: The model takes none of the batches.
        """
        if not self._rows:
            raise Unsupported("nothing to compare: the model takes none of these batches")
        return AgainstPlain(
            model=self._plain.model_file,
            images=images,
            precision=self._precision,
            reference=self._reference,
            rows=tuple(self._rows),
            refusals=self._refusals,
        )

    def find_layer(
        self, predictor: Predictor, batch: NDArray[Any], output: str
    ) -> WrongLayer | None:
        """Search the layer at which the native engine's values become wrong.

        Each question loads the model anew, compiled up to one value.
        """
        tolerance, threads = self._tolerance_of(predictor), predictor.options["threads"]
        sizes: dict[str, tuple[tuple[int, ...], float, float]] = {}

        def is_wrong(name: str) -> bool | None:
            try:
                expected = _run_value(self._open(PLAIN, output_name=name), batch)
                found = _run_value(self._open(NATIVE, output_name=name, threads=threads), batch)
            except Error:  # the engine does not give this value
                return None
            if expected.shape != found.shape:
                distance = share = float("inf")
            else:
                each = differences(expected, found, tolerance)
                distance, share = (float(one.max(initial=0)) for one in each)
            sizes[name] = found.shape, distance, share
            return share > 1

        config = core_config(
            predictor.model_file, predictor.params_file, None, {"output_name": output}
        )
        layer = _core.find_wrong_layer(config, is_wrong)
        if layer is None:
            return None
        operator, name = layer
        shape, distance, share = sizes[name]
        return WrongLayer(operator, name, shape, distance, share)

    def find_cause(self, predictor: Predictor, batch: NDArray[Any], output: str) -> str:
        """Say what the native engine is wrong in: whether it agrees without its passes."""
        try:
            unfused = self._open(NATIVE, ir_optim=False, threads=predictor.options["threads"])
            found = unfused.run_outputs(batch, output)
            expected = self._plain.run_outputs(batch, output)
        except Error:
            return ""
        tolerance = self._tolerance_of(predictor)
        compared = compare_outputs(expected, found, images=len(batch), tolerance=tolerance)
        return (
            "a pass of the native engine: with ir_optim=False it agrees"
            if compared.agrees
            else "the reader or a kernel of the native engine: with ir_optim=False it differs too"
        )


def _reads(engine: str, program: Path) -> bool:
    """Return whether an engine reads the program's format."""
    return engine != ("paddle" if program.suffix == ".onnx" else "onnxruntime")


def _files_of(predictor: Predictor) -> Files:
    """Return what a predictor has loaded, so that each engine takes the same files."""
    files = Files(model_file=predictor.model_file)
    if predictor.params_file is not None:
        files["params_file"] = predictor.params_file
    return files


def _run_value(predictor: Predictor, batch: NDArray[Any]) -> NDArray[Any]:
    (value,) = predictor.run_outputs(batch).values()
    return np.atleast_1d(value)


def _worst(expected: Outputs, found: Outputs, tolerance: float) -> str:
    """Return the output that differs most."""

    def share(name: str) -> float:
        return float(differences(expected[name], found[name], tolerance)[1].max(initial=0))

    return max(found, key=share)
