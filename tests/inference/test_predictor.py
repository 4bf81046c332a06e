"""Predictors, pools and the bundled model: options, errors, clones, layers."""

import copy
import gc
import json
import pickle
import shutil
from itertools import pairwise

import numpy as np
import paddle
import pytest
from predictor_cases import ACCELERATORS, close, digits, same

import lenet_cpp
from lenet_cpp.data.mnist import read_mnist_dir, sample_dir
from lenet_cpp.export.separate_layout import write_separate
from lenet_cpp.formats.manifest import read_manifest


def test_error_classes():
    builtin = {
        lenet_cpp.FileNotFound: (FileNotFoundError, 3),
        lenet_cpp.BadModel: (ValueError, 4),
        lenet_cpp.BadInput: (ValueError, 5),
        lenet_cpp.Unsupported: (NotImplementedError, 6),
        lenet_cpp.VersionMismatch: (RuntimeError, 7),
        lenet_cpp.BackendFailure: (RuntimeError, 8),
    }
    for error, (base, code) in builtin.items():
        assert issubclass(error, lenet_cpp.Error)
        assert issubclass(error, base)
        assert error.exit_code == code
        assert str(pickle.loads(pickle.dumps(error("why")))) == "why"


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"engine": "onnxruntime"},
            lenet_cpp.Unsupported,
            "onnxruntime engine: .*lenet-cpp export-onnx",
        ),
        ({"engine": "abacus"}, lenet_cpp.Unsupported, "'abacus'.* native, onnxruntime, paddle"),
        ({"precision": "int4"}, lenet_cpp.Unsupported, "'int4' .* fp32, bf16, int8"),
        ({"precision": "int8"}, lenet_cpp.Unsupported, "runs in int8"),
        ({"accelerator": "gpu"}, lenet_cpp.BadInput, "'gpu'.*auto, plain, onednn, openvino"),
        ({"accelerator": None}, lenet_cpp.BadInput, "accelerator cannot be None"),
        ({"threads": 0}, lenet_cpp.BadInput, "threads is 0"),
        ({"threads": -1}, lenet_cpp.BadInput, "threads is -1"),
        ({"threads": 2.5}, lenet_cpp.BadInput, "threads cannot be 2.5"),
        ({"threads": "2"}, lenet_cpp.BadInput, "threads cannot be '2'"),
        ({"threads": 10**30}, lenet_cpp.BadInput, "threads cannot be 1000"),
        ({"ir_optim": "no"}, lenet_cpp.BadInput, "ir_optim cannot be 'no'"),
        ({"max_batch_size": -1}, lenet_cpp.BadInput, "max_batch_size is -1"),
        ({"batch": 1}, lenet_cpp.BadInput, "unknown option 'batch'; choose among engine, "),
    ],
)
@pytest.mark.parametrize("name", ["lenet.pdmodel", "lenet.json"])
def test_options_that_are_refused(model_dir, name, options, error, message):
    with pytest.raises(error, match=message):
        lenet_cpp.Predictor(model_dir / name, **options)
    with pytest.raises(error, match=message):
        lenet_cpp.PredictorPool(model_dir / name, size=1, **options)


def test_what_paddle_cannot_do_with_json_is_unsupported(model_dir):
    with pytest.raises(NotImplementedError, match=r"lenet\.json.*OpenVINO runs \.pdmodel"):
        lenet_cpp.Predictor(model_dir / "lenet.json", accelerator="openvino")


@pytest.mark.parametrize("size", [0, -1, 1.5, "2", None])
def test_sizes_of_a_pool_that_are_refused(model_dir, size):
    with pytest.raises(lenet_cpp.BadInput, match=r"size is|at least one"):
        lenet_cpp.PredictorPool(model_dir=model_dir, size=size)


def test_models_that_are_not_there(model_dir, tmp_path):
    for error in (lenet_cpp.FileNotFound, FileNotFoundError):
        with pytest.raises(error, match=r"nothing\.pdmodel"):
            lenet_cpp.Predictor(tmp_path / "nothing.pdmodel")
    for name in ("lenet.pdmodel", "lenet.json"):
        with pytest.raises(lenet_cpp.FileNotFound, match=r"nothing\.pdiparams"):
            lenet_cpp.Predictor(model_dir / name, tmp_path / "nothing.pdiparams")
        with pytest.raises(lenet_cpp.BadModel, match="parameters"):
            lenet_cpp.Predictor(model_dir / name, empty(tmp_path / "empty.pdiparams"))
    with pytest.raises(lenet_cpp.FileNotFound, match="nowhere"):
        lenet_cpp.Predictor(model_dir=tmp_path / "nowhere")
    with pytest.raises(lenet_cpp.BadModel, match="holds no model"):
        lenet_cpp.Predictor(model_dir=tmp_path)
    with pytest.raises(lenet_cpp.BadInput, match="model_file"):
        lenet_cpp.Predictor(params_file=model_dir / "lenet.pdiparams")
    with pytest.raises(lenet_cpp.BadInput, match="not by both"):
        lenet_cpp.Predictor(model_dir / "lenet.json", model_dir=model_dir)


@pytest.mark.parametrize("accelerator", ["auto", *ACCELERATORS])
def test_parameters_may_lie_elsewhere(model_dir, tmp_path, accelerator):
    program, params = tmp_path / "program.pdmodel", tmp_path / "weights"
    shutil.copy(model_dir / "lenet.pdmodel", program)
    shutil.copy(model_dir / "lenet.pdiparams", params)
    found = lenet_cpp.Predictor(program, params, accelerator=accelerator).run(digits(3))
    usual = lenet_cpp.Predictor(model_dir / "lenet.pdmodel", accelerator=accelerator)
    assert same(found, usual.run(digits(3)))


def test_separate_layout(model_dir, tmp_path):
    write_separate(model_dir, tmp_path / "separate")
    for accelerator, used in (("auto", "onednn"), ("plain", "plain"), ("onednn", "onednn")):
        options = {"accelerator": accelerator, "engine": "paddle"}
        separate = lenet_cpp.Predictor(model_dir=tmp_path / "separate", **options)
        assert separate.accelerator(3) == used
        combined = lenet_cpp.Predictor(model_dir / "lenet.pdmodel", accelerator=used)
        assert same(separate.run(digits(3)), combined.run(digits(3)))
    with pytest.raises(lenet_cpp.Unsupported, match=r"__model__.*OpenVINO runs \.pdmodel"):
        lenet_cpp.Predictor(model_dir=tmp_path / "separate", accelerator="openvino")


def empty(path):
    path.touch()
    return path


# --- Predictors ---


def test_specifications_are_those_of_the_manifest(model_dir):
    manifest = json.loads((model_dir / "manifest.json").read_text())
    for name in ("lenet.pdmodel", "lenet.json"):
        predictor = lenet_cpp.Predictor(str(model_dir / name), str(model_dir / "lenet.pdiparams"))
        pool = lenet_cpp.PredictorPool(model_dir / name, size=2)
        for loaded in (predictor, predictor.clone(), pool):
            expected = manifest["models"][name]
            for spec, written in (
                (loaded.input_spec, expected["inputs"][0]),
                (loaded.output_spec, expected["outputs"][0]),
            ):
                shape = tuple(written["shape"])
                assert spec == lenet_cpp.TensorSpec(written["name"], shape, written["dtype"])
        assert predictor.model_file == model_dir / name
        assert len(pool) == 2


@pytest.mark.parametrize(
    ("name", "images", "expected"),
    [
        ("lenet.pdmodel", 1, "openvino"),
        ("lenet.pdmodel", 3, "openvino"),
        ("lenet.json", 1, "plain"),
        ("lenet.json", 3, "onednn"),
    ],
)
def test_auto_chooses_an_accelerator_of_paddle(model_dir, name, images, expected):
    auto = lenet_cpp.Predictor(model_dir / name, engine="paddle")
    pool = lenet_cpp.PredictorPool(model_dir / name, size=1, engine="paddle")
    assert auto.accelerator(images) == pool.accelerator(images) == expected
    named = lenet_cpp.Predictor(model_dir / name, accelerator=expected)
    assert named.accelerator(images) == expected
    for predictor in (auto, auto.clone(), pool):
        assert same(predictor.run(digits(images)), named.run(digits(images)))


def test_closed_predictor_says_so(model_dir):
    with lenet_cpp.Predictor(model_dir=model_dir, accelerator="plain") as predictor:
        expected = predictor.run(digits(2))
        clone = predictor.clone()
    for use in (
        lambda: predictor.run(digits(2)),
        lambda: predictor.run_layers(digits(2)),
        predictor.clone,
        predictor.__enter__,
        predictor.accelerator,
    ):
        with pytest.raises(lenet_cpp.BadInput, match="closed"):
            use()
    predictor.close()
    assert same(clone.run(digits(2)), expected)


def test_context_closes_when_the_block_raises(model_dir):
    predictor = lenet_cpp.Predictor(model_dir=model_dir, accelerator="plain")
    with pytest.raises(KeyError), predictor:
        raise KeyError
    with pytest.raises(lenet_cpp.BadInput, match="closed"):
        predictor.run(digits(1))


@pytest.mark.parametrize("accelerator", ACCELERATORS)
def test_clone_outlives_its_origin(model_dir, accelerator):
    """Paddle frees the weights with the predictor that loaded them, whoever else uses them."""
    x = digits(4)
    origin = lenet_cpp.Predictor(model_dir / "lenet.pdmodel", accelerator=accelerator)
    expected = origin.run(x)
    clone = origin.clone()
    grandchild = clone.clone()
    origin.close()
    del origin
    gc.collect()
    # Something else may now get the memory.
    others = [np.full(100_000 + 1000 * i, np.nan, np.float32) for i in range(50)]
    assert same(clone.run(x), expected)
    clone.close()
    del clone, others
    gc.collect()
    assert same(grandchild.run(x), expected)
    assert same(grandchild.clone().run(x), expected)


def test_predictors_cannot_be_pickled_or_copied(model_dir):
    predictor = lenet_cpp.Predictor(model_dir=model_dir)
    pool = lenet_cpp.PredictorPool(model_dir=model_dir, size=1)
    for action in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match=r"a Predictor cannot be pickled .* use clone\(\)"):
            action(predictor)
        with pytest.raises(TypeError, match="PredictorPool cannot be pickled or copied"):
            action(pool)


@pytest.mark.parametrize("accelerator", ACCELERATORS)
def test_large_batch_is_cut(model_dir, accelerator):
    x = digits(50)
    options = {"accelerator": accelerator}
    whole = lenet_cpp.Predictor(model_dir / "lenet.pdmodel", **options)
    pieces = lenet_cpp.Predictor(model_dir / "lenet.pdmodel", max_batch_size=16, **options)
    found = pieces.run(x)
    by_hand = [whole.run(x[i : i + 16]) for i in (0, 16, 32, 48)]
    assert same(found, np.concatenate(by_hand))
    expected = whole.run(x)
    assert close(found, expected)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_run_takes_64_images_a_thread_by_default(model_dir, threads):
    options = {"accelerator": "plain", "threads": threads}
    predictor = lenet_cpp.Predictor(model_dir / "lenet.pdmodel", **options)
    layers = predictor.run_layers(digits(300))
    pieces = [len(layer.values) for layer in layers if layer.op_type == layers[-1].op_type]
    assert pieces[0] == 64 * threads
    assert pieces[-1] == 300 % (64 * threads)


def test_options_reach_the_engine(model_dir):
    x = digits(64)
    plain = lenet_cpp.Predictor(model_dir / "lenet.pdmodel", accelerator="plain").run(x)
    for options in (
        {"ir_optim": False},
        {"memory_optim": True},
        {"threads": 2},
        {"ir_optim": False, "memory_optim": True, "threads": np.int64(2)},
    ):
        found = lenet_cpp.Predictor(
            model_dir / "lenet.pdmodel", accelerator="plain", **options
        ).run(x)
        assert close(found, plain)
    optimized = layers(model_dir, ir_optim=True)
    assert layers(model_dir, ir_optim=False).count("relu") == 4
    assert len(optimized) < len(layers(model_dir, ir_optim=False))


def layers(model_dir, **options):
    options = {"accelerator": "plain", **options}
    predictor = lenet_cpp.Predictor(model_dir / "lenet.pdmodel", **options)
    return [layer.op_type for layer in predictor.run_layers(digits(2))]


@pytest.mark.parametrize("name", ["lenet.pdmodel", "lenet.json"])
def test_layers_follow_from_one_another(model_dir, name):
    x = digits(3)
    predictor = lenet_cpp.Predictor(model_dir / name, accelerator="plain", ir_optim=False)
    expected = predictor.run(x)
    found = predictor.run_layers(x)
    assert same(found[-1].values, expected)
    assert same(predictor.run(x), expected)  # recording has stopped
    for before, after in pairwise(found):
        if "relu" in after.op_type:
            assert np.array_equal(after.values, np.maximum(before.values, 0))
            assert (before.values < 0).any() or "pool2d" in before.op_type
    # Another input gives other values: nothing is left from the first.
    again = predictor.run_layers(digits(5, seed=9))
    assert [layer.op_type for layer in again] == [layer.op_type for layer in found]
    assert again[-1].values.shape == (5, 10)


# --- The bundled model ---


def test_predict_runs_the_bundled_model(model_dir):
    x = digits(7)
    with lenet_cpp.Predictor(model_dir=model_dir) as predictor:
        assert same(lenet_cpp.predict(x), predictor.run(x))
    assert lenet_cpp.predict(np.zeros((2, 1, 28, 28), "float32")).shape == (2, 10)


def test_classify_gives_the_softmax_and_names(model_dir):
    x = digits(9)
    logits = lenet_cpp.predict(x)
    labels, probabilities = lenet_cpp.classify(x)
    expected = paddle.nn.functional.softmax(paddle.to_tensor(logits)).numpy()
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities, expected, rtol=1e-5, atol=1e-7)
    names = json.loads((model_dir / "manifest.json").read_text())["classes"]
    assert labels == [names[i] for i in logits.argmax(axis=1)]
    assert all(isinstance(label, str) for label in labels)


@pytest.mark.filterwarnings("ignore::lenet_cpp.InputRangeWarning")
def test_classify_does_not_overflow():
    result = lenet_cpp.classify(np.full((28, 28), 1e30, np.float32))
    np.testing.assert_allclose(result.probabilities.sum(), 1, rtol=1e-6)


def test_bundled_model_reads_digits(model_dir):
    sample = read_mnist_dir(sample_dir()).test
    correct = int((lenet_cpp.predict(sample.images).argmax(axis=1) == sample.labels).sum())
    accuracy = read_manifest(model_dir).accuracy
    assert accuracy is not None
    assert accuracy.images == 10_000
    assert accuracy.top1 >= 0.993
    # The sample is a tenth of those images: four standard errors around their accuracy.
    assert abs(correct / 1000 - accuracy.top1) < 4 * (0.007 * 0.993 / 1000) ** 0.5
