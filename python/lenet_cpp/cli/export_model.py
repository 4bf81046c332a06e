"""``lenet-cpp export``: from a model's parameters to the files that inference loads."""

from pathlib import Path
from typing import Any

import click
from click import option

from lenet_cpp.cli import _options as cli
from lenet_cpp.errors import BadInput, FileNotFound
from lenet_cpp.export import export_model, export_separate
from lenet_cpp.export.inference_model import EXPORT_FORMATS, EXPORT_TOLERANCE
from lenet_cpp.export.separate_layout import combine_separate
from lenet_cpp.models import resolve


@cli.command("""
%prog ResNet50_vd_pretrained.pdparams -n ResNet50_vd -o resnet50-vd
    export weights that PaddleClas published; a URL works too, with --sha256 to verify the download
%prog -n AlexNet --num-classes 10 --seed 0 -o alexnet
    export random parameters, to try the pipeline
%prog --combine separate_persistables -o combined
    combine one file for each variable into lenet.pdmodel and lenet.pdiparams
""")
@cli.argument(
    "params",
    metavar="[PARAMS]",
    required=False,
    flags=("-p", "--params", "--params-file", "--pretrained"),
    help="the trained parameters: a .pdparams with or without the suffix, its URL, or a folder with"
    " one file for each variable (default for lenet: checkpoints/lenet/lenet.pdparams)",
)
@cli.option_group(
    "Model",
    cli.network(default="lenet"),
    option("--sha256", metavar="HEX", help="expected SHA-256 of the parameter file"),
    cli.num_classes(),
    cli.image_size(),
)
@cli.seed(help="use random parameters from this seed instead of trained ones")
@option(
    "-o",
    "--output-dir",
    "--save_inference_dir",
    type=cli.FOLDER,
    help="the folder to write (default: inference_model/NAME, or inference_model/NAME_separate"
    " with --format separate)",
)
@cli.softmax()
@option(
    "--format",
    "formats",
    type=cli.choice("both", "pdmodel", "json", "separate"),
    help="both programs, one of them, or one file for each variable (default: both)",
)
@option(
    "--combine",
    type=cli.FOLDER,
    help="combine an exported model with one file for each variable into NAME.pdmodel and"
    " NAME.pdiparams; no parameters are exported",
)
def main(
    params: str | None,
    network: str,
    sha256: str | None,
    num_classes: int | None,
    image_size: int | None,
    seed: int | None,
    output_dir: Path | None,
    softmax: bool | None,
    formats: str | None,
    combine: Path | None,
) -> int:
    """Export trained parameters (.pdparams) as an inference model.

    NAME is lenet for LeNet, and inference for other networks. The output folder gets:
      NAME.pdmodel     the program in the format that every version of Paddle reads
      NAME.json        the same program in Paddle 3's format (PIR)
      NAME.pdiparams   the parameters of both
      preprocess.json  how an image becomes the input
      manifest.json    facts about the model: inputs, outputs, training, checksums
      SHA256SUMS       checksums; 'sha256sum -c SHA256SUMS' in the folder verifies it
    Before the output replaces an older export, it is loaded and compared with the network.
    """
    if combine is not None:
        cli.refuse(
            "params",
            "sha256",
            "seed",
            "num_classes",
            "image_size",
            "softmax",
            "formats",
            why="cannot be combined with --combine, which converts an exported model",
        )
    if params is not None and seed is not None:
        raise click.UsageError(
            "PARAMS cannot be combined with --seed, which sets random parameters; leave one out"
        )
    spec = resolve(network)
    separate = formats == "separate"
    output = output_dir or Path("inference_model") / (
        f"{spec.name}_separate" if separate else spec.name
    )
    if combine is not None:
        result = combine_separate(combine, output, name=spec.stem)
        check = f"outputs are those of {combine}, bit for bit"
    else:
        arguments: dict[str, Any] = {
            "model": spec,
            "softmax": bool(softmax),
            "num_classes": num_classes,
            "image_size": image_size,
            "seed": seed,
            "sha256": sha256,
        }
        if params is None and seed is None:
            if spec.name != "lenet":
                raise BadInput(
                    f"{spec.name} needs trained parameters (-p), or --seed N for random ones, which"
                    " cannot recognise anything"
                )
            params = "checkpoints/lenet/lenet.pdparams"
            if not Path(params).exists():
                raise FileNotFound(
                    f"{params} does not exist: train the parameters with lenet-cpp train, or name"
                    " others with -p"
                )
        if separate:
            result = export_separate(params, output, **arguments)
        else:
            written = EXPORT_FORMATS if formats is None or formats == "both" else (formats,)
            result = export_model(params, output, formats=written, **arguments)
        whose = "the trained model's" if seed is None else "the untrained model's"
        check = (
            f"outputs differ from {whose} by at most {result.max_difference:g}"
            f" (allowed: {EXPORT_TOLERANCE:g})"
        )
    print(f"wrote {result.folder}:")
    cli.print_files(result.files)
    cli.print_check(check, result.refusal)
    return 0
