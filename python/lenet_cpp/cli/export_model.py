"""``lenet-cpp export``: from a model's parameters to the files that inference loads."""

from __future__ import annotations

from pathlib import Path

import click

from lenet_cpp.cli._options import Options, command, print_check, print_files
from lenet_cpp.errors import BadInput, FileNotFound
from lenet_cpp.export import export_model, export_separate
from lenet_cpp.export.inference_model import EXPORT_FORMATS, EXPORT_TOLERANCE
from lenet_cpp.export.separate_layout import combine_separate
from lenet_cpp.models import MODELS, resolve


@command(
    f"""
Arguments:
  [PARAMS]  the trained parameters: .pdparams, with or without the suffix, or its URL, or a folder
      with a file for each variable (default for lenet: checkpoints/lenet/lenet.pdparams)
      [also: -p, --params, --pretrained]
Model:
  --model  the model: {", ".join(MODELS)}, in upper or lower case; or FILE.py:SPEC, a ModelSpec of
      your own [default: lenet]
  --sha256 HEX  what the SHA-256 of the parameter file must be
  --num-classes
  --image-size
Options:
  --seed  random parameters from this seed instead of trained ones
  --output-dir  the folder to write (default: inference_model/NAME of the model;
      inference_model/NAME_separate with --format separate) [also: --save_inference_dir]
  --softmax/--no-softmax
  --format both|pdmodel|json|separate  what to write: both programs, one of them, or the old layout
      with one file for each variable (default: both)
  --combine DIR  instead of exporting parameters, convert DIR, a model in the old layout, to
      NAME.pdmodel and NAME.pdiparams
Examples:
  %prog  checkpoints/lenet/lenet.pdparams to inference_model/lenet, both formats
  %prog -m ResNet50_vd -p ResNet50_vd_pretrained.pdparams -o resnet50-vd
      published weights, of PaddleClas; a URL will do too, with --sha256 to be sure
  %prog -m AlexNet --class_dim 10 --seed 0 -o alexnet  random parameters, to try things out
  %prog -p my/lenet.pdparams -o my/export --softmax  other places, and probabilities as the output
  %prog --format separate -o separate_persistables
      the old layout: __model__ and one file for each variable
  %prog --combine separate_persistables -o combined  and back: lenet.pdmodel and lenet.pdiparams
"""
)
def main(options: Options) -> int:
    """Turn the parameters of a model (.pdparams) into the files that Paddle Inference loads.

    The output folder gets, for LeNet under the name lenet, for other models under inference:
      NAME.pdmodel     the program in the format that every Paddle reads
      NAME.json        the same program in Paddle 3's format (PIR)
      NAME.pdiparams   the parameters, for either of the two; beside a .pdmodel also
                       NAME.pdiparams.info, where Paddle has their names in the layer
      preprocess.json  how an image becomes the input
      manifest.json    what the model is: inputs, outputs, training, checksums
      SHA256SUMS       checksums; 'sha256sum -c SHA256SUMS' in the folder verifies it
    The input is called x: float32 [N, 1, 28, 28] for lenet with pixels in [0, 1], [N, 3, S, S]
    for the others with S of --image-size; any N. The output is [N, classes]: logits, or
    probabilities with --softmax.

    What was written is loaded back and compared with the layer before it replaces an older
    export; a failure leaves the older one as it was.
    """
    if options.combine is not None:
        for name in ("params", "sha256", "seed", "num_classes", "image_size", "softmax", "format"):
            if getattr(options, name) is not None:
                flag = "--" + name.replace("_", "-")
                raise click.UsageError(
                    f"{flag} does not go with --combine, which converts a finished model"
                )
    if options.params is not None and options.seed is not None:
        raise click.UsageError(
            "--params and --seed: the parameters are trained ones or random ones"
        )
    spec = resolve(options.model)
    separate = options.format == "separate"
    output = options.output_dir or Path("inference_model") / (
        f"{spec.name}_separate" if separate else spec.name
    )
    if options.combine is not None:
        result = combine_separate(options.combine, output, name=spec.stem)
        check = f"outputs are those of {options.combine}, bit for bit"
    else:
        arguments = {
            "model": spec,
            "softmax": bool(options.softmax),
            "num_classes": options.num_classes,
            "image_size": options.image_size,
            **options.only("seed", "sha256"),
        }
        params = options.params
        if params is None and options.seed is None:
            if spec.name != "lenet":
                raise BadInput(
                    f"{spec.name} needs its parameters (-p), or --seed N for random ones, which"
                    " recognise nothing"
                )
            params = Path("checkpoints", "lenet", "lenet.pdparams")
            if not params.exists():
                raise FileNotFound(
                    f"there are no parameters {params}: train them with lenet-cpp train, or name"
                    " others with -p"
                )
        if separate:
            result = export_separate(params, output, **arguments)
        else:
            formats = EXPORT_FORMATS if options.format in {None, "both"} else (options.format,)
            result = export_model(params, output, formats=formats, **arguments)
        whose = "the trained model's" if options.seed is None else "the untrained model's"
        check = (
            f"outputs differ from {whose} by at most {result.max_difference:g}"
            f" (allowed: {EXPORT_TOLERANCE:g})"
        )
    print(f"wrote {result.folder}:")
    print_files(result.files)
    print_check(check, result.refusal)
    return 0
