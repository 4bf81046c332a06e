"""A model for tables of images, in any process of a cluster."""

from __future__ import annotations

import copy
import hashlib
import json
import math
import os
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent import futures
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lenet_cpp._base.closing import Closing
from lenet_cpp._base.lazy import Self, Unpack, cached
from lenet_cpp._base.memory import memory_errors
from lenet_cpp.bulk.columns import KINDS, Rows, read_column
from lenet_cpp.bulk.output_columns import OUTPUTS, OutputColumns
from lenet_cpp.data.arrays import fits, stack_alike
from lenet_cpp.data.images import Pipeline
from lenet_cpp.errors import BackendFailure, BadInput, BadModel, Error, FileNotFound, Unsupported
from lenet_cpp.inference.model import Labels, Model, Opened, Overrides, as_labels
from lenet_cpp.inference.options import (
    BUNDLED,
    Options,
    Source,
    absolute_path,
    check_names,
    named_files,
)
from lenet_cpp.inference.outputs import of_each
from lenet_cpp.inference.predictor import Predictor

if TYPE_CHECKING:
    import pyarrow as pa

_Path = str | os.PathLike[str] | None


# Of the process and not of the object: Ray and Dask unpickle an object anew for every task. Without
# a lock, which a fork could find taken: each of its methods is one step for other threads.
_loaded: OrderedDict[object, Opened] = OrderedDict()  # the one that was used last is the last
_MOST_LOADED = 4


class BatchPredictor(Closing):
    """A classifier that adds its results to tables of images.

    It holds the configuration, and loads the model with the first batch, once in each process, so
    that it can be pickled and sent to any worker: the object is the function for Ray Data's
    ``map_batches``, Dask's ``map_partitions`` and a pool of multiprocessing, and
    :meth:`predict_batch_fn` gives the one for Spark. It imports none of them. A process keeps the
    four models that it used last.

    Thread-safety: may be called from any thread; the threads run in parallel.

    Example:
        >>> predictor = BatchPredictor(model_dir="inference_model/lenet", column="image")
        >>> predictor({"image": pixels})["class_id"]
        >>> dataset.map_batches(predictor)  # Ray Data
        >>> predict_batch_udf(predictor.predict_batch_fn(), return_type=..., batch_size=1024)
    """

    def __init__(
        self,
        model_file: Source = BUNDLED,
        params_file: _Path = None,
        *,
        model_dir: _Path = None,
        column: str = "image",
        kind: str = "auto",
        outputs: Sequence[str] | Mapping[str, str] = OUTPUTS[:3],
        errors: str | None = None,
        name: str | None = None,
        keep: Sequence[str] | None = None,
        preprocess: Pipeline | _Path = None,
        labels: Labels | None = None,
        threshold: float | None = None,
        model_name: str | None = None,
        checksum: str | None = None,
        **options: Unpack[Options],
    ) -> None:
        """Keep the configuration; nothing is loaded yet.

        Args:
            model_file: As for :class:`lenet_cpp.Predictor`; without any file, the bundled LeNet.
            params_file: As for :class:`lenet_cpp.Predictor`.
            model_dir: As for :class:`lenet_cpp.Predictor`.
            column: The column of images, each of one of these forms:

                * values of the model's input, as arrays, tensors or lists of any integer or float
                  type, [C, H, W], flat, or [H, W] for one channel. Integers are pixels from 0 to
                  255, which are divided by 255; for a model of another type than float32 the
                  numbers that it takes;
                * the same pixels as bytes;
                * a picture to prepare: uint8 pixels [H, W] or [H, W, C] of another size, the
                  bytes of an image file, or its path.
            kind: What bytes and strings are: ``pixels``, ``encoded``, ``path`` or ``auto``.
                With auto, strings are paths, and bytes are pixels when there are as many as the
                model has inputs and they do not begin as an image file does.
            outputs: Which columns to add: ``class_id`` (int32) and its ``label`` (None when it is
                not known) and ``probability`` or ``score``, its output as it is; ``class_ids`` and
                ``labels``, lists of what the description of the model finds in an image, such as
                all classes above a threshold, or its attributes and the outputs above theirs; all
                ``probabilities``, or ``logits``, the model's raw outputs. A mapping gives each the
                name of its column.
            errors: A column for what is wrong with a row; None in good rows. A bad row then has
                class -1 and NaN. By default a bad row raises an error that names it.
            name: The column that names a row in that error; by default its number in the batch.
            keep: The columns of a batch to hand on; by default all but the images.
            preprocess: How pictures are prepared, or a file that describes it; by default what
                lies beside the model.
            labels: The label of each class, or the path of a file of them; by default those of the
                model's manifest or description.
            threshold: In place of every threshold of the description.
            model_name: The registered model, when no manifest beside the files names it.
            checksum: The model's :attr:`checksum`: a process that finds another model refuses it.
            **options: See :class:`lenet_cpp.Options`. ``threads`` is the number of threads of a
                run and of reading pictures, whatever ``OMP_NUM_THREADS`` says.

        Raises:
            BadInput: An argument or option is unknown.
        """
        if kind not in KINDS:
            raise BadInput(f"kind: expected one of {', '.join(KINDS)}, got {kind!r}")
        named = dict(outputs) if isinstance(outputs, Mapping) else {each: each for each in outputs}
        if not named or named.keys() - set(OUTPUTS):
            raise BadInput(f"outputs: expected some of {', '.join(OUTPUTS)}, got {list(named)}")
        check_names(options)
        files = named_files(model_file, params_file, model_dir)
        # The workers of a cluster have working directories of their own.
        self._files = {name: absolute_path(path) for name, path in files.items()}
        self._bytes: tuple[bytes, ...] = ()
        self._column, self._kind, self._errors, self._name = column, kind, errors, name
        self._outputs, self._keep = named, None if keep is None else tuple(keep)
        self._preprocess = preprocess
        if preprocess is not None and not isinstance(preprocess, Pipeline):
            self._preprocess = absolute_path(os.fspath(preprocess))
        self._labels = as_labels(labels)
        self._threshold = threshold
        self._known: tuple[Model, Model] | None = None  # of its files alone, and with what is said
        self._model_name, self._checksum, self._options = model_name, checksum, options

    @classmethod
    def from_bytes(cls, program: bytes, params: bytes = b"", **arguments: Any) -> Self:
        """Make one that carries its model, for workers that do not see its files.

        Args:
            program: What a .pdmodel, .json or .onnx file holds.
            params: What the .pdiparams file holds; empty for an .onnx.
            **arguments: Those of the class but for the files. Pictures need ``preprocess``.
        """
        made = cls(**arguments)
        made._files, made._bytes = {}, (bytes(program), bytes(params))
        return made

    def __getstate__(self) -> dict[str, Any]:
        """Pickle the configuration alone."""
        state = {name: value for name, value in vars(self).items() if name != "_key"}
        state["_known"] = None
        return state

    @memory_errors("predicting a batch")
    def __call__(self, batch: Any) -> Any:
        """Return a batch with its results.

        Args:
            batch: A dict of columns, or a table of pandas or Arrow.

        Returns:
            The same kind of table: the columns that are kept, and one for each output.

        Raises:
            BadInput: A row is bad, and no column was named for errors; there is no such column, or
                a result would replace another column.
            lenet_cpp.Error: The model cannot be loaded, or its engine failed.
        """
        names = list(batch.column_names if hasattr(batch, "column_names") else batch)
        if self._column not in names:
            raise BadInput(f"no column {self._column!r} among {', '.join(map(repr, names))}")
        kept = self._kept_of(names)
        row_names = None if self._name is None else batch[self._name]
        results = self.columns(batch[self._column], names=row_names)
        if taken := sorted(results.keys() & set(kept)):
            raise BadInput(
                f"the table has a column {taken[0]!r} already: name another one for the result,"
                f" outputs={{'{taken[0]}': 'predicted_{taken[0]}'}}"
            )
        return _with_results(batch, kept, results)

    def _kept_of(self, names: Sequence[str]) -> list[str]:
        """Return the columns of a batch that are handed on."""
        others = [name for name in names if name != self._column]
        return others if self._keep is None else [name for name in others if name in self._keep]

    @memory_errors("predicting a batch")
    def columns(self, images: Any, *, names: Any = None) -> dict[str, NDArray[Any]]:
        """Return the results for one column of images: a column for each output.

        Args:
            images: The column, as the class describes it.
            names: What to call each row in an error.

        Raises:
            BadInput: A row is bad, and no column was named for errors.
            Unsupported: Probabilities are asked for, and it is not known what the outputs are.
            lenet_cpp.Error: The model cannot be loaded, or its engine failed.
        """
        model, predictor = self._model, self._shared.get()
        spec = predictor.input_spec
        rows = read_column(images, spec.shape, self._kind, spec.dtype)
        self._prepare(rows, model)
        asked = set(self._outputs)
        checks = None if asked <= {"logits"} else bool({"probability", "probabilities"} & asked)
        blocks = [
            self._run(predictor, places, block, rows, softmax=checks)
            for places, block in rows.tensors
        ]
        if rows.errors and self._errors is None:
            number = min(rows.errors)
            row = f"row {number} of {self._column!r}" if names is None else str(names[number])
            why = rows.errors[number]
            raise BadInput(why if row in why else f"{row}: {why}")
        outputs = _joined(model, rows.count, blocks)
        found = self._columns(model).of(outputs, rows.errors, self._outputs)
        results = {column: found[output] for output, column in self._outputs.items()}
        if self._errors is not None:
            results[self._errors] = np.array([*map(rows.errors.get, range(rows.count))], object)
        return results

    def predict_batch_fn(self) -> Callable[[], Callable[[Any], dict[str, NDArray[Any]]]]:
        """Return what ``pyspark.ml.functions.predict_batch_udf`` takes first.

        Its ``return_type`` is a struct with a field for each output: ``class_id`` int, ``label``
        string, ``probability`` and ``score`` float, ``class_ids`` array<int>, ``labels``
        array<string>, ``probabilities`` and ``logits`` array<float>, and what ``errors`` names
        string.
        """
        return partial(_bound, self)

    @property
    def checksum(self) -> str:
        """The SHA-256 of the program's bytes followed by those of the parameters.

        ``cat NAME.pdmodel NAME.pdiparams | sha256sum`` prints it; loads the model when necessary.
        """
        return self._model.checksum

    @property
    def output_role(self) -> str:
        """What the outputs are; see :class:`lenet_cpp.OutputSpec`; loads the model if necessary."""
        return self._model.output_role

    @property
    def input_bytes(self) -> int:
        """The size of one image as float32 input; that of 1,024 x 1,024 pixels if it is free."""
        shape = self._model.input_shape[1:]
        return 4 * math.prod(size if size > 0 else 1024 for size in shape)

    @property
    def settings(self) -> dict[str, Any]:
        """What the results depend on beside the model's files."""
        pipeline = self._preprocess
        described = pipeline.to_dict() if isinstance(pipeline, Pipeline) else pipeline
        said: dict[str, Any] = {"kind": self._kind, "preprocess": described, "labels": self._labels}
        said |= {} if self._threshold is None else {"threshold": self._threshold}
        return dict(json.loads(json.dumps(said | {"options": self._options})))

    def for_bulk(self, outputs: Sequence[str], errors: str | None) -> Self:
        """Return a copy with other outputs, which holds all that lies beside the model.

        The copy gives every process the preprocessing and the labels that this one finds, and
        refuses another model.
        """
        model = self._model
        made = copy.copy(self)
        found: dict[str, Any] = {
            "_outputs": {each: each for each in outputs},
            "_errors": errors,
            "_checksum": model.checksum,
            "_labels": self._columns(model).labels or None,
        }
        with suppress(FileNotFound, Unsupported):  # pixels need no preprocessing
            found["_preprocess"] = model.pipeline
        vars(made).update(found)
        vars(made).pop("_key", None)
        return made

    @property
    def usual_outputs(self) -> tuple[str, ...]:
        """The outputs that tell what an image shows; loads the model when necessary."""
        if self._columns(self._model).finds_several:
            return ("class_id", "class_ids", "labels")
        has_values = self.output_role != "class_numbers"
        return ("class_id", "label", *((self._model.value_name,) if has_values else ()))

    @property
    def pipeline(self) -> Pipeline:
        """How pictures are prepared; loads the model when necessary.

        Raises:
            FileNotFound, Unsupported: Nothing tells it.
            BadModel: The file that describes it is damaged.
        """
        return self._model.pipeline

    def close(self) -> None:
        """Free the model in this process after the runs that are going on; a batch loads it again.

        Objects of the same model share it.
        """
        _loaded.pop(self._key, None)

    def __repr__(self) -> str:
        """Say which model and columns it is for, in one line."""
        model = ", ".join(map(repr, self._files.values() or ["the model"]))
        outputs = ", ".join(self._outputs.values())
        return f"<BatchPredictor of {model}, {self._column!r} to {outputs}>"

    @cached
    def _key(self) -> object:
        options = tuple(sorted(self._options.items()))
        contents = tuple(hashlib.sha256(each).digest() for each in self._bytes)
        return tuple(self._files.items()), contents, options, self._checksum

    @property
    def _shared(self) -> Opened:
        found = _loaded.get(self._key)
        if found is None:
            opened = Opened(self._bytes, **self._files, **self._options)
            found = _loaded.setdefault(self._key, opened)
        with suppress(KeyError):  # another thread removed it
            _loaded.move_to_end(self._key)
            while len(_loaded) > _MOST_LOADED:
                _loaded.popitem(last=False)
        return found

    @property
    def _model(self) -> Model:
        own = self._shared.model
        checksum = own.checksum  # of the files as they are now, when they have just been read
        if self._known is None or self._known[0] is not own:
            overrides = Overrides(
                preprocess=self._preprocess,
                labels=self._labels,
                network=self._model_name,
                check_hashes=self._options.get("check_hashes", True),
                checks_units=self._checksum is None,  # of the copies for_bulk makes one says it
            )
            self._known = own, own.overridden(overrides)
        if self._checksum not in {None, checksum}:
            raise BadModel(
                f"{own.program} is another model here: its checksum is {checksum}, expected"
                f" {self._checksum}"
            )
        return self._known[1]

    def _columns(self, model: Model) -> OutputColumns:
        return OutputColumns(model, model.rule, model.labels, self._threshold)

    def _prepare(self, rows: Rows, model: Model) -> None:
        """Read the pictures among the rows, by as many threads as a run has."""
        if not rows.images:
            return
        model.require_layout()
        one = partial(_tensor, model.pipeline)
        threads = min(self._options.get("threads", 1), len(rows.images))
        with futures.ThreadPoolExecutor(threads) as pool:
            found = list(pool.map(one, [source for _, source in rows.images]))
        tensors: dict[int, NDArray[np.float32]] = {}
        for (number, _), tensor in zip(rows.images, found, strict=True):
            if isinstance(tensor, str):
                rows.errors[number] = tensor
            elif not fits(tensor.shape, model.input_shape[1:]):
                given, expected = list(tensor.shape), list(model.input_shape[1:])
                rows.errors[number] = f"{given} after the preprocessing, expected {expected}"
            else:
                tensors[number] = tensor
        rows.tensors += stack_alike(tensors)

    def _run(
        self,
        predictor: Predictor,
        places: NDArray[np.intp],
        block: NDArray[Any],
        rows: Rows,
        *,
        softmax: bool | None,
    ) -> tuple[NDArray[np.intp], tuple[NDArray[Any], ...]]:
        """Run the good rows of a block, and list the others.

        Also those without a class, with ``softmax`` those whose softmax is NaN too; None where raw
        outputs alone are asked for, which may be anything.
        """
        model = self._model
        try:
            outputs = model.run(predictor, block)
        except BadInput:
            with np.errstate(over="ignore"):
                values = block.reshape(len(block), -1).astype(np.float32)
            good = np.isfinite(values).all(axis=1)
            if good.all():
                raise
            for number in places[~good].tolist():
                rows.errors[number] = "it holds NaN or infinity"
            places, block = places[good], block[good]
            outputs = model.run(predictor, block)
        if softmax is not None and len(places):
            origin = of_each(predictor.nan_origin, block)
            names = ["the image"] * len(places)
            problems = model.problems(outputs, names, origin, softmax=softmax)
            rows.errors.update({int(places[row]): why for row, why in problems.items()})
        return places, outputs


def _joined(
    model: Model, rows: int, blocks: Sequence[tuple[NDArray[np.intp], tuple[NDArray[Any], ...]]]
) -> list[NDArray[np.float32]]:
    """Return the outputs of all blocks, [rows, ...] each, with NaN in bad rows."""
    joined = []
    for place, number in enumerate(model.plan.wanted):
        declared = tuple(max(size, 0) for size in model.outputs[number].shape[1:])
        shape = blocks[0][1][place].shape[1:] if blocks else declared
        values = np.full((rows, *shape), np.nan, np.float32)
        for places, outputs in blocks:
            values[places] = outputs[place]
        joined.append(values)
    return joined


def _bound(predictor: BatchPredictor) -> Callable[[Any], dict[str, NDArray[Any]]]:
    # Spark counts the parameters: each is an input column.
    return lambda images: predictor.columns(images)


def _tensor(pipeline: Pipeline, source: Any) -> NDArray[np.float32] | str:
    """Return the tensor of a picture, or what is wrong with it."""
    try:
        return pipeline(source)
    except BackendFailure:  # such as no memory: not the picture's fault
        raise
    except Error as error:
        return str(error)


def _with_results(batch: Any, kept: Sequence[str], results: Mapping[str, NDArray[Any]]) -> Any:
    """Return a table of the same kind with the columns that are kept, and the results."""
    if isinstance(batch, Mapping):
        return {**{name: batch[name] for name in kept}, **results}
    if hasattr(batch, "column_names"):  # Arrow's tables and batches of records
        table = batch.select(kept)
        for name, values in results.items():
            table = table.append_column(name, _arrow(values))
        return table
    # A column of pandas has one dimension: a row of several values is one object of it.
    flat = {name: [*values] if values.ndim > 1 else values for name, values in results.items()}
    return batch[kept].assign(**flat)


def _arrow(values: NDArray[Any]) -> pa.Array:
    import pyarrow as pa

    if values.ndim == 1:
        return pa.array(values, from_pandas=values.dtype == object)
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])
