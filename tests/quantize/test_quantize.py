"""Quantization: what docs/quantization.md says to type, and what came of it."""

import json
import sys

import numpy as np
import pytest
from PIL import Image

import lenet_cpp
from lenet_cpp import quantize as quantization
from lenet_cpp.data.images import imagenet
from lenet_cpp.data.mnist import read_mnist_dir, sample_dir, to_model_input, write_idx
from lenet_cpp.errors import BadInput, FileNotFound
from lenet_cpp.formats.manifest import read_manifest, verify_checksums
from lenet_cpp.formats.tensors import read_combined
from lenet_cpp.quantize import QuantizationSettings, deployed, sensitivity
from lenet_cpp.quantize.deployed import Deployed
from processor import HAS_VNNI
from quantized_models import ROOT, model_of
from shared_models import contents, infer
from snippets import run_command

METHODS = tuple(quantization.METHODS)
WEIGHTS = {
    "conv2d_0.w_0": (6, 1, 5, 5),
    "conv2d_1.w_0": (16, 6, 5, 5),
    "linear_0.w_0": (400, 120),
    "linear_1.w_0": (120, 84),
    "linear_2.w_0": (84, 10),
}
ROUTES = ("paddle.inference", "lenet_cpp", "native", "C++ program")


@pytest.fixture(scope="module")
def report(made):
    return json.loads((made / "quantization.json").read_text(encoding="utf-8"))


def paddle_logits(program, images, *, int8):
    return infer(program, program.with_suffix(".pdiparams"), images, onednn=True, int8=int8)


def parsed(program):
    import paddle
    from paddle import pir_utils

    with pir_utils.OldIrGuard():
        return paddle.static.Program.parse_from_string(program.read_bytes())


def parameters(program):
    from paddle.static.io import is_persistable

    names = [v.name for v in parsed(program).list_vars() if is_persistable(v)]
    return read_combined(program.with_suffix(".pdiparams"), names)


@pytest.mark.parametrize("method", METHODS)
def test_labels_are_recognized_in_int8(made, report, model_dir, mnist_test, method):
    program = model_of(made, method)
    images = to_model_input(mnist_test.images)
    logits = paddle_logits(program, images, int8=True)
    by_scales = paddle_logits(program, images, int8=False)  # what the program says
    correct = int((logits.argmax(axis=1) == mnist_test.labels).sum())
    reference = paddle_logits(model_dir / "lenet.pdmodel", images, int8=False)
    float_correct = int((reference.argmax(axis=1) == mnist_test.labels).sum())
    assert correct >= 990
    assert correct >= float_correct - 3

    record = read_manifest(program.parent).quantization
    assert record["method"] == method
    assert record["int8_accuracy"] == correct / 1000
    assert record["float_accuracy"] == float_correct / 1000
    for route in ROUTES:
        assert report["float"]["routes"][route]["correct"] == float_correct
        # What overflows without VNNI depends on the kernel, and that on the batch.
        if not HAS_VNNI and route != "native":
            continue
        expected = by_scales if route == "native" else logits
        found = report["methods"][method]["routes"][route]
        # Another batch size may round another way, and then very few decide otherwise.
        correct = (expected.argmax(axis=1) == mnist_test.labels).sum()
        assert abs(found["correct"] - correct) <= 1, route
        assert abs(found["equal"] - (expected.argmax(1) == reference.argmax(1)).sum()) <= 1
        largest = np.abs(expected - reference).max()
        assert found["largest_difference"] == pytest.approx(largest, rel=0.2)


@pytest.mark.parametrize("method", METHODS)
def test_weights_are_int8_and_everything_runs_in_int8(made, report, method):
    program = model_of(made, method)
    params = program.with_suffix(".pdiparams")
    arrays = parameters(program)
    assert {n: a.shape for n, a in arrays.items() if a.dtype == np.int8} == WEIGHTS
    assert params.stat().st_size < 0.28 * 247_083
    found = report["methods"][method]
    assert found["int8_primitives"] == {"convolution": [2, 2], "inner_product": [3, 3]}
    assert found["params_size"] == params.stat().st_size


@pytest.mark.parametrize("kind", ["static", "dygraph"])
def test_weights_are_those_of_the_float_model_rounded_by_channel_or_trained(made, model_dir, kind):
    exact = parameters(model_dir / "lenet.pdmodel")
    found, trained = (parameters(model_of(made, f"{kind}-{way}")) for way in ("ptq", "qat"))
    for name in WEIGHTS:
        assert 0.001 < (found[name] != trained[name]).mean() < 0.9, name
        axes = tuple(range(1, 4)) if name.startswith("conv") else (0,)
        step = np.abs(exact[name]).max(axis=axes, keepdims=True) / 127
        assert (np.abs(found[name] * step - exact[name]) <= step * 0.5001).all()


@pytest.mark.parametrize("method", METHODS)
def test_a_quantized_model_is_an_export_like_any_other(made, model_dir, method):
    folder = made / "inference_model" / f"lenet_{method}"
    names = {"lenet.pdmodel", "lenet.pdiparams", "preprocess.json", "manifest.json", "SHA256SUMS"}
    assert set(contents(folder)) == names
    assert (folder / "preprocess.json").read_bytes() == (model_dir / "preprocess.json").read_bytes()
    assert set(verify_checksums(folder)) == names - {"SHA256SUMS"}
    manifest = read_manifest(folder)
    signature = manifest.models["lenet.pdmodel"]
    assert [(t.shape, t.dtype) for t in signature.inputs] == [((-1, 1, 28, 28), "float32")]
    assert [(t.shape, t.dtype) for t in signature.outputs] == [((-1, 10), "float32")]
    assert manifest.classes == tuple("0123456789")
    assert str(ROOT).encode() not in (folder / "lenet.pdmodel").read_bytes()
    assert b"site-packages" not in (folder / "lenet.pdmodel").read_bytes()


def test_the_report_is_printed(made, report):
    printed = (made / "printed.txt").read_text(encoding="utf-8")
    assert "lenet.pdmodel (lenet, input 1 x 28 x 28, 10 classes)" in printed
    for method in METHODS:
        found = report["methods"][method]
        accuracy = 100 * found["routes"]["lenet_cpp"]["accuracy"]
        assert f"{method}: to inference_model/lenet_{method}\n" in printed
        assert f"wrote inference_model/lenet_{method}\n" in printed
        assert f"{accuracy:.2f} %" in printed
        assert found["engine"] == "native"  # which a user gets
        assert set(found["latency_ms"]) == set(ROUTES[:3])
        for route, by_size in found["latency_ms"].items():
            assert set(by_size) == {"1", "64"}
            for size, milliseconds in by_size.items():
                assert 0 < milliseconds < 1000
                ratio = found["times_as_fast"][route][size]
                assert f"{milliseconds:.3g} ({ratio:.2f}x)" in printed
                faster = report["float"]["latency_ms"][route][size] / milliseconds
                assert ratio == pytest.approx(faster)
    assert report["test_images"] == 1000
    assert report["refused"] == {}


def test_json_is_all_that_is_on_standard_output(tmp_path):
    few = ("--method=static-ptq", "--calibration-images=64", "--seconds=0")
    command = (sys.executable, "-m", "lenet_cpp", "quantize", *few, "--json", "-o", tmp_path / "q")
    done = run_command(*command, "--report", tmp_path / "report.json")
    assert done.returncode == 0
    assert done.stdout == (tmp_path / "report.json").read_text(encoding="utf-8")
    assert json.loads(done.stdout)["methods"].keys() == {"static-ptq"}
    assert f"wrote {tmp_path / 'q'}\n" in done.stderr


@pytest.mark.nightly
def test_resnet_is_quantized_with_made_images(made):
    manifest = read_manifest(made / "inference_model" / "ResNet18_static-ptq")
    assert manifest.topology == "ResNet18"
    assert manifest.quantization["int8_accuracy"] is None
    assert manifest.accuracy is None
    report = json.loads((made / "resnet18.json").read_text(encoding="utf-8"))
    found = report["methods"]["static-ptq"]
    # 17 convolutions in the trunk and 3 on the short cuts.
    assert found["int8_primitives"] == {"convolution": [20, 20], "inner_product": [1, 1]}
    assert found["params_size"] < 0.26 * report["float"]["params_size"]
    assert found["relative_error"] < 0.3
    assert all("error" not in route for route in found["routes"].values())
    assert len({found["routes"][route]["equal"] for route in ROUTES if route != "native"}) == 1


@pytest.mark.nightly
def test_a_classifier_that_no_registry_has(made):
    """It ends in a softmax, calls its input otherwise, and has no manifest."""
    folder = made / "inference_model" / "classifier_static-ptq"
    printed = (made / "printed.txt").read_text(encoding="utf-8")
    assert "model: classifier/inference.pdmodel (classifier, input 3 x 24 x 24, 10" in printed
    assert "data: photos: 9 to calibrate, 3 others to test" in printed
    manifest = read_manifest(folder)
    assert (manifest.topology, manifest.softmax, manifest.classes) == (None, True, ())
    assert manifest.models["inference.pdmodel"].inputs[0].name == "image"
    assert manifest.quantization["images"] == "own"
    photos = imagenet(24).batch(sorted((made / "photos").iterdir()))
    exact = paddle_logits(made / "classifier" / "inference.pdmodel", photos, int8=False)
    found = paddle_logits(folder / "inference.pdmodel", photos, int8=True)
    np.testing.assert_allclose(exact.sum(axis=1), 1, rtol=1e-5)
    assert 0 < np.abs(found - exact).max() < 0.15
    with lenet_cpp.InferenceEngine(precision="int8").load_predictor(model_dir=folder) as engine:
        class_id, probability = engine.postprocess(engine.run(photos[:1]))
    assert class_id == found[0].argmax()
    assert probability == pytest.approx(found[0].max(), abs=0.05)


@pytest.mark.nightly
def test_a_network_of_ones_own_by_training(tmp_path, residual):
    with quantization.open_source(residual, seed=0) as source:
        images, again = (quantization.own_images(source, None, 8, 8) for _ in range(2))
        done = quantization.quantize(source, images, "dygraph-qat", tmp_path / "out")
    assert done.result.manifest.topology == "residual"
    assert done.primitives == {"convolution": (4, 4), "inner_product": (1, 1)}
    assert done.quality.relative_error < 0.3
    assert images.calibration.shape == (8, 3, 24, 24)
    assert (images.test.dtype, images.kind) == (np.float32, "made")
    np.testing.assert_array_equal(images.calibration, again.calibration)
    assert np.abs(images.test - images.calibration).max() > 0.1


def test_images_of_ones_own(made, tmp_path):
    """Files, pixels and values give the same inputs; each is drawn once."""
    pixels = np.random.default_rng(0).integers(0, 256, (8, 30, 40, 3), np.uint8)
    for index, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / f"{index}.png")
    (tmp_path / "list.txt").write_text("".join(f"{i}.png {i}\n" for i in range(8)))
    np.save(tmp_path / "pixels.npy", pixels)
    write_idx(tmp_path / "pixels.idx", pixels)
    values = imagenet(24).batch(list(pixels))
    np.save(tmp_path / "values.npy", values)
    with quantization.open_source(model_dir=made / "classifier") as source:
        sources = (tmp_path, tmp_path / "list.txt", *sorted(tmp_path.glob("*s.*")))
        assert len(sources) == 5
        for path in sources:
            found = quantization.own_images(source, path)
            assert (len(found.calibration), len(found.test), found.labels) == (6, 2, None)
            together = np.concatenate([found.calibration, found.test])
            where = [int(np.abs(values - one).sum(axis=(1, 2, 3)).argmin()) for one in together]
            assert sorted(where) == list(range(8))
            np.testing.assert_array_equal(values[where], together)
        assert len(quantization.own_images(source, tmp_path, 3, 4).test) == 4
        alone = quantization.own_images(source, tmp_path / "0.png")
        np.testing.assert_array_equal(alone.calibration, alone.test)
        with pytest.raises(BadInput, match="cannot draw 9 of 8 images"):
            quantization.own_images(source, tmp_path, 9)
        (tmp_path / "bad.npy").write_bytes(b"nothing")
        np.save(tmp_path / "flat.npy", np.zeros((2, 5), np.float32))
        for name, message in (("bad", "not a .npy"), ("flat", r"shape \[2, 5\]")):
            with pytest.raises(BadInput, match=message):
                quantization.own_images(source, tmp_path / f"{name}.npy")
        with pytest.raises(FileNotFound, match="does not exist"):
            quantization.own_images(source, tmp_path / "no")


def test_without_the_switch_nothing_is_int8(made, mnist_test):
    model = Deployed(model_of(made, "dygraph-ptq"), "fp32")
    _, found = deployed.outputs(model, mnist_test.images[:1])
    assert sum(whole for whole, _ in found.values()) == 0
    assert sum(total for _, total in found.values()) == 5


def test_primitives_are_read_from_either_form_of_onednns_record():
    printed = """
onednn_verbose,v1,info,cpu,runtime:OpenMP,nthr:1
onednn_verbose,v1,primitive,create:cache_miss,cpu,convolution,jit,forward,src_s8::b wei_s8::b,,,1
onednn_verbose,v1,primitive,exec,cpu,convolution,jit_int8:vnni,forward,src_u8::a wei_s8:a:b,,a,1
onednn_verbose,v1,primitive,exec,cpu,inner_product,brg:avx512,forward,src:s8::a wei:s8:a:b,,,x,1
onednn_verbose,exec,cpu,inner_product,gemm:jit,forward,src_f32::b wei_f32::b dst_f32::b,,,x,0.1
onednn_verbose,exec,cpu,reorder,jit:uni,undef,src_f32::b dst_s8::b,,,x,0.1
"""
    assert deployed.parse_primitives(printed) == {"convolution": (1, 1), "inner_product": (1, 2)}


def averages(program):
    """The range of what goes into each convolution and matrix product, in their order."""
    arrays = parameters(program)
    ops = parsed(program).global_block().ops
    scales = {
        op.output("Y")[0]: float(arrays[op.input("Scale")[0]].item())
        for op in ops
        if op.type == "dequantize_linear" and op.input("X")[0] not in arrays
    }
    kinds = {"conv2d": "Input", "mul": "X", "matmul_v2": "X"}
    sources = [op.input(kinds[op.type])[0] for op in ops if op.type in kinds]
    return [scales[name] for name in sources]


@pytest.mark.nightly
def test_both_ways_to_train_know_the_ranges_after_one_step(tmp_path, sample):
    """They settle before the training; each by its own implementation of a moving average."""
    settings, tasks = QuantizationSettings(steps=1, learning_rate=1e-6), []
    with quantization.open_source() as source:
        for method in ("static-qat", "dygraph-qat"):
            target = tmp_path / method
            target.mkdir()
            task = quantization.make_task(source, sample, method, settings, target, tmp_path)
            tasks.append(task)
        quantization.run_tasks(tasks)
    static, dygraph = (averages(task.result) for task in tasks)
    assert len(static) == 5
    np.testing.assert_allclose(static, dygraph, rtol=0.03)


@pytest.mark.nightly
def test_sensitivity(made):
    result = json.loads((made / "sensitivity.json").read_text(encoding="utf-8"))
    layers = result["layers"]
    assert [(one["layer"], one["values"]) for one in layers] == [
        ("conv1", 150),
        ("conv2", 2400),
        ("linear1", 48000),
        ("linear2", 10080),
        ("linear3", 840),
        ("(all)", 61470),
        ("(all, in int8)", 61470),
    ]
    *alone, together, in_int8 = (one["relative_error"] for one in layers)
    assert all(0.001 < error < 1.2 * together for error in alone)
    # Errors of layers that have nothing to do with each other add up as their squares do.
    assert together == pytest.approx(np.sqrt(np.square(alone).sum()), rel=0.5)
    assert together < in_int8 < 0.1
    assert all(one["accuracy"] >= 0.985 for one in layers)
    assert (made / "sensitivity.png").read_bytes().startswith(b"\x89PNG")


def test_sensitivity_of_a_residual_network(residual):
    shown = []
    with quantization.open_source(residual, seed=0) as source:
        images = quantization.own_images(source, None, 8, 8)
        settings = QuantizationSettings(algo="abs_max")
        found = sensitivity.analyse(source, images, settings, report=lambda *a: shown.append(a))
    assert [(one.layer, one.values) for one in found] == [
        ("stem", 216),
        ("first", 1152),
        ("second", 2304),
        ("shortcut", 128),
        ("fc", 160),
        ("(all)", 3960),
        ("(all, in int8)", 3960),
    ]
    *alone, together, in_int8 = (one.relative_error for one in found)
    assert all(0.0005 < error < 1.2 * together for error in alone)
    assert together == pytest.approx(np.sqrt(np.square(alone).sum()), rel=0.5)
    assert together < 1.5 * in_int8 < 0.5
    assert {one.accuracy for one in found} == {None}

    assert shown[0][0] == "layer stem"
    assert shown[-1][0] == "layer (all, in int8)"
    assert [done / total for _, done, total in shown] == sorted(d / t for _, d, t in shown)
    assert shown[-1][1] == shown[-1][2]


def test_calibration_images_keep_the_shares_of_the_classes(tmp_path):
    images = quantization.mnist_images(sample_dir(), 600)
    train = read_mnist_dir(sample_dir()).train
    where = [int((train.images == image).all(axis=(1, 2)).argmax()) for image in images.calibration]
    assert len(set(where)) == 600
    shares = np.bincount(train.labels[where]) / 600
    np.testing.assert_allclose(shares, np.bincount(train.labels) / len(train), atol=1 / 600)
    with pytest.raises(FileNotFound, match="train-images"):
        quantization.mnist_images(tmp_path, 10)
