"""The benchmark: its arithmetic, its refusals, and one quick run of the whole. No test asserts on
how long anything takes.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import signal
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pytest

from lenet_cpp.errors import BackendFailure, BadInput, FileNotFound, Unsupported
from lenet_cpp.verify import Case, find_models, run_paddle_inference
from numpy_reference import lenet
from snippets import read_snippets
from tools.benchmark import (
    BASELINE,
    CONTENDERS,
    Contender,
    MemorySettings,
    Series,
    Settings,
    StartupSettings,
    choose,
    cli,
    contenders,
    engines,
    memory,
    plots,
    prepare,
    run_benchmark,
    run_memory,
    run_startup,
    worker,
)
from tools.benchmark.child import child_environment
from tools.benchmark.comparisons import best_peers, python_door, speed_ups
from tools.benchmark.correctness import assess
from tools.benchmark.graphs import MULTIPLY_ADDS, activation_ranges, read_weights, reference
from tools.benchmark.machine import installed_size, multiply_add_limit, package_closure
from tools.benchmark.memory import summarize_series
from tools.benchmark.memory_worker import batch_sizes
from tools.benchmark.subject import lenet_subject
from tools.benchmark.summary import Block, block_of, compare_blocks, percentile, summarize
from tools.benchmark.tables import benchmark_text

OURS = "lenet_cpp/pdmodel/plain"
PROGRAM = "program/pdmodel/plain"


def quick(model_dir: Path, program: Path, **options) -> Settings:
    few = {"batch_sizes": (1, 8), "seconds": 0.02, "rounds": 2, "starts": 1}
    return Settings(model_dir=model_dir, program=program, **{**few, **options})


# Statistics


@pytest.mark.parametrize("count", [1, 2, 3, 10, 99, 100, 101, 1000])
def test_percentiles_are_numpys(count):
    values = np.random.default_rng(count).lognormal(size=count)
    for percent in (1, 25, 50, 90, 99, 100):
        expected = np.percentile(values, percent, method="inverted_cdf")
        assert percentile(values, percent) == expected


def test_summary_of_known_times():
    # 1 to 100 us in two turns, by hand: nearest rank.
    blocks = [
        block_of([1000 * i for i in range(1, 51)]),
        block_of([1000 * i for i in range(51, 101)]),
    ]
    found = summarize(blocks)
    assert (found.runs, found.median, found.p90, found.p99) == (100, 50, 90, 99)
    assert found.quietest == 25
    assert found.spread == (75 - 25) / 50
    assert found.variation == pytest.approx(np.sqrt((100**2 - 1) / 12) / 50.5)
    assert found.outliers == 0


def test_outliers_are_counted_and_stay():
    times = [100_000] * 50 + [110_000] * 49 + [10_000_000]
    found = summarize([block_of(times)])
    assert found.outliers == 1
    assert found.runs == 100
    assert found.variation > 1
    assert percentile(np.array(times) / 1e3, 100) == 10_000


def test_turns_without_single_times():
    blocks = [Block(10, median, median + 1, median + 2) for median in (5.0, 3.0, 4.0)]
    found = summarize(blocks)
    assert (found.runs, found.median, found.p90, found.p99) == (30, 4, 5, 6)
    assert (found.variation, found.outliers) == (None, None)


def test_ratios_pair_the_turns_of_a_round():
    # The machine is ten times as slow in the second round; the ratio is 2 in both.
    baseline = [block_of([100_000]), block_of([1_000_000]), block_of([100_000])]
    found = [block_of([50_000]), block_of([500_000]), block_of([40_000])]
    ratio = compare_blocks(baseline, found)
    assert (ratio.median, ratio.low, ratio.high) == (2, 2, 2.5)


def test_what_python_adds():
    cells = [
        {"contender": name, "threads": 1, "batch_size": 1, "quietest_median_us": time}
        for name, time in ((OURS, 50.0), (PROGRAM, 48.5), (BASELINE, 75.0), ("litert", 1.0))
    ]
    (row,) = python_door(cells)
    assert (row["kind"], row["added_us"], row["times_as_fast"]) == ("pdmodel/plain", 1.5, 1.5)


def test_the_best_peer_is_the_fastest_other_of_that_precision():
    def turns(*medians):
        return [block_of([int(1000 * median)] * 3) for median in medians]

    blocks = {
        "lenet_cpp/native": turns(1, 1),
        "lenet_cpp/auto": turns(1, 1),
        "onnxruntime": turns(5, 9, 9),
        "litert": turns(7, 6, 7),  # its median is the least, not its best turn
        "litert/int8": turns(2, 2),
        "lenet_cpp/native/int8": turns(1, 1),
    }
    found = best_peers([one for one in CONTENDERS if one.name in blocks], blocks)
    assert found == {"fp32": "litert", "int8": "litert/int8"}
    assert best_peers(choose(["lenet_cpp/native"]), {"lenet_cpp/native": turns(1)}) == {}


def test_speed_ups_are_over_the_least_threads():
    cells = [
        {"contender": name, "batch_size": size, "threads": threads, "images_per_second": rate}
        for name, size, threads, rate in (
            ("a", 1, 2, 100.0),
            ("a", 1, 4, 90.0),
            ("a", 64, 4, 390.0),
            ("a", 64, 2, 200.0),
            ("b", 64, 4, 5.0),  # was refused with two
        )
    ]
    found = {(one["contender"], one["batch_size"]): one["speed_up"] for one in speed_ups(cells)}
    assert found == {("a", 1): 0.9, ("a", 64): 1.95}
    assert {(one["base_threads"], one["threads"]) for one in speed_ups(cells)} == {(2, 4)}
    assert speed_ups([cell for cell in cells if cell["threads"] == 4]) == []


# The worker


class Clock:
    """Stands in for the module ``time``; a run takes what the list says."""

    def __init__(self, milliseconds):
        self.now = 0
        self.milliseconds = iter(milliseconds)

    def run(self, batch):
        self.now += int(1e6 * next(self.milliseconds))
        return batch

    def perf_counter_ns(self):
        return self.now

    def perf_counter(self):
        return self.now / 1e9


@pytest.mark.parametrize(
    ("milliseconds", "runs", "stable"),
    [
        ([50] * 5 + [10] * 5 + [9] * 5 + [8.9] * 5, 20, True),  # 9 to 8.9 is within 5 %
        ([2] * 100, 20, True),  # ten runs fill a window of 20 ms
        ([100] * 5 + [50] * 5 + [100] * 5 + [50] * 5, 15, False),  # gives up after a second
    ],
)
def test_warming_up_goes_on_until_times_settle(monkeypatch, milliseconds, runs, stable):
    clock = Clock(milliseconds)
    monkeypatch.setattr(worker, "time", clock)
    result = worker.warm(clock.run, np.zeros((1, 1, 28, 28), np.float32), 1.1)
    assert (result["runs"], result["stable"]) == (runs, stable)


def test_block_times_each_run(monkeypatch):
    clock = Clock([7, 3, *range(1, 100)])  # 10 ms of warm-up, then 1, 2, ... until 20 ms are over
    monkeypatch.setattr(worker, "time", clock)
    images = np.zeros((1, 1, 28, 28), np.float32)
    times = worker.block(clock.run, images, seconds=0.02, least=3, warmup=0.01)
    assert times == [1_000_000 * i for i in range(1, 7)]
    clock = Clock([100] * 10)
    monkeypatch.setattr(worker, "time", clock)
    assert len(worker.block(clock.run, images, seconds=0.02, least=3, warmup=0.01)) == 3


def test_resident_memory_follows_an_allocation():
    # In a process of its own: this one's threads, and what it has freed before, would blur it.
    code = """
import json, mmap
from tools.benchmark import worker
with mmap.mmap(-1, 50_000_000) as ballast:
    before = worker.memory()
    ballast.write(bytes([1]) * len(ballast))
    print(json.dumps([before, worker.memory()]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, after = json.loads(done.stdout)
    # The bytes that are written lie in memory once more while they are copied, and leave again.
    assert after["resident"] - before["resident"] == pytest.approx(50_000_000, rel=0.1)
    assert after["peak"] >= after["resident"]


def test_children_import_the_same_package(monkeypatch, tmp_path):
    """From wherever they run, with a path that is relative to the parent's folder."""
    (tmp_path / "here" / "lenet_cpp_twin").mkdir(parents=True)
    (tmp_path / "here" / "lenet_cpp_twin" / "__init__.py").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", f"here{os.pathsep}/nowhere")
    subprocess.run(
        [sys.executable, "-c", "import lenet_cpp_twin"],
        env=child_environment(1),
        cwd="/",
        check=True,
        timeout=60,
    )


# The model


def test_reference_is_the_networks(model_dir):
    weights = read_weights(model_dir / "lenet.pdiparams")
    images = np.random.default_rng(1).random((1, 1, 28, 28)).astype(np.float32)
    np.testing.assert_allclose(reference(weights, images), lenet(weights, images), rtol=1e-6)


def test_multiply_adds_are_those_of_the_weights(model_dir):
    weights = read_weights(model_dir / "lenet.pdiparams")
    positions = {"conv1.weight": 28 * 28, "conv2.weight": 10 * 10}
    counted = sum(
        values.size * positions.get(name, 1)
        for name, values in weights.items()
        if name.endswith("weight")
    )
    assert counted == MULTIPLY_ADDS


def test_another_models_parameters_are_refused(tmp_path):
    description = b"\x08\x05\x10\x03"
    tensor = struct.pack("<IQIi", 0, 0, 0, len(description)) + description + bytes(12)
    (tmp_path / "x.pdiparams").write_bytes(tensor)
    with pytest.raises(Unsupported, match="LeNet with ten classes"):
        read_weights(tmp_path / "x.pdiparams")
    (tmp_path / "x.pdiparams").write_bytes(tensor[:-1])
    with pytest.raises(ValueError, match="cannot be read"):
        read_weights(tmp_path / "x.pdiparams")
    with pytest.raises(FileNotFound):
        read_weights(tmp_path / "missing.pdiparams")


def test_other_engines_give_the_same(model_dir, tmp_path):
    """Those that are installed; the benchmark itself refuses one that differs."""
    from tools.benchmark.graphs import write_onnx
    from tools.benchmark.tflite import write_tflite

    weights = read_weights(model_dir / "lenet.pdiparams")
    images = np.random.default_rng(2).random((9, 1, 28, 28), np.float32)
    model = engines.Model(
        program=str(model_dir / "lenet.pdmodel"),
        params=str(model_dir / "lenet.pdiparams"),
        onnx=str(tmp_path / "lenet.onnx"),
        tflite=str(tmp_path / "lenet.tflite"),
        threads=1,
    )
    others = choose(["onnxruntime", "openvino", "litert"], precisions=["fp32"])
    for contender in (one for one in others if not one.missing()):
        for kind, write in (("onnx", write_onnx), ("tflite", write_tflite)):
            if kind in contender.files:
                write(weights, tmp_path / f"lenet.{kind}")
        run = getattr(engines, contender.name)(model)
        for count in (1, 9, 2):
            expected = reference(weights, images[:count])
            found = assess(expected, run(images[:count]), np.zeros(count), name=contender.name)
            assert found.wrong is None, f"{contender.name}: {found.wrong}"


@pytest.mark.parametrize(
    "kind", ["pdmodel/plain", "pdmodel/onednn", "pdmodel/openvino", "json/onednn"]
)
def test_paddle_inference_is_configured_as_verify_does(model_dir, tmp_path, kind):
    format_, accelerator = kind.split("/")
    (model,) = find_models(model_dir, [format_])
    images = np.random.default_rng(3).random((5, 1, 28, 28), np.float32)
    run = engines.paddle_inference(
        engines.Model(
            program=str(model.program),
            params=str(model.params),
            accelerator=accelerator,
            threads=1,
            cache=str(tmp_path),
        )
    )
    expected = run_paddle_inference(Case(model, accelerator, 5), images)
    np.testing.assert_array_equal(run(images), expected)


# The machine


def test_multiply_add_limit_is_plausible(program):
    found = multiply_add_limit(program, 1, 0.02)
    assert found["threads"] == 1
    assert found["instructions"] in {"avx512f", "avx2+fma", "sse2"}
    # At 1 to 6 GHz: one unit of 4 lanes to two of 16.
    assert 1e9 < found["multiply_adds_per_second"] < 6e9 * 32


def test_multiply_add_limit_is_not_there(tmp_path):
    with pytest.raises(FileNotFound, match=r"run\.sh"):
        multiply_add_limit(tmp_path / "lenet_infer_test", 1, 0.01)


@pytest.mark.parametrize(
    "argument", ["--threads=0", "--seconds=-1", "--seconds=x", "--seconds=", "5"]
)
def test_multiply_add_limit_refuses(program, argument):
    done = subprocess.run(
        [program.with_name("multiply_add_limit"), argument],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("usage:")


def test_installed_size_counts_what_a_package_requires():
    assert {"paddlepaddle", "numpy", "protobuf"} <= set(package_closure(["paddlepaddle"]))
    # libpaddle.so alone has hundreds of megabytes.
    assert installed_size(["paddlepaddle"]) > installed_size(["numpy"]) + 200e6
    assert installed_size(["no-such-package"]) == 0


# Who takes part


def test_contenders_are_chosen_by_group_and_pattern():
    assert [one.name for one in choose(["lenet_cpp/pdmodel/auto", "dygraph"])] == [
        "dygraph",
        "lenet_cpp/pdmodel/auto",
    ]
    assert {one.group for one in choose(["*/openvino"])} == {
        "paddle.inference",
        "program",
        "lenet_cpp",
    }
    assert len(choose(["paddle.inference"], precisions=["fp32"])) == 5
    assert {one.name for one in choose(["*/int8"])} == {
        *(f"{group}/pdmodel/onednn/int8" for group in ("paddle.inference", "program", "lenet_cpp")),
        *(f"{group}/native/int8" for group in ("program", "lenet_cpp")),
        *(f"{group}/int8" for group in ("onnxruntime", "openvino", "litert")),
    }
    assert choose(["*/int8"]) == choose(None, precisions=["int8"])
    assert choose(None) == list(CONTENDERS)
    with pytest.raises(BadInput, match="none of these contenders has the precision bf16"):
        choose(["litert"], precisions=["bf16"])
    with pytest.raises(BadInput, match="'int4'; choose among fp32, bf16, int8"):
        choose(None, precisions=["int4"])
    with pytest.raises(BadInput, match="no contender is called 'onnx'"):
        choose(["onnx"])


def test_one_that_is_not_installed_says_how():
    absent = Contender("absent", "x.py:run", modules=("no_such_module",))
    assert absent.missing() == "no_such_module is not installed: pip install no_such_module"


def test_each_reduced_contender_has_a_float_one():
    names = {one.name for one in CONTENDERS}
    for one in CONTENDERS:
        assert (one.precision == "fp32") == (one.float_name is None)
        if one.float_name is not None:
            assert one.name == f"{one.float_name}/{one.precision}"
            assert one.float_name in names


def test_bf16_needs_the_processors_instructions(monkeypatch):
    flags = {"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_bf16"}
    bf16 = choose(["lenet_cpp"], precisions=["bf16"])
    assert len(bf16) == 2
    for lacking in flags:
        monkeypatch.setattr(contenders, "_processor_flags", lambda has=flags - {lacking}: has)
        assert {one.missing() for one in bf16} == {
            f"this processor has no {lacking}: bf16 would be imitated, more slowly than float32"
        }
    monkeypatch.setattr(contenders, "_processor_flags", lambda: flags)
    assert {one.missing() for one in bf16} == {None}


# int8 and bf16


@pytest.fixture(scope="module")
def prepared(model_dir, program, tmp_path_factory):
    """The int8 models of all engines that are there, made from the bundled model."""
    found = prepare.prepare(
        choose(["*/int8"]),
        lenet_subject(model_dir, (1,)),
        quantized_model_dir=None,
        program=program,
        folder=tmp_path_factory.mktemp("int8"),
        progress=False,
    )
    assert found.refused == {}
    return found


def engine_model(prepared, kind, precision, folder) -> engines.Model:
    """What the factory of a contender gets."""
    program, params = prepared.files.exported[kind]
    return engines.Model(
        program=str(program),
        params=str(params),
        accelerator="onednn",
        precision=precision,
        threads=1,
        cache=str(folder),
        **{name.partition("_")[0]: str(path) for name, path in prepared.files.others.items()},
    )


def skip_without(name: str) -> None:
    reason = next(one for one in CONTENDERS if one.name == name).missing()
    if reason is not None:
        pytest.skip(reason)


PRIMITIVE = re.compile(
    r"onednn_verbose,(?:v1,)?(?:primitive,)?exec,cpu,(?:convolution|inner_product|matmul),"
    r"[^,]*,[^,]*,src[_:](\w+?):\S* wei[_:](\w+?):"
)


@pytest.mark.parametrize(
    ("kind", "precision", "weights"),
    [
        ("quantized", "int8", ["s8"] * 5),
        # Paddle leaves the first convolution of a .pdmodel in float32.
        ("pdmodel", "bf16", ["f32", *["bf16"] * 4]),
        ("json", "bf16", ["bf16"] * 5),
    ],
)
def test_paddle_computes_in_that_precision(prepared, tmp_path, kind, precision, weights):
    """By oneDNN's own record."""
    if precision == "bf16":
        skip_without("paddle.inference/pdmodel/onednn/bf16")
    model = engine_model(prepared, kind, precision, tmp_path)
    code = (
        "import sys, json, numpy; from tools.benchmark import engines;"
        "engines.paddle_inference(json.loads(sys.argv[1]))(numpy.zeros((1, 1, 28, 28), 'float32'))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, json.dumps(model)],
        env={**os.environ, "ONEDNN_VERBOSE": "1"},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    found = PRIMITIVE.findall(done.stdout)
    assert [weight for _, weight in found] == weights
    for source, weight in found:
        assert source in ({"u8", "s8"} if precision == "int8" else {weight})


def test_onnxruntime_computes_in_int8(prepared, tmp_path):
    skip_without("onnxruntime/int8")
    import onnx
    from onnxruntime import GraphOptimizationLevel, InferenceSession, SessionOptions

    options = SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.log_severity_level = 3  # it warns of what comes beyond this level
    assert options.graph_optimization_level == GraphOptimizationLevel.ORT_ENABLE_ALL
    InferenceSession(
        prepared.files.others["onnx_int8"], options, providers=["CPUExecutionProvider"]
    )
    found = [node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node]
    assert (found.count("QLinearConv"), found.count("QGemm")) == (2, 3)
    assert not {"Conv", "FusedConv", "Gemm", "MatMul"} & set(found)


@pytest.mark.parametrize(
    ("precision", "types"), [("int8", {"u8", "i8"}), ("bf16", {"bf16"}), ("fp32", {"f32"})]
)
def test_openvino_computes_in_that_precision(prepared, tmp_path, precision, types):
    """By what the compiled model says of its layers with weights."""
    skip_without("openvino/int8" if precision == "int8" else "openvino")
    if precision == "bf16":
        skip_without("openvino/bf16")
    model = engine_model(prepared, "pdmodel", precision, tmp_path)
    compiled = engines.compile_openvino(model)
    layers = [op.get_rt_info() for op in compiled.get_runtime_model().get_ops()]
    found = [
        info["runtimePrecision"].astype(str)
        for info in layers
        if info["layerType"].astype(str) in {"Convolution", "FullyConnected"}
    ]
    assert len(found) == 5
    assert set(found) <= types


def test_litert_computes_in_int8(prepared):
    skip_without("litert/int8")
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        model_path=str(prepared.files.others["tflite_int8"]),
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    types = {one["index"]: one["dtype"] for one in interpreter.get_tensor_details()}
    operators = {
        one["index"]: (one["op_name"], [np.dtype(types[i]).name for i in one["inputs"]])
        for one in interpreter._get_ops_details()
    }
    heavy = [
        inputs for name, inputs in operators.values() if name in {"CONV_2D", "FULLY_CONNECTED"}
    ]
    assert heavy == [["int8", "int8", "int32"]] * 5
    pools = [inputs for name, inputs in operators.values() if name == "MAX_POOL_2D"]
    assert pools == [["int8"]] * 2


def test_int8_of_the_other_engines_is_float_rounded(prepared, tmp_path):
    """In batches of any size, and the same model gives both readers of ONNX the same answers."""
    digits = prepared.subject
    expected = digits.expected
    model = engine_model(prepared, "quantized", "int8", tmp_path)
    outputs = {}
    for contender in choose(["onnxruntime", "openvino", "litert"], precisions=["int8"]):
        if contender.missing():
            continue
        run = getattr(engines, contender.group)(model)
        outputs[contender.group] = np.array(run(digits.images))
        np.testing.assert_array_equal(run(digits.images[5:8]), outputs[contender.group][5:8])
        found = assess(
            expected, outputs[contender.group], digits.labels, name="it", precision="int8"
        )
        assert found.wrong is None
        assert found.accuracy >= 0.99
        # About one of 1,000 digits goes beyond what calibration saw; the others are rounded:
        # a step of 8 bits is 0.36 for the last layer.
        difference = np.abs(outputs[contender.group] - expected)
        assert 0.05 < difference.mean() < 0.5
    if {"onnxruntime", "openvino"} <= outputs.keys():
        assert np.abs(outputs["onnxruntime"] - outputs["openvino"]).max() < 1


def test_ranges_are_those_of_the_images(model_dir):
    weights = read_weights(model_dir / "lenet.pdiparams")
    images = np.random.default_rng(4).random((70, 1, 28, 28), np.float32)  # more than one chunk
    ranges = activation_ranges(weights, images)
    logits = reference(weights, images)
    assert ranges["x"] == (images.min(), images.max())
    np.testing.assert_allclose(ranges["linear3"], (logits.min(), logits.max()), rtol=1e-6)
    assert ranges["conv2"][0] < 0  # it has no relu
    assert {ranges[name][0] for name in ("conv1", "linear1", "linear2")} == {0}


@pytest.fixture(scope="module")
def reduced(model_dir, program, prepared):
    """A run of all that compute in bf16 and int8, with some of their float ones."""
    quantized = prepared.files.exported["quantized"][0].parent
    chosen = [BASELINE, "lenet_cpp/pdmodel/onednn", "*/bf16", "*/int8", "litert"]
    settings = quick(model_dir, program, quantized_model_dir=quantized, batch_sizes=(64,))
    return run_benchmark(settings, choose(chosen))


def test_reduced_run_has_them_all(reduced):
    there = {one["name"]: one for one in reduced["contenders"]}
    for contender in choose(["*/bf16", "*/int8"]):
        entry = there[contender.name]
        assert (entry["precision"], entry["float"]) == (contender.precision, contender.float_name)
        missing = contender.missing()
        expected = ("measured", None) if missing is None else ("unavailable", missing)
        assert (entry["status"], entry["reason"]) == expected
    measured = {name for name, one in there.items() if one["status"] == "measured"}
    assert {cell["contender"] for cell in reduced["cells"]} == measured
    assert {f"{group}/pdmodel/onednn/int8" for group in ("paddle.inference", "program")} <= measured


def test_reduced_run_says_how_right_they_are(reduced):
    cells = {cell["contender"]: cell for cell in reduced["cells"]}
    for name, cell in cells.items():
        # 995 of the 1,000 are right in float.
        if cell["precision"] == "fp32":
            assert (cell["same_class"], cell["accuracy"]) == (1, 0.995)
            assert cell["largest_difference"] < 1e-3
        else:
            assert 0.99 <= cell["same_class"] <= 1
            assert 0.99 <= cell["accuracy"] <= 1
            assert cell["largest_difference"] > 0.1, f"{name} computed in float32"
    # The three doors to one engine and model.
    for kind in ("pdmodel/onednn/int8", "pdmodel/onednn/bf16", "json/onednn/bf16"):
        doors = [f"{group}/{kind}" for group in ("paddle.inference", "program", "lenet_cpp")]
        found = {cells[one]["largest_difference"] for one in doors if one in cells}
        assert len(found) <= 1


def test_reduced_run_compares_with_float(reduced):
    cells = {cell["contender"]: cell for cell in reduced["cells"]}
    for name, cell in cells.items():
        other = cells.get(name.removesuffix(f"/{cell['precision']}"))
        if cell["precision"] == "fp32" or other is None:
            assert cell["float_ratio"] is None
            continue
        # Of the same rounds as the two ratios to the baseline.
        ratio = cell["float_ratio"]
        assert ratio["low"] <= ratio["median"] <= ratio["high"]
        low = cell["ratio"]["low"] / other["ratio"]["high"]
        high = cell["ratio"]["high"] / other["ratio"]["low"]
        assert low * 0.999 <= ratio["median"] <= high * 1.001


def test_reduced_tables_and_pictures(reduced, tmp_path):
    text = benchmark_text(reduced)
    assert "bf16 and int8 beside float32, one thread" in text
    (cell,) = (c for c in reduced["cells"] if c["contender"] == "lenet_cpp/pdmodel/onednn/int8")
    (row,) = (
        line.split()
        for line in text.partition("bf16 and int8 beside")[2]
        .partition("compared with")[0]
        .splitlines()
        if line.startswith("lenet_cpp/pdmodel/onednn ")
    )
    assert f"{cell['float_ratio']['median']:.2f}" in row
    assert f"{100 * cell['accuracy']:.1f}" in row
    for path in plots.plot_benchmark(reduced, tmp_path):
        check_png(path)


def test_results_are_shown_again(reduced, tmp_path, capsys):
    file = tmp_path / "result.json"
    file.write_text(json.dumps(reduced))
    assert cli.main(["--show", str(file)]) == 0
    assert capsys.readouterr().out == benchmark_text(reduced) + "\n"
    assert cli.main(["--show", str(file), "--markdown"]) == 0
    page = capsys.readouterr().out
    blocks = re.findall(r"^```text\n(.*?)\n```$", page, re.MULTILINE | re.DOTALL)
    assert "\n\n".join(blocks) == benchmark_text(reduced)
    file.write_text("{}")
    assert cli.main(["--show", str(file)]) == BadInput.exit_code
    assert "holds no results" in capsys.readouterr().err
    assert cli.main(["--show", str(tmp_path / "no.json")]) == FileNotFound.exit_code
    assert "cannot read" in capsys.readouterr().err


def test_given_model_has_to_be_quantized(model_dir, program, capsys, tmp_path):
    # paddle.inference would compute it in float32 and say nothing.
    arguments = ["--quick", "--contenders", "paddle.inference/pdmodel/onednn/int8"]
    arguments += ["--program", str(program), "--quantized-model-dir"]
    assert cli.main([*arguments, str(model_dir)]) == Unsupported.exit_code
    assert "not quantized" in capsys.readouterr().err
    assert cli.main([*arguments, str(tmp_path)]) == FileNotFound.exit_code
    assert str(tmp_path) in capsys.readouterr().err


def test_model_that_cannot_be_made_is_its_contenders_failure(
    model_dir, program, tmp_path, monkeypatch
):
    def fails(folder, report=None, **task):
        raise BackendFailure(f"no {task['do']} today")

    monkeypatch.setattr(prepare, "call_maker", fails)
    chosen = [OURS, "lenet_cpp/pdmodel/onednn/int8"]
    result = run_benchmark(quick(model_dir, program, batch_sizes=(8,)), choose(chosen))
    found = {one["name"]: (one["status"], one["reason"]) for one in result["contenders"]}
    assert found == {
        chosen[0]: ("measured", None),
        chosen[1]: ("refused", "no quantize today"),
    }


def test_making_that_fails_says_so(tmp_path):
    from tools.benchmark.making import call_maker

    with pytest.raises(BackendFailure, match=r"\(quantize_onnx\): exit code 1: .*Error"):
        call_maker(tmp_path, do="quantize_onnx", source="missing.onnx", target="q.onnx")
    with pytest.raises(FileNotFound, match="missing"):
        call_maker(tmp_path, do="check", program="missing.pdmodel", params="missing.pdiparams")


def test_interrupted_while_quantizing_leaves_nothing(root, model_dir, program, tmp_path):
    arguments = ["--quick", "--contenders", "lenet_cpp/pdmodel/onednn/int8"]
    arguments += ["--model-dir", str(model_dir), "--program", str(program)]
    process = subprocess.Popen(
        [sys.executable, root / "scripts" / "benchmark.py", *arguments],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )

    def children():
        """All processes that were given this folder."""
        found = []
        for entry in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                if f"TMPDIR={tmp_path}".encode() in entry.read_bytes():
                    found.append(int(entry.parent.name))
        return [one for one in found if one != process.pid]

    until = time.monotonic() + 120
    while len(children()) < 2:  # its own, and that one's, which runs Paddle
        assert time.monotonic() < until
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said.endswith("benchmark.py: interrupted\n")
    assert children() == []
    assert list(tmp_path.iterdir()) == []


# A whole run


@pytest.fixture(scope="module")
def whole(root, model_dir, program, tmp_path_factory):
    """The command, with three contenders; result and standard output."""
    folder = tmp_path_factory.mktemp("benchmark")
    arguments = ["--quick", "--contenders", f"{BASELINE},{OURS},{PROGRAM}"]
    arguments += ["--model-dir", str(model_dir), "--program", str(program)]
    arguments += ["--json", str(folder / "result.json"), "--plots", str(folder / "plots")]
    done = subprocess.run(
        [sys.executable, root / "scripts" / "benchmark.py", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "result.json").read_text()), done.stdout, folder / "plots"


def test_whole_run_has_every_cell(whole):
    result, _, _ = whole
    names = {BASELINE, OURS, PROGRAM}
    assert {one["name"]: one["status"] for one in result["contenders"]} == dict.fromkeys(
        names, "measured"
    )
    cells = {(one["contender"], one["threads"], one["batch_size"]) for one in result["cells"]}
    assert cells == {(name, 1, size) for name in names for size in (1, 8)}
    assert {one["contender"] for one in result["starts"]} == names
    assert {(row["kind"], row["batch_size"]) for row in result["python_door"]} == {
        ("pdmodel/plain", 1),
        ("pdmodel/plain", 8),
    }
    assert result["machine"]["cpu"]
    assert result["machine"]["kernel"].startswith("Linux")
    assert result["versions"]["paddlepaddle"].startswith("3.")
    assert result["settings"]["batch_sizes"] == [1, 8]


def test_whole_run_is_consistent(whole):
    result, _, _ = whole
    (limit,) = result["multiply_add_limit"]
    for cell in result["cells"]:
        assert (
            0 < cell["quietest_median_us"] <= cell["median_us"] <= cell["p90_us"] <= cell["p99_us"]
        )
        rate = 1e6 * cell["batch_size"] / cell["median_us"]
        assert cell["images_per_second"] == pytest.approx(rate)
        share = rate * 416_520 / limit["multiply_adds_per_second"]
        assert cell["share_of_limit"] == pytest.approx(share)
        assert 0 < share < 1
        assert cell["runs"] >= 6  # two turns of three at least
        assert cell["first_run_ms"] > 0
        assert cell["ratio"]["low"] <= cell["ratio"]["median"] <= cell["ratio"]["high"]
        if cell["contender"] == BASELINE:
            assert set(cell["ratio"].values()) == {1}
        # Paddle alone has more than 100 MB.
        assert cell["peak_rss_bytes"] > 100e6
    for start in result["starts"]:
        assert start["first_result_ms"] >= start["create_ms"] + start["first_run_ms"]
    sizes = {one["name"]: one["installed_bytes"] for one in result["contenders"]}
    assert all(size > 200e6 for size in sizes.values())
    assert sizes[PROGRAM] < sizes[OURS]


def test_whole_run_prints_what_it_wrote(whole):
    result, text, _ = whole
    for cell in result["cells"]:
        assert f"{cell['images_per_second']:,.0f}" in text
    assert "the multiply-add limit" in text
    assert "compared with paddle.inference/pdmodel/plain" in text


def test_more_threads_get_a_table_of_their_own(whole):
    result, text, _ = whole
    assert "Speed-up" not in text
    faster = [
        {**cell, "threads": 3, "images_per_second": 2.75 * cell["images_per_second"]}
        for cell in result["cells"]
    ]
    settings = {**result["settings"], "threads": [1, 3]}
    text = benchmark_text({**result, "cells": result["cells"] + faster, "settings": settings})
    table = text.partition("with 3 threads over those with one thread")[2].partition("\n\nBatch")[0]
    assert "linear is 3.00" in table
    for name in (BASELINE, OURS, PROGRAM):
        assert re.search(rf"^{re.escape(name)} +2\.75 +2\.75$", table, re.MULTILINE)


def test_plots_are_pictures(whole):
    _, _, folder = whole
    assert {path.name for path in folder.iterdir()} == {"latency-1-threads.png", "first-result.png"}
    for path in folder.iterdir():
        check_png(path)


def check_png(path: Path) -> None:
    """Walk through the chunks, with their checksums, and unpack the pixels."""
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    at, kinds, pixels = 8, [], b""
    while at < len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        checksum = int.from_bytes(data[at + 8 + length : at + 12 + length], "big")
        assert zlib.crc32(kind + body) == checksum
        kinds.append(kind)
        pixels += body if kind == b"IDAT" else b""
        at += 12 + length
    width, height = struct.unpack(">II", data[16:24])
    assert (kinds[0], kinds[-1]) == (b"IHDR", b"IEND")
    assert len(zlib.decompress(pixels)) == height * (1 + 4 * width)  # RGBA, a filter byte a row
    assert len(data) < 150_000


# What is refused

WRONG = """
import numpy as np

def wrong(model):
    return lambda batch: np.ones((len(batch), 10), np.float32)

def late(model):
    # Right for one image only: the first logits are no proof.
    from lenet_cpp import Predictor
    run = Predictor(model["program"], model["params"], accelerator="plain").run
    return lambda batch: run(batch) * np.float32(1 + 1e-4 * (len(batch) > 1))

def raises(model):
    raise RuntimeError("it cannot be made")

def rough(model):
    # Float for most of the digits, and nothing for every twentieth.
    from lenet_cpp import Predictor
    run = Predictor(model["program"], model["params"], accelerator="plain").run
    def rounded(batch):
        some = batch.sum(axis=(1, 2, 3)) % 1 < 0.05
        return run(batch) * np.where(some, -1, 1)[:, None].astype(np.float32)
    return rounded

def dies(model):
    import os
    os.abort()

def leaks(model):
    kept = []
    def run(batch):
        kept.append(np.ones(10_000 * len(batch), np.uint8))
        return batch
    return run
"""


def test_contenders_that_disagree_or_fail_are_not_timed(model_dir, program, tmp_path, monkeypatch):
    path = tmp_path / "contenders.py"
    path.write_text(WRONG)
    made = [Contender(name, f"{path}:{name}") for name in ("wrong", "late", "raises", "dies")]
    monkeypatch.setattr(contenders, "_processor_flags", lambda: contenders._BF16_FLAGS)
    made.append(Contender("rough/bf16", f"{path}:rough", precision="bf16"))
    result = run_benchmark(quick(model_dir, program), [*made, *choose([OURS])])
    found = {one["name"]: (one["status"], one["reason"]) for one in result["contenders"]}
    assert found[OURS] == ("measured", None)
    for name, reason in (
        ("wrong", "outputs differ"),
        ("late", "outputs differ"),
        ("raises", "it cannot be made"),
        ("dies", "signal 6"),
        ("rough/bf16", "% of the images get float's class"),
    ):
        assert found[name][0] == "refused"
        assert reason in found[name][1]
    timed = {(cell["contender"], cell["batch_size"]) for cell in result["cells"]}
    assert timed == {(OURS, 1), (OURS, 8), ("late", 1)}
    assert all(cell["ratio"] is None for cell in result["cells"])
    # At batch 8 the one that was right before is no peer any more.
    peers = {cell["batch_size"]: cell["peer"] for cell in result["cells"]}
    assert peers[8] == OURS
    assert peers[1] in {OURS, "late"}


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_no_child_is_left(root, model_dir, program, tmp_path, sent, code):
    """Even of those that are stopped while they wait for their turn."""
    arguments = ["--threads", "1", "--contenders", f"{OURS},lenet_cpp/json/plain"]
    arguments += ["--model-dir", model_dir, "--program", program, "--seconds", "600"]
    process = subprocess.Popen(
        [sys.executable, root / "scripts" / "benchmark.py", *map(str, arguments)],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )

    def workers():
        found = {}
        for entry in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                line = entry.read_bytes()
                if b"worker.py" in line and str(tmp_path).encode() in line:
                    state = (entry.parent / "stat").read_text().rpartition(")")[2].split()[0]
                    found[entry.parent.name] = state
        return [state for state in found.values() if state != "Z"]

    def wait_until(condition):
        until = time.monotonic() + 120
        while not condition():
            assert time.monotonic() < until
            time.sleep(0.05)

    wait_until(lambda: len(workers()) == 2 and "T" in workers())
    process.send_signal(sent)
    _, said = process.communicate(timeout=60)
    assert process.returncode == code
    assert "Traceback" not in said
    wait_until(lambda: not workers())


def test_float_answers_are_right_by_the_tolerance():
    expected = np.array([[100.0, 0, 0, 0, 0, 0, 0, 0, 0, 0]], np.float32)

    def wrong(outputs):
        return assess(expected, outputs, np.zeros(1), name="it").wrong

    assert wrong(expected + np.float32(0.0005)) is None
    assert "differ by up to 0.002" in wrong(expected + np.float32(0.002))
    assert wrong(expected[:, :9]) is not None
    assert wrong(expected * np.float32("nan")) is not None


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_reduced_answers_are_right_by_their_classes(precision):
    # 200 images, float is right in 190; the first of these become wrong, or 100 to 104 right.
    expected = np.eye(10, dtype=np.float32)[np.arange(200) % 10]
    labels = np.arange(200) % 10
    labels[:10] = (labels[:10] + 1) % 10

    def found(others, *, right=False):
        outputs = expected + np.float32(0.3)
        first = 0 if right else 100
        outputs[first : first + others] = np.roll(outputs[first : first + others], 1, axis=1)
        return assess(expected, outputs, labels, name="it", precision=precision)

    assert found(0).wrong is None
    assert found(0).largest_difference == pytest.approx(0.3)
    assert (found(2).wrong, found(2).same_class, found(2).accuracy) == (None, 0.99, 0.94)
    assert "98.5 % of the images get float's class" in found(3).wrong  # loses 1.5 points
    assert found(4, right=True).wrong is None  # otherwise, but better
    assert (found(4, right=True).same_class, found(4, right=True).accuracy) == (0.98, 0.97)
    assert "97.5 % of the images" in found(5, right=True).wrong
    bad = expected.copy()
    bad[7, 3] = np.inf
    assert "not finite" in assess(expected, bad, labels, name="it", precision=precision).wrong


@pytest.mark.parametrize("size", [1, 3, 8, 64, 1000, 1024])
def test_all_digits_are_checked_in_whole_batches(model_dir, size):
    digits = lenet_subject(model_dir, (1, size))
    assert digits.count(size) % size == 0
    assert len(digits.labels) == 1000 <= digits.count(size) < 1000 + size
    assert len(digits.images) == len(digits.expected) >= digits.count(size)
    np.testing.assert_array_equal(digits.images[1000:], digits.images[: len(digits.images) - 1000])


def test_settings_that_make_no_sense(model_dir, program):
    with pytest.raises(BadInput, match="threads are from 1 to"):
        run_benchmark(quick(model_dir, program, threads=(10_000,)), choose([OURS]))


@pytest.mark.parametrize(
    "arguments",
    [
        ["--batch-sizes", "0"],
        ["--batch-sizes", "a"],
        ["--seconds", "0"],
        ["--threads", "-1"],
        ["--memory-runs", "5"],
        ["--memory", "--seconds", "1"],
        ["--memory", "--startup"],
        ["--startup", "--threads", "1"],
        ["--starts", "5"],
    ],
)
def test_wrong_usage(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_help_teaches(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    for word in ("--contenders", "--memory", "examples:", "above 10 % the machine", "exit status:"):
        assert word in text


def commands(text: str) -> list[str]:
    """The arguments of each call of the command in a text."""
    joined = text.replace("\\\n", " ")
    return re.findall(r"(?:scripts/benchmark\.py|^ +benchmark\.py) +(.+)$", joined, re.MULTILINE)


def test_commands_of_the_page_and_of_the_help_are_understood(root, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["benchmark.py"])
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    of_help = commands(capsys.readouterr().out)
    pages = [root / "docs" / "benchmark.md", root / "README.md"]
    blocks = [one for page in pages for one in read_snippets(page)]
    of_page = commands("\n".join(one.text for one in blocks if one.language in {"sh", "console"}))
    assert len(of_page) >= 12
    assert len(of_help) >= 5
    for command in of_help + of_page:
        arguments = shlex.split(command.partition("&&")[0], comments=True)
        if "--help" not in arguments:
            assert cli.main([*arguments, "--list"]) == 0, command
            assert capsys.readouterr().out


def test_command_names_what_is_missing(capsys, tmp_path):
    assert cli.main(["--contenders", "nobody"], root=tmp_path) == BadInput.exit_code
    assert "no contender is called 'nobody'" in capsys.readouterr().err
    assert cli.main(["--contenders", OURS], root=tmp_path) == FileNotFound.exit_code
    assert "build it with ./run.sh" in capsys.readouterr().err
    assert cli.main(["--list"], root=tmp_path) == 0
    assert OURS in capsys.readouterr().out


def test_without_matplotlib_the_tables_stay(monkeypatch, capsys, model_dir, tmp_path):
    monkeypatch.setattr(plots, "find_spec", lambda _: None)
    arguments = ["--memory", "--quick", "--contenders", OURS, "--model-dir", str(model_dir)]
    assert cli.main([*arguments, "--memory-runs", "5", "--plots", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert OURS in text
    assert "no pictures without matplotlib: pip install matplotlib" in text
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(Unsupported, match="pip install matplotlib"):
        plots.plot_memory({"series": [{"kind": "runs", "samples": []}]}, tmp_path)


# Memory


def test_growth_is_the_slope_after_the_first_fifth():
    # 50 MB at once, then 1,000 bytes a run.
    samples = [(0, 0), *((n, 50_000_000 + 1000 * n) for n in range(100, 1001, 100))]
    found = summarize_series(samples)
    assert found["bytes_each"] == pytest.approx(1000)
    assert found["settled_bytes"] == 50_200_000
    assert found["last_bytes"] == 51_000_000


def test_batch_sizes_are_varied_and_reproducible():
    sizes = batch_sizes(20_000, 1)
    assert (sizes.min(), sizes.max()) == (1, 256)
    assert len(np.unique(sizes)) == 256
    np.testing.assert_array_equal(sizes[:100], batch_sizes(20_000, 1)[:100])
    assert (batch_sizes(100, 2) != sizes[:100]).any()


def test_memory_command(capsys, model_dir, tmp_path):
    file = tmp_path / "memory.json"
    arguments = ["--memory", "--quick", "--contenders", OURS, "--model-dir", str(model_dir)]
    assert cli.main([*arguments, "--json", str(file), "--plots", str(tmp_path)]) == 0
    result = json.loads(file.read_text())
    assert [(one["contender"], one["kind"]) for one in result["series"]] == [
        (OURS, "runs"),
        (OURS, "creations"),
    ]
    for one, count in zip(result["series"], (200, 5), strict=True):
        done, resident = zip(*one["samples"], strict=True)
        assert (done[0], done[-1]) == (0, count)
        assert list(done) == sorted(set(done))
        assert min(resident) > 100e6  # Paddle
    for kind in ("runs", "creations"):
        check_png(tmp_path / f"memory-{kind}.png")
    assert OURS in capsys.readouterr().out


def test_a_leak_is_seen(model_dir, tmp_path, monkeypatch):
    """10,000 bytes an image: what stays is what the batch sizes say."""
    path = tmp_path / "contenders.py"
    path.write_text(WRONG)
    monkeypatch.setattr(memory, "CONTENDERS", [Contender("leaks", f"{path}:leaks")])
    settings = MemorySettings(model_dir, runs=300, creations=5, seed=7)
    (found,) = run_memory(settings, [Series("leaks", "runs")])["series"]
    expected = 10_000 * int(batch_sizes(300, 7).sum())
    assert found["last_bytes"] - found["first_bytes"] == pytest.approx(expected, rel=0.1)
    assert found["bytes_each"] == pytest.approx(expected / 300, rel=0.3)


def test_memory_of_a_child_that_fails(model_dir, tmp_path, monkeypatch):
    path = tmp_path / "contenders.py"
    path.write_text(WRONG)
    monkeypatch.setattr(memory, "CONTENDERS", [Contender("dies", f"{path}:dies")])
    with pytest.raises(BackendFailure, match="signal 6"):
        run_memory(MemorySettings(model_dir, 5, 5), [Series("dies", "runs")])


# Starting


def test_startup_command(capsys, model_dir, program, tmp_path):
    file = tmp_path / "startup.json"
    arguments = ["--startup", "--starts", "1", "--model-dir", str(model_dir)]
    assert cli.main([*arguments, "--program", str(program), "--json", str(file)]) == 0
    said = capsys.readouterr().out
    result = json.loads(file.read_text())
    rows = {row["name"]: row for row in result["startup"]}
    assert [*rows] == [
        "a program that does nothing",
        *("lenet_infer_native, native", "lenet_infer_test, native", "lenet_infer_test, paddle"),
        *("Python, native", "Python, paddle"),
    ]
    for name, row in rows.items():
        assert row["absent"] is None
        assert name in said
        times = row["first_result_ms"]
        assert 0 < times["least"] <= times["median"] <= times["p99"]
        assert sum(row["parts"].values()) < times["least"]
        if name.startswith("Python"):
            assert [*row["parts"]] == ["numpy_ms", "import_ms", "load_and_run_ms"]
        assert row["peak_bytes"] is None or row["peak_bytes"] > 1e6
    # Paddle's library alone is larger.
    assert rows["lenet_infer_test, paddle"]["peak_bytes"] > 100e6
    assert rows["lenet_infer_native, native"]["peak_bytes"] < 30e6
    assert cli.main(["--show", str(file)]) == 0
    assert capsys.readouterr().out.strip() == said.partition("\n\nwritten:")[0].strip()


@pytest.mark.parametrize(
    ("script", "absent"),
    [
        ("echo it has no engine >&2; exit 6", "it has no engine"),
        ("echo broken >&2; exit 8", None),
        ("kill -9 $$", None),
    ],
)
def test_startup_of_a_program_that_fails(model_dir, tmp_path, script, absent):
    program = tmp_path / "lenet_infer_test"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    settings = StartupSettings(model_dir, program, starts=1)
    if absent is None:
        with pytest.raises(BackendFailure, match="lenet_infer_test, "):
            run_startup(settings)
        return
    rows = {row["name"]: row for row in run_startup(settings)["startup"]}
    assert absent in rows["lenet_infer_test, native"]["absent"]
    assert rows["Python, native"]["absent"] is None


def test_startup_without_the_program(model_dir, tmp_path):
    with pytest.raises(FileNotFound, match="is missing: build it"):
        run_startup(StartupSettings(model_dir, tmp_path / "nothing"))
