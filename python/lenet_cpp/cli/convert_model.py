"""``lenet-cpp convert``: from one of Paddle's formats to another."""

from pathlib import Path

import click
from click import option

from lenet_cpp.cli import _options as cli
from lenet_cpp.export import convert_model
from lenet_cpp.formats import FORMATS
from lenet_cpp.interchange.onnx import fix_sizes


@cli.command("""
%prog inference_model/lenet/lenet.json -o old --to separate
    convert Paddle 3's format to __model__ and one file for each variable
%prog ResNet50_vd_persistable -o resnet50-vd --to model-params -n ResNet50_vd
    convert a folder that fluid.io.save_persistables wrote to model and params
%prog cls.onnx -o fixed --to onnx --image-size 48,192
    fix the image size of a model to 48 x 192 pixels; this works in Paddle's formats too
""")
@cli.argument(
    "source",
    metavar="SOURCE",
    type=cli.FILE,
    help="the model to convert: a file, a path without suffix, or a folder",
)
@cli.output_dir(required=True)
@option(
    "--to",
    type=cli.choice(*FORMATS, "onnx"),
    required=True,
    help="format to write; onnx fixes the image size of an .onnx",
)
@option(
    "--from",
    "source_format",
    type=cli.choice(*FORMATS),
    help="format to read if SOURCE has several (default: .pdmodel, or else .json)",
)
@cli.softmax()
@cli.stem()
@cli.option_group(
    "Model",
    cli.network(
        help="the network, if SOURCE has no program: a registered name, or FILE.py:SPEC (default:"
        " the one that the source's manifest.json names)"
    ),
    cli.num_classes(help="number of classes (default: the source's)"),
    option(
        "--image-size",
        "--img_size",
        "--input-shape",
        type=cli.SHAPE,
        metavar="C,H,W",
        help="size of an image: C,H,W or H,W, or one number for height and width; fixes the size if"
        " the source takes any size (default: the source's)",
    ),
)
def main(
    source: Path,
    output_dir: Path,
    to: str,
    source_format: str | None,
    softmax: bool | None,
    name: str | None,
    network: str | None,
    num_classes: int | None,
    image_size: tuple[int, ...] | None,
) -> int:
    """Convert a model from one of Paddle's formats to another.

      {formats}

    Before the output replaces an older one, it is run and compared with the source, and loaded as
    predict loads it. docs/formats.md lists the programs that read and write each format.
    """
    sizes = image_size and image_size * (1 + (len(image_size) == 1))
    if to == "onnx":
        if source.is_dir():
            files = sorted(source.glob("*.onnx"))
            source = files[0] if len(files) == 1 else source
        if source.suffix != ".onnx":
            raise click.UsageError(
                "--to onnx needs an .onnx, whose image size it fixes; use export-onnx to convert"
                " a Paddle or PyTorch model"
            )
        cli.refuse(
            "network",
            "num_classes",
            "softmax",
            "source_format",
            why="cannot be combined with --to onnx",
        )
        if sizes is None:
            raise click.UsageError("--to onnx needs the image size to fix: add --image-size H,W")
        written, difference = fix_sizes(source, output_dir, sizes, name=name)
        print(f"fixed the sizes of {source} in {output_dir}:")
        cli.print_files(written)
        cli.print_check(f"outputs differ from the source's by at most {difference:g}", "")
        return 0
    done = convert_model(
        source,
        output_dir,
        to,
        source_format=source_format,
        num_classes=num_classes,
        image_size=sizes,
        model=network,
        softmax=softmax,
        name=name,
    )
    print(f"converted {done.source.path} ({done.source.format}) to {to} in {done.folder}:")
    cli.print_files(done.files)
    found = f"outputs differ from the source's by at most {done.max_difference:g}"
    cli.print_check(found, done.refusal)
    return 0


main.help = str(main.help).format(
    formats="\n      ".join(f"{name:<12}  {what}" for name, what in FORMATS.items())
)
