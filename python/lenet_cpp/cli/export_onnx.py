"""``lenet-cpp export-onnx``: from a Paddle or PyTorch model to an ONNX file."""

from functools import partial
from pathlib import Path

import click
from click import option

from lenet_cpp.cli import _options as cli
from lenet_cpp.errors import BadInput, Unsupported
from lenet_cpp.formats import find_source
from lenet_cpp.interchange.onnx.export import export_paddle, export_state
from lenet_cpp.interchange.torch.models import NETWORKS

TORCH_SUFFIXES = (".prm", ".pt", ".pth", ".safetensors")
"""Of files of PyTorch parameters."""
torch_network = partial(
    cli.network, help=f"the network of PyTorch parameters: {', '.join(NETWORKS)} or FILE.py:NAME"
)
NO_STRUCTURE = "PyTorch parameters have no structure: name the network with -n"


@cli.command("""
%prog inference_model/lenet -o lenet.onnx
    export the model that ./run.sh made
%prog net.prm -n resnet18 --num-classes 2 -o net.onnx
    export parameters that torch.save wrote
""")
@cli.argument(
    "source",
    metavar="SOURCE",
    type=cli.FILE,
    help="the model: a folder, a .pdmodel, a .json, or PyTorch parameters",
)
@option("-o", "--output", type=cli.FILE, required=True, help="the .onnx file to write")
@option(
    "--exporter",
    type=cli.choice("dynamo", "legacy"),
    default="dynamo",
    help="PyTorch's exporter: dynamo (operator set 20) or legacy (17)",
)
@cli.option_group(
    "Model",
    torch_network(),
    cli.num_classes(help="number of classes (default: those of the training or the network)"),
    cli.image_size(
        help="height and width of the images (default: those of the training or the network)"
    ),
)
def main(
    source: Path,
    output: Path,
    exporter: str,
    network: str | None,
    num_classes: int | None,
    image_size: int | None,
) -> int:
    """Write a classifier as an ONNX file.

    The source is an exported Paddle model (a folder, a .pdmodel or a .json; if a folder has both,
    the .pdmodel) or a file of PyTorch parameters (.prm, .pt, .pth or .safetensors, with -n). The
    ONNX file takes any number of images. Its metadata contain the class names, the preprocessing
    and the origin. Before it replaces an older file, onnx.checker checks it, and its outputs in
    onnxruntime are compared with those of the source.

    The command needs the packages of the extra onnx, and for PyTorch parameters those of the extra
    torch: in a clone pip install '.[onnx,torch]'.
    """
    torch = source.suffix in TORCH_SUFFIXES
    if not torch:
        cli.refuse("network", "num_classes", "image_size", why="is only for PyTorch parameters")
    if output.suffix != ".onnx":
        raise BadInput(f"{output}: the name of the output has to end with .onnx")
    if torch:
        if network is None:
            raise click.UsageError(NO_STRUCTURE)
        done = export_state(
            source,
            output,
            model=network,
            num_classes=num_classes,
            image_size=image_size,
            exporter=exporter,
        )
    else:
        found = find_source(source)
        if not found.has_program or found.params is None:
            raise Unsupported(
                f"{found.path} is in the format {found.format}: convert it first with"
                " lenet-cpp convert --to pdmodel"
            )
        done = export_paddle(found.path, found.params, output)
    size = done.path.stat().st_size
    print(f"wrote {done.path}: {size:,} bytes, ONNX operator set {done.opset}")
    print(f"checked: outputs differ from the source's by at most {done.max_difference:.3g}")
    return 0
