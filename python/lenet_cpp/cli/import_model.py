"""``lenet-cpp import``: from another framework's file to an exported model."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import click
from tqdm import tqdm

from lenet_cpp._base.files import other_content
from lenet_cpp.cli._options import TORCH_MODEL, Options, command, print_files
from lenet_cpp.cli.export_onnx import NO_STRUCTURE, TORCH_SUFFIXES
from lenet_cpp.errors import BadInput, FileNotFound
from lenet_cpp.formats.manifest import sha256_file
from lenet_cpp.interchange.caffe2 import find_nets, read_nets
from lenet_cpp.interchange.onnx import import_onnx
from lenet_cpp.interchange.torch import import_state

_NETS = ("init_net.pb", "predict_net.pb")
_OTHERS = "ONNX and Caffe2"
_TORCH_ONLY = ("model", "num_classes", "image_size", "softmax")
_OTHERS_ONLY = ("like", "preprocess", "input_shape", "output_name")


@command(
    f"""
Arguments:
  SOURCE  the model to import
Options:
  --output-dir  [also: --output] [required]
  --name
  --softmax/--no-softmax
Model:{TORCH_MODEL}\
  --num-classes  (default: as the parameters have)
  --image-size  (default: as the parameters have)
{_OTHERS}:
  --like NAME  a registered model, or FILE.py:SPEC, whose preprocessing and class names hold here
  --preprocess
  --input-shape C,H,W  of one image, when the model leaves it open
  --output-name OUTPUT  the output to keep, of several
Examples:
  %prog net.prm --model lenet --output inference_model/from_torch  what lenet-cpp torch-train saved
  %prog resnet18.onnx --output inference_model/resnet18 --preprocess preprocess.json
      any ONNX classifier, with how its images are prepared
  %prog squeezenet.onnx --output squeezenet --like ResNet18
      one that takes the same images as a model that is known here
  %prog caffe2_nets --output inference_model/from_caffe2  the two files that Caffe2 saved
"""
)
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
    source: Path = options.source
    notes: tuple[str, ...] = ()
    torch = source.suffix in TORCH_SUFFIXES
    for name in _OTHERS_ONLY if torch else _TORCH_ONLY:
        if getattr(options, name):
            other = "an ONNX file" if source.suffix == ".onnx" else "Caffe2 nets"
            kind = "PyTorch parameters" if torch else other
            raise click.UsageError(f"--{name.replace('_', '-')} does not go with {kind}")
    if torch and options.model is None:
        raise click.UsageError(NO_STRUCTURE)
    if not source.exists():
        raise FileNotFound(f"cannot read {source}: no such file or folder; check the path")
    if torch:
        result = import_state(
            source,
            options.model,
            options.output_dir,
            image_size=options.image_size,
            **options.only("num_classes", "name", "softmax"),
        )
    else:
        with ExitStack() as stack:
            path, name, origin = source, options.name, None
            if source.is_dir() or source.name in _NETS:
                nets = find_nets(source)
                shape, output = options.input_shape, options.output_name
                model = read_nets(*nets, input_shape=shape, output_name=output)
                path = Path(stack.enter_context(TemporaryDirectory()), "caffe2.onnx")
                path.write_bytes(model.SerializeToString())
                name = name or "inference"
                sums = {net.name: sha256_file(net) for net in nets}
                origin = {"framework": "caffe2", "files": sums}
            elif source.suffix != ".onnx":
                other = other_content(source, "model")
                raise BadInput(
                    f"{source} is no model that can be imported: expected"
                    f" {', '.join(TORCH_SUFFIXES)}, .onnx, or a folder with {' and '.join(_NETS)}"
                    f"{other and '; '}{other}"
                )
            bar = stack.enter_context(
                tqdm(desc="import", bar_format="{desc}: {postfix}", disable=None, leave=False)
            )
            done = import_onnx(
                path,
                options.output_dir,
                name=name,
                model=options.like,
                origin=origin,
                report=lambda what, *_: bar.set_postfix_str(what),
                **options.only("preprocess", "input_shape", "output_name"),
            )
        result, notes = done.result, done.notes
    print(f"imported {source} into {result.folder}:")
    print_files(result.files)
    for note in notes:
        print(f"note: {note}")
    if result.manifest.num_classes is not None:
        print(f"classes: {result.manifest.num_classes}")
    print(f"checked: outputs differ from the source's by at most {result.max_difference:.3g}")
    return 0
