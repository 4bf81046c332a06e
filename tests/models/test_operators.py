"""Every operator that the checks know runs, on every accelerator, as in Paddle's own layers."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

import lenet_cpp
from lenet_cpp.agreement import compare
from shared_models import FORMATS, run_export

SCRIPT = Path(__file__).with_name("operator_models.py")
NAMES, PIR_NAMES = (
    re.findall(r'^    "(\w+)": lambda', text, re.MULTILINE)
    for text in SCRIPT.read_text().split("PIR_MODELS = ")
)

# What one of Paddle's accelerators computes wrongly, or cannot run, and how that is named.
OF_JSON_ALONE = {
    **dict.fromkeys(("bilinear", "bilinear_corners", "nearest"), "_interp"),
    **dict.fromkeys(("transposed", "transposed_padded"), "conv2d_transpose"),
}
ONEDNN_REFUSES = {
    "attention": "matmul with an input X of shape",
    "average_zeros_after": r"pool2d with paddings=\[0, 1, 0, 1\]",
    "average_zeros_ceil": "pool2d with ceil_mode=1",
    "average_zeros_same": "pool2d with padding_algorithm=SAME",
    "batch_norm_plain": "batch_norm_? without scale or bias",
    "convolution_pointwise_padded": r"conv2d with paddings=\[1, 1\], as wide as the window",
    "dropout_joined": "with an input X of shape",
    "heads": "matmul with an input X of shape",
    "layouts": r"conv2d of channels that come last",
    "linear_of_pixels": "with an input X of shape",
    "matmul_one_feature": "matmul with an input X of shape",
    "matmul_one_feature_transposed": "matmul with transpose_y=1",
    "max_pool_ceil": r"pool2d with ceil_mode=1",
    "nearest_pixel": r"nearest_interp(_v2 of one pixel|, which)",
    "pad_all_axes": r"pad with paddings=\[0, 0, 0, 0, 1, 2, 0, 1\]",
    "prelu_vectors": "prelu of vectors with one weight",
    "softplus_threshold": r"softplus with threshold=1",
}
ONEDNN_FAILS = {"max_pool_ceil_padded"}
OPENVINO_REFUSES = {
    "adaptive_average_pool_column": r"pool2d with ksize=\[3, 1\]",
    "adaptive_max_pool_row": "max_pool2d_with_index",
    "average_zeros_after": "pool2d with exclusive=0",
    "batch_norm_plain": "batch_norm without scale or bias",
    "convolution_pointwise_padded": r"conv2d with paddings=\[1, 1\]",
    "convolution_same_dilated": "conv2d with padding_algorithm=SAME",
    "max_pool_same_wide": r"pool2d with ksize=\[11, 11\]",
    "prelu": "prelu",
    "prelu_vectors": "prelu",
    "transposed_padded": "conv2d_transpose",
}


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folders = {}
    for suffix in FORMATS:
        folders[suffix] = tmp_path_factory.mktemp(suffix)
        run_export(SCRIPT, folders[suffix], suffix)
    return folders


def run(folder, name, suffix, accelerator, engine="paddle"):
    images, path = np.load(folder / "images.npy"), folder / f"{name}.{suffix}"
    with lenet_cpp.Predictor(path, engine=engine, accelerator=accelerator) as predictor:
        outputs = predictor.run(images)
        # Asked after a run, which may have shown that an accelerator does not run the model.
        return outputs, predictor.accelerator(len(images))


def onednn_refuses(name, suffix):
    return name in ONEDNN_REFUSES or (suffix == "json" and name in OF_JSON_ALONE)


@pytest.mark.parametrize("name", NAMES + PIR_NAMES)
def test_operator(exported, name):
    for suffix, folder in exported.items():
        if suffix == "pdmodel" and name in PIR_NAMES:
            continue
        expected = np.load(folder / f"{name}.npy")
        # The images have to make a difference that a wrong operator would change.
        assert np.ptp(expected, axis=0).max() > 0.01
        ways = [("paddle", "plain"), ("paddle", "onednn"), ("paddle", "auto"), ("auto", "auto")]
        if onednn_refuses(name, suffix) or name in ONEDNN_FAILS:
            ways.remove(("paddle", "onednn"))
        for engine, accelerator in ways:
            found, _ = run(folder, name, suffix, accelerator, engine)
            assert compare(expected, found).agrees, (suffix, accelerator, engine)


def with_values(exported, name, operator, change):
    """Return a .json program and its parameters; `change` gets the numbers of its operator."""
    program = json.loads((exported["json"] / f"{name}.json").read_text())
    (block,) = program["program"]["regions"][0]["blocks"]
    found = next(one for one in block["ops"] if one["#"] == f"1.{operator}")
    change(next(one["AT"]["D"] for one in found["A"] if one["N"] == "values"))
    text = json.dumps(program, separators=(",", ":"))
    return text.encode(), (exported["json"] / f"{name}.pdiparams").read_bytes()


@pytest.mark.parametrize(
    ("name", "operator"), [("overwritten", "set_value_"), ("named_numbers", "assign_value_")]
)
def test_numbers_of_the_program_are_counted(exported, name, operator):
    """Paddle reads as many as the shape says."""
    model = with_values(exported, name, operator, lambda values: values.append(values[0]))
    with pytest.raises(lenet_cpp.BadModel, match="the number of values"):
        lenet_cpp.Predictor.from_bytes(*model)


def test_integers_of_the_program_overwrite_a_part(exported):
    def as_integers(values):
        for value in values:
            value.update({"#": "0.a_i64", "D": 3})

    model = with_values(exported, "overwritten", "set_value_", as_integers)
    found = lenet_cpp.Predictor.from_bytes(*model).run(np.load(exported["json"] / "images.npy"))
    assert compare(np.load(exported["json"] / "overwritten.npy"), found).agrees


@pytest.mark.parametrize("accelerator", ["plain", "onednn"])
def test_numbers_that_older_paddles_wrote(exported, accelerator):
    found, _ = run(exported["pdmodel"], "named_numbers_older", "pdmodel", accelerator)
    assert compare(np.load(exported["pdmodel"] / "named_numbers.npy"), found).agrees


@pytest.mark.parametrize("name", OPENVINO_REFUSES)
def test_openvino_runs_only_what_was_compared(exported, name):
    folder = exported["pdmodel"]
    threads = len(list(Path("/proc/self/task").iterdir()))
    with pytest.raises(lenet_cpp.Unsupported, match=f"{OPENVINO_REFUSES[name]}.*accelerator auto"):
        run(folder, name, "pdmodel", "openvino")
    # OpenVINO itself leaves two for each model that it refuses.
    assert len(list(Path("/proc/self/task").iterdir())) == threads
    other = "plain" if onednn_refuses(name, "pdmodel") else "onednn"
    assert run(folder, name, "pdmodel", "auto")[1] == other


@pytest.mark.parametrize("name", sorted({*ONEDNN_REFUSES, *OF_JSON_ALONE}))
def test_onednn_is_left_out_where_it_is_wrong(exported, name):
    with pytest.raises(lenet_cpp.Unsupported, match={**ONEDNN_REFUSES, **OF_JSON_ALONE}[name]):
        run(exported["json"], name, "json", "onednn")
    assert run(exported["json"], name, "json", "auto")[1] == "plain"
    if name in OF_JSON_ALONE:
        assert run(exported["pdmodel"], name, "pdmodel", "onednn")[1] == "onednn"
    elif name not in PIR_NAMES:
        with pytest.raises(lenet_cpp.Unsupported, match=ONEDNN_REFUSES[name]):
            run(exported["pdmodel"], name, "pdmodel", "onednn")


@pytest.mark.parametrize("suffix", ["json", "pdmodel"])
@pytest.mark.parametrize("name", sorted(ONEDNN_FAILS))
def test_auto_goes_on_without_onednn_when_that_fails(exported, name, suffix):
    folder = exported[suffix]
    with pytest.raises(lenet_cpp.Unsupported, match=r"onednn.*use accelerator auto or plain"):
        run(folder, name, suffix, "onednn")
    images = np.load(folder / "images.npy")
    expected = np.load(folder / f"{name}.npy")
    with lenet_cpp.Predictor(folder / f"{name}.{suffix}", engine="paddle") as predictor:
        assert predictor.accelerator(len(images)) == "onednn"
        found = predictor.run(images)
        assert compare(expected, found).agrees
        # It is remembered, and by clones.
        for one in (predictor, predictor.clone()):
            assert one.accelerator(len(images)) == "plain"
            assert (one.run(images) == found).all()
