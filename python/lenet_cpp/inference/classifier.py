"""Classify pictures in one call, by any exported model or by the bundled LeNet."""

from __future__ import annotations

import os
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache, partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, NoReturn, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lenet_cpp._base.closing import Closing
from lenet_cpp._base.memory import memory_errors
from lenet_cpp.data.arrays import as_array, as_batch, is_picture, rearranging, stack_alike
from lenet_cpp.data.images import Digit, Pipeline, find_images, is_image_source
from lenet_cpp.data.images.reading import ImageSource, describe_source, is_array
from lenet_cpp.errors import BadInput, Error
from lenet_cpp.inference.bundled import predict
from lenet_cpp.inference.model import (
    Labels,
    Model,
    Opened,
    Overrides,
    as_changes,
    as_labels,
    count,
)
from lenet_cpp.inference.options import (
    BUNDLED,
    Bundled,
    EngineName,
    Precision,
    Source,
    absolute_path,
    check_names,
    named_files,
)
from lenet_cpp.inference.outputs import of_each
from lenet_cpp.inference.predictor import bytes_of
from lenet_cpp.inference.results import Finding, Result

if TYPE_CHECKING:
    from concurrent.futures import Executor, Future

    from PIL.Image import Image

_NUMBERS = (list, tuple, int, float)  # a list of these is an array
_BATCH = 32
_MAX_THREADS = 8  # of reading: each may hold a picture of 256 MiB


class _Piece(NamedTuple):
    """One image: a picture for the preprocessing, or what the predictor takes already."""

    source: Any
    picture: Any = None
    ready: NDArray[Any] | None = None


class Classifier(Closing):
    """A model that takes pictures and tells what they show.

    Thread-safety: may be shared; threads run in parallel, each in a predictor of its own that
    shares the weights. A forked child loads the model again.

    Example:
        >>> classifier = Classifier("inference_model/lenet")
        >>> classifier("photo.jpg")
        7 (99.8 %), 1 (0.1 %)
        >>> [result.label for result in classifier.stream("photos/", progress=True)]
    """

    def __init__(
        self,
        model: Source | bytes | tuple[bytes, bytes] = BUNDLED,
        *,
        labels: Labels | None = None,
        engine: EngineName = "auto",
        threads: int = 1,
        top: int = 5,
        preprocess: Pipeline | str | os.PathLike[str] | None = None,
        device: str = "cpu",
        precision: Precision = "fp32",
        output_name: str = "",
        mean: float | Sequence[float] | str | None = None,
        std: float | Sequence[float] | str | None = None,
        resize: int | Sequence[int] | str | None = None,
        crop: int | Sequence[int] | str | None = None,
        library: Literal["pillow", "opencv"] | None = None,
        **unknown: NoReturn,
    ) -> None:
        """Load a model.

        Args:
            model: The folder of an exported model, its ``.onnx``, ``.pdmodel`` or ``.json``, also
                without the suffix, or what these files hold: the bytes of a program and of its
                parameters (``b""`` of an .onnx); by default the bundled LeNet.
            labels: The label of each class, or the path of a file with one in each line, as
                ``--labels`` of ``lenet-cpp predict``; by default what the model's files say.
            engine: As in :class:`lenet_cpp.Options`.
            output_name: The output that tells the classes, where the model has several, or
                ``"features"``; as in :class:`lenet_cpp.Options`.
            threads: CPU threads of a run, as in :class:`lenet_cpp.Options`.
            top: How many classes a result has at most, where no description says which.
            preprocess: How pictures are prepared, or a file that describes it; by default what
                lies beside the model or, in an .onnx of ours, within it, or else what the shape of
                its input tells (``docs/preprocessing.md``).
            device: As in :class:`lenet_cpp.Options`.
            precision: As in :class:`lenet_cpp.Options`.
            mean: The mean of each channel, or of all, for pixels from 0 to 1, in place of the one
                in the description. A text may end with ``/255``, for pixels from 0 to 255:
                ``"123.675,116.28,103.53/255"``.
            std: The standard deviation, likewise.
            resize: The length of the shorter side after the resize, or (height, width), or
                ``"none"``, in place of the description's. To keep these arguments, write
                ``classifier.model.pipeline.save("preprocess.json")`` beside the model.
            crop: The side of the square that is cropped, or (height, width), or ``"none"``.
            library: ``pillow`` resizes and rounds as torchvision does, ``opencv`` as PaddleClas.
            unknown: Nothing. An error names the option that was probably meant.

        Raises:
            BadInput: An option is wrong or unknown, or there are more or fewer labels than classes.
            lenet_cpp.Error: What :class:`lenet_cpp.Predictor` raises.
        """
        check_names(unknown, Classifier.__init__.__kwdefaults__ or ())
        self._top = count(top, "top")
        changes = as_changes(mean=mean, std=std, resize=resize, crop=crop, library=library)
        options: Any = {"engine": engine, "threads": threads}
        options |= {"device": device, "precision": precision, "output_name": output_name}
        contents: tuple[bytes, ...] = ()
        if isinstance(model, (bytes, bytearray, memoryview, tuple)):
            contents = bytes_of(*(model if isinstance(model, tuple) else (model,)))
            if len(contents) not in {1, 2}:
                raise BadInput(f"a model in memory is the bytes of two files, got {len(contents)}")
        else:
            options["model_file"] = _path(model)
        self._predictors = Opened(contents, **options)
        own = self._predictors.model
        self._model = own.overridden(Overrides(preprocess, as_labels(labels), changes=changes))
        if preprocess is not None or changes:
            self._model.require_layout()  # also damaged or missing: an error of loading
        if self._model.plan.note:
            warnings.warn(f"{self._model.program}: {self._model.plan.note}", stacklevel=2)
        self._model.find_labels()  # as many as the classes, or an error of loading

    @overload
    def __call__(self, images: bytes | bytearray | Image) -> Result: ...

    @overload
    def __call__(self, images: list[Any] | tuple[Any, ...]) -> list[Result]: ...

    @overload
    def __call__(self, images: Any) -> Any: ...

    @memory_errors("classifying images")
    def __call__(self, images: Any) -> Any:
        """Return what pictures show: a :class:`Result`, or a list of them.

        Args:
            images: One of these, which gives a result:

                * the path of an image file, its bytes, or a Pillow image;
                * uint8 pixels, [H, W], [H, W, 3] or [3, H, W], RGB: of OpenCV's BGR pass
                  ``pixels[..., ::-1]``. A model of digits takes those of its own size, [28, 28],
                  as MNIST has them;
                * floats as the model takes them, [C, H, W], or [H, W] for one channel, which are
                  not prepared;

                or one that gives a list: a folder, a glob, a ``.txt`` with a path in each line, an
                array [N, ...] of the above, or a list of any of these. Arrays are NumPy's, or of
                any library with ``__array__`` or DLPack, such as a tensor of PyTorch or Paddle.
                EXIF's orientation is applied.

        Raises:
            FileNotFound: A file does not exist, or a folder has no image; or nothing tells how
                pictures are prepared.
            BadInput: An image cannot be read or gives no class, as of NaN (the message has the
                file), or does not fit the model.
            BackendFailure: The engine failed; the classifier can be used again.
            Unsupported: The model is no classifier, or takes no pictures.
        """
        self._require_open()
        single, pieces = self._split(images)
        if single:
            (piece,) = pieces
            return self._results([(piece, self._tensor(piece))])[0]
        return list(self._stream(pieces, _BATCH))

    def stream(
        self, images: Any, *, batch_size: int = _BATCH, progress: bool = False
    ) -> Iterator[Result]:
        """Yield the result of each picture in order, reading the next batch meanwhile.

        Args:
            images: As for a call, or any iterable, also one without an end, whose arrays may use
                the same memory again and again.
            batch_size: Images of a run. Twice as many are taken of ``images`` before the first
                result.
            progress: Show a progress bar on standard error.

        Raises:
            lenet_cpp.Error: As a call, after the results of the images before the bad one; of one
                that the engine refuses, such as for a NaN, after those of the batches before. What
                an iterable itself raises comes after all results too.
        """
        batch_size = count(batch_size, "batch_size")
        self._require_open()
        _, pieces = self._split(images)
        results = self._stream(pieces, batch_size)
        if not progress:
            return results
        from tqdm import tqdm

        total = len(pieces) if isinstance(pieces, list) else None
        return iter(tqdm(results, desc="classify", unit="image", total=total))

    @property
    def model(self) -> Model:
        """What is known of the model."""
        return self._model

    @property
    def labels(self) -> tuple[str, ...]:
        """The label of each class; empty when they are not known."""
        return self._model.labels

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled or copied."""
        raise TypeError(
            "a Classifier cannot be pickled or copied: share it between threads, make one in each"
            " process, or use BatchPredictor"
        )

    def close(self) -> None:
        """Free the model, after the runs that are going on. May be called again."""
        self._predictors.close()

    def __repr__(self) -> str:
        """Say which model it is, in one line."""
        return f"<Classifier of {self._model.summary}>"

    def _require_open(self) -> None:
        self._predictors.get()

    def _split(self, images: Any) -> tuple[bool, Iterable[_Piece]]:
        """Return whether it is one image, and each one."""
        if isinstance(images, memoryview):
            images = bytes(images)
        if isinstance(images, (str, os.PathLike)):
            return _split_path(images)
        if is_image_source(images):
            return True, [_Piece(images, images)]
        if is_array(images) or _is_list_of_numbers(images):
            return self._split_array(as_array(images, "of images"))
        if not _is_iterable_of_images(images):
            raise _unknown(images)
        pieces = self._each(images)
        return False, list(pieces) if isinstance(images, (list, tuple)) else pieces

    def _each(self, images: Iterable[Any]) -> Iterator[_Piece]:
        kept = isinstance(images, (list, tuple))
        for image in images:
            if isinstance(image, (list, tuple)):
                raise _unknown(image)
            own = image
            if is_array(image) and not kept:
                # The next one may come in the same memory.
                own = np.array(as_array(image, "of images"))
            _, pieces = self._split(own)
            yield from pieces

    def _split_array(self, array: NDArray[Any]) -> tuple[bool, list[_Piece]]:
        """Return whether an array is one image, and each one."""
        if array.dtype == np.uint8 and len(self._model.input_shape) == 4:
            if array.ndim == 4 or self._are_grey_images(array):
                return False, [self._pixels(each) for each in array]
            return True, [self._pixels(array)]
        batch = self._as_batch(array)
        single = array.shape == batch.shape[1:] or array.ndim == batch.ndim - 2
        given = [array] if single else array
        return single, [_Piece(a, ready=b) for a, b in zip(given, batch, strict=True)]

    def _are_grey_images(self, pixels: NDArray[np.uint8]) -> bool:
        """Return whether pixels are [N, H, W] for a model of one channel and that size."""
        channels, *sides = self._image_shape
        several = pixels.ndim == 3 and len(pixels) != 1
        return several and channels == 1 and [*pixels.shape[1:]] == sides

    def _as_batch(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return values that are not prepared as a batch for the predictor, [N, ...].

        Raises:
            BadInput: The model does not take the array, or it looks like pictures; the message
                says how to convert these.
        """
        shape = self._model.input_shape
        picture = array.dtype.kind in "fiu" and self._shows_pictures(array.shape)
        try:
            batch = as_batch(array, shape, self._model.input_spec.dtype)
        except BadInput as error:
            if picture:
                raise _not_pixels(array, shape) from error
            raise
        # Where any width is taken, [H, W, 3] could be H grey images of three columns.
        any_width = shape[3:] == (-1,) and array.ndim == 3 and len(array) != shape[1]
        if picture and any_width and array.dtype.kind == "f":
            raise _not_pixels(array, shape)
        return batch

    def _shows_pictures(self, shape: tuple[int, ...]) -> bool:
        """Return whether an array that the model does not take is pictures, by its shape."""
        if len(shape) == 2 and rearranging(shape, self._model.input_shape[1:]):
            return False  # an image in each row
        one = shape[1:] if len(shape) == 4 else shape
        return is_picture(one) or (len(one) == 3 and one[0] in {1, 3})

    def _pixels(self, pixels: NDArray[np.uint8]) -> _Piece:
        picture, shape = pixels, pixels.shape
        if pixels.ndim == 3 and not is_picture(shape):
            if shape[0] not in {1, 3}:
                as_batch(pixels, self._model.input_shape)  # raises BadInput that says what fits
            picture = pixels.transpose(1, 2, 0)
        sides = self._image_shape[1:]
        if picture.shape in {sides, (*sides, 1)} and self._takes_digits:
            return _Piece(pixels, picture, picture.reshape(*sides, 1))
        return _Piece(pixels, picture)

    @property
    def _takes_digits(self) -> bool:
        """Whether the preparation looks for a digit, which images as MNIST has them need not."""
        return any(isinstance(step, Digit) for step in self._model.pipeline.steps)

    @property
    def _image_shape(self) -> tuple[int, ...]:
        """Channels, height and width of the model's images, of an input of four dimensions."""
        shape = self._model.input_shape
        return (shape[3], *shape[1:3]) if self._model.pipeline.channels_last else shape[1:]

    def _tensor(self, piece: _Piece) -> NDArray[Any]:
        """Return what the predictor takes: float32 as the description gives it, or pixels."""
        if piece.ready is not None:
            return piece.ready
        tensor = self._model.pipeline(piece.picture)
        self._model.require_fitting(tensor.shape)
        return tensor

    @memory_errors("classifying images")
    def _results(self, images: Sequence[tuple[_Piece, NDArray[Any]]]) -> list[Result]:
        """Run a batch; images of different sizes one after the other."""
        tensors = {number: tensor for number, (_, tensor) in enumerate(images)}
        found: dict[int, Result] = {}
        for numbers, batch in stack_alike(tensors):
            places = numbers.tolist()
            results = self._results_of([images[place][0] for place in places], batch)
            found.update(zip(places, results, strict=True))
        return [found[number] for number in range(len(images))]

    def _results_of(self, pieces: Sequence[_Piece], batch: NDArray[Any]) -> Iterator[Result]:
        """Run images of one size, [N, ...], and yield the result of each."""
        model, predictor = self._model, self._predictors.get()
        pipeline = model.pipeline if batch.dtype == np.uint8 else None
        outputs = model.run(predictor, batch, pipeline)
        plain = model.gives_classes and model.is_plain(outputs)
        few = model.at_most(self._top, outputs) if model.rule["type"] == "Topk" else None
        find = partial(predictor.nan_origin, pipeline=pipeline)
        findings = model.interpret(
            outputs,
            few,
            names=[describe_source(piece.source) for piece in pieces],
            origin=of_each(find, batch),
        )
        known = plain and model.value_name == "probability"
        shares = model.probabilities(outputs) if known else None
        features = model.features_of(outputs)
        logits = outputs[0] if plain and model.output_role == "logits" else None
        for row, (piece, finding) in enumerate(zip(pieces, findings, strict=True)):
            yield Result(
                predictions=finding.predictions,
                attributes=finding.attributes,
                probabilities=None if shares is None else shares[row],
                logits=None if logits is None else logits[row].reshape(-1),
                features=_features_of(finding, features, row),
                outputs=_row_of(outputs[: len(model.plan.wanted)], row),
                source=piece.source,
                _picture=piece.picture,
                _top=partial(model.best, tuple(output[row : row + 1] for output in outputs)),
            )

    def _stream(self, pieces: Iterable[_Piece], batch_size: int) -> Iterator[Result]:
        from concurrent.futures import ThreadPoolExecutor

        pool = ThreadPoolExecutor(min(len(os.sched_getaffinity(0)), _MAX_THREADS))
        ahead = _Ahead(pieces, self._tensor, pool)
        try:
            while ahead.fill(2 * batch_size):
                if batch := ahead.take(batch_size):
                    yield from self._results(batch)
            if ahead.failed is not None:
                raise ahead.failed
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


class _Ahead:
    """Images that threads read before they are needed, in their order.

    After a failure, of the iterable or of an image, no more images are taken: it is to be raised
    after the results of the images before.
    """

    def __init__(
        self, pieces: Iterable[_Piece], read: Callable[[_Piece], NDArray[Any]], pool: Executor
    ) -> None:
        self.failed: Exception | None = None
        self._coming, self._read, self._pool = iter(pieces), read, pool
        self._waiting: deque[tuple[_Piece, Future[NDArray[Any]] | None]] = deque()

    def fill(self, most: int) -> bool:
        """Take images until so many are waiting; return whether there is one."""
        lacking = 0 if self.failed else most - len(self._waiting)
        try:
            for piece in islice(self._coming, lacking):
                # Only one thread at a time may load a Pillow image, and it may come twice.
                here = piece.ready is not None or hasattr(piece.picture, "load")
                future = None if here else self._pool.submit(self._read, piece)
                self._waiting.append((piece, future))
        except Exception as error:  # noqa: BLE001 - of the iterable, and raised by the caller
            self.failed = error
        return bool(self._waiting)

    def take(self, most: int) -> list[tuple[_Piece, NDArray[Any]]]:
        """Return the next images with their tensors, up to one that cannot be read."""
        taken: list[tuple[_Piece, NDArray[Any]]] = []
        try:
            while self._waiting and len(taken) < most:
                piece, future = self._waiting.popleft()
                tensor = self._read(piece) if future is None else future.result()
                taken.append((piece, tensor))
        except Error as error:
            self.failed = error
            self._waiting.clear()
        return taken


def _split_path(images: str | os.PathLike[str]) -> tuple[bool, list[_Piece]]:
    """Return whether a path is one image, and each image that it names."""
    if not os.fspath(images):
        raise BadInput("the name of an image is empty")
    path = Path(images)
    if path.is_file() and path.suffix.lower() != ".txt":
        return True, [_Piece(images, images)]
    return False, [_Piece(found, found) for found in find_images(images)]


def _is_list_of_numbers(images: Any) -> bool:
    """Return whether a list is an array: of numbers, or of other lists."""
    several = isinstance(images, (list, tuple)) and len(images) > 0
    return several and all(isinstance(each, _NUMBERS) for each in images)


def _is_iterable_of_images(images: Any) -> bool:
    is_file = hasattr(images, "read")
    return isinstance(images, Iterable) and not isinstance(images, Mapping) and not is_file


def _not_pixels(array: NDArray[Any], shape: tuple[int, ...]) -> BadInput:
    """Return the error of a picture that is no pixels, for a model of an input of this shape."""
    conversion = "values.astype('uint8'), if 255 is white"
    if array.dtype.kind == "f":
        conversion = "(values * 255).astype('uint8'), if 1 is white"
    several = "; several grey images are [N, 1, H, W]" if shape[1:2] == (1,) else ""
    return BadInput(
        f"a picture is taken as uint8 pixels from 0 to 255, or as a Pillow image; got"
        f" {array.dtype} of shape {list(array.shape)}: convert it with {conversion}{several}"
    )


class Classification(NamedTuple):
    """The result of :func:`classify` for N images."""

    labels: list[str]
    """The label of the most probable class of each image."""
    probabilities: NDArray[np.float32]
    """float32 [N, classes]; each row sums to 1."""


@memory_errors("classifying images")
def classify(images: ArrayLike | ImageSource | Sequence[ImageSource]) -> Classification:
    """Return the bundled LeNet's label and class probabilities for images of digits.

    A photo of a digit on paper may have dark ink on light paper or the reverse, uneven light,
    noise, any size, and the digit at any place (see ``docs/preprocessing.md``).

    Thread-safety: may be called from any thread; the threads run in parallel.

    Args:
        images: An image file, the bytes of one, a Pillow image, or a list or tuple of those, each
            of one digit; or uint8 pixels of one digit, [H, W], [H, W, 3] or [H, W, 4], of another
            size than 28 x 28; or an array as :func:`predict` takes it, which is used as it is.

    Returns:
        Labels and probabilities of the N images; the probabilities are the softmax of the logits.

    Raises:
        lenet_cpp.FileNotFound: An image file does not exist or cannot be read.
        lenet_cpp.BadInput: As :func:`predict`; or an image is damaged, is too large or has no
            digit in it; the message has the file.
        lenet_cpp.Error: The Paddle library could not be loaded or failed.
    """
    if isinstance(images, np.ndarray) and images.shape[-2:] == (28, 28):  # many at once
        logits = predict(images)
        shares = _bundled().model.probabilities(logits)
        labels = _bundled().labels
        return Classification([labels[i] for i in logits.argmax(axis=1)], shares)
    found = _bundled()(images)
    results: list[Result] = found if isinstance(found, list) else [found]
    probabilities = [result.probabilities for result in results]
    return Classification(
        [str(result.label) for result in results],
        np.array(probabilities, np.float32).reshape(-1, len(_bundled().labels)),
    )


@cache
def _bundled() -> Classifier:
    return Classifier(top=1)


def _features_of(finding: Finding, features: NDArray[Any] | None, row: int) -> NDArray[Any] | None:
    """Return what the description makes of the features, or what the model gives beside classes."""
    if finding.features:
        return np.array(finding.features, np.float32)
    return None if features is None else features[row]


def _row_of(outputs: Sequence[NDArray[Any]], row: int) -> NDArray[Any] | tuple[NDArray[Any], ...]:
    """Return what the outputs have for one image, of one output as a vector."""
    if len(outputs) == 1:
        values: NDArray[Any] = outputs[0][row].reshape(-1)
        return values
    return tuple(output[row] for output in outputs)


def _path(model: Any) -> Path:
    """Return the path of a model, for a child that may have another working directory."""
    if not isinstance(model, (str, os.PathLike, Bundled, type(None))):
        raise BadInput(f"a model is a path or bytes, got {type(model).__name__}")
    (path,) = named_files(model, None, None).values()
    return Path(absolute_path(path))


def _unknown(images: object) -> BadInput:
    given = "None" if images is None else type(images).__name__
    return BadInput(
        "expected a path, the bytes of an image file, a Pillow image or an array, or a list of"
        f" these; got {given}"
    )
