"""``lenet-cpp import``: from another framework's file to an exported model."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from tqdm import tqdm

from lenet_cpp._base.files import other_content
from lenet_cpp.cli import _shared as shared
from lenet_cpp.cli._command import FILE, POSITIVE, CommaList, Options, argument, command, option
from lenet_cpp.cli.export_onnx import TORCH_SUFFIXES
from lenet_cpp.errors import BadInput, FileNotFound

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lenet_cpp.formats.installation import ExportResult

_OTHERS = "ONNX and Caffe2"
_TORCH_ONLY = ("model", "num_classes", "image_size", "softmax")
_OTHERS_ONLY = ("like", "preprocess", "input_shape", "output_name")


@command(
    examples="""\
  {prog} net.prm --model lenet --output inference_model/from_torch
      what lenet-cpp torch-train saved
  {prog} resnet18.onnx --output inference_model/resnet18 --preprocess preprocess.json
      any ONNX classifier, with how its images are prepared
  {prog} squeezenet.onnx --output squeezenet --like ResNet18
      one that takes the same images as a model that is known here
  {prog} caffe2_nets --output inference_model/from_caffe2
      the two files that Caffe2 saved
"""
)
@argument("source", "the model to import", type=FILE)
@shared.output_dir("the folder to write", also="--output", required=True)
@shared.stem
@shared.torch_model
@shared.sizes("as the parameters have")
@shared.softmax
@option(
    "--like NAME",
    "a registered model, or FILE.py:SPEC, whose preprocessing and class names hold here",
    group=_OTHERS,
    type=shared.NETWORK,
)
@shared.preprocess
@option(
    "--input-shape C,H,W",
    "of one image, when the model leaves it open",
    group=_OTHERS,
    type=CommaList(POSITIVE, unique=False),
)
@option("--output-name NAME", "the output to keep, of several", group=_OTHERS)
def main(options: Options) -> int:
    """Import a model from PyTorch, ONNX or Caffe2.

    Make of another framework's classifier what the C++ program, lenet_cpp and paddle.inference
    load. The suffix says what the source is:

      .prm, .pt, .pth   PyTorch parameters (state_dict) of the network --model
      .onnx             any ONNX classifier of one float32 input
      a folder          Caffe2: init_net.pb and predict_net.pb; or name init_net.pb

    The output folder gets NAME.pdmodel, NAME.json, NAME.pdiparams, manifest.json, SHA256SUMS
    and, when it is known how images are prepared, preprocess.json. Before any of it is written,
    the answers of paddle.inference and lenet_cpp are compared with the source's own (PyTorch,
    or ONNX in onnxruntime).

    It needs pip install 'lenet-cpp[torch]' for PyTorch parameters, 'lenet-cpp[onnx]' for the
    others.
    """
    kind = _kind(options.source)
    for name in _OTHERS_ONLY if kind is _TORCH else _TORCH_ONLY:
        if getattr(options, name):
            flag = "--" + name.replace("_", "-")
            raise click.UsageError(f"{flag} does not go with {kind.what}")
    if kind is _TORCH and options.model is None:
        raise click.UsageError(
            "PyTorch parameters have no structure: name the network with --model"
        )
    if not options.source.exists():
        raise FileNotFound(f"cannot read {options.source}: no such file or folder")
    result, notes = kind.read(options)
    print(f"imported {options.source} into {result.folder}:")
    for path in result.files:
        print(f"  {path.name}  {path.stat().st_size:,} bytes")
    for note in notes:
        print(f"note: {note}")
    if result.manifest.class_dim is not None:
        print(f"classes: {result.manifest.class_dim}")
    print(f"checked: outputs differ from the source's by at most {result.max_difference:.3g}")
    return 0


def _from_torch(options: Options) -> tuple[ExportResult, Sequence[str]]:
    from lenet_cpp.interchange.torch.state import import_state

    result = import_state(
        options.source,
        options.model,
        options.output_dir,
        num_classes=options.num_classes,
        img_size=options.image_size,
        name=options.name,
        softmax=options.softmax,
    )
    return result, ()


def _from_onnx(options: Options) -> tuple[ExportResult, Sequence[str]]:
    return _import(options, options.source, options.name)


def _from_caffe2(options: Options) -> tuple[ExportResult, Sequence[str]]:
    from lenet_cpp._base.optional import require
    from lenet_cpp.formats.manifest import sha256_file
    from lenet_cpp.interchange.caffe2.nets import read_nets

    require("onnx", "onnxruntime", extra="onnx")
    folder = options.source if options.source.is_dir() else options.source.parent
    files = [folder / name for name in _CAFFE2_NAMES]
    for file in files:
        if not file.is_file():
            raise FileNotFound(f"cannot read {file}: no such file")
    model = read_nets(*files, input_shape=options.input_shape, output_name=options.output_name)
    sums = {file.name: sha256_file(file) for file in files}
    origin: dict[str, Any] = {"framework": "caffe2", "files": sums}
    with tempfile.TemporaryDirectory(prefix="lenet_cpp-") as name:
        path = Path(name, "caffe2.onnx")
        path.write_bytes(model.SerializeToString())
        return _import(options, path, options.name or "inference", origin)


def _import(
    options: Options, path: Path, name: str | None, origin: dict[str, Any] | None = None
) -> tuple[ExportResult, Sequence[str]]:
    from lenet_cpp.interchange.onnx.import_ import import_onnx

    with tqdm(desc="import", bar_format="{desc}: {postfix}", disable=None, leave=False) as bar:
        done = import_onnx(
            path,
            options.output_dir,
            name=name,
            model=options.like,
            preprocess=options.preprocess,
            input_shape=options.input_shape,
            output_name=options.output_name,
            origin=origin,
            report=lambda what, *_: bar.set_postfix_str(what),
        )
    return done.result, done.notes


def _unknown(options: Options) -> tuple[ExportResult, Sequence[str]]:
    other = other_content(options.source, "model")
    raise BadInput(
        f"{options.source} is no model that can be imported: expected"
        f" {', '.join(TORCH_SUFFIXES)}, .onnx, or a folder with {' and '.join(_CAFFE2_NAMES)}"
        f"{other and '; '}{other}"
    )


@dataclass(frozen=True)
class _Kind:
    """What a source is, and what reads it."""

    what: str
    read: Callable[[Options], tuple[ExportResult, Sequence[str]]]


_CAFFE2_NAMES = ("init_net.pb", "predict_net.pb")
_TORCH = _Kind("PyTorch parameters", _from_torch)
_ONNX = _Kind("an ONNX file", _from_onnx)
_CAFFE2 = _Kind("Caffe2 nets", _from_caffe2)
_OTHER = _Kind("such a file", _unknown)


def _kind(source: Path) -> _Kind:
    if source.suffix in TORCH_SUFFIXES:
        return _TORCH
    if source.suffix == ".onnx":
        return _ONNX
    if source.is_dir() or source.name in _CAFFE2_NAMES:
        return _CAFFE2
    return _OTHER
