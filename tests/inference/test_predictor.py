"""Predictors, pools and the bundled model: options, errors, clones, layers."""

import copy
import json
import os
import pickle
import shutil
import signal
import threading
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import get_args, get_type_hints

import numpy as np
import paddle
import pytest

import lenet_cpp
import shared_models
from lenet_cpp.agreement import TOLERANCES, compare
from lenet_cpp.formats.manifest import read_manifest
from lenet_cpp.inference.options import Accelerator, EngineName, Precision
from predictor_cases import close, digits, same


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


def test_a_folder_and_the_prefix_of_its_files(model_dir, tmp_path, recwarn, run_program):
    """As in Paddle 3's Config(dir, prefix)."""
    for prefix in ("inference", "another"):
        for suffix in ("json", "pdiparams"):
            shutil.copy(model_dir / f"lenet.{suffix}", tmp_path / f"{prefix}.{suffix}")
    with lenet_cpp.Predictor(tmp_path, "inference", engine="native") as predictor:
        assert predictor.model_file == tmp_path / "inference.json"
        assert predictor.params_file == tmp_path / "inference.pdiparams"
    assert not recwarn.list
    done = run_program(f"--model_file={tmp_path}", "--params_file=another", "--engine=native")
    assert done.returncode == 0, done.stderr
    with pytest.raises(lenet_cpp.FileNotFound, match=r"no model '.*/missing': name one of those"):
        lenet_cpp.Predictor(tmp_path, "missing")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"engine": "onnxruntime"}, "Unsupported", "onnxruntime engine: .*lenet-cpp export-onnx"),
        ({"engine": "abacus"}, "BadInput", "'abacus'.* native, onnxruntime, paddle"),
        ({"precision": "int4"}, "BadInput", "'int4'.* fp32, bf16, int8"),
        ({"accelerator": "gpu"}, "BadInput", "'gpu'.*auto, plain, onednn, openvino"),
        ({"accelerator": None}, "BadInput", "accelerator cannot be None"),
        ({"threads": 2.5}, "BadInput", "threads cannot be 2.5"),
        ({"threads": 10**30}, "BadInput", "threads cannot be 1000"),
        ({"ir_optim": "no"}, "BadInput", "ir_optim cannot be 'no'"),
        ({"batch": 1}, "BadInput", "unknown option 'batch'; choose among engine, "),
        ({"thread": 2}, "BadInput", "unknown option 'thread'; did you mean 'threads'\\?"),
    ],
)
def test_options_that_are_refused(model_dir, options, error, message):
    """tests/cpp/bad_input_cases.py has those that every route refuses alike."""
    for make in (lenet_cpp.Predictor, partial(lenet_cpp.PredictorPool, size=1)):
        with pytest.raises(getattr(lenet_cpp, error), match=message):
            make(model_dir / "lenet.pdmodel", **options)


@pytest.mark.parametrize(
    ("option", "names"),
    [("engine", EngineName), ("precision", Precision), ("accelerator", Accelerator)],
)
def test_names_are_those_of_cpp(option, names):
    assert get_type_hints(lenet_cpp.Options)[option] is names
    with pytest.raises(lenet_cpp.BadInput) as caught:
        lenet_cpp.Predictor(**{option: "?"})
    assert str(caught.value).partition("choose one of ")[2] == ", ".join(get_args(names))


def test_names_of_precisions_have_tolerances():
    assert set(TOLERANCES) == set(get_args(Precision))


@pytest.mark.parametrize("given", [None, {}, 5, np.zeros(3)])
def test_what_names_no_model(given):
    """The bundled one is for those who name none; None may come of a mistake."""
    makers = (
        lenet_cpp.Predictor,
        lenet_cpp.IsolatedPredictor,
        lenet_cpp.BatchPredictor,
        partial(lenet_cpp.PredictorPool, size=1),
        lenet_cpp.InferenceEngine().load_predictor,
    )
    words = "the model is None: name one" if given is None else f"got {type(given).__name__}"
    for make in makers:
        with pytest.raises(lenet_cpp.BadInput, match=words):
            make(given)
        with pytest.raises(lenet_cpp.FileNotFound, match="it is a URL: download it first"):
            make("https://example.org/lenet.onnx")
        with pytest.raises(
            lenet_cpp.FileNotFound, match=f"write '{Path('~/a.onnx').expanduser()}'"
        ):
            make("~/a.onnx")


def test_sizes_of_a_pool_that_are_refused(model_dir):
    for size in (1.5, "2", None):
        with pytest.raises(lenet_cpp.BadInput, match="size is"):
            lenet_cpp.PredictorPool(model_dir=model_dir, size=size)


def test_parameters_may_lie_elsewhere(model_dir, tmp_path):
    program, params = tmp_path / "program.pdmodel", tmp_path / "weights"
    shutil.copy(model_dir / "lenet.pdmodel", program)
    shutil.copy(model_dir / "lenet.pdiparams", params)
    found = lenet_cpp.Predictor(program, params).run(digits(3))
    assert same(found, lenet_cpp.Predictor(model_dir / "lenet.pdmodel").run(digits(3)))


@pytest.mark.parametrize("name", ["lenet.pdmodel", "lenet.json"])
def test_from_bytes(model_dir, name):
    from_bytes = lenet_cpp.Predictor.from_bytes
    program, params = (model_dir / n for n in (name, "lenet.pdiparams"))
    held = bytearray(program.read_bytes())
    predictor = from_bytes(held, memoryview(params.read_bytes()), threads=2)
    held[:] = bytes(len(held))  # C++ has a copy
    expected = lenet_cpp.Predictor(program, threads=2).run(digits(5))
    assert same(predictor.run(digits(5)), expected)
    assert same(predictor.clone().run(digits(5)), expected)
    assert predictor.params_file is None
    for arguments in (("text",), (held, 7), (params.read_bytes(), None)):
        with pytest.raises(lenet_cpp.BadInput, match="are to be bytes"):
            from_bytes(*arguments)
    with pytest.raises(lenet_cpp.BadInput, match="leave model_file"):
        from_bytes(program.read_bytes(), params.read_bytes(), model_file=str(program))
    with pytest.raises(lenet_cpp.BadModel, match="'program in memory'"):
        from_bytes(program.read_bytes()[:-9], params.read_bytes())


def test_separate_layout(model_dir):
    folder = shared_models.separate()
    for accelerator, used in (("auto", "onednn"), ("plain", "plain"), ("onednn", "onednn")):
        options = {"accelerator": accelerator, "engine": "paddle"}
        separate = lenet_cpp.Predictor(model_dir=folder, **options)
        assert separate.accelerator(3) == used
        combined = lenet_cpp.Predictor(model_dir / "lenet.pdmodel", accelerator=used)
        assert same(separate.run(digits(3)), combined.run(digits(3)))
    with pytest.raises(lenet_cpp.Unsupported, match=r"__model__.*OpenVINO runs \.pdmodel"):
        lenet_cpp.Predictor(model_dir=folder, accelerator="openvino")


def test_specifications_are_those_of_the_manifest(model_dir):
    models = json.loads((model_dir / "manifest.json").read_text())["models"]
    for name in ("lenet.pdmodel", "lenet.json"):
        predictor = lenet_cpp.Predictor(str(model_dir / name), str(model_dir / "lenet.pdiparams"))
        pool = lenet_cpp.PredictorPool(model_dir / name, size=2)
        expected = [
            lenet_cpp.TensorSpec(written["name"], tuple(written["shape"]), written["dtype"])
            for written in (*models[name]["inputs"], *models[name]["outputs"])
        ]
        for loaded in (predictor, predictor.clone(), pool):
            assert [loaded.input_spec, loaded.output_spec] == expected
        assert predictor.model_file == model_dir / name
        assert len(pool) == 2


@pytest.mark.parametrize("name", ["lenet.pdmodel", "lenet.json"])
@pytest.mark.parametrize("images", [1, 3])
def test_auto_chooses_an_accelerator_of_paddle(model_dir, name, images):
    expected = "plain" if images == 1 else "onednn"
    if name == "lenet.pdmodel":
        expected = "openvino"
    auto = lenet_cpp.Predictor(model_dir / name, engine="paddle")
    pool = lenet_cpp.PredictorPool(model_dir / name, size=1, engine="paddle")
    assert auto.accelerator(images) == pool.accelerator(images) == expected
    named = lenet_cpp.Predictor(model_dir / name, accelerator=expected)
    assert named.accelerator(images) == expected
    for predictor in (auto, auto.clone(), pool):
        assert same(predictor.run(digits(images)), named.run(digits(images)))


def test_closed_predictor_says_so(model_dir):
    predictor = lenet_cpp.Predictor(model_dir=model_dir, accelerator="plain")
    expected = predictor.run(digits(2))
    clone = predictor.clone()
    with pytest.raises(KeyError), predictor:
        raise KeyError
    runs = (lambda: predictor.run(digits(2)), lambda: predictor.run_layers(digits(2)))
    for use in (*runs, predictor.clone, predictor.__enter__, predictor.accelerator):
        with pytest.raises(lenet_cpp.BadInput, match="closed"):
            use()
    predictor.close()
    assert same(clone.run(digits(2)), expected)


def test_closed_pool_finishes_what_it_was_given(model_dir):
    x = digits(64)
    with lenet_cpp.PredictorPool(model_dir / "lenet.pdmodel", size=2) as pool:
        expected = pool.run(x)
        queued = [pool.submit(x) for _ in range(20)]
        queued[-1].add_done_callback(lambda _: pool.close())  # from a thread of its own
        held = pool._threads  # whose threads would go with it
        running = {one for one in threading.enumerate() if one.name.startswith("lenet-cpp")}
    assert all(same(future.result(60), expected) for future in queued)
    for thread in running:
        thread.join(60)
        assert not thread.is_alive()
    pool.close()
    for use in (pool.run, pool.submit, pool.accelerator):
        with pytest.raises(lenet_cpp.BadInput, match="closed"):
            use(x)
    with pytest.raises(lenet_cpp.BadInput, match="closed"), pool:
        pass
    assert held is not None
    assert len(pool) == 0
    lenet_cpp.PredictorPool(size=1).close()  # whose threads were never started


def test_repr_is_one_line(model_dir):
    file = model_dir / "lenet.pdmodel"
    native = {"engine": "native"}
    with lenet_cpp.Predictor(file, **native) as one, lenet_cpp.PredictorPool(size=1) as pool:
        said = f"<Predictor of '{file}', input [-1, 1, 28, 28], engine native"
        assert repr(one) == repr(one.clone()) == f"{said}>"
        assert repr(pool).startswith("<PredictorPool of ")
    assert repr(one) == f"{said}, closed>"
    assert repr(pool).endswith("engine native, closed>")
    bytes_ = file.read_bytes(), file.with_suffix(".pdiparams").read_bytes()
    held = lenet_cpp.Predictor.from_bytes(*bytes_, **native)
    assert repr(held) == "<Predictor of a model in memory, input [-1, 1, 28, 28], engine native>"


def test_predictors_cannot_be_pickled_or_copied():
    for loaded, message in (
        (lenet_cpp.Predictor(), r"a Predictor cannot be pickled or copied: use clone\(\)"),
        (lenet_cpp.PredictorPool(size=1), "PredictorPool cannot be pickled or copied"),
    ):
        for action in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError, match=message):
                action(loaded)


def test_a_pool_runs_what_is_submitted(model_dir):
    pool = lenet_cpp.PredictorPool(model_dir=model_dir, size=2)
    batches = [digits(count) for count in (1, 5, 70)] * 4
    for images, future in [(each, pool.submit(each)) for each in batches]:
        assert same(future.result(60), pool.run(images))
    with pytest.raises(lenet_cpp.BadInput, match="expected shape"):
        pool.submit(digits(1)[..., :27]).result(60)


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
    layers = []
    several = {"ir_optim": False, "memory_optim": True, "threads": np.int64(2)}
    for options in ({}, {"ir_optim": False}, {"memory_optim": True}, {"threads": 2}, several):
        made = lenet_cpp.Predictor(model_dir / "lenet.pdmodel", accelerator="plain", **options)
        assert close(made.run(x), plain)
        layers.append([layer.op_type for layer in made.run_layers(x)])
    assert layers[1].count("relu") == 4
    assert len(layers[0]) < len(layers[1])


@pytest.mark.parametrize("name", ["lenet.pdmodel", "lenet.json"])
def test_layers_follow_from_one_another(model_dir, name):
    x = digits(3)
    predictor = lenet_cpp.Predictor(model_dir / name, accelerator="plain", ir_optim=False)
    expected = predictor.run(x)
    found = predictor.run_layers(x)
    assert same(found[-1].values, expected)
    assert same(predictor.run(x), expected)  # recording has stopped
    pixels = np.uint8(x * 255)
    divided = predictor.run(pixels / np.float32(255))
    assert same(predictor.run_layers(pixels)[-1].values, divided)
    for before, after in pairwise(found):
        if "relu" in after.op_type:
            assert np.array_equal(after.values, np.maximum(before.values, 0))
            assert (before.values < 0).any() or "pool2d" in before.op_type
    # oneDNN fuses others, and has an order of its own for the values of pictures.
    fused = lenet_cpp.Predictor(model_dir / name, engine="paddle", accelerator="onednn")
    pools = [
        [layer.values for layer in layers if "pool2d" in layer.op_type]
        for layers in (found, fused.run_layers(x))
    ]
    for plain, other in zip(*pools, strict=True):
        assert close(plain, other)
    # Another input gives other values: nothing is left from the first.
    again = predictor.run_layers(digits(5, seed=9))
    assert [layer.op_type for layer in again] == [layer.op_type for layer in found]
    assert again[-1].values.shape == (5, 10)


def test_predict_runs_the_bundled_model(model_dir):
    x = digits(7)
    with lenet_cpp.Predictor(model_dir=model_dir) as predictor:
        assert same(lenet_cpp.predict(x), predictor.run(x))


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
    with np.errstate(all="raise"):
        result = lenet_cpp.classify(np.full((28, 28), 1e30, np.float32))
    np.testing.assert_allclose(result.probabilities.sum(), 1, rtol=1e-6)


def test_bundled_model_reads_digits(model_dir, digits, mnist_test):
    correct = int((lenet_cpp.predict(digits).argmax(axis=1) == mnist_test.labels).sum())
    accuracy = read_manifest(model_dir).accuracy
    assert accuracy is not None
    assert accuracy.images == 10_000
    assert accuracy.top1 >= 0.993
    # The sample is a tenth of those images: four standard errors around their accuracy.
    assert abs(correct / 1000 - accuracy.top1) < 4 * (0.007 * 0.993 / 1000) ** 0.5


class Ends(paddle.nn.Layer):
    """Ends with what gives integers."""

    def __init__(self, end):
        super().__init__()
        self.end, self.linear = end, paddle.nn.Linear(4, 6)

    def forward(self, x):
        return self.end(self.linear(x))


@pytest.mark.parametrize(
    ("end", "dtypes"),
    [
        (lambda y: paddle.argmax(y, 1), ["int64"]),
        (lambda y: paddle.argmax(y, 1, dtype="int32"), ["int32"]),
        (lambda y: paddle.topk(y, 3), ["float32", "int64"]),
        (lambda y: paddle.topk(y, 3)[1], ["int64"]),
        (lambda y: (paddle.argmax(y, 1), y), ["float32", "int64"]),
    ],
)
def test_integers_have_the_dtype_of_the_program(end, dtypes, tmp_path):
    """As Paddle's own layers give them; test_paddle_versions.py has .pdmodel of argmax."""
    layer = Ends(end)
    x = np.random.default_rng(0).standard_normal((5, 4), np.float32)
    made = layer(paddle.to_tensor(x))
    expected = [one.numpy() for one in (made if isinstance(made, tuple | list) else [made])]
    expected.sort(key=lambda one: one.dtype != np.float32)
    spec = [paddle.static.InputSpec([None, 4], "float32", "x")]
    paddle.jit.save(paddle.jit.to_static(layer, spec, full_graph=True), str(tmp_path / "m"))
    for accelerator in ("auto", "plain", "onednn"):
        with lenet_cpp.Predictor(tmp_path / "m.json", accelerator=accelerator) as predictor:
            assert [one.dtype for one in predictor.output_specs] == dtypes
            assert predictor.run(x).dtype == dtypes[0]
            assert (predictor.output_role == "class_numbers") == (dtypes[0] != "float32")
            found = list(predictor.run_outputs(x).values())
        for one, other in zip(found, expected, strict=True):
            assert (one.dtype, one.shape) == (other.dtype, other.shape)
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("end", "by_image"),
    [
        (lambda y: (y, y.mean()), (True, False)),
        (lambda y: (y, y.mean(0)), (True, False)),
        (lambda y: ((y > 0).astype("int64"), y.max(0), y.max(1)), (False, True, True)),
        (lambda y: (y.max(1), y.reshape([-1, 2, 3]), y.transpose([1, 0])), (True, True, False)),
        (lambda y: (y > 0, y.astype("float64"), y), (True, True, True)),
    ],
)
def test_outputs_of_any_shape(end, by_image, tmp_path):
    """As Paddle's own layers give them; without a batch axis those of all images together."""
    layer = Ends(end)
    for program in shared_models.both_formats(layer, [4], tmp_path):
        with lenet_cpp.Predictor(program) as predictor:
            for count in (1, 2, 3, 130):
                x = np.random.default_rng(count).standard_normal((count, 4), np.float32)
                expected = [one.numpy() for one in layer(paddle.to_tensor(x))]
                expected.sort(key=lambda one: one.dtype.kind != "f")
                found = list(predictor.run_outputs(x).values())
                for one, other, spec in zip(found, expected, predictor.output_specs, strict=True):
                    assert spec.dtype == other.dtype.name
                    dtype = np.float32 if other.dtype.kind == "f" else other.dtype
                    assert (one.dtype, one.shape) == (dtype, other.shape)
                    np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
                assert same(predictor.run(x), found[0])
            names = [spec.name for spec in predictor.output_specs]
        with lenet_cpp.Predictor(program, max_batch_size=2) as predictor:
            for name, whole in zip(names, by_image, strict=True):
                if whole:
                    assert len(predictor.run_outputs(x, name)[name]) == len(x)
                    continue
                with pytest.raises(lenet_cpp.BadInput, match=r"no batch axis.*pieces of 2; "):
                    predictor.run_outputs(x, name)
                with pytest.raises(lenet_cpp.BadInput, match=r"no batch axis.*at least one image"):
                    predictor.run_outputs(x[:0], name)


class Picture(paddle.nn.Layer):
    """Takes one picture [H, W, C], without a batch."""

    def __init__(self):
        super().__init__()
        self.convolution, self.linear = paddle.nn.Conv2D(3, 4, 3), paddle.nn.Linear(4, 5)

    def forward(self, x):
        y = self.convolution(x.transpose([2, 0, 1]).unsqueeze(0))
        return paddle.nn.functional.softmax(self.linear(y.mean([2, 3])))


@pytest.mark.parametrize("suffix", ["json", "pdmodel"])
def test_a_picture_without_a_batch(suffix, tmp_path):
    layer = Picture()
    shared_models.fixed_format(layer, [16, 12, 3], tmp_path / "m", suffix)
    x = np.random.default_rng(0).random((16, 12, 3), np.float32)
    with lenet_cpp.Predictor(tmp_path / f"m.{suffix}") as predictor:
        assert predictor.input_spec.shape == (16, 12, 3)
        close(layer(paddle.to_tensor(x)).numpy(), predictor.run(x))
        with pytest.raises(lenet_cpp.BadInput, match=r"no batch axis.*the shape that the model"):
            predictor.run(np.concatenate([x, x]))


class Regrouped(paddle.nn.Layer):
    """Rows of 12 values for an image, which it regroups in between."""

    def __init__(self, shape):
        super().__init__()
        self.shape, self.linear = shape, paddle.nn.Linear(12, 5)

    def forward(self, x):
        rows = paddle.nn.functional.relu(paddle.reshape(x, self.shape))
        return self.linear(paddle.reshape(rows, [-1, 12]))


@pytest.mark.parametrize(("shape", "takes"), [([2, 12], [2]), ([-1, 20], [5, 10, 70])])
def test_numbers_of_images_that_a_model_does_not_take(shape, takes, tmp_path):
    """Each engine refuses, before it computes, where Paddle's own layers fail."""
    layer = Regrouped(shape)
    exported = Regrouped(shape)  # which no longer runs by itself
    exported.set_state_dict(layer.state_dict())
    for program in shared_models.both_formats(exported, (3, 4), tmp_path):
        for engine in ("native", "paddle", "auto") if shape[0] > 0 else ("paddle", "auto"):
            with lenet_cpp.Predictor(program, engine=engine) as predictor:
                assert predictor.input_spec.shape == (-1, 3, 4)
                for count in (1, 2, 3, 5, 10, 64, 70):
                    images = np.random.default_rng(count).random((count, 3, 4), np.float32)
                    if count in takes:
                        expected = layer(paddle.to_tensor(images)).numpy()
                        assert compare(expected, predictor.run(images)).agrees
                        continue
                    with pytest.raises(ValueError, match=r"[Rr]eshape"):
                        layer(paddle.to_tensor(images))
                    named = rf"a batch of {count} \(.*reshape.*these fit: {takes[0]}[,;]"
                    with pytest.raises(lenet_cpp.BadInput, match=named):
                        predictor.run(images)
        pool = lenet_cpp.PredictorPool(program, size=2, max_batch_size=takes[0])
        images = np.random.default_rng(0).random((takes[0] * 3, 3, 4), np.float32)
        parts = [layer(paddle.to_tensor(part)).numpy() for part in np.split(images, 3)]
        assert compare(np.concatenate(parts), pool.run(images)).agrees
        with pytest.raises(lenet_cpp.BadInput, match="a batch of 1 "):
            pool.run(images[: takes[0] + 1])


@pytest.mark.parametrize(
    "end",
    [
        lambda y: paddle.nn.functional.softmax(y, 0),
        lambda y: y - paddle.mean(y, 0, keepdim=True),
        lambda y: y / paddle.max(y),
    ],
    ids=["softmax", "mean", "largest"],
)
def test_a_batch_whose_images_depend_on_each_other_is_whole(end, tmp_path):
    """More images than a piece has, as Paddle's own layers compute them."""
    layer = Ends(end)
    x = np.random.default_rng(0).standard_normal((150, 4), np.float32)
    for program in shared_models.both_formats(layer, (4,), tmp_path):
        for accelerator in ("auto", "plain"):
            with lenet_cpp.Predictor(program, accelerator=accelerator) as predictor:
                assert compare(layer(paddle.to_tensor(x)).numpy(), predictor.run(x)).agrees


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ("y = Softmax<axis=0>(x)", lambda x: np.exp(x) / np.exp(x).sum(0)),
        ("y = Softmax<axis=-2>(x)", lambda x: np.exp(x) / np.exp(x).sum(0)),
        ("m = ReduceMean<axes=[0]>(x) y = Sub(x, m)", lambda x: x - x.mean(0)),
        ("m = ReduceMax(x) y = Div(x, m)", lambda x: x / x.max()),
    ],
)
def test_a_whole_batch_of_an_onnx(nodes, expected, tmp_path):
    onnx = pytest.importorskip("onnx", reason="the model is made with it")
    pytest.importorskip("onnxruntime", reason="the engine that runs it needs its library")
    graph = onnx.parser.parse_graph(f"g (float[N,3] x) => (float[N,3] y) {{ {nodes} }}")
    opsets = [onnx.helper.make_opsetid("", 13)]
    onnx.save(
        onnx.helper.make_model(graph, ir_version=8, opset_imports=opsets), tmp_path / "m.onnx"
    )
    x = np.random.default_rng(0).random((150, 3), np.float32)
    with lenet_cpp.Predictor(tmp_path / "m.onnx") as predictor:
        np.testing.assert_allclose(predictor.run(x), expected(x), rtol=1e-5)


@pytest.mark.parametrize("name", ["run", "run_outputs"])
def test_ctrl_c_cancels_a_long_run(name):
    """Otherwise it would come after the run, which may take minutes."""
    images = np.zeros((300_000, 28, 28), np.uint8)
    with lenet_cpp.Predictor() as predictor, lenet_cpp.Predictor() as other:
        expected = predictor.run(images[:2])
        interrupt = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT))
        interrupt.start()
        with pytest.raises(KeyboardInterrupt) as caught:
            getattr(predictor, name)(images)
        interrupt.join()
        assert "cancelled" in str(caught.value.__context__)
        assert (predictor.run(images[:2]) == expected).all()
        assert (other.run(images[:2]) == expected).all()
