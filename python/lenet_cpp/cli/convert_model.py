"""``lenet-cpp convert``: from one of Paddle's formats to another."""

from __future__ import annotations

import click

from lenet_cpp.cli._options import Options, command, print_check, print_files
from lenet_cpp.export import convert_model
from lenet_cpp.formats import FORMATS
from lenet_cpp.interchange.onnx import fix_sizes

_TEXT = """\
Convert a model from one of Paddle's formats to another:

{formats}

The source is a file, a path without suffix, or a folder. What was written is run and compared
with the source, and loaded as predict loads it, before it is put in its place; docs/formats.md
has who reads and writes each format. From a source without structure, and for what Paddle has no
translation for (json to an older format, anything to pdparams), the parameters are loaded into
the network of that name (--model), unless manifest.json beside the source names it.
"""


@command(
    f"""
Arguments:
  SOURCE  the model to convert
Options:
  --output-dir  [required]
  --to {"|".join(FORMATS)}|onnx
      what to write; onnx, of an .onnx, to fix the sizes of its images [required]
  --from {"|".join(FORMATS)}
      which one to take when SOURCE has several formats (default: .pdmodel before .json)
  --softmax/--no-softmax
  --name
Model:
  --model  the network: a registered name, or FILE.py:SPEC (default: the one that the source's
      manifest.json names)
  --num-classes  (default: the source's)
  --image-size C,H,W
      the sizes of an image or the last ones, or one number for height and width: a program for
      images of any size becomes one for these (default: the source's) [also: --input-shape,
      --img_size]
Examples:
  %prog inference_model/lenet/lenet.json -o old --to separate
      from Paddle 3's format to one file for each variable and __model__
  %prog ResNet50_vd_persistable -o resnet50-vd --to model-params -m ResNet50_vd
      a folder of variables, as fluid.io.save_persistables wrote it, to model and params
  %prog resnet50-vd -o checkpoint --to pdparams -m ResNet50_vd
      and from there to a state dict to fine-tune
  %prog cls.onnx -o fixed --to onnx --image-size 48,192
      a model for images of any size becomes one for 48 x 192 pixels; so it does in Paddle's formats
""",
    text=_TEXT.format(formats="\n".join(f"  {name:<12}  {what}" for name, what in FORMATS.items())),
)
def main(options: Options) -> int:
    """Convert a model."""
    sizes = options.image_size and options.image_size * (1 + (len(options.image_size) == 1))
    if options.to == "onnx":
        source = options.source
        if source.is_dir():
            files = sorted(source.glob("*.onnx"))
            source = files[0] if len(files) == 1 else source
        if source.suffix != ".onnx":
            raise click.UsageError(
                "--to onnx fixes the sizes of an .onnx; export-onnx writes one of a network"
            )
        given = ("model", "num_classes", "softmax", "from")
        if others := [name for name in given if getattr(options, name) is not None]:
            raise click.UsageError(f"--{others[0].replace('_', '-')} is not for --to onnx")
        if sizes is None:
            raise click.UsageError("of an .onnx, --to onnx fixes the sizes: add --image-size H,W")
        written, difference = fix_sizes(source, options.output_dir, sizes, name=options.name)
        print(f"fixed the sizes of {source} in {options.output_dir}:")
        print_files(written)
        print_check(f"outputs differ from the source's by at most {difference:g}", "")
        return 0
    done = convert_model(
        options.source,
        options.output_dir,
        options.to,
        source_format=getattr(options, "from"),
        num_classes=options.num_classes,
        image_size=sizes,
        **options.only("model", "softmax", "name"),
    )
    print(f"converted {done.source.path} ({done.source.format}) to {options.to} in {done.folder}:")
    print_files(done.files)
    found = f"outputs differ from the source's by at most {done.max_difference:g}"
    print_check(found, done.refusal)
    return 0
