"""The files of exports, and what these compute."""

import subprocess

import numpy as np
import paddle

import shared_models

COMBINED = {
    *("lenet.json", "lenet.pdmodel", "lenet.pdiparams", "lenet.pdiparams.info"),
    *("preprocess.json", "manifest.json", "SHA256SUMS"),
}
VARIABLES = [
    f"{layer}.{part}"
    for layer in ("conv2d_0", "conv2d_1", "linear_0", "linear_1", "linear_2")
    for part in ("w_0", "b_0")
]
SEPARATE = {"__model__", *VARIABLES, "preprocess.json", "manifest.json", "SHA256SUMS"}


def images(batch):
    return np.random.default_rng(batch).random((batch, 1, 28, 28), dtype=np.float32)


def infer(folder, x, format_="pdmodel"):
    if format_ == "__model__":
        return shared_models.infer(folder, None, x)
    return shared_models.infer(folder / f"lenet.{format_}", folder / "lenet.pdiparams", x)


def sha256sum_check(folder):
    command = ["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"]
    return subprocess.run(command, cwd=folder, check=False, capture_output=True).returncode


def write_params(path, layer, **changes):
    state = {key: value.numpy() for key, value in layer.state_dict().items()}
    for key, value in changes.items():
        state[key.replace("__", ".")] = value
    paddle.save({key: value for key, value in state.items() if value is not None}, str(path))
    return path
