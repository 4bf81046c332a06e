"""``lenet-cpp export-onnx``: from a Paddle or PyTorch model to an ONNX file."""

from __future__ import annotations

import click

from lenet_cpp.cli._options import TORCH_MODEL, Options, command
from lenet_cpp.errors import BadInput, Unsupported
from lenet_cpp.formats import find_source
from lenet_cpp.interchange.onnx.export import export_paddle, export_state

TORCH_SUFFIXES = (".prm", ".pt", ".pth", ".safetensors")
"""Of files of PyTorch parameters."""
NO_STRUCTURE = "PyTorch parameters have no structure: name the network with --model"


@command(
    f"""
Arguments:
  SOURCE  the model
Options:
  -o, --output FILE  the .onnx file to write [required]
  --exporter dynamo|legacy
      PyTorch's exporter: dynamo (operator set 20) or legacy (17) [default: dynamo]
Model:{TORCH_MODEL}\
  --num-classes  (default: those of the training, or of the network)
  --image-size  (default: those of the training, or of the network)
Examples:
  %prog inference_model/lenet -o lenet.onnx  what ./run.sh made; of two formats the .pdmodel
  %prog inference_model/lenet/lenet.json -o lenet.onnx  from Paddle 3's format
  %prog net.prm --model lenet -o net.onnx  what lenet-cpp torch-train saved
  %prog net.prm --model resnet18 --num-classes 2 --exporter legacy -o net.onnx
      with the older exporter, in the operators that older readers know
"""
)
def main(options: Options) -> int:
    """Write a classifier as an ONNX file.

    The source is an exported Paddle model (a folder, a .pdmodel or a .json; paddle2onnx
    converts it) or a file of PyTorch parameters (.prm, .pt or .pth, with --model; PyTorch's own
    exporter writes it).

    The file takes any number of images, and has in its metadata what is known of the model:
    where it comes from with checksum, the class names, the preprocessing, the training. It is
    checked with onnx.checker, run with onnxruntime and compared with the source on batches of 1
    and 3 images before it is put in its place.

    It needs pip install 'lenet-cpp[onnx]', and from PyTorch 'lenet-cpp[torch]' too.
    """
    torch = options.source.suffix in TORCH_SUFFIXES
    if torch and options.model is None:
        raise click.UsageError(NO_STRUCTURE)
    if not torch and (options.model or options.num_classes or options.image_size):
        raise click.UsageError("--model, --num-classes and --image-size go with PyTorch parameters")
    if options.output.suffix != ".onnx":
        raise BadInput(f"{options.output}: the output has to be called NAME.onnx")
    if torch:
        done = export_state(
            options.source,
            options.output,
            model=options.model,
            num_classes=options.num_classes,
            image_size=options.image_size,
            exporter=options.exporter,
        )
    else:
        found = find_source(options.source)
        if not found.has_program or found.params is None:
            raise Unsupported(
                f"{found.path} is in the format {found.format}: convert it first with"
                " lenet-cpp convert --to pdmodel"
            )
        done = export_paddle(found.path, found.params, options.output)
    size = done.path.stat().st_size
    print(f"wrote {done.path}: {size:,} bytes, ONNX operator set {done.opset}")
    print(f"checked: outputs differ from the source's by at most {done.max_difference:.3g}")
    return 0
