"""``lenet-cpp import``: from another framework's file to an exported model."""

from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import click
from click import option
from tqdm import tqdm

from lenet_cpp._base.files import other_content
from lenet_cpp.cli import _options as cli
from lenet_cpp.cli.export_onnx import NO_STRUCTURE, TORCH_SUFFIXES, torch_network
from lenet_cpp.errors import BadInput, FileNotFound
from lenet_cpp.formats.manifest import sha256_file
from lenet_cpp.interchange.caffe2 import find_nets, read_nets
from lenet_cpp.interchange.onnx import import_onnx
from lenet_cpp.interchange.torch import import_state

_NETS = ("init_net.pb", "predict_net.pb")
_TORCH_ONLY = ("network", "num_classes", "image_size", "softmax")
_OTHERS_ONLY = ("like", "preprocess", "input_shape", "output_name")


@cli.command("""
%prog net.prm -n lenet -o inference_model/from_torch
    import parameters that lenet-cpp torch-train saved
%prog squeezenet.onnx -o squeezenet --like ResNet18
    import an ONNX classifier that takes the same images as a registered network
%prog caffe2_nets -o inference_model/from_caffe2
    import the two files that Caffe2 saved
""")
@cli.argument("source", metavar="SOURCE", type=cli.FILE, help="the model to import")
@option(
    "-o", "--output-dir", "--output", type=cli.FOLDER, required=True, help="the folder to write"
)
@cli.stem()
@cli.option_group(
    "PyTorch parameters",
    torch_network(),
    cli.num_classes(help="number of classes (default: those of the parameters)"),
    cli.image_size(help="height and width of the images (default: those of the parameters)"),
    cli.softmax(),
)
@cli.option_group(
    "ONNX and Caffe2",
    option(
        "--like",
        metavar="NAME",
        help="a network of the registry, or FILE.py:SPEC, with the same preprocessing and classes",
    ),
    cli.preprocess(),
    option(
        "--input-shape",
        type=cli.SHAPE,
        metavar="C,H,W",
        help="shape of one image, if the model takes any",
    ),
    option("--output-name", metavar="OUTPUT", help="the output to keep, if the model has several"),
)
def main(
    source: Path,
    output_dir: Path,
    name: str | None,
    network: str | None,
    num_classes: int | None,
    image_size: int | None,
    softmax: bool | None,
    like: str | None,
    preprocess: Path | None,
    input_shape: tuple[int, ...] | None,
    output_name: str | None,
) -> int:
    """Import a model from PyTorch, ONNX or Caffe2.

      .prm, .pt, .pth, .safetensors
          PyTorch parameters (state_dict) of the network -n
      .onnx             any ONNX classifier with one float32 input
      a folder          with one .onnx; or Caffe2: init_net.pb and predict_net.pb, or name
                        init_net.pb

    The output folder has the files of any exported model, and a preprocess.json if it is known how
    images are prepared. The description and the labels are those that lenet-cpp predict uses for
    the .onnx: of the files beside it, or of its metadata. Before the folder is written, the outputs
    of paddle.inference and lenet_cpp are compared with those of the source (in PyTorch, or as ONNX
    in onnxruntime).

    The command needs the packages of the extra torch for PyTorch parameters, and those of the extra
    onnx for the other sources: in a clone pip install '.[onnx,torch]'.
    """
    notes: tuple[str, ...] = ()
    source = _only_onnx(source) or source
    torch = source.suffix in TORCH_SUFFIXES
    other = "an ONNX file" if source.suffix == ".onnx" else "Caffe2 nets"
    if torch:
        cli.refuse(*_OTHERS_ONLY, why="cannot be used with PyTorch parameters")
        if network is None:
            raise click.UsageError(NO_STRUCTURE)
    else:
        cli.refuse(*_TORCH_ONLY, why=f"cannot be used with {other}")
    if not source.exists():
        raise FileNotFound(f"cannot read {source}: no such file or folder; check the path")
    if network is not None:
        result = import_state(
            source,
            network,
            output_dir,
            num_classes=num_classes,
            image_size=image_size,
            name=name,
            softmax=bool(softmax),
        )
    else:
        with ExitStack() as stack:
            path, origin = source, None
            if source.is_dir() or source.name in _NETS:
                nets = find_nets(source)
                model = read_nets(*nets, input_shape=input_shape, output_name=output_name)
                path = Path(stack.enter_context(TemporaryDirectory()), "caffe2.onnx")
                path.write_bytes(model.SerializeToString())
                name = name or "inference"
                sums = {net.name: sha256_file(net) for net in nets}
                origin = {"framework": "caffe2", "files": sums}
            elif source.suffix != ".onnx":
                other = other_content(source, "model")
                raise BadInput(
                    f"{source} cannot be imported: expected"
                    f" {', '.join(TORCH_SUFFIXES)}, .onnx, or a folder with {' and '.join(_NETS)}"
                    f"{other and '; '}{other}"
                )
            bar = stack.enter_context(
                tqdm(desc="import", bar_format="{desc}: {postfix}", disable=None, leave=False)
            )
            done = import_onnx(
                path,
                output_dir,
                name=name,
                model=like,
                origin=origin,
                preprocess=preprocess,
                input_shape=input_shape,
                output_name=output_name,
                report=lambda what, *_: bar.set_postfix_str(what),
            )
        result, notes = done.result, done.notes
    print(f"imported {source} into {result.folder}:")
    cli.print_files(result.files)
    for note in notes:
        print(f"note: {note}")
    if result.manifest.num_classes is not None:
        print(f"classes: {result.manifest.num_classes}")
    print(f"checked: outputs differ from the source's by at most {result.max_difference:.3g}")
    return 0


def _only_onnx(folder: Path) -> Path | None:
    """Return the .onnx in a folder that has no nets of Caffe2; None where there is none.

    Raises:
        BadInput: There are several.
    """
    if not folder.is_dir() or any((folder / name).is_file() for name in _NETS):
        return None
    found = sorted(folder.glob("*.onnx"))
    if len(found) > 1:
        names = ", ".join(map(str, found))
        raise BadInput(f"{folder} holds several models: name one of {names}")
    return found[0] if found else None
