"""What the contenders read: found, or written into the benchmark's folder."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from lenet_cpp.errors import Error
from lenet_cpp.verify import find_models
from tools.benchmark import graphs
from tools.benchmark.contenders import PROGRAM
from tools.benchmark.making import calibration_images, call_maker
from tools.benchmark.sessions import Files
from tools.benchmark.tflite import write_tflite

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from tools.benchmark.contenders import Contender
    from tools.benchmark.making import Report
    from tools.benchmark.subject import Subject

__all__ = ["Prepared", "prepare"]


@dataclass(frozen=True)
class Prepared:
    """What there is for the contenders, and who cannot take part, and why.

    Attributes:
        subject: What is measured.
        files: The inputs.
        unavailable: Contender to what it lacks on this machine.
        refused: Contender to what went wrong.
    """

    subject: Subject
    files: Files
    unavailable: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)


def prepare(
    contenders: Sequence[Contender],
    subject: Subject,
    *,
    quantized_model_dir: Path | None,
    program: Path,
    folder: Path,
    progress: bool,
) -> Prepared:
    """Write the contenders' inputs, the quantized models among them.

    Args:
        contenders: Who wants to take part.
        subject: What is measured.
        quantized_model_dir: A quantized LeNet; made from the float one when None.
        program: The C++ program.
        folder: Where to.
        progress: Whether to show a progress bar on a terminal.

    Raises:
        FileNotFound: A model is missing.
        BadModel: A model is damaged.
        Unsupported: ``quantized_model_dir`` is not a quantized ``.pdmodel``.
    """
    exported = {
        model.format: (model.program.resolve(), model.params.resolve())
        for model in find_models(subject.model_dir)
        if model.params is not None
    }
    image_file = folder / "images.npy"
    np.save(image_file, subject.images)
    files = Files(
        exported=exported,
        others={},
        images=image_file,
        image_shape=subject.input_shape,
        network=subject.network,
        classes=subject.expected.shape[1],
        folder=folder,
        program=program.resolve(),
    )
    found = Prepared(subject, files)
    for contender in contenders:
        reason = contender.missing()
        if reason is None and subject.weights is None:
            reason = contender.only_lenet
        if reason is None and contender.exported and contender.format not in exported:
            reason = f"{subject.model_dir} has no .{contender.format}"
        if reason is None and contender.factory == PROGRAM and not program.is_file():
            reason = f"there is no {program}: build it with ./run.sh"
        if reason is not None:
            found.unavailable[contender.name] = reason
    _make(found, contenders, quantized_model_dir, progress=progress)
    return found


def _make(
    found: Prepared,
    contenders: Iterable[Contender],
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
                    found.files.exported[kind] = _quantize(
                        found.subject.model_dir, found.files.folder, report
                    )
                else:
                    found.files.others[kind] = _write(kind, found)
            except Error as error:
                found.refused.update(dict.fromkeys(users[kind], str(error)))


def _given(model_dir: Path, folder: Path) -> tuple[Path, Path]:
    program, params = _files(model_dir)
    call_maker(folder, do="check", program=str(program), params=str(params))
    return program, params


def _quantize(model_dir: Path, folder: Path, report: Report) -> tuple[Path, Path]:
    target = folder / "quantized"
    task = {"do": "quantize", "model_dir": str(model_dir.resolve()), "target": str(target)}
    call_maker(folder, report, **task)
    return _files(target)


def _files(folder: Path) -> tuple[Path, Path]:
    (model,) = find_models(folder, ["pdmodel"])
    return model.program.resolve(), model.combined_params.resolve()


def _write(kind: str, found: Prepared) -> Path:
    weights = found.subject.weights
    path = found.files.folder / f"{kind}.{kind.partition('_')[0]}"
    if weights is None:
        return _write_of_network(kind, found, path)
    if kind == "weights":
        arrays: dict[str, Any] = {**weights}
        path = path.with_suffix(".npz")
        np.savez(path, **arrays)
    elif kind == "onnx":
        graphs.write_onnx(weights, path)
    elif kind == "onnx_int8":
        source = path.with_name("float.onnx")
        graphs.write_onnx(weights, source)
        call_maker(path.parent, do="quantize_onnx", source=str(source), target=str(path))
    elif kind == "tflite":
        write_tflite(weights, path)
    else:
        write_tflite(weights, path, graphs.activation_ranges(weights, calibration_images()))
    return path


def _write_of_network(kind: str, found: Prepared, path: Path) -> Path:
    """Of another network than LeNet; others than these are not available then."""
    if kind == "weights" and found.subject.weight_file is not None:
        return found.subject.weight_file
    exported = found.files.exported
    program, params = exported["pdmodel"] if "pdmodel" in exported else exported["json"]
    call_maker(path.parent, do="onnx", program=str(program), params=str(params), target=str(path))
    return path
