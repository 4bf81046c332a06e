"""``lenet-cpp verify``: do C++ and Python give the same answers?"""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import click

from lenet_cpp._base.files import write_text
from lenet_cpp._base.optional import require_paddle
from lenet_cpp.cli import _shared as shared
from lenet_cpp.cli._command import FOLDER, CommaList, Options, argument, command, option
from lenet_cpp.data.images import find_images
from lenet_cpp.data.mnist import load_mnist, to_model_input
from lenet_cpp.data.synthetic import made_images
from lenet_cpp.errors import BadInput
from lenet_cpp.export.inference_model import export_model
from lenet_cpp.models import InferenceEngine, find, resolve
from lenet_cpp.verify import (
    ACCELERATORS,
    BATCH_SIZES,
    PROGRAM_FORMATS,
    TOLERANCES,
    Report,
    compare_layers,
    verify,
)
from lenet_cpp.verify.across import Across, across
from lenet_cpp.verify.files import find_models, random_seed
from lenet_cpp.verify.reprod import write_records
from lenet_cpp.verify.text import across_text, report_document, report_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from lenet_cpp.models import ModelSpec

_OTHER_BATCH_SIZES = (1, 3)
_MADE_IMAGES = 3
_DIGIT_SHAPE = (1, 28, 28)
_WHAT = "What is compared"


def _listed(sizes: Sequence[int]) -> str:
    return ",".join(map(str, sizes))


@command(
    one="the routes differ",
    examples="""\
  {prog}
      what ./run.sh made, on every test image at hand
  {prog} --batch-sizes 64 --accelerators openvino --images 100
      one row of the table
  {prog} inference_model/lenet_static-ptq --precision int8
      a quantized model
  {prog} --layers
      which is the first layer that differs
  {prog} --across
      every framework at hand: PyTorch, ONNX, Paddle, OpenVINO, C++, Caffe2, each pair
  {prog} --model ResNet50_vd --reprod-dir records
      a registered model, and the outputs as reprod_log records them
  {prog} resnet50-vd -p ResNet50_vd_pretrained.pdparams -i photos/ -i cat.jpg
      an exported model with published weights, on images of your own
""",
)
@argument(
    "model_dir",
    "folder of the exported model (default: inference_model/NAME; where that does not exist, the"
    " parameters, or random ones of --seed, are exported to a temporary folder)",
    also="--model-dir -d",
    metavar="[MODEL]",
    required=False,
    type=FOLDER,
)
@shared.model(
    "a registered model, or FILE.py:SPEC, a ModelSpec of your own (default: the one that the"
    " model's manifest names, or lenet)"
)
@shared.params(
    "the .pdparams it was exported from (default: checkpoints/NAME/NAME.pdparams with the default"
    " folder, and random ones where a manifest says so; otherwise the trained network is left out)"
)
@shared.sizes("the model's; for one that is not exported yet")
@shared.seed("of random parameters for a model without", 0)
@option(
    "-i, --image-file FILE",
    "an image, a folder, a glob or a list of images in a .txt file; may be repeated (default:"
    " digits, or made images)",
    also="--img-path",
    group=shared.IMAGES,
    multiple=True,
)
@shared.preprocess
@shared.data_dir
@option(
    "--images N",
    f"the first N images (default: all; {_MADE_IMAGES} made ones)",
    group=shared.IMAGES,
)
@option(
    "--batch-sizes N,...",
    f"images a run, 1 to 1024 (default: {_listed(BATCH_SIZES)} for digits, else"
    f" {_listed(_OTHER_BATCH_SIZES)})",
    group=_WHAT,
)
@option(
    "--accelerators NAME,...",
    f"some of {','.join(ACCELERATORS)}, the last of which is the engine of that name (default: all"
    " that have the precision)",
    group=_WHAT,
    type=CommaList(click.Choice(ACCELERATORS)),
)
@option(
    f"--precision {'|'.join(TOLERANCES)}",
    "of the exported model's arithmetic: fp32, bf16 where the processor has it, int8 for a"
    " quantized model; the reference is computed in float32",
    group=_WHAT,
    default="fp32",
)
@option(
    "--formats NAME,...",
    f"some of {','.join(PROGRAM_FORMATS)} (default: those of the exported model)",
    group=_WHAT,
    type=CommaList(click.Choice(PROGRAM_FORMATS)),
)
@shared.threads("CPU threads")
@option(
    "--threshold X",
    "how far outputs may lie apart, for largest outputs of up to 1 (default:"
    f" {', '.join(f'{tolerance:g} in {name}' for name, tolerance in TOLERANCES.items())})",
    group=_WHAT,
)
@option(
    "--across",
    "instead, give the model's weights to every framework at hand (PyTorch, its ONNX in"
    " onnxruntime, dygraph, paddle.inference, Paddle's ONNX, OpenVINO, the C++ program, lenet_cpp,"
    " Caffe2) and compare every two; what cannot take part says why",
    group=_WHAT,
)
@option(
    "--torch FILE",
    "with --across: PyTorch's own parameters, such as those that the model was imported from"
    " (default: the model's)",
    group=_WHAT,
)
@shared.program("; where there is none, that route is left out")
@option("--layers", "also say which is the first layer that differs", group=shared.RESULTS)
@option(
    "--reprod-dir DIR",
    "also write what each route gave as reprod_log does: output_training_engine.npy,"
    " output_inference_engine.npy, output_cpp_program.npy, output_lenet_cpp.npy and diff.txt;"
    " without trained parameters the training engine runs the exported model",
    group=shared.RESULTS,
)
@option("--format text|json", "what to print", group=shared.RESULTS, default="text")
@shared.report
def main(options: Options) -> int:
    """Run the same images through four routes and compare the outputs.

      dygraph           the trained network itself, in Python, on Paddle's training engine
      paddle.inference  the exported model, in Python
      C++ program       the exported model, by lenet_infer_test
      lenet_cpp         the exported model, by the Python package over the C++ library

    The last three use one engine and have to give the same bits. The last two also run on the
    native engine: the same bits as each other. Between that and Paddle, and between the trained
    network and the exported model, every output has to be within 1e-05 * max(1, |a|) (see
    --threshold), with |a| the largest output of that image, and the predicted class has to be the
    same unless the two largest outputs are closer than that. With --precision the last three still
    have to give the same bits, and a wider threshold holds for the rest.

    Any registered model can be verified, exported or not, and any model that was exported. A model
    that takes no digits is given the images of --image_file, or photo-like ones made from a seed,
    prepared as preprocess.json beside the model says.
    """
    if options.image_file and options.data_dir is not None:
        raise click.UsageError("--image-file and --data-dir: the images are your own or digits")
    if options.torch is not None and not options.across:
        raise click.UsageError("--torch goes with --across")
    if options.across and (
        options.layers or options.reprod_dir or options.batch_sizes or options.precision != "fp32"
    ):
        raise click.UsageError(
            "--layers, --reprod-dir, --batch-sizes and --precision: not with --across"
        )
    _set_defaults(options)
    return _compare(options)


def _compare(options: Options) -> int:
    require_paddle()
    spec = None if options.model is None else resolve(options.model)
    exported: tuple[str, ...] = ()
    with ExitStack() as stack:
        if spec is not None and not options.model_dir.is_dir():
            temporary = Path(stack.enter_context(TemporaryDirectory(prefix="lenet_cpp-")))
            options.model_dir = _export(options, spec, temporary)
            parameters = options.params or f"random parameters, seed {options.seed}"
            exported = (f"{spec.name} was exported for this check only, with {parameters}",)
        if options.layers and options.params is None and random_seed(options.model_dir) is None:
            raise click.UsageError("--layers needs the trained parameters: --params FILE")
        images, labels, data = _images(options, spec)
        found = (_across if options.across else _four_routes)(options, spec, images, labels)
        layers = (
            compare_layers(
                options.model_dir, images, params=options.params, formats=options.formats, spec=spec
            )
            if options.layers
            else None
        )
    written: tuple[Path, ...] = ()
    if isinstance(found, Across):
        document: dict[str, object] = found.to_dict()
        printed = across_text(found, f"{len(images):,} {data}")
    else:
        found = replace(found, notes=(*exported, *found.notes))
        if options.reprod_dir is not None:
            written = write_records(options.reprod_dir, found)
        document = report_document(found, layers)
        printed = report_text(found, layers, f"{len(images):,} {data}")
    document_text = json.dumps({"data": data, **document}, allow_nan=False)
    if options.report is not None:
        write_text(options.report, document_text + "\n")
    print(document_text if options.format == "json" else printed)
    if written and options.format == "text":
        print(f"recorded in {options.reprod_dir}: {', '.join(path.name for path in written)}")
    return 0 if found.agrees else 1


def _across(
    options: Options,
    spec: ModelSpec | None,
    images: NDArray[np.float32],
    labels: NDArray[np.int64] | None,
) -> Across:
    return across(
        options.model_dir,
        images,
        labels,
        program=options.program,
        torch_params=options.torch,
        formats=options.formats,
        threads=options.threads,
        spec=spec,
        tolerance=options.threshold,
        progress=True,
        more_routes=getattr(options, "more_routes", None),
    )


def _four_routes(
    options: Options,
    spec: ModelSpec | None,
    images: NDArray[np.float32],
    labels: NDArray[np.int64] | None,
) -> Report:
    return verify(
        options.model_dir,
        images,
        labels,
        program=options.program,
        params=options.params,
        formats=options.formats,
        accelerators=options.accelerators,
        batch_sizes=options.batch_sizes,
        threads=options.threads,
        progress=True,
        spec=spec,
        precision=options.precision,
        tolerance=options.threshold,
        training_engine=options.reprod_dir is not None,
        record=options.reprod_dir is not None,
    )


def _set_defaults(options: Options) -> None:
    """Take the usual folders for a model that was named without them."""
    root = getattr(options, "root", Path())
    if options.model_dir is not None:
        return
    known = find(options.model or "lenet")
    name = options.model if known is None else known.name
    options.model_dir = root / "inference_model" / name
    trained = root / "checkpoints" / name / f"{name}.pdparams"
    if options.params is None and trained.is_file():
        options.params = trained


def _export(options: Options, spec: ModelSpec, folder: Path) -> Path:
    """Export a model that has not been exported yet, for this verification only."""
    export_model(
        options.params,
        folder,
        model=spec,
        class_dim=options.num_classes,
        img_size=options.image_size,
        seed=options.seed if options.params is None else None,
    )
    return folder


def _images(
    options: Options, spec: ModelSpec | None
) -> tuple[NDArray[np.float32], NDArray[np.int64] | None, str]:
    """The images, their labels when they are known, and what they are."""
    model = find_models(options.model_dir, options.formats)[0]
    name = None if spec is None else spec.name
    engine = InferenceEngine(
        "paddle", model_name=name, preprocess=options.preprocess, accelerator="plain"
    )
    with engine.load_predictor(model.program, model.params):
        digits = engine.input_shape[1:] == _DIGIT_SHAPE and not options.image_file
        if options.batch_sizes is None:
            options.batch_sizes = BATCH_SIZES if digits else _OTHER_BATCH_SIZES
        if options.image_file:
            files = find_images(options.image_file)[: options.images]
            return engine.preprocess(files), None, "image files"
        if not digits and options.data_dir is not None:
            raise BadInput(f"--data-dir: {model.program} takes no digits")
        if not digits:
            made = made_images(options.images or _MADE_IMAGES)
            return engine.preprocess(made), None, "made images"
    mnist = load_mnist(options.data_dir)
    count = len(mnist.test) if options.images is None else options.images
    if count > len(mnist.test):
        raise BadInput(f"--images {count}: there are {len(mnist.test)} test images, {mnist.folder}")
    images = to_model_input(mnist.test.images[:count])
    return images, mnist.test.labels[:count], f"images of the {mnist.describe()}"
