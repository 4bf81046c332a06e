"""The Python package: what it takes, what it refuses, and what threads may do with it.

About 20 s on one core.
"""

from __future__ import annotations

import copy
import gc
import json
import pickle
import shutil
import subprocess
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import lenet_cpp
from lenet_cpp.data.arrays import as_batch
from lenet_cpp.data.mnist import read_mnist_dir, sample_dir
from lenet_cpp.export.separate_layout import write_separate
from lenet_cpp.formats.manifest import read_manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

import paddle

SHAPE = (-1, 1, 28, 28)
ACCELERATORS = ("plain", "onednn", "openvino")


def digits(count: int, seed: int = 0) -> NDArray[np.float32]:
    """Random images whose values are exact in float16, so that every element type holds them."""
    pixels = np.random.default_rng(seed).integers(0, 2048, (count, 1, 28, 28))
    return pixels.astype(np.float32) / np.float32(2048)


@pytest.fixture(scope="module")
def predictor(model_dir: Path) -> lenet_cpp.Predictor:
    return lenet_cpp.Predictor(model_dir / "lenet.pdmodel", accelerator="plain")


def close(found: NDArray[np.float32], expected: NDArray[np.float32]) -> bool:
    scale = np.maximum(1, np.abs(expected).max(axis=1, keepdims=True))
    return bool((np.abs(found - expected) <= 1e-5 * scale).all())


def same(a: NDArray[Any], b: NDArray[Any]) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


# --- What is taken ---


@pytest.mark.parametrize(
    ("shape", "count"),
    [
        ((28, 28), 1),
        ((1, 28, 28), 1),
        ((1, 1, 28, 28), 1),
        ((5, 28, 28), 5),
        ((5, 1, 28, 28), 5),
        ((28, 28, 28), 28),
    ],
)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f2", ">f4", ">f8", "<f8"])
def test_shapes_and_floating_types(
    predictor: lenet_cpp.Predictor, shape: tuple[int, ...], count: int, dtype: str
) -> None:
    x = digits(count)
    found = predictor.run(x.reshape(shape).astype(dtype))
    assert found.shape == (count, 10)
    assert same(found, predictor.run(x))


def test_rows_are_those_of_each_image(predictor: lenet_cpp.Predictor) -> None:
    x = digits(6)
    together = predictor.run(x)
    for image, row in zip(x, together, strict=True):
        np.testing.assert_allclose(predictor.run(image)[0], row, rtol=0, atol=1e-5)
    assert not np.allclose(together[0], together[1])


@pytest.mark.parametrize("shape", [(28, 28), (1, 28, 28), (4, 28, 28), (4, 1, 28, 28)])
def test_pixels_are_scaled_as_paddle_does(
    predictor: lenet_cpp.Predictor, shape: tuple[int, ...]
) -> None:
    pixels = np.random.default_rng(3).integers(0, 256, shape, np.uint8)
    pixels.flat[:256] = np.arange(256)  # each value at least once
    to_tensor = paddle.vision.transforms.ToTensor()
    images = [to_tensor(image[:, :, np.newaxis]).numpy() for image in pixels.reshape(-1, 28, 28)]
    expected = np.stack(images)
    assert same(as_batch(pixels, SHAPE), expected)
    assert same(predictor.run(pixels), predictor.run(expected))


def strided(x: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
    wide = np.repeat(x, 2, axis=0)
    framed = np.pad(x, ((0, 0), (0, 0), (3, 5), (2, 4)), constant_values=np.nan)
    unaligned = np.zeros(x.nbytes + 1, np.uint8)[1:].view(np.float32).reshape(x.shape)
    unaligned[...] = x
    frozen = x.copy()
    frozen.flags.writeable = False
    return {
        "slice": wide[::2],
        "window": framed[:, :, 3:-5, 2:-4],
        "reversed": x[:, :, ::-1, ::-1].copy()[:, :, ::-1, ::-1],
        "transposed": x.swapaxes(2, 3).copy().swapaxes(2, 3),
        "channels last": x.transpose(0, 2, 3, 1).copy().transpose(0, 3, 1, 2),
        "Fortran": np.asfortranarray(x),
        "unaligned": unaligned,
        "read-only": frozen,
        "bytes": np.frombuffer(x.tobytes(), np.float32).reshape(x.shape),
        "subclass": x.view(type("Mine", (np.ndarray,), {})),
    }


@pytest.mark.parametrize("kind", sorted(strided(digits(2))))
@pytest.mark.parametrize("count", [1, 4])
def test_any_strides(predictor: lenet_cpp.Predictor, kind: str, count: int) -> None:
    x = digits(count)
    given = strided(x)[kind]
    assert np.array_equal(given, x)
    before = given.copy()
    assert same(predictor.run(given), predictor.run(x))
    assert np.array_equal(given, before)


def test_zero_strides(predictor: lenet_cpp.Predictor) -> None:
    x = digits(1)
    found = predictor.run(np.broadcast_to(x[0], (5, 1, 28, 28)))
    assert same(found, predictor.run(np.repeat(x, 5, axis=0)))
    grey = np.broadcast_to(np.float32(0.5), (2, 28, 28))
    assert same(predictor.run(grey), predictor.run(np.full((2, 1, 28, 28), 0.5, np.float32)))


def test_nested_lists_and_paddle_tensors(predictor: lenet_cpp.Predictor) -> None:
    x = digits(2)
    expected = predictor.run(x)
    assert same(predictor.run(x.tolist()), expected)
    assert same(predictor.run(x[:, 0].tolist()), expected)
    assert same(predictor.run(paddle.to_tensor(x)), expected)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "uint8"])
@pytest.mark.parametrize("shape", [(0, 28, 28), (0, 1, 28, 28)])
def test_no_images(
    model_dir: Path, predictor: lenet_cpp.Predictor, shape: tuple[int, ...], dtype: str
) -> None:
    nothing = np.zeros(shape, dtype)
    for found in (
        predictor.run(nothing),
        lenet_cpp.predict(nothing),
        lenet_cpp.PredictorPool(model_dir=model_dir, size=1).run(nothing),
    ):
        assert found.dtype == np.float32
        assert found.shape == (0, 10)
    labels, probabilities = lenet_cpp.classify(nothing)
    assert labels == []
    assert probabilities.shape == (0, 10)


@pytest.mark.parametrize("shape", [(28, 28), (1, 28, 28), (3, 28, 28), (3, 1, 28, 28)])
def test_contiguous_float32_is_not_copied(shape: tuple[int, ...]) -> None:
    x = np.ones(shape, np.float32)
    x.flags.writeable = False
    batch = as_batch(x, SHAPE)
    assert np.shares_memory(batch, x)
    assert batch.shape == (x.size // 784, 1, 28, 28)
    assert not np.shares_memory(as_batch(x[..., ::-1], SHAPE), x)


def test_results_are_the_callers_own(predictor: lenet_cpp.Predictor) -> None:
    x = digits(3)
    first = predictor.run(x)
    kept = first.copy()
    second = predictor.run(digits(3, seed=1))
    assert not np.shares_memory(first, second)
    assert np.array_equal(first, kept)
    first[...] = 0
    assert np.array_equal(predictor.run(x), kept)


def test_settings_for_floating_point_errors_do_not_matter(predictor: lenet_cpp.Predictor) -> None:
    with np.errstate(all="raise"):
        assert predictor.run(np.full((28, 28), 1e-300)).shape == (1, 10)
        with pytest.raises(lenet_cpp.BadInput, match="NaN or infinity"):
            predictor.run(np.full((28, 28), 1e300))
        lenet_cpp.classify(np.full((28, 28), 1e30))


# --- What is refused ---


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((28, 28), np.int64), r"float16, float32 or float64 .*uint8.*got int64 of shape"),
        (np.zeros((28, 28), np.int8), "got int8"),
        (np.zeros((28, 28), np.uint16), "got uint16"),
        (np.zeros((28, 28), bool), "got bool"),
        (np.zeros((28, 28), np.complex64), "got complex64"),
        (np.zeros((28, 28), np.longdouble), f"got {np.dtype(np.longdouble)}"),
        (np.zeros((28, 28), object), "got object"),
        (np.zeros((28, 28), "U1"), "got <U1"),
        (np.zeros((28, 28), "M8[s]"), "got datetime64"),
        (np.zeros((28, 28), [("a", "f4")]), "got .*'a'"),
        (np.ma.masked_equal(np.zeros((28, 28), np.float32), 0), "masked"),
        ("image.png", r"\[N, 1, 28, 28\], got a string"),
        (b"image", "got a string"),
        (None, "got object of shape"),
        (0.5, r"got \[\]"),
        ([], r"got \[0\]"),
        ([[0] * 28] * 28, "got int64"),
        ([[0.0] * 28, [0.0]], r"\[N, 1, 28, 28\]: .*inhomogeneous"),
        (np.zeros(784, np.float32), r"expected shape \[N, 1, 28, 28\], got \[784\]"),
        (np.zeros((2, 784)), r"got \[2, 784\]"),
        (np.zeros((2, 3, 28, 28)), r"got \[2, 3, 28, 28\]"),
        (np.zeros((2, 28, 28, 1)), r"got \[2, 28, 28, 1\]"),
        (np.zeros((1, 1, 1, 28, 28)), r"got \[1, 1, 1, 28, 28\]"),
        (np.zeros((32, 32), np.uint8), r"got \[32, 32\]"),
        (np.zeros((0, 32, 32)), r"got \[0, 32, 32\]"),
        (np.zeros((28, 27)), r"got \[28, 27\]"),
    ],
)
def test_anything_else_is_bad_input(
    model_dir: Path, predictor: lenet_cpp.Predictor, images: Any, message: str
) -> None:
    pool = lenet_cpp.PredictorPool(model_dir=model_dir, size=1)
    for run in (predictor.run, predictor.run_layers, pool.run, lenet_cpp.predict):
        with pytest.raises(lenet_cpp.BadInput, match=message) as caught:
            run(images)
        assert "\n" not in str(caught.value)
    assert predictor.run(digits(1)).shape == (1, 10)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite(
    model_dir: Path, predictor: lenet_cpp.Predictor, dtype: Any, value: float
) -> None:
    x = digits(3).astype(dtype)
    for at in ((0, 0, 0, 0), (1, 0, 13, 13), (2, 0, 27, 27)):
        bad = x.copy()
        bad[at] = value
        with pytest.raises(lenet_cpp.BadInput, match="NaN or infinity"):
            predictor.run(bad)
    with lenet_cpp.Predictor(model_dir=model_dir, check_finite=False) as trusting:
        assert trusting.run(bad).shape == (3, 10)


def test_floats_from_0_to_255_are_warned_of_once(model_dir: Path, tmp_path: Path) -> None:
    x = digits(2)
    for make in (lenet_cpp.Predictor, partial(lenet_cpp.PredictorPool, size=2)):
        predictor = make(model_dir=model_dir, accelerator="plain")
        predictor.run(np.zeros_like(x))  # a first run may only warm up
        with pytest.warns(
            lenet_cpp.InputRangeWarning, match=r"up to 25\d.*, .* gives 0 to 1: scale"
        ):
            predictor.run(x * 255)
        predictor.run(x * 255)  # any warning is an error in these tests
        predictor = make(model_dir=model_dir, accelerator="plain")
        for images in (x, x * 8, (x * 255).astype(np.uint8)):
            predictor.run(images)
    # Clones have one warning together; it can be turned off, or be made an error.
    origin = lenet_cpp.Predictor(model_dir=model_dir, accelerator="plain")
    clones = [origin.clone() for _ in range(2)]
    with pytest.raises(lenet_cpp.InputRangeWarning):
        clones[0].run(x * 255)
    for predictor in (*clones, origin):
        assert predictor.run(x * 255).shape == (2, 10)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", lenet_cpp.InputRangeWarning)
        lenet_cpp.Predictor(model_dir=model_dir, accelerator="plain").run(x * 255)
    # Nothing says what the model takes.
    for name in ("lenet.pdmodel", "lenet.pdiparams"):
        shutil.copy(model_dir / name, tmp_path)
    lenet_cpp.Predictor(model_dir=tmp_path, accelerator="plain").run(x * 255)


def test_error_classes() -> None:
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
        ({"engine": "onnxruntime"}, lenet_cpp.Unsupported, "engine onnxruntime: .*export_onnx.py"),
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
def test_options_that_are_refused(
    model_dir: Path, name: str, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        lenet_cpp.Predictor(model_dir / name, **options)
    with pytest.raises(error, match=message):
        lenet_cpp.PredictorPool(model_dir / name, size=1, **options)


def test_what_paddle_cannot_do_with_json_is_unsupported(model_dir: Path) -> None:
    with pytest.raises(NotImplementedError, match=r"lenet\.json.*OpenVINO runs \.pdmodel"):
        lenet_cpp.Predictor(model_dir / "lenet.json", accelerator="openvino")


@pytest.mark.parametrize("size", [0, -1, 1.5, "2", None])
def test_sizes_of_a_pool_that_are_refused(model_dir: Path, size: Any) -> None:
    with pytest.raises(lenet_cpp.BadInput, match=r"size is|at least one"):
        lenet_cpp.PredictorPool(model_dir=model_dir, size=size)


def test_models_that_are_not_there(model_dir: Path, tmp_path: Path) -> None:
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
def test_parameters_may_lie_elsewhere(model_dir: Path, tmp_path: Path, accelerator: str) -> None:
    program, params = tmp_path / "program.pdmodel", tmp_path / "weights"
    shutil.copy(model_dir / "lenet.pdmodel", program)
    shutil.copy(model_dir / "lenet.pdiparams", params)
    found = lenet_cpp.Predictor(program, params, accelerator=accelerator).run(digits(3))
    usual = lenet_cpp.Predictor(model_dir / "lenet.pdmodel", accelerator=accelerator)
    assert same(found, usual.run(digits(3)))


def test_separate_layout(model_dir: Path, tmp_path: Path) -> None:
    write_separate(model_dir, tmp_path / "separate")
    for accelerator, used in (("auto", "onednn"), ("plain", "plain"), ("onednn", "onednn")):
        options: dict[str, Any] = {"accelerator": accelerator, "engine": "paddle"}
        separate = lenet_cpp.Predictor(model_dir=tmp_path / "separate", **options)
        assert separate.accelerator(3) == used
        combined = lenet_cpp.Predictor(model_dir / "lenet.pdmodel", accelerator=used)
        assert same(separate.run(digits(3)), combined.run(digits(3)))
    with pytest.raises(lenet_cpp.Unsupported, match=r"__model__.*OpenVINO runs \.pdmodel"):
        lenet_cpp.Predictor(model_dir=tmp_path / "separate", accelerator="openvino")


def empty(path: Path) -> Path:
    path.touch()
    return path


# --- Predictors ---


def test_specifications_are_those_of_the_manifest(model_dir: Path) -> None:
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
def test_auto_chooses_an_accelerator_of_paddle(
    model_dir: Path, name: str, images: int, expected: str
) -> None:
    auto = lenet_cpp.Predictor(model_dir / name, engine="paddle")
    pool = lenet_cpp.PredictorPool(model_dir / name, size=1, engine="paddle")
    assert auto.accelerator(images) == pool.accelerator(images) == expected
    named = lenet_cpp.Predictor(model_dir / name, accelerator=expected)
    assert named.accelerator(images) == expected
    for predictor in (auto, auto.clone(), pool):
        assert same(predictor.run(digits(images)), named.run(digits(images)))


def test_closed_predictor_says_so(model_dir: Path) -> None:
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


def test_context_closes_when_the_block_raises(model_dir: Path) -> None:
    predictor = lenet_cpp.Predictor(model_dir=model_dir, accelerator="plain")
    with pytest.raises(KeyError), predictor:
        raise KeyError
    with pytest.raises(lenet_cpp.BadInput, match="closed"):
        predictor.run(digits(1))


@pytest.mark.parametrize("accelerator", ACCELERATORS)
def test_clone_outlives_its_origin(model_dir: Path, accelerator: str) -> None:
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


def test_predictors_cannot_be_pickled_or_copied(model_dir: Path) -> None:
    predictor = lenet_cpp.Predictor(model_dir=model_dir)
    pool = lenet_cpp.PredictorPool(model_dir=model_dir, size=1)
    for action in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match=r"a Predictor cannot be pickled .* use clone\(\)"):
            action(predictor)
        with pytest.raises(TypeError, match="PredictorPool cannot be pickled or copied"):
            action(pool)


@pytest.mark.parametrize("accelerator", ACCELERATORS)
def test_large_batch_is_cut(model_dir: Path, accelerator: str) -> None:
    x = digits(50)
    options: dict[str, Any] = {"accelerator": accelerator}
    whole = lenet_cpp.Predictor(model_dir / "lenet.pdmodel", **options)
    pieces = lenet_cpp.Predictor(model_dir / "lenet.pdmodel", max_batch_size=16, **options)
    found = pieces.run(x)
    by_hand = [whole.run(x[i : i + 16]) for i in (0, 16, 32, 48)]
    assert same(found, np.concatenate(by_hand))
    expected = whole.run(x)
    assert close(found, expected)


def test_a_json_runs_without_handing_work_to_another_thread(model_dir: Path) -> None:
    """Paddle's new executor would have each intermediate result freed by a thread of its own."""
    code = f"""
import pathlib, re, sys
import numpy as np
import lenet_cpp

def switches_of_other_threads():
    status = [path.read_text() for path in pathlib.Path("/proc/self/task").glob("*/status")]
    main = pathlib.Path("/proc/self/status").read_text()
    count = lambda text: int(re.search(r"^voluntary_ctxt_switches:\\s+(\\d+)", text, re.M)[1])
    return sum(map(count, status)) - count(main)

model = {str(model_dir / "lenet.json")!r}
for memory_optim in (False, True):
    origin = lenet_cpp.Predictor(model, accelerator="plain", memory_optim=memory_optim)
    for predictor in (origin, origin.clone()):
        predictor.run(np.zeros((1, 28, 28), "float32"))
        before = switches_of_other_threads()
        for _ in range(1000):
            predictor.run(np.zeros((1, 28, 28), "float32"))
        print(switches_of_other_threads() - before)
"""
    output = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout
    kept, kept_by_clone, freed, freed_by_clone = map(int, output.split())
    assert max(kept, kept_by_clone) < 100
    # Otherwise this would count nothing. Sharing memory is what memory_optim is for.
    assert min(freed, freed_by_clone) > 500


def test_openvino_predictors_of_equal_models_are_lent_again(
    model_dir: Path, tmp_path: Path
) -> None:
    """Also when the files that the first was loaded from are gone."""
    x = digits(3)
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        shutil.copytree(model_dir, folder)
    options: dict[str, Any] = {"accelerator": "openvino"}
    with lenet_cpp.Predictor(model_dir=first, **options) as predictor:
        expected = predictor.run(x)
    shutil.rmtree(first)
    alive = [lenet_cpp.Predictor(model_dir=second, **options) for _ in range(3)]
    alive += [predictor.clone() for predictor in alive]
    assert all(same(predictor.run(x), expected) for predictor in alive)


def test_openvino_predictors_do_not_pile_up(model_dir: Path) -> None:
    """Paddle keeps 1.5 MB of each that it compiles."""
    code = f"""
import numpy as np
import lenet_cpp

def resident():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))

def once():
    with lenet_cpp.Predictor(model_dir={str(model_dir)!r}, accelerator="openvino") as predictor:
        predictor.run(np.zeros((1, 28, 28), "float32"))

once()
before = resident()
for _ in range(30):
    once()
print(resident() - before)
"""
    output = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout
    assert int(output) < 10_000  # kB


@pytest.mark.parametrize("threads", [1, 2])
def test_a_run_takes_64_images_a_thread_by_default(model_dir: Path, threads: int) -> None:
    options: dict[str, Any] = {"accelerator": "plain", "threads": threads}
    predictor = lenet_cpp.Predictor(model_dir / "lenet.pdmodel", **options)
    layers = predictor.run_layers(digits(300))
    pieces = [len(layer.values) for layer in layers if layer.op_type == layers[-1].op_type]
    assert pieces[0] == 64 * threads
    assert pieces[-1] == 300 % (64 * threads)


def test_options_reach_the_engine(model_dir: Path) -> None:
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


def layers(model_dir: Path, **options: Any) -> list[str]:
    options = {"accelerator": "plain", **options}
    predictor = lenet_cpp.Predictor(model_dir / "lenet.pdmodel", **options)
    return [layer.op_type for layer in predictor.run_layers(digits(2))]


@pytest.mark.parametrize("name", ["lenet.pdmodel", "lenet.json"])
def test_layers_follow_from_one_another(model_dir: Path, name: str) -> None:
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


def test_predict_runs_the_bundled_model(model_dir: Path) -> None:
    x = digits(7)
    with lenet_cpp.Predictor(model_dir=model_dir) as predictor:
        assert same(lenet_cpp.predict(x), predictor.run(x))
    assert lenet_cpp.predict(np.zeros((2, 1, 28, 28), "float32")).shape == (2, 10)


def test_classify_gives_the_softmax_and_names(model_dir: Path) -> None:
    x = digits(9)
    logits = lenet_cpp.predict(x)
    labels, probabilities = lenet_cpp.classify(x)
    expected = paddle.nn.functional.softmax(paddle.to_tensor(logits)).numpy()
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities, expected, rtol=1e-5, atol=1e-7)
    names = json.loads((model_dir / "manifest.json").read_text())["classes"]
    assert labels == [names[i] for i in logits.argmax(axis=1)]
    assert all(isinstance(label, str) for label in labels)


def test_classify_does_not_overflow() -> None:
    result = lenet_cpp.classify(np.full((28, 28), 1e30, np.float32))
    np.testing.assert_allclose(result.probabilities.sum(), 1, rtol=1e-6)


# --- Threads ---


@contextmanager
def no_forced_switches() -> Iterator[None]:
    """Another thread gets the GIL only where this one gives it away."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1000)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def other_thread_ran_during(action: Callable[[], object]) -> bool:
    gate = threading.Lock()
    gate.acquire()
    ran = []

    def wait_and_note() -> None:
        with gate:
            ran.append(True)

    thread = threading.Thread(target=wait_and_note)
    with no_forced_switches():
        thread.start()
        gate.release()
        action()
        during = bool(ran)
    thread.join()
    return during


def test_bundled_model_reads_digits(model_dir: Path) -> None:
    sample = read_mnist_dir(sample_dir()).test
    correct = int((lenet_cpp.predict(sample.images).argmax(axis=1) == sample.labels).sum())
    accuracy = read_manifest(model_dir).accuracy
    assert accuracy is not None
    assert accuracy.images == 10_000
    assert accuracy.top1 >= 0.993
    # The sample is a tenth of those images: four standard errors around their accuracy.
    assert abs(correct / 1000 - accuracy.top1) < 4 * (0.007 * 0.993 / 1000) ** 0.5


def test_gil_is_released_while_running(model_dir: Path, predictor: lenet_cpp.Predictor) -> None:
    x = digits(1000)
    pool = lenet_cpp.PredictorPool(model_dir=model_dir, accelerator="plain", size=1)
    layered = lenet_cpp.Predictor(model_dir=model_dir, accelerator="plain")
    # What holds the GIL never lets the other thread run: so the method can tell.
    assert not any(other_thread_ran_during(lambda: sum(range(300_000))) for _ in range(20))
    for run in (predictor.run, pool.run, layered.run_layers):
        action = partial(run, x)
        # One try may miss: the system is free to start the other thread late.
        assert any(other_thread_ran_during(action) for _ in range(50)), run


def expected_of(predictor: lenet_cpp.Predictor) -> list[NDArray[np.float32]]:
    return [predictor.run(batch) for batch in BATCHES]


BATCHES = [digits(1 + seed % 5, seed) for seed in range(60)]


@pytest.mark.parametrize("name", ["lenet.pdmodel", "lenet.json"])
@pytest.mark.parametrize("accelerator", ["plain", "auto"])
def test_threads_get_what_one_thread_gets(model_dir: Path, name: str, accelerator: str) -> None:
    origin = lenet_cpp.Predictor(model_dir / name, accelerator=accelerator)
    expected = expected_of(origin)
    pool = lenet_cpp.PredictorPool(model_dir / name, size=3, accelerator=accelerator)
    local = threading.local()

    def by_clone(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        if not hasattr(local, "clone"):
            local.clone = origin.clone()
        result: NDArray[np.float32] = local.clone.run(batch)
        return result

    with ThreadPoolExecutor(4) as threads:
        for run in (pool.run, by_clone, origin.run):
            found = list(threads.map(run, BATCHES))
            assert all(map(same, found, expected)), run


def test_predict_from_threads() -> None:
    expected = [lenet_cpp.predict(batch) for batch in BATCHES]
    with ThreadPoolExecutor(4) as threads:
        assert all(map(same, threads.map(lenet_cpp.predict, BATCHES), expected))


@pytest.mark.parametrize("accelerator", ACCELERATORS)
def test_predictors_can_be_made_in_parallel(model_dir: Path, accelerator: str) -> None:
    x = digits(2)
    expected = lenet_cpp.Predictor(model_dir / "lenet.pdmodel", accelerator=accelerator).run(x)

    def make_and_run(_: int) -> NDArray[np.float32]:
        with lenet_cpp.Predictor(model_dir / "lenet.pdmodel", accelerator=accelerator) as made:
            return made.clone().run(x)

    with ThreadPoolExecutor(4) as threads:
        assert all(same(found, expected) for found in threads.map(make_and_run, range(12)))


def test_failed_runs_do_not_use_up_a_pool(model_dir: Path) -> None:
    pool = lenet_cpp.PredictorPool(model_dir=model_dir, size=1)
    bad = np.full((1, 1, 28, 28), np.nan, np.float32)
    for _ in range(3):
        with pytest.raises(lenet_cpp.BadInput):
            pool.run(bad)
    assert pool.run(digits(2)).shape == (2, 10)


# --- In a process of its own ---


def in_child(code: str, *arguments: object, cwd: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


MANY_SHAPES = """
import random, sys, threading
import numpy, lenet_cpp

program = sys.argv[1]
images = numpy.random.default_rng(0).random((40, 1, 28, 28), "float32")
expected = lenet_cpp.Predictor(program, accelerator="plain").run(images)
wrong = []

def make_and_run(seed):
    sizes = random.Random(seed)
    for _ in range(60):
        with lenet_cpp.Predictor(program, accelerator="onednn") as predictor:
            clone = predictor.clone()
            for size in sizes.choices(range(1, 41), k=20):
                if not numpy.allclose(clone.run(images[:size]), expected[:size], atol=1e-4):
                    wrong.append(size)

threads = [threading.Thread(target=make_and_run, args=[seed]) for seed in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(wrong)
"""


@pytest.mark.parametrize("program", ["lenet.pdmodel", "lenet.json"])
def test_onednn_with_many_shapes_in_threads(model_dir: Path, program: str, tmp_path: Path) -> None:
    # With the limit on shapes that Paddle has, threads count its cache while others change it.
    assert in_child(MANY_SHAPES, model_dir / program, cwd=tmp_path) == "[]\n"


CREATED = """
import os, sys
import numpy, lenet_cpp

predictor = lenet_cpp.Predictor(sys.argv[1], accelerator="onednn")
for size in map(int, sys.argv[2].split(",")):
    predictor.run(numpy.zeros((size, 1, 28, 28), "float32"))
    os.write(1, b"run\\n")
"""


@pytest.mark.parametrize("program", ["lenet.pdmodel", "lenet.json"])
def test_onednn_keeps_the_primitives_of_16_shapes(
    model_dir: Path, program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONEDNN_VERBOSE", "2")
    sizes = [*range(1, 17), *range(1, 17), *range(17, 33), *range(1, 33)]
    arguments = (model_dir / program, ",".join(map(str, sizes)))
    parts = in_child(CREATED, *arguments, cwd=tmp_path).split("run\n")[:-1]
    created = [part.count(",create:") for part in parts]
    first, again, _, all_again = created[:16], created[16:32], created[32:48], created[48:]
    assert all(kept < made for kept, made in zip(again, first, strict=True))
    # What a run makes each time does not count; of 32 shapes at least half are made anew.
    assert sum(made > max(again) for made in all_again) >= 16


def test_importing_and_running_imports_no_paddle(tmp_path: Path) -> None:
    code = """
import sys, lenet_cpp, numpy
def foreign():
    return [name for name in sys.modules if name.split(".")[0] in {"paddle", "setuptools"}]
assert not foreign(), foreign()
lenet_cpp.predict(numpy.zeros((1, 28, 28)))
lenet_cpp.classify(numpy.zeros((1, 28, 28)))
lenet_cpp.paddle_version()
assert not foreign(), foreign()
print(lenet_cpp.paddle_version())
"""
    assert in_child(code, cwd=tmp_path).split() == [paddle.__version__]


RUN_ALL = """
import sys, numpy
from pathlib import Path
{before}
import lenet_cpp
folder = lenet_cpp.bundled_model_dir()
x = numpy.random.default_rng(0).random((5, 1, 28, 28), dtype=numpy.float32)
def run(name, accelerator):
    return lenet_cpp.Predictor(folder / name, accelerator=accelerator).run(x)
def run_all():
    return [
        run(*options)
        for options in (
            ("lenet.pdmodel", "plain"), ("lenet.pdmodel", "onednn"), ("lenet.pdmodel", "openvino"),
            ("lenet.json", "plain"), ("lenet.json", "onednn"),
        )
    ]
outputs = [run_all()]
{after}
outputs.append(run_all())
numpy.save(sys.argv[1], outputs)
"""
USE_PADDLE = "import paddle; assert paddle.ones([2]).sum().item() == 2"


def test_paddle_imported_before_after_or_never(tmp_path: Path) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    found = {}
    for name, before, after in (
        ("never", "", ""),
        ("before", USE_PADDLE, ""),
        ("after", "", USE_PADDLE),
    ):
        output = tmp_path / f"{name}.npy"
        said = in_child(RUN_ALL.format(before=before, after=after), output, cwd=folder)
        assert said == ""  # no noise from Paddle on standard output
        found[name] = np.load(output)
    assert found["never"].shape == (2, 5, 5, 10)
    assert same(found["never"][0], found["never"][1])
    assert same(found["before"], found["never"])
    assert same(found["after"], found["never"])
    assert list(folder.iterdir()) == []  # OpenVINO's cache, __cache__, is not left here


def test_temporary_folders_are_removed(tmp_path: Path) -> None:
    code = """
import tempfile, pathlib, numpy, lenet_cpp
folder = pathlib.Path(tempfile.gettempdir())
origin = lenet_cpp.Predictor(model_dir=lenet_cpp.bundled_model_dir(), accelerator="openvino")
clone = origin.clone()
origin.close()
for images in (1, 2, 70):
    clone.run(numpy.zeros((images, 28, 28)))
# Gone while they are in use: nothing is left by a process that is killed.
assert not list(folder.iterdir()), list(folder.iterdir())
lenet_cpp.predict(numpy.zeros((1, 28, 28)))
"""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    in_child(f"import os; os.environ['TMPDIR'] = {str(scratch)!r}\n{code}", cwd=tmp_path)
    assert list(scratch.iterdir()) == []


MANY_PREDICTORS = """
import sys, threading, numpy, lenet_cpp
first, second, name, accelerator = sys.argv[1:]
x = numpy.random.default_rng(0).random((3, 1, 28, 28), dtype=numpy.float32)

def load(folder, accelerator=accelerator):
    # Each in a new thread, whose memory then tends to lie where the thread's before it lay.
    made = []
    def make():
        made.append(lenet_cpp.Predictor(f"{folder}/{name}", accelerator=accelerator))
    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    return made[0]

expected = {folder: load(folder, "plain").run(x) for folder in (first, second)}
assert abs(expected[first] - expected[second]).max() > 1
predictors = [(folder, load(folder)) for folder in (first, second, first, second, second, first)]
for again in range(2):
    for folder, predictor in predictors:
        difference = abs(predictor.run(x) - expected[folder])
        allowed = 1e-5 * numpy.maximum(1, abs(expected[folder]).max(axis=1, keepdims=True))
        assert (difference <= allowed).all(), difference.max()
    predictors += [(folder, predictor.clone()) for folder, predictor in predictors[:3]]
    del predictors[0]
print("done", flush=True)
"""


@pytest.mark.parametrize(
    ("name", "accelerator"),
    [
        ("lenet.pdmodel", "plain"),
        ("lenet.pdmodel", "onednn"),
        ("lenet.pdmodel", "openvino"),
        ("lenet.json", "plain"),
        ("lenet.json", "onednn"),
    ],
)
def test_predictors_of_several_models_do_not_mix(
    model_dir: Path, tmp_path: Path, name: str, accelerator: str
) -> None:
    """Paddle keeps OpenVINO's engines in a table of the process, by a key that may repeat."""
    other = tmp_path / "other"
    shutil.copytree(model_dir, other, ignore=shutil.ignore_patterns("SHA256SUMS"))
    params = other / "lenet.pdiparams"
    content = bytearray(params.read_bytes())
    last = np.frombuffer(content, "<f4", 84 * 10, len(content) - 84 * 10 * 4)  # linear3's weight
    content[-last.nbytes :] = (-last).tobytes()
    params.write_bytes(content)
    said = in_child(MANY_PREDICTORS, model_dir, other, name, accelerator, cwd=tmp_path)
    assert said == "done\n"
