"""``import_model.py``: from another framework's file to an exported model."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from lenet_cpp._base.files import other_content
from lenet_cpp.cli import run_cli
from lenet_cpp.cli._parsers import new_parser
from lenet_cpp.cli.export_onnx import TORCH_SUFFIXES
from lenet_cpp.errors import BadInput, FileNotFound
from lenet_cpp.interchange.torch import models as torch_models

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

    from lenet_cpp.formats.installation import ExportResult

_DESCRIPTION = """\
Make of another framework's classifier what the C++ program, lenet_cpp and paddle.inference load.
The suffix says what the source is:

  .prm, .pt, .pth   PyTorch parameters (state_dict) of the network --model
  .onnx             any ONNX classifier of one float32 input
  a folder          Caffe2: init_net.pb and predict_net.pb; or name init_net.pb

The output folder gets NAME.pdmodel, NAME.json, NAME.pdiparams, manifest.json, SHA256SUMS and, when
it is known how images are prepared, preprocess.json. Before any of it is written, the answers of
paddle.inference and lenet_cpp are compared with the source's own (PyTorch, or ONNX in onnxruntime).
"""

_EPILOG = """\
examples:
  %(prog)s net.prm --model lenet --output inference_model/from_torch
      what scripts/torch_train.py saved
  %(prog)s resnet18.onnx --output inference_model/resnet18 --preprocess preprocess.json
      any ONNX classifier, with how its images are prepared
  %(prog)s squeezenet.onnx --output squeezenet --like ResNet18
      one that takes the same images as a model that is known here
  %(prog)s caffe2_nets --output inference_model/from_caffe2
      the two files that Caffe2 saved

It needs pip install 'lenet-cpp[torch]' for PyTorch parameters, 'lenet-cpp[onnx]' for the others.

exit status: 0 done; 2 wrong usage; 3 a file is missing; 4 the source is damaged, not valid, or not
the network that it is said to be; 5 a name, a size or a folder cannot be used; 6 an operator is
not supported, which is named, or a package is missing; 8 what was converted computes something
else, or a converter failed; 1 anything else, such as a full disk; 130 interrupted.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: The arguments; those of the process when None.

    Returns:
        The exit code.
    """
    parser = new_parser(_DESCRIPTION, _EPILOG)
    add = parser.add_argument
    add("source", metavar="SOURCE", type=Path, help="the model to import")
    add("-o", "--output", metavar="DIR", type=Path, required=True, help="the folder to write")
    add("--name", metavar="STEM", help="stem of the files (default: the source's or the network's)")
    torch = parser.add_argument_group("PyTorch parameters")
    torch.add_argument(
        "-m",
        "--model",
        metavar="NAME",
        help=f"the network: {' or '.join(torch_models.NETWORKS)}",
    )
    torch.add_argument(
        "--num-classes",
        metavar="N",
        type=int,
        help="how many classes it must have (default: as many as the parameters have)",
    )
    torch.add_argument("--img_size", metavar="N", type=int, help="height and width of the images")
    torch.add_argument("--softmax", action="store_true", help="append a softmax")
    other = parser.add_argument_group("ONNX and Caffe2")
    other.add_argument(
        "--like",
        metavar="NAME",
        help="a registered model whose preprocessing and class names hold for this one",
    )
    other.add_argument(
        "--preprocess",
        metavar="FILE",
        type=Path,
        help="how images are prepared, as docs/preprocessing.md describes it",
    )
    other.add_argument(
        "--input_shape",
        metavar="C,H,W",
        type=_sizes,
        help="of one image, when the model leaves it open",
    )
    other.add_argument("--output_name", metavar="NAME", help="the output to keep, of several")
    options = parser.parse_args(argv)
    kind = _kind(options.source)
    wrong = (
        ("like", "preprocess", "input_shape", "output_name")
        if kind is _TORCH
        else ("model", "num_classes", "img_size", "softmax")
    )
    for name in wrong:
        if getattr(options, name):
            parser.error(f"--{name.replace('_c', '-c')} does not go with {kind.what}")
    if kind is _TORCH and options.model is None:
        parser.error("PyTorch parameters have no structure: name the network with --model")
    return run_cli(lambda: _command(options, kind))


def _sizes(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


def _command(options: argparse.Namespace, kind: _Kind) -> int:
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


def _from_torch(options: argparse.Namespace) -> tuple[ExportResult, Sequence[str]]:
    from lenet_cpp.interchange.torch.state import import_state

    result = import_state(
        options.source,
        options.model,
        options.output,
        num_classes=options.num_classes,
        img_size=options.img_size,
        name=options.name,
        softmax=options.softmax,
    )
    return result, ()


def _from_onnx(options: argparse.Namespace) -> tuple[ExportResult, Sequence[str]]:
    return _import(options, options.source, options.name)


def _from_caffe2(options: argparse.Namespace) -> tuple[ExportResult, Sequence[str]]:
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
    options: argparse.Namespace, path: Path, name: str | None, origin: dict[str, Any] | None = None
) -> tuple[ExportResult, Sequence[str]]:
    from lenet_cpp.interchange.onnx.import_ import import_onnx

    with tqdm(desc="import", bar_format="{desc}: {postfix}", disable=None, leave=False) as bar:
        done = import_onnx(
            path,
            options.output,
            name=name,
            model=options.like,
            preprocess=options.preprocess,
            input_shape=options.input_shape,
            output_name=options.output_name,
            origin=origin,
            report=lambda what, *_: bar.set_postfix_str(what),
        )
    return done.result, done.notes


def _unknown(options: argparse.Namespace) -> tuple[ExportResult, Sequence[str]]:
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
    read: Callable[[argparse.Namespace], tuple[ExportResult, Sequence[str]]]


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


if __name__ == "__main__":
    raise SystemExit(main())
