"""An opened model: the facts of its program, and what its files say of images and classes."""

from __future__ import annotations

import copy
import hashlib
import json
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from itertools import starmap
from operator import index
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lenet_cpp import _core
from lenet_cpp._base.lazy import Self, cached
from lenet_cpp._base.optional import require_paddle
from lenet_cpp.data.arrays import fits
from lenet_cpp.data.images import PREPROCESS_NAME, Pipeline
from lenet_cpp.data.images.reading import ImageSource
from lenet_cpp.errors import BadInput, BadModel, FileNotFound, Unsupported
from lenet_cpp.formats.manifest import Manifest, find_manifest
from lenet_cpp.formats.onnx_metadata import class_names, read_onnx_metadata
from lenet_cpp.formats.tensor_spec import TensorSpec
from lenet_cpp.inference.clones import Clones
from lenet_cpp.inference.options import Precision, replaces_output
from lenet_cpp.inference.outputs import normalized, require_classes, rows_of, value_name
from lenet_cpp.inference.predictor import Predictor
from lenet_cpp.inference.results import Finding, Prediction


class NoPreprocessing(FileNotFound):
    """Nothing describes how images are prepared for a model."""


def count(value: Any, name: str) -> int:
    """Return an integer of 1 or more; refuse anything else as what is called ``name``."""
    try:
        found = index(value)
    except TypeError:
        found = 0
    if found < 1:
        raise BadInput(f"{name} is {value!r}; expected an integer, 1 or more")
    return found


def as_labels(labels: Sequence[str] | None) -> tuple[str, ...] | None:
    """Return a user's labels, if there are any; refuse what are no names."""
    if labels is None:
        return None
    named = isinstance(labels, Iterable) and not isinstance(
        labels, (str, bytes, Mapping, AbstractSet)
    )
    found = tuple(labels) if named else (None,)
    if not all(isinstance(a, str) and a.encode(errors="replace").decode() == a for a in found):
        raise BadInput(f"labels: expected a list of names, got {labels!r}")
    if any("\0" in str(name) for name in found):
        raise BadInput("labels: a name has a NUL character")
    return tuple(map(str, found))


@dataclass(eq=False)
class Model:
    """What is known of a model that was opened; each of its files is read at most once.

    The program's facts are those of the predictor that opened it. The manifest, the description of
    images and the metadata of an .onnx are read when they are first asked for. It holds no engine.

    Thread-safety: may be shared, and pickled.
    """

    program: Path  # of a layer the parameters; no such file of a model from bytes
    params: Path | None  # None for an .onnx, from bytes, and where each variable has a file
    input_spec: TensorSpec  # as the predictor's, which also has the next three
    output_spec: TensorSpec
    program_kind: str  # its output_kind
    quantized: bool = False
    own_output: bool = True  # the output is the program's own, which the manifest describes
    in_memory: bool = False  # the model is from bytes
    # What the user says in place of the files.
    preprocess: Pipeline | str | os.PathLike[str] | None = None
    given_labels: tuple[str, ...] | None = None  # the label of each class
    model_name: str | None = None  # a registered network, FILE.py:NAME, or only a name for it
    apply_softmax: bool | None = None  # whether the outputs are logits, which become probabilities
    check_hashes: bool = True  # compare a description beside the model with SHA256SUMS

    @classmethod
    def of(cls, predictor: Predictor, *contents: bytes) -> Self:
        """Return the model that a predictor has loaded, from these bytes if there are any."""
        made = cls(
            Path("the model") if contents else predictor.model_file,
            predictor.params_file,
            predictor.input_spec,
            predictor.output_spec,
            predictor.output_kind,
            predictor.quantized,
            not replaces_output(predictor.options),
            bool(contents),
        )
        if not contents:
            return made
        checksum = hashlib.sha256(b"".join(contents)).hexdigest()
        metadata = read_onnx_metadata(contents[0])
        return made.knows(metadata=metadata, checksum=checksum, manifest=None)

    def knows(self, **facts: Any) -> Self:
        """Return the same model with these attributes, for which no file is read then."""
        made = copy.copy(self)
        vars(made).update(facts)
        return made

    @property
    def input_shape(self) -> tuple[int, ...]:
        """``(N, channels, height, width)``; -1 for a free dimension."""
        return self.input_spec.shape

    @property
    def image_size(self) -> int | None:
        """Width of the images; None when it is free."""
        return None if self.input_shape[-1] < 0 else self.input_shape[-1]

    @property
    def num_classes(self) -> int | None:
        """Number of outputs for each image; None when it is not known before a run."""
        sizes = self.output_spec.shape[1:]
        return math.prod(sizes) if sizes and min(sizes) > 0 else None

    @cached
    def is_pir(self) -> bool:
        """Whether the program has Paddle 3's format: JSON, not a protocol buffer."""
        with self.program.open("rb") as file:
            return file.read(1) == b"{"

    @cached
    def manifest(self) -> Manifest | None:
        """The manifest beside the program, if it describes this program."""
        found = find_manifest(self.program.parent)
        return found if found is not None and self.program.name in found.models else None

    @cached
    def metadata(self) -> dict[str, Any]:
        """What an .onnx says of itself, as :func:`read_onnx_metadata` returns it."""
        return read_onnx_metadata(self.program) if self.program.suffix == ".onnx" else {}

    @cached
    def checksum(self) -> str:
        """The SHA-256 of the program's bytes followed by those of the parameters."""
        digest = hashlib.sha256()
        for path in _files_of(self.program, self.params):
            digest.update(path.read_bytes())
        return digest.hexdigest()

    @cached
    def network(self) -> Any:
        """The registered network that the manifest names."""
        return find_network(self.manifest.topology if self.manifest else None)

    @property
    def name(self) -> str:
        """The model's name: as the user says, or else from the manifest or the files."""
        return self.model_name or self.own_name

    @cached
    def own_name(self) -> str:
        """The name in the manifest, or else that of the files."""
        if self.manifest is not None:
            return self.manifest.topology or self.manifest.name
        usual = self.program.stem in {"__model__", "inference", "model"}
        return self.program.parent.absolute().name if usual else self.program.stem

    @cached
    def own_labels(self) -> tuple[str, ...]:
        """The label of each class, by the manifest or an .onnx; empty when they say nothing."""
        if self.program.suffix == ".onnx" or self.in_memory:
            return class_names(self.metadata.get("classes"))
        return self.manifest.classes if self.manifest else ()

    @property
    def summary(self) -> str:
        """The program, its input and its number of classes, in a few words."""
        shape = ", ".join("?" if size < 0 else str(size) for size in self.input_shape)
        return f"{str(self.program)!r}, input [{shape}], {self.num_classes or '?'} classes"

    @property
    def output_kind(self) -> str:
        """As :attr:`lenet_cpp.Predictor.output_kind`, also by the manifest or as the user says."""
        found, softmax = self.program_kind, self.apply_softmax
        if softmax is None and found == "unknown" and self.own_output and self.manifest:
            softmax = self.manifest.softmax
            return found if softmax is None else "probabilities" if softmax else "logits"
        if softmax is None or found == "labels":  # there are no scores
            return found
        return "logits" if softmax else "probabilities"

    @property
    def reported_kind(self) -> str:
        """:attr:`output_kind`, but ``unknown`` for logits of several labels: they stay logits."""
        single = self.rule["type"] in {"Topk", "ThreshOutput"}
        return self.output_kind if single or self.output_kind != "logits" else "unknown"

    @cached
    def _description_file(self) -> Path | None:
        return None if self.in_memory else _core.find_description(self.program)

    @cached
    def pipeline(self) -> Pipeline:
        """The preprocessing of images; another one may be set.

        It is what the user gave, or what is described beside the program, in it, or in the
        registry.

        Raises:
            NoPreprocessing: Nothing describes it.
            BadModel: The file that describes it is damaged.
        """
        if isinstance(self.preprocess, Pipeline):
            return self.preprocess
        if self.preprocess is not None:
            return Pipeline.load(self.preprocess)
        if self._description_file is not None:
            return Pipeline.load(self._description_file, check_hashes=self.check_hashes)
        found = Pipeline.of_metadata(self.metadata.get("preprocess"), self.program)
        if found is not None:
            return found
        network, name = self.network, self.model_name
        # A name that is not in the registry is only a label for the model.
        if name and (network is None or ".py:" in name or find_network(name)):
            network = _networks().resolve(name)
        if network is None:
            raise NoPreprocessing(
                f"there is no {PREPROCESS_NAME} beside {self.program}, nor a toolkit's description:"
                " name such a file (--preprocess, preprocess=) or the registered model"
                " (--model_name, model_name=)"
            )
        height = self.input_shape[-2]
        pipeline: Pipeline = network.pipeline(None if height < 0 else height)
        return pipeline

    @cached
    def description(self) -> Pipeline | None:
        """The description of the outputs; None where arrays do without it.

        That is: there is none, its images are not supported, or an .onnx has a damaged one among
        its metadata, which says nothing of outputs.
        """
        try:
            return self.pipeline
        except (FileNotFound, Unsupported):
            return None
        except BadModel:
            if self.preprocess is not None or self._description_file is not None:
                raise
            return None

    @property
    def rule(self) -> dict[str, Any]:
        """The post-processing of the outputs, in the form of ``docs/preprocessing.md``."""
        described, labels = self.description, self.given_labels
        rule = (described and described.postprocess) or {"type": "Topk"}
        if rule["type"] == "ThreshOutput" and labels is not None and len(labels) == 2:
            return {**rule, "label_0": labels[0], "label_1": labels[1]}
        return rule

    def labels(self, classes: int | None) -> tuple[str, ...]:
        """Return the label of each of so many classes, or of any number; empty if not known.

        Raises:
            BadInput: The user gave another number of labels.
        """
        labels, named = self.given_labels, find_network(self.model_name)
        if labels is None:
            described = self.description
            found = self.own_labels or (described and described.labels) or (named and named.labels)
            return found if found and len(found) == (classes or len(found)) else ()
        if len(labels) != (classes or len(labels)):
            raise BadInput(
                f"{len(labels)} labels for {classes} classes of {self.program}: give one for each"
                " class"
            )
        return labels

    def prepare(self, images: Sequence[ImageSource]) -> NDArray[np.float32]:
        """Return images as the model takes them, float32 [N, C, H, W]; errors as the pipeline."""
        batch = self.pipeline.batch(images)
        self.require_fitting(batch.shape[1:])
        return batch

    def require_fitting(self, shape: tuple[int, ...]) -> None:
        """Refuse what the preprocessing gives, [C, H, W], when the model does not take it."""
        if not fits(shape, self.input_shape[1:]):
            raise BadInput(
                f"{self.program} takes images of {list(self.input_shape[1:])}, the preprocessing"
                f" gives {list(shape)}: give the one made for this model"
            )

    def interpret(
        self,
        outputs: ArrayLike,
        topk: int | None = None,
        threshold: float | None = None,
        *,
        names: Sequence[str] = (),
        origin: Callable[[int], str] = lambda _: "",
    ) -> list[Finding]:
        """Return what the description makes of the outputs of each image.

        Args:
            outputs: What a run returned: [N, classes], or [classes] for one image.
            topk: The most probable classes, this many, instead of what the description says.
            threshold: In place of every threshold of the description. Without one there, classes
                below it are left out.
            names: What to call each image in an error.
            origin: As for :func:`lenet_cpp.inference.outputs.problems_of`.

        Raises:
            BadInput: ``outputs`` is not such an array, an image's are NaN, or the number of classes
                is less than ``topk`` or not that of labels.
            BadModel: The description is made for another number of outputs.
        """
        kind, rule = self.output_kind, self.rule
        numbers = kind == "labels"  # of classes, without scores
        given = np.asarray(outputs)
        if numbers and (given.ndim not in {1, 2} or given.size == 0):  # such as one of each pixel
            raise BadInput(f"expected class numbers for each image, got {list(given.shape)}")
        rows = rows_of(given.reshape(len(given), -1) if numbers else given)
        count = rows.shape[1]
        if topk is not None and not 1 <= topk <= (topk if numbers else count):
            raise BadInput(f"the top {topk} of {count} classes were asked for")
        require_classes(rows, self.reported_kind, names, origin)
        labels = list(self.labels(None if numbers else count))
        found = _core.interpret(rows, kind, json.dumps(rule), labels, topk, threshold)
        known = value_name(self.reported_kind) == "probability"

        def prediction(class_id: int, label: str | None, value: float, score: float) -> Prediction:
            return Prediction(class_id, label, value if known else None, None if numbers else score)

        return [
            Finding(tuple(starmap(prediction, classes)), tuple(attributes), tuple(flags))
            for classes, attributes, flags in found
        ]

    def best(self, output: NDArray[Any], k: int) -> tuple[Prediction, ...]:
        """Return the ``k`` most probable classes of one image, or all when there are fewer."""
        few = self.at_most(count(k, "k"), output[None])
        return self.interpret(output[None], few)[0].predictions

    def at_most(self, k: int, outputs: ArrayLike) -> int:
        """Return ``k``, or the number of classes that have a score when there are fewer."""
        return k if self.output_kind == "labels" else min(k, rows_of(outputs).shape[1])

    def probabilities(self, outputs: ArrayLike) -> NDArray[np.float32]:
        """Return the probability of every class, [N, classes]; of an unknown kind the outputs.

        Raises:
            BadInput: The outputs of an image are NaN, or the softmax of its logits.
        """
        rows = rows_of(outputs)
        require_classes(rows, self.output_kind)
        return normalized(rows, self.output_kind)


class Opened(Clones):
    """A model in this process, loaded when it is first needed: its predictors, and its facts."""

    def __init__(self, contents: tuple[bytes, ...], **arguments: Any) -> None:
        """Remember the bytes of the model, or the arguments of :class:`lenet_cpp.Predictor`."""
        make = partial(Predictor.from_bytes, *contents) if contents else Predictor
        super().__init__(partial(make, **arguments))
        self._contents = contents

    @cached
    def model(self) -> Model:
        """What is known of the model, which is loaded now if it was not."""
        return Model.of(self.get(), *self._contents)


def _networks() -> Any:
    """Return the registry, which is built on this room: imported by name, when it is needed."""
    return import_module("lenet_cpp.models.registry")


def find_network(name: str | None) -> Any:
    """Return the registered network of a name, a ``ModelSpec``; None when there is none."""
    return None if name is None else _networks().find(name)


def check_model(
    model_file: str | os.PathLike[str] | None = None,
    params_file: str | os.PathLike[str] | None = None,
    *,
    model_dir: str | os.PathLike[str] | None = None,
    precision: Precision = "fp32",
    **checks: Any,
) -> Model:
    """Find the files of a model and load it once in C++, before Paddle's package reads them.

    Paddle crashes on some damaged programs, and gives wrong outputs for some damaged parameters.

    Arguments and errors are those of :class:`lenet_cpp.Predictor`, and ``Unsupported`` without
    PaddlePaddle, or when the model does not support the precision. ``checks`` are the options
    ``check_program`` and ``check_hashes``.
    """
    require_paddle()
    with Predictor(
        model_file,
        params_file,
        model_dir=model_dir,
        engine="paddle",
        accelerator="plain" if precision == "fp32" else "onednn",
        precision=precision,
        ir_optim=precision != "fp32",
        **checks,
    ) as predictor:
        return Model.of(predictor)


def _files_of(program: Path, params: Path | None) -> list[Path]:
    if params is not None:
        return [program, params]
    if program.suffix == ".onnx":
        return [program]
    # One file for each variable; the others beside them describe the model.
    described_by = {".json", ".txt", ".yml", ".md"}
    variables = (
        path
        for path in sorted(program.parent.iterdir())
        if path.is_file() and path.suffix not in described_by and path.name != "SHA256SUMS"
    )
    return [program, *(path for path in variables if path != program)]
