"""``lenet-cpp verify``: do C++ and Python give the same answers?"""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

from lenet_cpp._base.files import write_text
from lenet_cpp._base.optional import require_paddle
from lenet_cpp.cli._options import Options, command, find_program
from lenet_cpp.data.images import find_images
from lenet_cpp.data.mnist import load_mnist, to_model_input
from lenet_cpp.data.synthetic import made_images
from lenet_cpp.errors import BadInput
from lenet_cpp.export.inference_model import export_model
from lenet_cpp.models import InferenceEngine, resolve
from lenet_cpp.verify import (
    ACCELERATORS,
    BATCH_SIZES,
    PRECISIONS,
    PROGRAM_FORMATS,
    TOLERANCES,
    verify,
)
from lenet_cpp.verify.across import across
from lenet_cpp.verify.files import find_models, random_seed
from lenet_cpp.verify.layers import compare_layers
from lenet_cpp.verify.reprod import write_records
from lenet_cpp.verify.text import across_text, report_document, report_text

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lenet_cpp.models import ModelSpec

_OTHER_BATCH_SIZES = (1, 3)
_MADE_IMAGES = 3
_DIGIT_SHAPE = (1, 28, 28)


@command(
    f"""
Arguments:
  [MODEL_DIR]  folder of the exported model (default: inference_model/NAME; where that does not
      exist, the parameters, or random ones of --seed, are exported to a temporary folder) [also:
      --model-dir, -d]
Model:
  --model  a registered model, or FILE.py:SPEC, a ModelSpec of your own (default: the one that the
      model's manifest names, or lenet)
  --params
      the .pdparams it was exported from (default: checkpoints/NAME/NAME.pdparams with the default
      folder, and random ones where a manifest says so; otherwise the trained network is left out)
  --num-classes  (default: the model's; for one that is not exported yet)
  --image-size  (default: the model's; for one that is not exported yet)
  --seed  of random parameters for a model without [default: 0]
Images:
  -i, --image-file FILE...  an image, a folder, a glob or a list of images in a .txt file; may be
      repeated (default: digits, or made images) [also: --img-path]
  --preprocess
  --data-dir
  --images N  the first N images (default: all; {_MADE_IMAGES} made ones)
What is compared:
  --batch-sizes N,...  images a run, 1 to 1024 (default: {",".join(map(str, BATCH_SIZES))} for
      digits, else {",".join(map(str, _OTHER_BATCH_SIZES))})
  --accelerators {"|".join(ACCELERATORS)},...
      the last is the engine of that name (default: all that have the precision)
  --precision {"|".join(PRECISIONS)}
      of the exported model's arithmetic: fp32, bf16 where the processor has it, int8 for a
      quantized model; the reference is computed in float32 [default: fp32]
  --formats {"|".join(PROGRAM_FORMATS)},...  (default: those of the exported model)
  --threshold X  how far outputs may lie apart, for largest outputs of up to 1 (default:
      {", ".join(f"{TOLERANCES[name]:g} in {name}" for name in PRECISIONS)})
  --across  instead, give the model's weights to every framework at hand (PyTorch, its ONNX in
      onnxruntime, dygraph, paddle.inference, Paddle's ONNX, OpenVINO, the C++ program, lenet_cpp,
      Caffe2) and compare every two; what cannot take part says why
  --torch FILE  with --across: PyTorch's own parameters, such as those that the model was imported
      from (default: the model's)
Engine:
  --threads
  --program  (default: build/lenet_infer_test, or the one in PATH; where there is
      none, that route is left out)
Results:
  --layers  also say which is the first layer that differs
  --reprod-dir DIR  also write what each route gave as reprod_log does: output_training_engine.npy,
      output_inference_engine.npy, output_cpp_program.npy, output_lenet_cpp.npy and diff.txt;
      without trained parameters the training engine runs the exported model
  --format text|json  what to print [default: text]
  --report
Examples:
  %prog  what ./run.sh made, on every test image at hand
  %prog --batch-sizes 64 --accelerators openvino --images 100  one row of the table
  %prog inference_model/lenet_static-ptq --precision int8  a quantized model
  %prog --layers  which is the first layer that differs
  %prog --across  every framework at hand: PyTorch, ONNX, Paddle, OpenVINO, C++, Caffe2, each pair
  %prog --model ResNet50_vd --reprod-dir records
      a registered model, and the outputs as reprod_log records them
  %prog resnet50-vd -p ResNet50_vd_pretrained.pdparams -i photos/ -i cat.jpg
      an exported model with published weights, on images of your own
""",
    one="the routes differ",
)
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
    require_paddle()
    spec = None if options.model is None else resolve(options.model)
    model_dir, params = options.model_dir, options.params
    if model_dir is None:
        root, name = getattr(options, "root", Path()), "lenet" if spec is None else spec.name
        model_dir = root / "inference_model" / name
        trained = root / "checkpoints" / name / f"{name}.pdparams"
        params = trained if params is None and trained.is_file() else params
    notes: tuple[str, ...] = ()
    with ExitStack() as stack:
        if spec is not None and not model_dir.is_dir():
            model_dir = Path(stack.enter_context(TemporaryDirectory(prefix="lenet_cpp-")))
            export_model(
                params,
                model_dir,
                model=spec,
                num_classes=options.num_classes,
                image_size=options.image_size,
                seed=options.seed if params is None else None,
            )
            source = params or f"random parameters, seed {options.seed}"
            notes = (f"{spec.name} was exported for this check only, with {source}",)
        if options.layers and params is None and random_seed(model_dir) is None:
            raise click.UsageError("--layers needs the trained parameters: --params FILE")
        images, labels, data = _images(options, model_dir, spec)
        shown = f"{len(images):,} {data}"
        common: dict[str, Any] = {
            **options.only("formats", "threads"),
            "program": find_program(options),
            "spec": spec,
            "tolerance": options.threshold,
            "progress": True,
        }
        found: Any
        if options.across:
            routes = getattr(options, "more_routes", None)
            found = across(
                model_dir, images, labels, torch_params=options.torch, more_routes=routes, **common
            )
            document, printed = found.to_dict(), across_text(found, shown)
        else:
            sizes = _OTHER_BATCH_SIZES if labels is None else BATCH_SIZES
            record = options.reprod_dir is not None
            found = verify(
                model_dir,
                images,
                labels,
                params=params,
                batch_sizes=options.batch_sizes or sizes,
                **options.only("accelerators", "precision"),
                training_engine=record,
                record=record,
                **common,
            )
            found = replace(found, notes=(*notes, *found.notes))
            layers = options.layers and compare_layers(
                model_dir, images, params=params, formats=options.formats, spec=spec
            )
            document = report_document(found, layers or None)
            printed = report_text(found, layers or None, shown)
            if record:
                written = write_records(options.reprod_dir, found)
                names = ", ".join(path.name for path in written)
                printed += f"\nrecorded in {options.reprod_dir}: {names}"
    document_text = json.dumps({"data": data, **document}, allow_nan=False)
    if options.report is not None:
        write_text(options.report, document_text + "\n")
    print(document_text if options.format == "json" else printed)
    return 0 if found.agrees else 1


def _images(
    options: Options, model_dir: Path, spec: ModelSpec | None
) -> tuple[NDArray[np.float32], NDArray[np.int64] | None, str]:
    """Return the images, their labels when they are digits, and what they are."""
    model = find_models(model_dir, options.formats)[0]
    named = {"model_name": None if spec is None else spec.name, **options.only("preprocess")}
    engine = InferenceEngine("paddle", accelerator="plain", **named)
    with engine.load_predictor(model.program, model.params):
        if options.image_file:
            files = find_images(options.image_file)[: options.images]
            return engine.preprocess(files), None, "image files"
        if engine.input_shape[1:] != _DIGIT_SHAPE:
            if options.data_dir is not None:
                raise BadInput(f"--data-dir: {model.program} takes no digits")
            made = made_images(options.images or _MADE_IMAGES)
            return engine.preprocess(made), None, "made images"
    mnist = load_mnist(options.data_dir)
    count = len(mnist.test) if options.images is None else options.images
    if count > len(mnist.test):
        raise BadInput(f"--images {count}: there are {len(mnist.test)} test images, {mnist.folder}")
    images = to_model_input(mnist.test.images[:count])
    return images, mnist.test.labels[:count], f"images of the {mnist.describe()}"
