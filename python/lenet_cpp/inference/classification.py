"""Run any image classifier in any engine, from image files to classes and probabilities."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lenet_cpp import _core
from lenet_cpp._base.closing import Closing
from lenet_cpp._base.lazy import Self
from lenet_cpp.data.arrays import as_batch
from lenet_cpp.data.images import PREPROCESS_NAME, Pipeline
from lenet_cpp.data.images.reading import ImageSource
from lenet_cpp.errors import BadInput, BadModel, FileNotFound, Unsupported
from lenet_cpp.formats.onnx_metadata import read_onnx_metadata
from lenet_cpp.inference.engine import RunSettings
from lenet_cpp.inference.engine_loading import LoadedModel, load, registry
from lenet_cpp.inference.options import AnyEngine, check_names
from lenet_cpp.inference.results import Finding, Prediction


class NoPreprocessing(FileNotFound):
    """Nothing describes how images are prepared for a model."""


class InferenceEngine(Closing):
    """A classifier, from images to classes, with the same four steps in every engine.

    Thread-safety: may be shared; one thread at a time executes :meth:`run`. With the engine
    ``executor`` no other thread may call Paddle at the same time.

    Example:
        >>> engine = InferenceEngine()
        >>> with engine.load_predictor("inference.pdmodel", "inference.pdiparams"):
        ...     output = engine.run(engine.preprocess("photo.jpg"))
        ...     class_id, probability = engine.postprocess(output)
    """

    def __init__(
        self,
        engine: AnyEngine = "auto",
        *,
        preprocess: Pipeline | str | os.PathLike[str] | None = None,
        model_name: str | None = None,
        labels: Sequence[str] | None = None,
        apply_softmax: bool | None = None,
        num_classes: int | None = None,
        image_size: int | None = None,
        **options: Any,
    ) -> None:
        """Choose an engine; nothing is loaded yet.

        Args:
            engine: The inference engines, for an exported model, are ``native``, ``paddle`` and
                ``onnxruntime`` in C++, ``auto`` for the fastest of these that runs the model, and
                ``python`` for ``paddle.inference``. The training engines are ``dygraph``, for a
                registered model's layer, and ``executor``, for an exported model.
            preprocess: The preprocessing of images, or a file that describes it, as
                :meth:`lenet_cpp.images.Pipeline.load` reads it. By default such a file beside the
                model, or else the registry's preprocessing.
            model_name: The registered model, when no manifest beside the files names it.
            labels: The label of each class; by default those of the manifest, of that file, or of
                the registry.
            apply_softmax: Whether the model's outputs are logits, which become probabilities; by
                default the program itself tells, or else the manifest.
            num_classes: Number of classes; only for ``dygraph``, by default the registry's.
            image_size: Height and width of the images; only for ``dygraph``, by default the
                registry's.
            **options: As in :class:`lenet_cpp.Options`; None is the default. All engines of
                exported models support ``check_program`` and ``check_hashes``; ``python`` also
                ``accelerator`` (``auto`` is oneDNN), ``threads``, ``ir_optim``, ``memory_optim``
                and ``precision``; the engines in C++ support every option.
        """
        check_names(options)
        self._engine_name = engine
        self._given_pipeline = preprocess
        self._model_name = model_name
        self._given_labels = None if labels is None else tuple(labels)
        self._apply_softmax = apply_softmax
        options |= {"num_classes": num_classes, "image_size": image_size}
        self._options = {name: value for name, value in options.items() if value is not None}
        self._loaded: LoadedModel | None = None
        self._running = threading.Lock()

    def load_predictor(
        self,
        model_file: str | os.PathLike[str] | None = None,
        params_file: str | os.PathLike[str] | None = None,
        *,
        model_dir: str | os.PathLike[str] | None = None,
    ) -> Self:
        """Load a model, after freeing the one that was loaded before.

        Args:
            model_file: The program, ``NAME.pdmodel``, ``NAME.json`` or ``__model__``, or in C++
                an ONNX model, ``NAME.onnx``; with the engine ``dygraph`` a registered model's
                name, such as ``ResNet50_vd``.
            params_file: The parameters, by default ``NAME.pdiparams`` beside the program; with
                ``dygraph`` a ``.pdparams`` file.
            model_dir: Instead of both, the folder of an exported model.

        Returns:
            The engine itself.

        Raises:
            FileNotFound: A file is missing.
            BadModel: A file is damaged, or they do not fit each other.
            BadInput: An argument or option.
            Unsupported: The engine does not support the model or an option.
            BackendFailure: Paddle failed.
        """
        self.close()
        self._loaded = load(
            self._engine_name, model_file, params_file, model_dir=model_dir, **self._options
        )
        return self

    def preprocess(self, images: ImageSource | Sequence[ImageSource]) -> NDArray[np.float32]:
        """Read images and prepare them as the model takes them.

        Args:
            images: An image file, the bytes of one, a Pillow image, uint8 pixels [H, W, 3] or
                [H, W], or several of these.

        Returns:
            float32 [N, channels, height, width], N = 1 for one.

        Raises:
            FileNotFound: An image is missing, or nothing describes the preprocessing.
            BadInput: An image cannot be read (the message has the file), or the preprocessing does
                not give the size that the model takes.
        """
        several = isinstance(images, Sequence) and not isinstance(images, (str, bytes, bytearray))
        # mypy does not see what `several` says of `images`.
        batch = self.pipeline.batch(images if several else [images])  # type: ignore[list-item, arg-type]
        expected = self._model.engine.input_shape[1:]
        if any(
            size not in {-1, given} for size, given in zip(expected, batch.shape[1:], strict=True)
        ):
            raise BadInput(
                f"{self._model.file} takes images of {list(expected)}, the preprocessing"
                f" gives {list(batch.shape[1:])}: give the one made for this model"
            )
        return batch

    def run(self, x: ArrayLike) -> NDArray[np.float32]:
        """Compute the model's raw outputs.

        Args:
            x: The result of :meth:`preprocess`, or any array for :meth:`lenet_cpp.Predictor.run`,
                with at least one image.

        Returns:
            float32 [N, classes]: logits, probabilities or other scores, as
            :attr:`output_kind` says.

        Raises:
            BadInput: Wrong type or shape, or a value that is not finite.
            BackendFailure: Paddle failed.
            Unsupported: The model is no classifier.
        """
        batch = as_batch(x, self._model.engine.input_shape)
        if len(batch) == 0:
            raise BadInput("expected at least one image, got none")
        with self._running:
            outputs = self._model.engine.run(batch)
        require_rows(outputs, len(batch), self._model.file)
        return outputs

    def postprocess(self, x: ArrayLike) -> tuple[int, float]:
        """Return the most probable class of one image, and its probability.

        Of outputs of an unknown kind, the second is the output itself.

        Args:
            x: The result of :meth:`run` for one image; :meth:`topk` takes any number.

        Raises:
            BadInput: The outputs are of several images.
        """
        results = self.topk(x, 1)
        if len(results) != 1:
            raise BadInput(f"expected the outputs of one image, got {len(results)}: use topk")
        return results[0][0].class_id, results[0][0].value

    def topk(self, x: ArrayLike, k: int | None = None) -> list[tuple[Prediction, ...]]:
        """Return the most probable classes of each image.

        Args:
            x: The result of :meth:`run`: [N, classes], or [classes] for one image.
            k: Number of classes; when None, 5, or all when there are fewer.

        Returns:
            For each image its classes, the most probable first, the lower number first when two
            are equal. Of a model that gives class numbers alone, those.

        Raises:
            BadInput: ``x`` is not such an array, or the number of classes is less than ``k`` or is
                not the number of labels.
        """
        few = 5 if self.output_kind == "labels" else min(5, _rows(x).shape[1])
        return [found.predictions for found in self.interpret(x, few if k is None else k)]

    def interpret(
        self, x: ArrayLike, topk: int | None = None, threshold: float | None = None
    ) -> list[Finding]:
        """Return what the description of the model makes of the outputs of each image.

        Args:
            x: The result of :meth:`run`: [N, classes], or [classes] for one image.
            topk: The most probable classes, this many, instead of what the description says.
            threshold: In place of every threshold of the description. Without one there, classes
                below it are left out.

        Raises:
            BadInput: ``x`` is not such an array, or the number of classes is less than ``topk`` or
                not that of labels.
            BadModel: The description is made for another number of outputs.
        """
        kind = self.output_kind
        rows = label_rows(x).astype(np.float32) if kind == "labels" else _rows(x)
        classes = rows.shape[1]
        if topk is not None and not 1 <= topk <= (topk if kind == "labels" else classes):
            raise BadInput(f"the top {topk} of {classes} classes were asked for")
        described = self._described
        rule = (described and described.postprocess) or {"type": "Topk"}
        labels = self._labels(None if kind == "labels" else classes)
        if rule["type"] == "ThreshOutput" and self._given_labels is not None and len(labels) == 2:
            rule = {**rule, "label_0": labels[0], "label_1": labels[1]}
        found = _core.interpret(rows, kind, json.dumps(rule), list(labels), topk, threshold)
        known = value_name(self.reported_kind) == "probability"
        return [
            Finding(
                tuple(
                    Prediction(
                        class_id, label, value if known else None,
                        None if kind == "labels" else score,
                    )
                    for class_id, label, value, score in predictions
                ),
                tuple(attributes),
                tuple(flags),
            )
            for predictions, attributes, flags in found
        ]  # fmt: skip

    @property
    def reported_kind(self) -> str:
        """:attr:`output_kind`, but ``unknown`` for logits of several labels: they stay logits."""
        described = self._described
        rule = None if described is None else described.postprocess
        single = rule is None or rule["type"] in {"Topk", "ThreshOutput"}
        return self.output_kind if single or self.output_kind != "logits" else "unknown"

    def probabilities(self, x: ArrayLike) -> NDArray[np.float32]:
        """Return the probability of every class, [N, classes], from the result of :meth:`run`.

        Outputs of an unknown kind are returned as they are.
        """
        return normalized(_rows(x), self.output_kind)

    @property
    def output_kind(self) -> str:
        """What :meth:`run` returns, as :attr:`lenet_cpp.Predictor.output_kind`.

        ``apply_softmax`` goes before it, but where there are no scores.
        """
        if self._apply_softmax is None or self._model.output_kind == "labels":
            return self._model.output_kind
        return "logits" if self._apply_softmax else "probabilities"

    @cached_property
    def pipeline(self) -> Pipeline:
        """The preprocessing of images; another one may be set.

        Raises:
            NoPreprocessing: Nothing describes it.
            BadModel: The file that describes it is damaged.
        """
        model, given = self._model, self._given_pipeline
        if isinstance(given, Pipeline):
            return given
        if given is not None:
            return Pipeline.load(given)
        return find_pipeline(
            model, self._model_name, check_hashes=self._options.get("check_hashes", True)
        )

    @cached_property
    def _described(self) -> Pipeline | None:
        return described_outputs(lambda: self.pipeline, self._model, self._given_pipeline)

    @property
    def name(self) -> str:
        """The model's name: as given, or else from the manifest or the files."""
        return self._model_name or self._model.name

    @property
    def model_file(self) -> Path:
        """The program; with the engine ``dygraph`` the parameters."""
        return self._model.file

    @property
    def input_shape(self) -> tuple[int, ...]:
        """``(N, channels, height, width)``; -1 for a free dimension."""
        return self._model.engine.input_shape

    def settings(self, batch_size: int) -> RunSettings:
        """Return how batches of this size are computed."""
        return self._model.engine.settings(batch_size)

    @property
    def config(self) -> RunSettings:
        """How one image is computed: the ``inference_config`` of :class:`lenet_cpp.AutoLog`."""
        return self.settings(1)

    def close(self) -> None:
        """Free the model, after a run that is going on. May be called again."""
        with self._running:
            loaded, self._loaded = self._loaded, None
            if loaded is not None:
                loaded.engine.close()
        for found in ("pipeline", "_described"):
            self.__dict__.pop(found, None)

    @property
    def _model(self) -> LoadedModel:
        if self._loaded is None:
            raise BadInput("no model is loaded: call load_predictor first")
        return self._loaded

    def _labels(self, classes: int | None = None) -> tuple[str, ...]:
        labels = self._given_labels
        if labels is not None and len(labels) != (classes or len(labels)):
            raise BadInput(
                f"{len(labels)} labels for the {classes} classes of {self._model.file}: give one"
                " for each class"
            )
        if labels is None:
            network = registry.find_network(self._model_name)
            described = self._described
            labels = (
                self._model.labels
                or (described.labels if described is not None else ())
                or (network.labels if network is not None else ())
            )
        return labels if len(labels) == (classes or len(labels)) else ()


def find_pipeline(
    model: LoadedModel, model_name: str | None = None, *, check_hashes: bool = True
) -> Pipeline:
    """Return the preprocessing that is described beside a model, in it, or in the registry.

    Args:
        model: The model.
        model_name: The registered model, when no manifest beside the files names it.
        check_hashes: Compare the file with ``SHA256SUMS`` beside it when that lists it.

    Raises:
        NoPreprocessing: Nothing describes it.
        BadModel: The file that describes it is damaged.
    """
    path = _core.find_description(model.file)
    if path is not None:
        return Pipeline.load(path, check_hashes=check_hashes)
    if model.file.suffix == ".onnx":
        pipeline = Pipeline.of_metadata(
            read_onnx_metadata(model.file).get("preprocess"), model.file
        )
        if pipeline is not None:
            return pipeline
    spec = model.spec
    # A name that is not in the registry is only a label for the model.
    known = registry.find_network(model_name)
    if model_name and (spec is None or known or ".py:" in model_name):
        spec = registry.resolve_network(model_name)
    if spec is None:
        raise NoPreprocessing(
            f"there is no {PREPROCESS_NAME} beside {model.file}, nor a toolkit's description: name"
            " such a file (--preprocess, preprocess=) or the registered model (--model_name,"
            " model_name=)"
        )
    height = model.engine.input_shape[-2]
    return spec.pipeline(None if height < 0 else height)


def described_outputs(
    find: Callable[[], Pipeline], model: LoadedModel, given: object
) -> Pipeline | None:
    """Return the description that ``find`` gives; None where arrays do without it.

    That is: there is none, its images are not supported, or an .onnx has a damaged one among its
    metadata, which says nothing of outputs.
    """
    try:
        return find()
    except (FileNotFound, Unsupported):
        return None
    except BadModel:
        if given is not None or _core.find_description(model.file) is not None:
            raise
        return None


def normalized(outputs: NDArray[np.float32], kind: str) -> NDArray[np.float32]:
    """Return the softmax of logits, and outputs of any other kind as they are; [N, classes]."""
    return softmax(outputs) if kind == "logits" else outputs


def value_name(kind: str) -> str:
    """Return what the value of a class is called for outputs of a kind."""
    return "score" if kind in {"unknown", "labels"} else "probability"


def require_rows(outputs: NDArray[np.float32], images: int, model: Path) -> None:
    """Raise :class:`lenet_cpp.Unsupported` for outputs that are not a row for each image."""
    if outputs.ndim == 0 or len(outputs) != images or (images > 0 and outputs.size == 0):
        raise Unsupported(f"{model} is no classifier: its output is {list(outputs.shape)}")


def best_classes(outputs: NDArray[np.float32], kind: str) -> NDArray[np.int32]:
    """Return the most probable class of each row, [N]; of a row of NaN any."""
    if not outputs.size:
        return np.zeros(0, np.int32)
    best = np.nan_to_num(outputs[:, 0]) if kind == "labels" else outputs.argmax(axis=1)
    return best.astype(np.int32)


def label_rows(outputs: ArrayLike) -> NDArray[np.int64]:
    """Return class numbers, the most probable first, [N, 1 or more], of outputs of that kind.

    Raises:
        BadInput: They are none for each image, such as the class of each pixel.
    """
    labels = np.asarray(outputs)
    if labels.ndim not in {1, 2} or labels.size == 0:
        raise BadInput(f"expected class numbers for each image, got {list(labels.shape)}")
    return labels.reshape(len(labels), -1).astype(np.int64)


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the softmax of each row; float32 [N, classes] in and out."""
    # Small probabilities may underflow; logits that overflowed give NaN.
    with np.errstate(under="ignore", invalid="ignore"):
        result: NDArray[np.float32] = np.exp(
            logits - logits.max(axis=1, keepdims=True, initial=-np.inf)
        )
        result /= result.sum(axis=1, keepdims=True)
        return result


def _rows(x: ArrayLike) -> NDArray[np.float32]:
    outputs: NDArray[np.float32] = np.atleast_2d(np.asarray(x, dtype=np.float32))
    if outputs.size == 0:
        raise BadInput(f"expected outputs of shape [N, classes], got {list(outputs.shape)}")
    return outputs.reshape(len(outputs), -1)
