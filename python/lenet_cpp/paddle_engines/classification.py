"""Run any image classifier in any engine, from image files to classes and probabilities."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lenet_cpp._base.closing import Closing
from lenet_cpp._base.lazy import Self
from lenet_cpp._base.memory import memory_errors
from lenet_cpp.data.arrays import as_own
from lenet_cpp.data.images import Pipeline
from lenet_cpp.data.images.reading import ImageSource
from lenet_cpp.errors import BadInput
from lenet_cpp.inference.model import Labels, Model, Outputs, Overrides, as_changes, as_labels
from lenet_cpp.inference.options import BUNDLED, AnyEngine, Source, check_names
from lenet_cpp.inference.outputs import of_each, require_rows
from lenet_cpp.inference.results import Finding, Prediction
from lenet_cpp.paddle_engines.engine import CppEngine, Engine, RunSettings
from lenet_cpp.paddle_engines.loading import load


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
        labels: Labels | None = None,
        apply_softmax: bool | None = None,
        num_classes: int | None = None,
        image_size: int | None = None,
        changes: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        """Choose an engine; nothing is loaded yet.

        Args:
            engine: One of :class:`lenet_cpp.Options`, in C++; or of Paddle's Python package
                ``python`` for ``paddle.inference``, or a training engine: ``dygraph``, for a
                registered model's layer, or ``executor``, for an exported model.
            preprocess: The preprocessing of images, or a file that describes it, as
                :meth:`lenet_cpp.images.Pipeline.load` reads it. By default such a file beside the
                model, or else the preprocessing of ``model_name`` in the registry, or what the
                shape of the input tells (``docs/preprocessing.md``).
            model_name: The registered model, where nothing beside the files describes it.
            labels: The label of each class, or the path of a file of them; by default those of the
                manifest, of that description, or of the registry.
            apply_softmax: Whether the model's outputs are logits, which become probabilities; by
                default the program itself tells, or else the manifest.
            num_classes: Number of classes; only for ``dygraph``, by default the registry's.
            image_size: Height and width of the images; only for ``dygraph``, by default the
                registry's.
            changes: Values for steps of the preprocessing in place of its own: the arguments
                ``mean``, ``std``, ``resize``, ``crop`` and ``library`` of
                :class:`lenet_cpp.Classifier`, by their names.
            **options: As in :class:`lenet_cpp.Options`; None is the default. All engines of
                exported models support ``check_program`` and ``check_hashes``; ``python`` also
                ``accelerator`` (``auto`` is oneDNN), ``threads``, ``ir_optim``, ``memory_optim``
                and ``precision``; the engines in C++ support every option.
        """
        check_names(options)
        self._engine_name = engine
        self._overrides = Overrides(
            preprocess=preprocess,
            labels=as_labels(labels),
            network=model_name,
            apply_softmax=apply_softmax,
            check_hashes=options.get("check_hashes") in {None, True},
            changes=as_changes(**(changes or {})),
        )
        options |= {"num_classes": num_classes, "image_size": image_size}
        self._options = {name: value for name, value in options.items() if value is not None}
        self._loaded: tuple[Engine, Model] | None = None
        self._running = threading.Lock()

    def load_predictor(
        self,
        model_file: Source = BUNDLED,
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
            lenet_cpp.Error: What :class:`lenet_cpp.Predictor` raises.
        """
        self.close()
        engine, model = load(
            self._engine_name, model_file, params_file, model_dir=model_dir, **self._options
        )
        try:
            model.load_manifest()  # a damaged one is an error of loading
        except BaseException:
            engine.close()
            raise
        self._loaded = engine, model.overridden(self._overrides)
        return self

    def preprocess(self, images: ImageSource | Sequence[ImageSource]) -> NDArray[np.float32]:
        """Return images as the model takes them, float32 [N, channels, height, width].

        Args:
            images: One or several of: an image file, the bytes of one, a Pillow image, or uint8
                pixels [H, W, 3] or [H, W].

        Raises:
            FileNotFound: An image is missing, or nothing tells how images are prepared.
            Unsupported: The model takes no pictures.
            BadInput: An image cannot be read (the message has the file), or the preprocessing does
                not give the size that the model takes.
        """
        several = isinstance(images, Sequence) and not isinstance(images, (str, bytes, bytearray))
        given: Any = images
        return self.model.prepare(given if several else [given])

    @memory_errors("running the model")
    def run(self, x: ArrayLike) -> NDArray[np.float32] | tuple[NDArray[Any], ...]:
        """Compute the model's raw outputs.

        Args:
            x: The result of :meth:`preprocess`, or any array for :meth:`lenet_cpp.Predictor.run`,
                with at least one image.

        Returns:
            float32 [N, classes]: logits, probabilities or other scores, as
            :attr:`output_role` says. Where several outputs tell the classes, such as the values and
            the indices of a top-k, a tuple of them.

        Raises:
            lenet_cpp.Error: As :meth:`lenet_cpp.Predictor.run`, and ``Unsupported`` when the model
                is no classifier.
        """
        engine, model = self._require_loaded()
        batch = as_own(x, model.input_shape, model.input_spec.dtype)
        if len(batch) == 0:
            raise BadInput("expected at least one image, got none")
        with self._running:
            self._require_loaded()  # it may have been closed meanwhile
            outputs = engine.run(batch, model.plan.wanted)
        require_rows(outputs, len(batch), model.program)
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    def postprocess(self, x: Outputs) -> tuple[int, float]:
        """Return the most probable class of one image, and its probability.

        Of outputs of an unknown role, the second is the output itself.

        Args:
            x: The result of :meth:`run` for one image; :meth:`topk` takes any number.

        Raises:
            BadInput: The outputs are of several images.
        """
        results = self.topk(x, 1)
        if len(results) != 1:
            raise BadInput(f"expected the outputs of one image, got {len(results)}: use topk")
        return results[0][0].class_id, results[0][0].value

    def topk(self, x: Outputs, k: int | None = None) -> list[tuple[Prediction, ...]]:
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
        k = self.model.at_most(5, x) if k is None else k
        return [found.predictions for found in self.interpret(x, k)]

    def interpret(
        self, x: Outputs, topk: int | None = None, threshold: float | None = None
    ) -> list[Finding]:
        """As :meth:`lenet_cpp.inference.model.Model.interpret`, of the result of :meth:`run`."""
        return self.model.interpret(x, topk, threshold)

    def problems(
        self, x: Outputs, images: NDArray[np.float32], names: Sequence[str]
    ) -> dict[int, str]:
        """Return why images have no class, by their numbers; mostly nothing.

        Args:
            x: The result of :meth:`run`.
            images: What was run.
            names: What to call each image.
        """
        engine, model = self._require_loaded()
        find: Callable[[Any], str] = lambda _: ""  # noqa: E731 - else mypy sees two signatures
        if isinstance(engine, CppEngine):
            find = engine.nan_origin
        return model.problems(x, names, of_each(find, images))

    def probabilities(self, x: ArrayLike) -> NDArray[np.float32]:
        """Return the probability of every class, [N, classes], from the result of :meth:`run`.

        Outputs of an unknown role are returned as they are.

        Raises:
            Unsupported: The outputs are not the values of all classes of one answer.
        """
        return self.model.probabilities(x)

    @property
    def output_role(self) -> str:
        """What :meth:`run` returns; see :class:`lenet_cpp.OutputSpec`.

        ``apply_softmax`` goes before it, but where there are no scores.
        """
        return self.model.output_role

    @property
    def pipeline(self) -> Pipeline:
        """As :attr:`lenet_cpp.inference.model.Model.pipeline`; another one may be set."""
        return self.model.pipeline

    @pipeline.setter
    def pipeline(self, pipeline: Pipeline) -> None:
        self.model.pipeline = pipeline

    @property
    def name(self) -> str:
        """The model's name: as given, or else from the manifest or the files."""
        return self.model.name

    @property
    def model_file(self) -> Path:
        """The program; with the engine ``dygraph`` the parameters."""
        return self.model.program

    @property
    def input_shape(self) -> tuple[int, ...]:
        """``(N, channels, height, width)``; -1 for a free dimension."""
        return self.model.input_shape

    def settings(self, batch_size: int) -> RunSettings:
        """Return how batches of this size are computed."""
        return self._require_loaded()[0].settings(batch_size)

    @property
    def config(self) -> RunSettings:
        """How one image is computed: the ``inference_config`` of :class:`lenet_cpp.AutoLog`."""
        return self.settings(1)

    def close(self) -> None:
        """Free the model, after a run that is going on. May be called again."""
        with self._running:
            loaded, self._loaded = self._loaded, None
            if loaded is not None:
                loaded[0].close()

    def __repr__(self) -> str:
        """Say what is loaded, in one line."""
        loaded = "nothing yet" if self._loaded is None else self.model.summary
        return f"<InferenceEngine {self._engine_name} of {loaded}>"

    @property
    def model(self) -> Model:
        """What is known of the loaded model."""
        return self._require_loaded()[1]

    def _require_loaded(self) -> tuple[Engine, Model]:
        """Return what is loaded; BadInput when nothing is."""
        if self._loaded is None:
            raise BadInput("no model is loaded: call load_predictor first")
        return self._loaded
