"""An opened model: the facts of its program, and what its files say of images and classes."""

from __future__ import annotations

import copy
import hashlib
import json
import math
import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import astuple, dataclass, field
from functools import partial
from itertools import starmap
from operator import index
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lenet_cpp import _core
from lenet_cpp._base.lazy import Self, cached
from lenet_cpp._base.optional import require_paddle
from lenet_cpp.data.arrays import fits
from lenet_cpp.data.images import PREPROCESS_NAME, Pipeline
from lenet_cpp.data.images.pipeline import change_pipeline
from lenet_cpp.data.images.reading import ImageSource
from lenet_cpp.errors import BadInput, BadModel, FileNotFound, Unsupported
from lenet_cpp.formats.manifest import MANIFEST_NAME, Manifest, find_manifest
from lenet_cpp.formats.onnx_metadata import class_names, read_onnx_metadata
from lenet_cpp.formats.tensor_spec import OutputSpec, TensorSpec
from lenet_cpp.inference.clones import Clones
from lenet_cpp.inference.options import BUNDLED, Precision, Source, chosen_output
from lenet_cpp.inference.outputs import normalized, require_rows
from lenet_cpp.inference.predictor import Predictor
from lenet_cpp.inference.results import Finding, Prediction

if TYPE_CHECKING:
    from lenet_cpp.models.specs import ModelSpec

Labels = Sequence[str] | str | os.PathLike[str]
"""The name of each class, or the path of a file with them, as ``--labels`` of the commands."""

Outputs = ArrayLike | tuple[NDArray[Any], ...]
"""What a run returns: an array, or the outputs that tell the classes together."""


def count(value: Any, name: str) -> int:
    """Return an integer of 1 or more; refuse anything else as what is called ``name``."""
    try:
        found = index(value)
    except TypeError:
        found = 0
    if found < 1:
        raise BadInput(f"{name} is {value!r}; expected an integer, 1 or more")
    return found


def as_labels(labels: Labels | None) -> tuple[str, ...] | None:
    """Return a user's labels, if there are any; refuse what are no names.

    Raises:
        BadInput: They are no names, or the file does not contain names.
        FileNotFound: There is no such file.
    """
    if labels is None:
        return None
    if isinstance(labels, (str, os.PathLike)):
        path = os.fsdecode(labels)
        if "\0" in path or any("\ud800" <= letter <= "\udbff" for letter in path):
            raise BadInput(f"labels: {path!r} is no path")
        return tuple(_core.read_class_names(Path(path)))
    named = isinstance(labels, Iterable) and not isinstance(labels, (bytes, Mapping, AbstractSet))
    found = tuple(labels) if named else (None,)
    if not all(isinstance(a, str) and a.encode(errors="replace").decode() == a for a in found):
        raise BadInput(f"labels: expected a list of names, or the path of a file, got {labels!r}")
    if any("\0" in str(name) for name in found):
        raise BadInput("labels: a name has a NUL character")
    return tuple(map(str, found))


def as_changes(**given: Any) -> dict[str, str]:
    """Return a user's values for steps of the preprocessing as C++ reads them.

    Args:
        **given: ``mean``, ``std``, ``resize``, ``crop`` and ``library``, each a number, a sequence
            of numbers, or a text; None where the step stays as it is.

    Raises:
        BadInput: A value is wrong; the message has its name.
    """
    texts = {}
    for name, value in given.items():
        if value is None:
            continue
        several = isinstance(value, Iterable) and not isinstance(value, (str, bytes))
        texts[name] = ",".join(map(str, value)) if several else str(value)
        _core.check_change(name, name, texts[name])
    return texts


@dataclass(frozen=True)
class Overrides:
    """The user's settings that replace what a model's files say.

    Attributes:
        preprocess: The preprocessing of images, or a file that describes it.
        labels: The label of each class.
        network: The name of a registered network, ``FILE.py:NAME``, or only a name for the model.
        apply_softmax: Whether the outputs are logits, which become probabilities.
        check_hashes: Whether a description beside the model is compared with ``SHA256SUMS``.
        changes: Values for steps of the preprocessing, as :func:`as_changes` returns them.
        checks_units: Whether a warning says that the values of the preprocessing contradict each
            other; another process may have said it.
    """

    preprocess: Pipeline | str | os.PathLike[str] | None = None
    labels: tuple[str, ...] | None = None
    network: str | None = None
    apply_softmax: bool | None = None
    check_hashes: bool = True
    changes: Mapping[str, str] = field(default_factory=dict)
    checks_units: bool = True


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
    outputs: tuple[OutputSpec, ...]
    quantized: bool = False
    output_name: str = ""  # a value that the user makes the output
    in_memory: bool = False  # the model is from bytes
    class_names: tuple[str, ...] = ()  # as the predictor's
    overrides: Overrides = Overrides()
    _plan: tuple[object, _core.OutputPlan] | None = None  # with what it depends on

    @classmethod
    def of(cls, predictor: Predictor, *contents: bytes) -> Self:
        """Return the model that a predictor has loaded, from these bytes if there are any."""
        made = cls(
            program=Path("the model") if contents else predictor.model_file,
            params=predictor.params_file,
            input_spec=predictor.input_spec,
            outputs=tuple(predictor.output_specs),
            quantized=predictor.quantized,
            output_name=chosen_output(predictor.options),
            in_memory=bool(contents),
            class_names=predictor.class_names,
        )
        if contents:  # there are no files to read these from
            made.checksum = hashlib.sha256(b"".join(contents)).hexdigest()
            made.metadata = read_onnx_metadata(contents[0])
            made.manifest = None
        return made

    def overridden(self, overrides: Overrides) -> Self:
        """Return the same model with other overrides; files that were read are not read again."""
        made = copy.copy(self)
        made.overrides = overrides
        for attribute in ("described", "description", "pipeline"):  # these depend on the overrides
            vars(made).pop(attribute, None)
        return made

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what belongs to this process."""
        return {**vars(self), "_plan": None}

    @property
    def input_shape(self) -> tuple[int, ...]:
        """``(N, channels, height, width)``, or as the model has them; -1 for a free dimension."""
        return self.input_spec.shape

    @property
    def image_size(self) -> int | None:
        """Width of the images; None when it is free."""
        return None if self.input_shape[-1] < 0 else self.input_shape[-1]

    @property
    def num_classes(self) -> int | None:
        """Number of classes, of each answer about an image; None when it is not known."""
        if self.is_classifier:
            return self.plan.num_classes or None
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

    def load_manifest(self) -> Manifest | None:
        """Return :attr:`manifest`, so that its errors are raised now."""
        return self.manifest

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
    def network(self) -> ModelSpec | None:
        """The registered network that the manifest names."""
        return find_network(self.manifest.topology if self.manifest else None)

    @property
    def name(self) -> str:
        """The model's name: as the user says, or else from the manifest or the files."""
        return self.overrides.network or self.own_name

    @cached
    def own_name(self) -> str:
        """The name in the manifest, or else that of the files."""
        if self.manifest is not None:
            return self.manifest.topology or self.manifest.name
        usual = self.program.stem in {"__model__", "inference", "model"}
        return self.program.parent.absolute().name if usual else self.program.stem

    @cached
    def own_labels(self) -> tuple[str, ...]:
        """The label of each class, by the model's files; empty when they say nothing."""
        by_manifest = self.manifest.classes if self.manifest else ()
        by_metadata = class_names(self.metadata.get("classes"))
        return by_manifest or by_metadata or self.class_names or tuple(self._labels_beside[0])

    @cached
    def _labels_beside(self) -> tuple[list[str], str]:
        """What a labels.txt beside the model names, and its path."""
        if self.in_memory:
            return [], ""
        return _core.find_labels(self.program, self.overrides.check_hashes)

    @property
    def summary(self) -> str:
        """The program, its input and its number of classes, in a few words."""
        shape = ", ".join("?" if size < 0 else str(size) for size in self.input_shape)
        return f"{str(self.program)!r}, input [{shape}], {self.num_classes or '?'} classes"

    @property
    def is_classifier(self) -> bool:
        """Whether some output tells classes."""
        try:
            return bool(self.plan.heads)
        except Unsupported:
            return False

    @property
    def plan(self) -> _core.OutputPlan:
        """Which outputs tell the classes, and how.

        Raises:
            Unsupported: No output does.
        """
        named = len(self.names or ())
        manifest = None if self.output_name or not self.manifest else self.manifest.softmax
        key = named, self.overrides.apply_softmax, manifest
        if self._plan is None or self._plan[0] != key:
            known = [_core.KnownOutput(*astuple(output)) for output in self.outputs]
            self._plan = key, _core.plan_outputs(str(self.program), known, *key)
        return self._plan[1]

    @property
    def gives_classes(self) -> bool:
        """Whether images get classes, and no features instead."""
        return self.plan.gives_classes(json.dumps(self.rule))

    @property
    def output_spec(self) -> OutputSpec:
        """The output whose values tell the classes, or the first one."""
        return self.outputs[self.plan.wanted[0] if self.is_classifier else 0]

    @property
    def output_role(self) -> str:
        """The role of :attr:`output_spec`, also by the manifest or as the user says."""
        return self.plan.role if self.is_classifier else self.outputs[0].role

    @property
    def value_name(self) -> str:
        """What the value of a class is: ``probability`` or ``score``."""
        return self.plan.value_name(json.dumps(self.rule))

    @cached
    def _description_file(self) -> Path | None:
        return None if self.in_memory else _core.find_description(self.program)

    @cached
    def pipeline(self) -> Pipeline:
        """The preprocessing of images; another one may be set.

        It is what the user gave, or what is described beside the program, in it, or in the
        registry; or else what the shape of the input tells, with a warning that says so. The steps
        in :attr:`Overrides.changes` replace its own. A warning also says when its values contradict
        each other (``docs/preprocessing.md``).

        Raises:
            FileNotFound: Nothing describes it, and the input takes pictures of another size or
                type than digits or images of ImageNet.
            Unsupported: Nothing describes it, and the input takes no pictures.
            BadModel: The file that describes it is damaged.
            BadInput: A change does not go with it.
        """
        described = self.described
        if described is None:
            spec, producer = self.input_spec, self.metadata.get("producer_name", "")
            text, note = _core.usual_description(
                self.program,
                self._preprocess_file,
                *(spec.shape, spec.dtype),
                producer,
                self.overrides.changes,
            )
            warnings.warn(note, stacklevel=2)
            described = Pipeline.from_dict(json.loads(text))
        elif self.overrides.changes:
            described = self._changed(described)[0]
        if self.overrides.checks_units:
            problem = _core.unit_note(json.dumps(described.to_dict()))
            if problem:
                warnings.warn(f"{self.program}: {problem}", stacklevel=2)
        return described

    @property
    def _preprocess_file(self) -> str:
        """Where a description can be written; empty for a model in memory."""
        return "" if self.in_memory else str(self.program.with_name(PREPROCESS_NAME))

    def _changed(self, described: Pipeline) -> tuple[Pipeline, str]:
        """Return the changed description, and a note that says how to keep it."""
        source, file = self._description_name, self._preprocess_file
        return change_pipeline(described, self.overrides.changes, source, file)

    @property
    def change_note(self) -> str:
        """How to keep the user's changes of a description; empty where there are none."""
        described = self.described
        return self._changed(described)[1] if described and self.overrides.changes else ""

    def load_pipeline(self) -> Pipeline:
        """Return :attr:`pipeline`, so that its errors and warnings come now."""
        return self.pipeline

    @cached
    def described(self) -> Pipeline | None:
        """The preprocessing, where something describes it; errors as :attr:`pipeline`."""
        if isinstance(self.overrides.preprocess, Pipeline):
            return self.overrides.preprocess
        if self.overrides.preprocess is not None:
            return Pipeline.load(self.overrides.preprocess)
        if self._description_file is not None:
            return Pipeline.load(self._description_file, check_hashes=self.overrides.check_hashes)
        found = Pipeline.of_metadata(self.metadata.get("preprocess"), self.program)
        if found is not None:
            return found
        network, name = self.network, self.overrides.network
        # A name that is not in the registry is only a label for the model.
        if name and (network is None or ".py:" in name or find_network(name)):
            from lenet_cpp.models.specs import resolve

            network = resolve(name)
        if network is None:
            return None
        height = self.input_shape[-2]
        return network.pipeline(None if height < 0 else height)

    @cached
    def description(self) -> Pipeline | None:
        """The description of the outputs; None where arrays do without it.

        That is: there is none, its images are not supported, or an .onnx has a damaged one among
        its metadata, which says nothing of outputs.
        """
        try:
            return self.described
        except (FileNotFound, Unsupported):
            return None
        except BadModel:
            if self.overrides.preprocess is not None or self._description_file is not None:
                raise
            return None

    @property
    def rule(self) -> dict[str, Any]:
        """The post-processing of the outputs, in the form of ``docs/preprocessing.md``."""
        described, labels = self.description, self.overrides.labels
        rule = (described and described.postprocess) or {"type": "Topk"}
        if rule["type"] == "ThreshOutput" and labels is not None and len(labels) == 2:
            return {**rule, "label_0": labels[0], "label_1": labels[1]}
        return rule

    @property
    def names(self) -> tuple[str, ...]:
        """The labels that the user or the model's files give, however many classes there are."""
        if self.overrides.labels is not None:
            return self.overrides.labels
        described = self.description
        return (described.labels if described else ()) or self.own_labels

    @property
    def names_source(self) -> str:
        """The file of :attr:`names`, for messages."""
        if self.overrides.labels is not None:
            return "the labels"
        if self.description and self.description.labels:
            return self._description_name
        if self.manifest is not None and self.manifest.classes:
            return str(self.program.parent / MANIFEST_NAME)
        if class_names(self.metadata.get("classes")) or self.class_names:
            return str(self.program)
        return self._labels_beside[1]

    @property
    def _description_name(self) -> str:
        """The file of :attr:`described`, for messages."""
        preprocess = self.overrides.preprocess
        named = None if isinstance(preprocess, Pipeline) else preprocess
        return str(named or self._description_file or self.program)

    @property
    def labels(self) -> tuple[str, ...]:
        """The result of :meth:`find_labels`."""
        return self.find_labels()

    def find_labels(self) -> tuple[str, ...]:
        """Return the label of each class; empty if not known.

        A registered network's are only taken where they are as many as the classes.

        Raises:
            BadInput: The user gave another number of labels.
            BadModel: The model's files name another number of classes.
        """
        names, classes = self.names, self.num_classes
        if not names:
            registered = find_network(self.overrides.network)
            names = registered.labels if registered else ()
            return names if len(names) == (classes or len(names)) else ()
        if classes is None or len(names) == classes:
            return names
        if self.output_name and self.overrides.labels is None:
            return ()
        if self.overrides.labels is not None:
            raise BadInput(
                f"{len(names)} labels for {classes} classes of {self.program}: give one for each"
                " class"
            )
        raise BadModel(f"{self.names_source!r} names {len(names)} classes, the model has {classes}")

    def prepare(self, images: Sequence[ImageSource]) -> NDArray[np.float32]:
        """Return images as the model takes them, float32 [N, C, H, W] or [N, H, W, C].

        Errors are those of the pipeline and of :meth:`require_fitting`.
        """
        batch = self.pipeline.batch(images)
        self.require_fitting(batch.shape[1:])
        return batch

    def require_layout(self) -> None:
        """Refuse a preprocessing whose channels come elsewhere than those of the model.

        Raises:
            BadInput: The message has both orders and the remedy.
        """
        preprocess = self.overrides.preprocess
        named = "" if isinstance(preprocess, Pipeline) else preprocess or self._description_file
        self.pipeline.compiled.require_layout(self.input_shape, str(named or ""))

    def require_fitting(self, shape: tuple[int, ...]) -> None:
        """Refuse what the preprocessing gives of an image when the model does not take it.

        Raises:
            BadInput: The message has both shapes and the remedy.
        """
        if len(self.input_shape) == 3:
            raise BadInput(
                f"{self.program} takes {list(self.input_shape)}, and pictures are prepared as"
                " [N, channels, height, width]: give such an array to lenet_cpp.Predictor"
            )
        self.require_layout()
        if not fits(shape, self.input_shape[1:]):
            raise BadInput(
                f"{self.program} takes images of {list(self.input_shape[1:])}, the preprocessing"
                f" gives {list(shape)}: give the one made for this model"
            )

    def run(
        self, predictor: Predictor, images: NDArray[Any], pipeline: Pipeline | None = None
    ) -> tuple[NDArray[Any], ...]:
        """Run the outputs that tell the classes, and behind them features where there are some.

        Arguments and errors are those of :meth:`lenet_cpp.Predictor.run`, and ``Unsupported`` when
        they are not a row for each image.
        """
        plan = self.plan
        wanted = [*plan.wanted]
        if plan.features is not None and plan.features not in wanted:
            wanted.append(plan.features)
        if wanted == [0]:
            outputs: tuple[NDArray[Any], ...] = (predictor.run(images, pipeline=pipeline),)
        else:
            names = [self.outputs[number].name for number in wanted]
            outputs = tuple(predictor.run_outputs(images, *names, pipeline=pipeline).values())
        require_rows(outputs, len(images), self.program)
        return outputs

    def features_of(self, outputs: tuple[NDArray[Any], ...]) -> NDArray[Any] | None:
        """Return the features among what :meth:`run` returned; None when there are none."""
        plan = self.plan
        if plan.features is None:
            return None
        return (
            outputs[plan.wanted.index(plan.features)]
            if plan.features in plan.wanted
            else outputs[-1]
        )

    def as_outputs(self, outputs: Outputs) -> tuple[NDArray[np.float32], ...]:
        """Return outputs as float32 arrays with a row for each image, as the plan wants them.

        Args:
            outputs: An array [N, ...], or [classes] for one image; or a tuple of the outputs that
                the plan wants, which may be one.

        Raises:
            BadInput: There are too few, or they are empty.
        """
        wanted = self.plan.wanted
        is_tuple = isinstance(outputs, tuple) and isinstance(outputs[0], np.ndarray)
        given: Any = outputs if is_tuple else [outputs]
        if len(given) < len(wanted):
            names = [self.outputs[number].name for number in wanted]
            raise BadInput(f"the classes are told by the outputs {names}: give all of them")
        arrays = []
        for number, array in zip(wanted, given, strict=False):
            values: NDArray[np.float32] = np.ascontiguousarray(array, dtype=np.float32)
            if values.ndim < len(self.outputs[number].shape) and values.ndim <= 1:
                values = np.atleast_2d(values)  # of one image
            if values.size == 0 and len(values) > 0:
                raise BadInput(f"expected outputs of shape [N, classes], got {list(values.shape)}")
            arrays.append(values)
        return tuple(arrays)

    def problems(
        self,
        outputs: Outputs,
        names: Sequence[str] = (),
        origin: Callable[[int], str] = lambda _: "",
        *,
        softmax: bool = False,
    ) -> dict[int, str]:
        """Return why images have no class, by their numbers: of NaN no class is made.

        Args:
            outputs: As for :meth:`interpret`.
            names: What to call each image; by default by its number.
            origin: Returns what :meth:`lenet_cpp.Predictor.nan_origin` says of an image.
            softmax: Logits get a softmax, also where the description has several labels.
        """
        rule = "" if softmax else json.dumps(self.rule)
        found = _core.find_problems(self.plan, [*self.as_outputs(outputs)], rule)
        return {
            row: _core.no_class(names[row] if names else f"image {row}", problem, origin(row))
            for row, problem in found
        }

    def interpret(
        self,
        outputs: Outputs,
        topk: int | None = None,
        threshold: float | None = None,
        *,
        names: Sequence[str] = (),
        origin: Callable[[int], str] = lambda _: "",
    ) -> list[Finding]:
        """Return what the description makes of the outputs of each image.

        Args:
            outputs: What a run returned: [N, classes], or [classes] for one image; or where several
                outputs tell the classes, these arrays.
            topk: The most probable classes, this many, instead of what the description says.
            threshold: In place of every threshold of the description. Without one there, classes
                below it are left out.
            names: What to call each image in an error.
            origin: As for :meth:`problems`.

        Raises:
            BadInput: ``outputs`` is not such an array, an image's are NaN, or the number of classes
                is less than ``topk`` or not that of labels.
            BadModel: The description or its labels are made for another number of outputs.
            Unsupported: The outputs are no classifier's, such as a class for each pixel.
        """
        arrays, plan = self.as_outputs(outputs), self.plan
        if len(arrays[0]) == 0:
            raise BadInput(f"expected outputs of an image, got {list(arrays[0].shape)}")
        most = self.at_most(topk or 1, outputs)
        if topk is not None and not 1 <= topk <= most:
            raise BadInput(f"the top {topk} of {most} classes were asked for")
        for problem in self.problems(arrays, names, origin).values():
            raise BadInput(problem)
        given = self.overrides.labels is not None
        found = _core.interpret(
            plan,
            [*arrays],
            json.dumps(self.rule),
            [*self._labels_of(arrays)],
            self.names_source,
            given,
            self.output_name,
            topk,
            threshold,
        )
        known = self.value_name == "probability"

        def prediction(
            class_id: int, label: str | None, value: float, score: float, head: str | None
        ) -> Prediction:
            none = math.isnan(score)
            probability = value if known and not none else None
            return Prediction(class_id, label, probability, None if none else score, head)

        return [
            Finding(
                tuple(starmap(prediction, classes)),
                tuple(attributes),
                tuple(flags),
                tuple(features),
            )
            for classes, attributes, flags, features in found
        ]

    def _labels_of(self, outputs: Sequence[NDArray[np.float32]]) -> tuple[str, ...]:
        """Return the labels, of a registered network only if they are as many as the outputs."""
        if self.names or self.num_classes:
            return self.labels
        labels = self.labels
        return labels if len(labels) == outputs[0].shape[-1] else ()

    def best(self, outputs: tuple[NDArray[Any], ...], k: int) -> tuple[Prediction, ...]:
        """Return the ``k`` most probable classes of one image, or all when there are fewer."""
        few = self.at_most(count(k, "k"), outputs)
        return self.interpret(outputs, few)[0].predictions

    def at_most(self, k: int, outputs: Outputs) -> int:
        """Return ``k``, or the number of classes that have a score when there are fewer."""
        if not self.plan.is_plain:
            return k
        values = self.as_outputs(outputs)[0]
        return min(k, self.plan.num_classes or math.prod(values.shape[1:]))

    def is_plain(self, outputs: Outputs) -> bool:
        """Return whether these are the values of all classes, for one answer about each image."""
        sizes = self.as_outputs(outputs)[0].shape[1:]
        return self.plan.is_plain and sum(size > 1 for size in sizes) <= 1

    def probabilities(self, outputs: ArrayLike) -> NDArray[np.float32]:
        """Return the probability of every class, [N, classes]; of an unknown role the outputs.

        Raises:
            BadInput: The outputs of an image are NaN, or the softmax of its logits.
            Unsupported: The outputs are not the values of all classes of one answer.
        """
        if not self.is_plain(outputs):
            raise Unsupported(
                f"{self.program} gives no probability of every class: its classes are told by"
                f" {[self.outputs[number].name for number in self.plan.wanted]}"
            )
        for problem in self.problems(outputs, softmax=True).values():
            raise BadInput(problem)
        values = self.as_outputs(outputs)[0]
        rows = values.reshape(len(values), math.prod(values.shape[1:]))
        return normalized(rows, self.output_role)


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


def find_network(name: str | None) -> ModelSpec | None:
    """Return the registered network of a name; None when there is none."""
    if name is None:  # most models name no network, and need not import the registry
        return None
    from lenet_cpp.models.specs import find

    return find(name)


def check_model(
    model_file: Source = BUNDLED,
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
