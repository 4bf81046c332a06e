"""``export_onnx.py``: from a Paddle or PyTorch model to an ONNX file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lenet_cpp.cli import run_cli
from lenet_cpp.cli._parsers import new_parser
from lenet_cpp.errors import BadInput, Unsupported
from lenet_cpp.interchange.torch import models as torch_models

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

TORCH_SUFFIXES = (".prm", ".pt", ".pth")
"""Of files of PyTorch parameters."""

_DESCRIPTION = """\
Write a classifier as an ONNX file.

The source is an exported Paddle model (a folder, a .pdmodel or a .json; paddle2onnx converts it)
or a file of PyTorch parameters (.prm, .pt or .pth, with --model; PyTorch's own exporter writes it).

The file takes any number of images, and has in its metadata what is known of the model: where it
comes from with checksum, the class names, the preprocessing, the training. It is checked with
onnx.checker, run with onnxruntime and compared with the source on batches of 1 and 3 images
before it is put in its place.
"""

_EPILOG = """\
examples:
  %(prog)s inference_model/lenet -o lenet.onnx
      what ./run.sh made; of two formats the .pdmodel
  %(prog)s inference_model/lenet/lenet.json -o lenet.onnx
      from Paddle 3's format
  %(prog)s net.prm --model lenet -o net.onnx
      what scripts/torch_train.py saved
  %(prog)s net.prm --model resnet18 --num-classes 2 --exporter legacy -o net.onnx
      with the older exporter, in the operators that older readers know

It needs pip install 'lenet-cpp[onnx]', and from PyTorch 'lenet-cpp[torch]' too.

exit status: 0 done; 2 wrong usage; 3 a file is missing; 4 the model or the parameters are damaged,
or do not fit; 5 a name or size cannot be used; 6 not supported, or a package is missing; 8 the ONNX
model computes something else, or a converter failed; 1 anything else, such as a full disk; 130
interrupted.
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
    add("source", metavar="SOURCE", type=Path, help="the model")
    add("-o", "--output", metavar="FILE", type=Path, required=True, help="the .onnx file to write")
    add(
        "-m",
        "--model",
        metavar="NAME",
        help=f"the network of PyTorch parameters: {' or '.join(torch_models.NETWORKS)}",
    )
    add(
        "--num-classes",
        metavar="N",
        type=int,
        help="how many classes PyTorch parameters must have (default: as many as they have)",
    )
    add(
        "--img_size",
        metavar="N",
        type=int,
        help="height and width of the images, for PyTorch parameters (default: those of the"
        " training, or of the network)",
    )
    add(
        "--exporter",
        choices=("dynamo", "legacy"),
        default="dynamo",
        help="PyTorch's exporter: dynamo (operator set 20) or legacy (17) (default: %(default)s)",
    )
    options = parser.parse_args(argv)
    torch = options.source.suffix in TORCH_SUFFIXES
    if torch and options.model is None:
        parser.error("PyTorch parameters have no structure: name the network with --model")
    if not torch and (options.model or options.num_classes or options.img_size):
        parser.error("--model, --num-classes and --img_size go with PyTorch parameters")
    return run_cli(lambda: _command(options, torch=torch))


def _command(options: argparse.Namespace, *, torch: bool) -> int:
    from lenet_cpp.interchange.onnx import export as onnx_export

    if options.output.suffix != ".onnx":
        raise BadInput(f"{options.output}: the output has to be called NAME.onnx")
    if torch:
        done = onnx_export.export_state(
            options.source,
            options.output,
            model=options.model,
            num_classes=options.num_classes,
            img_size=options.img_size,
            exporter=options.exporter,
        )
    else:
        from lenet_cpp.formats import find_source

        found = find_source(options.source)
        if not found.has_program or found.params is None:
            raise Unsupported(
                f"{found.path} is in the format {found.format}: convert it first with"
                " scripts/convert_model.py --to pdmodel"
            )
        done = onnx_export.export_paddle(found.path, found.params, options.output)
    size = done.path.stat().st_size
    print(f"wrote {done.path}: {size:,} bytes, ONNX operator set {done.opset}")
    print(f"checked: outputs differ from the source's by at most {done.max_difference:.3g}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
