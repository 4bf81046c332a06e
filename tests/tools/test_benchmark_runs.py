"""Quick runs of the whole benchmark, and what its contenders compute. No test asserts on how long
anything takes.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from lenet_cpp.errors import BackendFailure, BadInput, FileNotFound
from processor import HAS_VNNI
from snippets import printed_by, run_command
from tools.benchmark import cli, contenders, engines, lifetime, plots, subject
from tools.benchmark.contenders import BASELINE, CONTENDERS, Contender, choose
from tools.benchmark.lenet import MULTIPLY_ADDS
from tools.benchmark.making import make
from tools.benchmark.speed import run_speed
from tools.benchmark.subject import Settings, lenet_subject, prepare
from tools.benchmark.summary import assess
from tools.benchmark.tables import render

NATIVE = "lenet_cpp/native"
PROGRAM = "program/native"
# As torchvision counts them, of images of 224 x 224; 512 x 1000 of these in the last layer. All
# else goes with the area, which is 49 times that of 32 x 32.
RESNET18_OF_32 = (1_814_073_344 - 512_000) // 49 + 512_000


def quick(model_dir, program, **options):
    few = {"batch_sizes": (1, 8), "seconds": 0.02, "rounds": 2, "baseline": PROGRAM}
    return Settings(model_dir, program, **{**few, **options})


@pytest.fixture(scope="module")
def prepared(model_dir, program, tmp_path_factory):
    """The int8 models of all engines that are there, made from the bundled model."""
    digits = lenet_subject(model_dir, (1,), tmp_path_factory.mktemp("int8"))
    files, absent = prepare(choose(["*/int8", "onnxruntime", "litert"]), digits, program)
    assert "refused" not in {one["status"] for one in absent.values()}
    return digits, files


def engine_model(prepared, kind, precision="fp32"):
    """What the factory of a contender gets."""
    digits, files = prepared
    of = {"accelerator": "onednn", "precision": precision, "threads": 1}
    return {**of, "cache": str(digits.folder), **files[kind]}


def skip_without(name):
    reason = next(one for one in CONTENDERS if one.name == name).missing()
    if reason is not None:
        pytest.skip(reason)


PRIMITIVE = re.compile(
    r"onednn_verbose,(?:v1,)?(?:primitive,)?exec,cpu,(?:convolution|inner_product|matmul),"
    r"[^,]*,[^,]*,src[_:](\w+?):\S* wei[_:](\w+?):"
)


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("kind", "precision", "weights"),
    [
        ("quantized", "int8", ["s8"] * 5),
        # Paddle leaves the first convolution of a .pdmodel in float32.
        ("pdmodel", "bf16", ["f32", *["bf16"] * 4]),
        ("json", "bf16", ["bf16"] * 5),
    ],
)
def test_paddle_computes_in_that_precision(prepared, kind, precision, weights):
    """By oneDNN's own record."""
    if precision == "bf16":
        skip_without("paddle.inference/pdmodel/onednn/bf16")
    code = (
        "import sys, json, numpy; from tools.benchmark import engines;"
        "engines.paddle_inference(json.loads(sys.argv[1]))(numpy.zeros((1, 1, 28, 28), 'float32'))"
    )
    model = json.dumps(engine_model(prepared, kind, precision))
    command = (sys.executable, "-W", "ignore", "-c", code, model)
    said = printed_by(*command, env=os.environ | {"ONEDNN_VERBOSE": "1"}, timeout=120)
    found = PRIMITIVE.findall(said)
    assert [weight for _, weight in found] == weights
    for source, weight in found:
        assert source in ({"u8", "s8"} if precision == "int8" else {weight})


@pytest.mark.nightly
def test_onnxruntime_computes_in_int8(prepared, tmp_path):
    skip_without("onnxruntime/int8")
    import onnx
    from onnxruntime import GraphOptimizationLevel, InferenceSession, SessionOptions

    options = SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.log_severity_level = 3  # it warns of what comes beyond this level
    assert options.graph_optimization_level == GraphOptimizationLevel.ORT_ENABLE_ALL
    source = prepared[1]["onnx_int8"]["onnx"]
    InferenceSession(source, options, providers=["CPUExecutionProvider"])
    found = [node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node]
    assert (found.count("QLinearConv"), found.count("QGemm")) == (2, 3)
    assert not {"Conv", "FusedConv", "Gemm", "MatMul"} & set(found)


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("kind", "precision", "types"),
    [
        ("onnx_int8", "int8", {"u8", "i8"}),
        ("pdmodel", "bf16", {"bf16"}),
        ("pdmodel", "fp32", {"f32"}),
    ],
)
def test_openvino_computes_in_that_precision(prepared, kind, precision, types):
    """By what the compiled model says of its layers with weights."""
    skip_without("openvino" if precision == "fp32" else f"openvino/{precision}")
    compiled = engines.compile_openvino(engine_model(prepared, kind, precision))
    layers = [op.get_rt_info() for op in compiled.get_runtime_model().get_ops()]
    found = [
        info["runtimePrecision"].astype(str)
        for info in layers
        if info["layerType"].astype(str) in {"Convolution", "FullyConnected"}
    ]
    assert len(found) == 5
    assert set(found) <= types


@pytest.mark.nightly
def test_litert_computes_in_int8(prepared):
    skip_without("litert/int8")
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        model_path=prepared[1]["tflite_int8"]["tflite"],
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    types = {one["index"]: np.dtype(one["dtype"]) for one in interpreter.get_tensor_details()}
    found = [
        (one["op_name"], [types[i].name for i in one["inputs"]])
        for one in interpreter._get_ops_details()
    ]
    heavy = [inputs for name, inputs in found if name in {"CONV_2D", "FULLY_CONNECTED"}]
    assert heavy == [["int8", "int8", "int32"]] * 5
    assert [inputs for name, inputs in found if name == "MAX_POOL_2D"] == [["int8"]] * 2


@pytest.mark.nightly
def test_other_engines_are_right_in_float_and_rounded_in_int8(prepared):
    """In batches of any size, and the same model gives both readers of ONNX the same answers."""
    digits, _ = prepared
    outputs = {}
    precisions = ["fp32", "int8"] if HAS_VNNI else ["fp32"]
    for one in choose(["onnxruntime", "openvino", "litert"], precisions=precisions):
        if one.missing():
            continue
        run = getattr(engines, one.group)(engine_model(prepared, one.reads, one.precision))
        outputs[one.name] = np.array(run(digits.images))
        for part in (slice(0, 1), slice(5, 8)):
            rest = {"rtol": 1e-5, "atol": 1e-4} if one.precision == "fp32" else {"rtol": 0}
            found = np.array(run(digits.images[part]))
            np.testing.assert_allclose(found, outputs[one.name][part], **rest)
        of = {"name": one.name, "precision": one.precision}
        found = assess(digits.expected, outputs[one.name], digits.labels, **of)
        assert found.wrong is None
        if one.precision == "int8":
            # About one of 1,000 digits goes beyond what calibration saw; the others are rounded:
            # a step of 8 bits is 0.36 for the last layer.
            assert 0.05 < np.abs(outputs[one.name] - digits.expected).mean() < 0.5
    if {"onnxruntime/int8", "openvino/int8"} <= outputs.keys():
        assert np.abs(outputs["onnxruntime/int8"] - outputs["openvino/int8"]).max() < 1


@pytest.fixture(scope="module")
def whole(root, model_dir, program, tmp_path_factory):
    """The command, on LeNet; result, standard output and pictures."""
    folder = tmp_path_factory.mktemp("benchmark")
    names = f"{NATIVE},{NATIVE}/int8,{PROGRAM},litert,dygraph,{BASELINE},lenet_cpp/*/onednn/bf16"
    arguments = ["--quick", "--batch-sizes", "8", "--contenders", names]
    arguments += ["--model-dir", str(model_dir), "--program", str(program)]
    arguments += ["--json", str(folder / "result.json"), "--plots", str(folder / "plots")]
    done = run_command(sys.executable, root / "scripts/benchmark.py", *arguments, timeout=600)
    result = json.loads((folder / "result.json").read_text())
    # No test depends on how fast this machine is now.
    assert done.returncode == (0 if all(one["holds"] for one in result["figures"]) else 1)
    return result, done.stdout, folder


@pytest.mark.nightly
def test_whole_run_has_every_cell(whole):
    result, _, _ = whole
    assert {"date", "machine", "versions", "settings"} < result.keys()
    assert result["machine"]["kernel"].startswith("Linux")
    assert result["versions"]["paddlepaddle"].startswith("3.")
    (network,) = result["networks"]
    assert (network["network"], network["image_shape"]) == ("LeNet", [1, 28, 28])
    measured = set()
    for one in network["contenders"]:
        missing = next(known for known in CONTENDERS if known.name == one["name"]).missing()
        expected = ("measured", None) if missing is None else ("unavailable", missing)
        assert (one["status"], one["reason"]) == expected
        measured |= {one["name"]} if missing is None else set()
    assert {NATIVE, PROGRAM, BASELINE, "dygraph", f"{NATIVE}/int8"} <= measured
    cells = {(c["contender"], c["threads"], c["batch_size"]): c for c in network["cells"]}
    assert cells.keys() == {(name, 1, 8) for name in measured}
    judged = {one["what"].partition(",")[0]: one for one in result["figures"]}
    assert judged.keys() == {NATIVE, PROGRAM}
    for name, figure in judged.items():
        assert figure["found"] == cells[name, 1, 8]["ratio"]["median"]
        assert figure["holds"] == (figure["found"] >= figure["limit"] > 1)


@pytest.mark.nightly
def test_whole_run_is_consistent(whole):
    (network,) = whole[0]["networks"]
    (limit,) = network["multiply_add_limit"]
    cells = {(c["contender"], c["batch_size"]): c for c in network["cells"]}
    for (name, size), cell in cells.items():
        assert 0 < cell["median_us"] <= cell["p90_us"] <= cell["p99_us"]
        rate = 1e6 * size / cell["median_us"]
        assert cell["images_per_second"] == pytest.approx(rate)
        share = rate * MULTIPLY_ADDS / limit["multiply_adds_per_second"]
        assert cell["share_of_limit"] == pytest.approx(share)
        assert cell["runs"] >= 6  # two turns of three at least
        assert cell["speed_up"] == 1
        assert cell["ratio"]["low"] <= cell["ratio"]["median"] <= cell["ratio"]["high"]
        if name == BASELINE:
            assert {*cell["ratio"].values()} == {1}
        if name in {BASELINE, "dygraph"}:
            assert cell["peak_bytes"] > 100e6  # Paddle alone has more
        if cell["precision"] == "fp32":
            # 995 of the 1,000 are right in float.
            assert (cell["same_class"], cell["accuracy"]) == (1, 0.995)
            assert cell["largest_difference"] < 1e-3
            assert cell["float_ratio"] is None
        else:
            assert 0.98 <= cell["same_class"] <= 1
            assert cell["largest_difference"] > 0.1, f"{name} computed in float32"
            other = cells.get((name.removesuffix(f"/{cell['precision']}"), size))
            assert (cell["float_ratio"] is None) == (other is None)


@pytest.mark.nightly
def test_results_are_shown_again(whole, tmp_path, capsys):
    result, text, folder = whole
    arguments = ["--show", str(folder / "result.json"), "--plots", str(tmp_path)]
    assert cli.main(arguments) == 0
    shown = capsys.readouterr().out
    assert shown.partition("\nwritten:")[0] == text.partition("\nwritten:")[0]
    assert render(result) in text
    for cell in result["networks"][0]["cells"]:
        assert f"{cell['ratio']['median']:.2f} ({cell['ratio']['low']:.2f}-" in text
    assert cli.main([*arguments, "--markdown"]) == 0
    page = capsys.readouterr().out
    blocks = re.findall(r"^```text\n(.*?)\n```$", page, re.MULTILINE | re.DOTALL)
    assert render(result).startswith("\n\n".join(blocks))
    for place in (tmp_path, folder / "plots"):
        assert [path.name for path in place.iterdir()] == ["latency-1-threads.png"]
        check_png(place / "latency-1-threads.png")
    (tmp_path / "empty.json").write_text("{}")
    assert cli.main(["--show", str(tmp_path / "empty.json")]) == BadInput.exit_code
    assert "holds no results" in capsys.readouterr().err
    assert cli.main(["--show", str(tmp_path / "no.json")]) == FileNotFound.exit_code
    assert "cannot read" in capsys.readouterr().err


def check_png(path):
    with Image.open(path) as picture:
        picture.load()  # with its checksums
        assert picture.format == "PNG"


@pytest.mark.nightly
def test_a_network_is_compared_with_the_best_peer(program, tmp_path, capsys, monkeypatch):
    """A small ResNet18, against Paddle's training engine; nothing is left behind."""
    monkeypatch.setattr(subject.tempfile, "tempdir", str(tmp_path))
    file = tmp_path / "result.json"
    arguments = ["--networks", "resnet18", "--img_size", "32", "--quick", "--batch_sizes", "3"]
    names = f"{NATIVE},lenet_cpp/auto,onnxruntime,{PROGRAM},litert"
    names += ",*/native/int8,onnxruntime/int8,openvino/int8,lenet_cpp/pdmodel/onednn/int8"
    arguments += ["--contenders", names, "--precision", "fp32,int8", "--program", str(program)]
    assert cli.main([*arguments, "--json", str(file), "--plots", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert [path.suffix for path in sorted(tmp_path.iterdir())] == [".png", ".json"]
    (network,) = json.loads(file.read_text())["networks"]
    assert (network["network"], network["image_shape"]) == ("ResNet18", [3, 32, 32])
    assert network["multiply_adds_per_image"] == RESNET18_OF_32
    assert "3 x 32 x 32, 37,523,456 multiply-adds each" in text
    found = {one["name"]: (one["status"], one["reason"]) for one in network["contenders"]}
    assert {found.pop(name)[0] for name in ("litert", "litert/int8")} == {"unavailable"}
    assert "unavailable: litert: a .tflite is written of LeNet only" in text
    assert {*found.values()} == {("measured", None)}
    cells = {cell["contender"]: cell for cell in network["cells"]}
    assert cells.keys() == found.keys()
    peers = {(cell["precision"], cell["peer"]) for cell in cells.values()}
    assert ("fp32", "onnxruntime") in peers
    assert len(peers) == 2
    assert cells["onnxruntime"]["peer_ratio"]["median"] == 1
    assert {cell["accuracy"] for cell in cells.values()} == {None}
    assert cells[NATIVE]["engine"] == "native"
    assert cells["lenet_cpp/auto"]["engine"] in {"native", "paddle, openvino"}
    assert cells["onnxruntime"]["engine"] is None


@pytest.mark.nightly
def test_startup_and_memory(model_dir, program, tmp_path, capsys):
    arguments = ["--model-dir", str(model_dir), "--program", str(program), "--plots", str(tmp_path)]
    arguments += ["--json", str(tmp_path / "result.json"), "--quick", "--contenders"]
    names = ["lenet_infer_native", PROGRAM, NATIVE, "lenet_cpp/pdmodel/plain"]
    assert cli.main([*arguments, ",".join(names), "--startup", "--starts", "1"]) == 0
    rows = {row["contender"]: row for row in json.loads(Path(arguments[7]).read_text())["rows"]}
    assert rows.keys() == {*names}
    for row in rows.values():
        assert row["absent"] is None
        assert row["median_ms"] == row["samples_ms"][0] > row["load_ms"] + row["first_run_ms"] > 0
        assert (row["numpy_ms"] is None) == (row["contender"] in names[:2])
    assert rows["lenet_infer_native"]["peak_bytes"] < 30e6
    assert rows["lenet_cpp/pdmodel/plain"]["peak_bytes"] > 100e6
    assert cli.main([*arguments, NATIVE, "--memory"]) == 0
    series = json.loads(Path(arguments[7]).read_text())["series"]
    assert [one["kind"] for one in series] == ["runs", "creations"]
    for one, count in zip(series, (200, 5), strict=True):
        done = [at for at, _ in one["samples"]]
        assert (done[0], done[-1]) == (0, count)
        assert done == sorted({*done})
    for name in ("first-result", "memory-runs", "memory-creations"):
        check_png(tmp_path / f"{name}.png")
    assert capsys.readouterr().out.count(NATIVE) >= 3


@pytest.mark.nightly
def test_memory_of_the_native_engine(model_dir, program, tmp_path):
    """Over 100,000 runs of batches of 1 to 256, and over 1,000 predictors."""
    file = tmp_path / "result.json"
    arguments = ["--model-dir", str(model_dir), "--program", str(program), "--json", str(file)]
    arguments += ["--memory", "--contenders", NATIVE, "--plots", str(tmp_path)]
    assert cli.main(arguments) == 0
    result = json.loads(file.read_text())
    assert [one["samples"][-1][0] for one in result["series"]] == [100_000, 1_000]
    assert [one["holds"] for one in result["figures"]] == [True, True]


# What is refused

WRONG = """
import numpy as np

def wrong(model):
    return lambda batch: np.ones((len(batch), 10), np.float32)

def native(model):
    from lenet_cpp import Predictor
    return Predictor(model["program"], model["params"], engine="native").run

def late(model):
    # Right for one image only: the first logits are no proof.
    run = native(model)
    return lambda batch: run(batch) * np.float32(1 + 1e-4 * (len(batch) > 1))

def in_batches(model):
    # In a batch each gets the logits of the first.
    run = native(model)
    return lambda batch: np.repeat(run(batch)[:1], len(batch), axis=0)

def rough(model):
    # Float for most of the digits, and nothing for every twentieth.
    run = native(model)
    def rounded(batch):
        some = batch.sum(axis=(1, 2, 3)) % 1 < 0.05
        return run(batch) * np.where(some, -1, 1)[:, None].astype(np.float32)
    return rounded

def raises(model):
    raise RuntimeError("it cannot be made")

def dies(model):
    import os
    os.abort()

def cannot(model):
    from lenet_cpp.errors import Unsupported
    raise Unsupported("not that model")

def leaks(model):
    kept = []
    def run(batch):
        kept.append(np.ones(10_000 * len(batch), np.uint8))
        return batch
    return run
"""


@pytest.fixture
def made(tmp_path):
    """Return contenders by the functions of :data:`WRONG`."""
    (tmp_path / "wrong.py").write_text(WRONG)

    def of(*names, **options):
        return [Contender(name, f"{tmp_path / 'wrong.py'}:{name}", **options) for name in names]

    return of


def test_contenders_that_disagree_or_fail_are_not_timed(model_dir, program, made, monkeypatch):
    monkeypatch.setattr(contenders, "processor_flags", lambda: contenders._BF16_FLAGS)
    reasons = {
        "wrong": ("refused", "wrong does not compute what the reference computes"),
        "late": ("refused", "late does not compute what the reference computes"),
        "in_batches": ("refused", "in_batches does not compute"),
        "raises": ("refused", "raises: its process failed: RuntimeError: it cannot be made"),
        "dies": ("refused", "ended by SIGABRT"),
        "cannot": ("unavailable", "not that model"),
        "rough": ("refused", "% of the images get float's class"),
    }
    chosen = made(*[name for name in reasons if name != "rough"])
    chosen += [*made("rough", precision="bf16"), *choose([NATIVE])]
    (network,) = run_speed(quick(model_dir, program), chosen)["networks"]
    found = {one["name"]: (one["status"], one["reason"]) for one in network["contenders"]}
    assert found.pop(NATIVE) == ("measured", None)
    for name, (status, reason) in reasons.items():
        assert found[name][0] == status
        assert reason in found[name][1]
    timed = {(cell["contender"], cell["batch_size"]) for cell in network["cells"]}
    assert timed == {(NATIVE, 1), (NATIVE, 8), ("late", 1), ("in_batches", 1)}
    # At batch 8 those that were right before are no peers any more.
    peers = {cell["batch_size"]: cell["peer"] for cell in network["cells"]}
    assert peers[1] in {"late", "in_batches"}
    assert peers[8] is None


def test_a_leak_is_seen(model_dir, program, made):
    """10,000 bytes an image: what stays is what the batch sizes say."""
    result = lifetime.run_memory(quick(model_dir, program, runs=300, seed=7), made("leaks"))
    found = result["series"][0]
    expected = 10_000 * int(lifetime.batch_sizes(300, 7).sum())
    assert found["last_bytes"] - found["first_bytes"] == pytest.approx(expected, rel=0.1)
    assert found["bytes_each"] == pytest.approx(expected / 300, rel=0.3)
    with pytest.raises(BackendFailure, match="dies, runs was ended by SIGABRT"):
        lifetime.run_memory(quick(model_dir, program, runs=5), made("dies"))


def test_model_that_cannot_be_made_is_its_contenders_failure(
    model_dir, program, tmp_path, monkeypatch
):
    def fails(what, folder, report=None, **arguments):
        raise BackendFailure(f"no {what} today")

    monkeypatch.setattr(subject, "make", fails)
    digits = lenet_subject(model_dir, (1,), tmp_path)
    _, absent = prepare(choose([NATIVE, f"{NATIVE}/int8"]), digits, program)
    reason = {"status": "refused", "reason": "no quantized today"}
    assert absent == {f"{NATIVE}/int8": reason}
    _, absent = prepare(choose([PROGRAM]), digits, tmp_path / "nothing")
    reason = f"there is no {tmp_path / 'nothing'}: build it with ./run.sh"
    assert absent == {PROGRAM: {"status": "unavailable", "reason": reason}}
    with pytest.raises(BackendFailure, match=r"\(onnx_int8\) failed: .*Error"):
        make("onnx_int8", tmp_path, source="missing.onnx", target="q.onnx")


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL])
def test_no_child_is_left(root, model_dir, program, tmp_path, sent):
    arguments = ["--threads", "1", "--contenders", NATIVE, "--seconds", "600"]
    arguments += ["--model-dir", model_dir, "--program", program]
    process = subprocess.Popen(
        [sys.executable, root / "scripts" / "benchmark.py", *map(str, arguments)],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )

    def children():
        """All other processes that were given this folder, or one in it."""
        return [
            one
            for one in psutil.process_iter(["environ"])
            if (one.info["environ"] or {}).get("TMPDIR", "").startswith(str(tmp_path))
            and one.pid != process.pid
        ]

    def wait_until(condition):
        until = time.monotonic() + 120
        while not condition():
            assert time.monotonic() < until
            time.sleep(0.2)  # the environment of each process of the machine is read

    wait_until(children)
    process.send_signal(sent)
    _, said = process.communicate(timeout=60)
    assert "Traceback" not in said
    wait_until(lambda: not children())
    if sent == signal.SIGINT:
        assert process.returncode == 130
        assert said.endswith("benchmark.py: interrupted\n")
        assert list(tmp_path.iterdir()) == []


def test_without_matplotlib_the_tables_stay(monkeypatch, capsys, whole, tmp_path):
    monkeypatch.setattr(cli, "find_spec", lambda _: None)
    file = str(whole[2] / "result.json")
    assert cli.main(["--show", file, "--plots", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert NATIVE in text
    assert "no pictures without matplotlib: pip install matplotlib" in text
    assert list(tmp_path.iterdir()) == []


@pytest.mark.nightly
def test_speed_up_is_over_the_least_threads(whole):
    """Of a table with two numbers of threads, as it is rendered."""
    result, _, _ = whole
    (network,) = result["networks"]
    faster = [{**cell, "threads": 3, "speed_up": 2.75} for cell in network["cells"]]
    networks = [{**network, "cells": network["cells"] + faster}]
    settings = {**result["settings"], "threads": [1, 3]}
    text = render({**result, "networks": networks, "settings": settings})
    assert text.count("LeNet, batch 8, 3 thread(s)") == 1
    assert text.count("2.75") >= len(faster)
    assert len(plots._pictures({**result, "networks": networks})) == 2
