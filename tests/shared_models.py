"""Models that several test files use: each is exported once per run of the suite.

The processes of a run share one folder, which goes when the run ends. Tests read what lies in it;
one that changes a file works on a copy.
"""

import fcntl
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from lenet_cpp import bundled_model_dir

STORE = "LENET_TEST_STORE"
"""The environment variable with the folder, which tests/conftest.py makes."""

SEED = 1

FORMATS = {"json": "1", "pdmodel": "0"}
"""The suffix of each of Paddle's formats, and the value of FLAGS_enable_pir_api that writes it."""


def run_export(script, folder, suffix):
    """Have a script, in a process of its own, export its models into a folder, in one format."""
    flags = {"FLAGS_enable_pir_api": FORMATS[suffix], "GLOG_minloglevel": "3"}
    command = [sys.executable, "-W", "ignore", script, folder]
    subprocess.run(command, check=True, env=os.environ | flags)


PLAIN_STEPS = [
    {"type": "Normalize", "scale": 1 / 255, "mean": [0, 0, 0], "std": [1, 1, 1]},
    {"type": "ToCHW"},
]
"""The steps for images that are of the model's size."""


def output_networks(suffix):
    """Return the networks of inference/output_networks.py, in one format, and their images."""

    def make(folder):
        run_export(Path(__file__).with_name("inference") / "output_networks.py", folder, suffix)
        for number, image in enumerate(np.load(folder / "images.npy")):
            Image.fromarray(image).save(folder / f"{number}.png")
        labels = ["cat", "cow", "dog", "horse", "pig"]
        described = {"format_version": 1, "mode": "RGB", "labels": labels, "steps": PLAIN_STEPS}
        for truth in folder.glob("*/truth.npz"):
            truth.with_name("preprocess.json").write_text(json.dumps(described))

    return once(f"output_networks-{suffix}", make)


def once(name, make):
    """Return the folder of this name; the process of the run that asks first fills it."""
    folder = Path(os.environ[STORE], name)
    with folder.with_name(f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            unfinished = folder.with_name(f"{name}.unfinished")
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir()
            make(unfinished)
            unfinished.rename(folder)
    return folder


def exported(name, num_classes=10, image_size=None):
    """Return the export of a network with random parameters of ``SEED``, in both formats."""

    def make(folder):
        from lenet_cpp.export.inference_model import export_model

        sizes = {"num_classes": num_classes, "image_size": image_size}
        export_model(None, folder, model=name, seed=SEED, **sizes)

    return once(f"{name}-{num_classes}-{image_size}", make)


def separate(name=None, num_classes=10, image_size=None):
    """Return the same model, or without a name the bundled one, with one file per variable."""

    def make(folder):
        from lenet_cpp.export.separate_layout import write_separate

        source = exported(name, num_classes, image_size) if name else bundled_model_dir()
        write_separate(source, folder / "model")

    return once(f"{name}-{num_classes}-{image_size}-separate", make) / "model"


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def fixed_format(layer, shape, prefix, suffix):
    """Export a layer for an input of this shape as Paddle itself does, in one format."""
    import paddle
    from paddle import pir_utils

    layer.eval()
    guards = {"json": pir_utils.DygraphPirGuard, "pdmodel": pir_utils.DygraphOldIrGuard}
    with guards[suffix]():
        spec = [paddle.static.InputSpec(shape, "float32", "x")]
        static = paddle.jit.to_static(layer, input_spec=spec, full_graph=True)
        paddle.jit.save(static, str(prefix))


def both_formats(layer, shape, folder):
    """Export a layer for images of this shape as Paddle itself does; return both programs."""
    for suffix in FORMATS:
        fixed_format(layer, [None, *shape], folder / suffix, suffix)
    return [folder / "json.json", folder / "pdmodel.pdmodel"]


def infer(model, params, x, *, onednn=False, int8=False):
    """Run a model as a user of paddle.inference would, configured here and not by the package."""
    from paddle.inference import Config, create_predictor

    config = Config(*(str(path) for path in (model, params) if path is not None))
    config.disable_glog_info()
    if onednn:
        config.enable_mkldnn()
    if int8:
        config.enable_mkldnn_int8()
        config.delete_pass("repeated_fc_relu_fuse_pass")
    predictor = create_predictor(config)
    handle = predictor.get_input_handle(predictor.get_input_names()[0])
    handle.reshape(x.shape)
    handle.copy_from_cpu(x)
    predictor.run()
    (name,) = predictor.get_output_names()
    return predictor.get_output_handle(name).copy_to_cpu()
