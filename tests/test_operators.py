"""Every operator that the checks know runs, on every accelerator, as in Paddle's own layers."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import lenet_cpp
from lenet_cpp.tolerance import allowed_difference

SCRIPT = Path(__file__).with_name("operator_models.py")
NAMES = re.findall(r'^    "(\w+)": lambda', SCRIPT.read_text(), re.MULTILINE)
PIR_NAMES = re.findall(
    r'^    "(\w+)": lambda', SCRIPT.read_text().partition("PIR_MODELS = ")[2], re.MULTILINE
)

# From a .json program: Paddle's oneDNN kernels take no arrays of doubles.
ONEDNN_FAILS = {"bilinear", "bilinear_corners", "nearest"}


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folders = {}
    for suffix, pir in (("pdmodel", "0"), ("json", "1")):
        folders[suffix] = tmp_path_factory.mktemp(suffix)
        subprocess.run(
            [sys.executable, "-W", "ignore", SCRIPT, folders[suffix]],
            check=True,
            env={**os.environ, "FLAGS_enable_pir_api": pir, "GLOG_minloglevel": "3"},
        )
    return folders


def run(folder, name, suffix, accelerator):
    images = np.load(folder / "images.npy")
    with lenet_cpp.Predictor(folder / f"{name}.{suffix}", accelerator=accelerator) as predictor:
        return predictor.run(images), predictor.accelerator(len(images))


@pytest.mark.parametrize("name", NAMES)
def test_operator(exported, name):
    for suffix, folder in exported.items():
        if suffix == "pdmodel" and name in PIR_NAMES:
            continue
        expected = np.load(folder / f"{name}.npy")
        # The images have to make a difference that a wrong operator would change.
        assert np.ptp(expected, axis=0).max() > 0.01
        accelerators = ["plain", "onednn", "auto"]
        if suffix == "json" and name in ONEDNN_FAILS:
            accelerators.remove("onednn")
        for accelerator in accelerators:
            found, _ = run(folder, name, suffix, accelerator)
            difference = np.abs(found - expected)
            assert (difference <= allowed_difference(expected)).all(), (suffix, accelerator)


def test_openvino_is_left_out_where_it_leaves_something_out(exported):
    folder = exported["pdmodel"]
    with pytest.raises(lenet_cpp.Unsupported, match="output_padding"):
        run(folder, "transposed_padded", "pdmodel", "openvino")
    assert run(folder, "transposed_padded", "pdmodel", "auto")[1] == "onednn"
    assert run(folder, "transposed", "pdmodel", "auto")[1] == "openvino"


@pytest.mark.parametrize("name", sorted(ONEDNN_FAILS))
def test_onednn_is_left_out_where_it_fails(exported, name):
    with pytest.raises(lenet_cpp.Unsupported, match="interpolation"):
        run(exported["json"], name, "json", "onednn")
    assert run(exported["json"], name, "json", "auto")[1] == "plain"
    assert run(exported["pdmodel"], name, "pdmodel", "onednn")[1] == "onednn"


def test_auto_goes_on_without_openvino_when_that_cannot_load_a_program(exported):
    folder = exported["pdmodel"]
    with pytest.raises(lenet_cpp.BackendFailure):
        run(folder, "prelu", "pdmodel", "openvino")
    assert run(folder, "prelu", "pdmodel", "auto")[1] == "onednn"
    images = np.load(folder / "images.npy")
    with lenet_cpp.Predictor(folder / "prelu.pdmodel") as predictor:
        assert (predictor.clone().run(images) == predictor.run(images)).all()
