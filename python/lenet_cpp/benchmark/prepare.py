"""What the contenders read: found, or written into the benchmark's folder."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from lenet_cpp.benchmark import graphs
from lenet_cpp.benchmark.contenders import PROGRAM
from lenet_cpp.benchmark.quantizing import calibration_images, call_quantizing
from lenet_cpp.benchmark.sessions import Files
from lenet_cpp.benchmark.tflite import write_tflite
from lenet_cpp.errors import Error, Unsupported
from lenet_cpp.manifest import has_manifest, read_manifest
from lenet_cpp.verify import find_models

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from lenet_cpp.benchmark.contenders import Contender
    from lenet_cpp.benchmark.quantizing import Report

__all__ = ["Prepared", "prepare"]


@dataclass(frozen=True)
class Prepared:
    """What there is for the contenders, and who cannot take part, and why.

    Attributes:
        files: The inputs.
        weights: From :func:`lenet_cpp.benchmark.graphs.read_weights`.
        unavailable: Contender to what it lacks on this machine.
        refused: Contender to what went wrong.
    """

    files: Files
    weights: graphs.Weights
    unavailable: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)


def prepare(
    contenders: Sequence[Contender],
    *,
    model_dir: Path,
    quantized_model_dir: Path | None,
    program: Path,
    images: NDArray[np.float32],
    folder: Path,
    progress: bool,
) -> Prepared:
    """Write the contenders' inputs, the quantized models among them.

    Args:
        contenders: Who wants to take part.
        model_dir: The exported float model.
        quantized_model_dir: A quantized one; made from the float one when None.
        program: The C++ program.
        images: float32 [N, 1, 28, 28].
        folder: Where to.
        progress: Whether to show a progress bar on a terminal.

    Raises:
        FileNotFound: A model is missing.
        BadModel: A model is damaged.
        Unsupported: The float model is not the LeNet that the benchmark is of, or the other one
            is not a quantized ``.pdmodel``.
    """
    if has_manifest(model_dir) and read_manifest(model_dir).softmax:
        raise Unsupported(f"{model_dir} was exported with --softmax; export it without")
    models = find_models(model_dir)
    exported = {
        model.format: (model.program.resolve(), model.params.resolve())
        for model in models
        if model.params is not None
    }
    image_file = folder / "images.npy"
    np.save(image_file, images)
    files = Files(
        exported=exported,
        others={},
        images=image_file,
        folder=folder,
        program=program.resolve(),
    )
    weights = graphs.read_weights(models[0].combined_params)
    found = Prepared(files, weights)
    for contender in contenders:
        reason = contender.missing()
        if reason is None and contender.exported and contender.format not in exported:
            reason = f"{model_dir} has no .{contender.format}"
        if reason is None and contender.factory == PROGRAM and not program.is_file():
            reason = f"there is no {program}: build it with ./run.sh"
        if reason is not None:
            found.unavailable[contender.name] = reason
    _make(found, contenders, model_dir, quantized_model_dir, progress=progress)
    return found


def _make(
    found: Prepared,
    contenders: Iterable[Contender],
    model_dir: Path,
    quantized_model_dir: Path | None,
    *,
    progress: bool,
) -> None:
    """Make each file that somebody needs, once."""
    users: dict[str, list[str]] = {}
    for contender in contenders:
        if contender.name not in found.unavailable:
            needs = contender.files or ((contender.exported,) if contender.exported else ())
            for kind in needs:
                users.setdefault(kind, []).append(contender.name)
    wanted = {kind: names for kind, names in users.items() if kind not in found.files.exported}
    with tqdm(wanted, desc="preparing", leave=False, disable=None if progress else True) as bar:
        for kind in bar:

            def report(what: str, done: int, total: int, kind: str = kind) -> None:
                bar.set_postfix_str(f"{kind}: {what} {done}/{total}")

            bar.set_postfix_str(kind)
            if kind == "quantized" and quantized_model_dir is not None:
                # A wrong one is not one contender's failure.
                found.files.exported[kind] = _given(quantized_model_dir, found.files.folder)
                continue
            try:
                if kind == "quantized":
                    found.files.exported[kind] = _quantize(model_dir, found.files.folder, report)
                else:
                    found.files.others[kind] = _write(kind, found)
            except Error as error:
                found.refused.update(dict.fromkeys(users[kind], str(error)))


def _given(model_dir: Path, folder: Path) -> tuple[Path, Path]:
    program, params = _files(model_dir)
    call_quantizing(folder, do="check", program=str(program), params=str(params))
    return program, params


def _quantize(model_dir: Path, folder: Path, report: Report) -> tuple[Path, Path]:
    target = folder / "quantized"
    task = {"do": "paddle", "model_dir": str(model_dir.resolve()), "target": str(target)}
    call_quantizing(folder, report, **task)
    return _files(target)


def _files(folder: Path) -> tuple[Path, Path]:
    (model,) = find_models(folder, ["pdmodel"])
    return model.program.resolve(), model.combined_params.resolve()


def _write(kind: str, found: Prepared) -> Path:
    folder, weights = found.files.folder, found.weights
    if kind == "weights":
        path = folder / "weights.npz"
        arrays: dict[str, Any] = {**weights}
        np.savez(path, **arrays)
        return path
    path = folder / f"{kind}.{kind.partition('_')[0]}"
    if kind == "onnx":
        graphs.write_onnx(weights, path)
    elif kind == "onnx_int8":
        source = folder / "float.onnx"
        graphs.write_onnx(weights, source)
        call_quantizing(folder, do="onnx", source=str(source), target=str(path))
    elif kind == "tflite":
        write_tflite(weights, path)
    else:
        write_tflite(weights, path, graphs.activation_ranges(weights, calibration_images()))
    return path
