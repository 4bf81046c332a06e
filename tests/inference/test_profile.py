"""Tests of what each layer costs in the native engine: --profile and Predictor.profile."""

import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import lenet_cpp

USAGE, FILE_NOT_FOUND, BAD_INPUT, UNSUPPORTED = 2, 3, 5, 6

# Multiply-adds: taps of a filter, times filters, times places; inputs times outputs. Numbers of
# weights and biases; numbers that are read, with the pool in the same layer; the output.
LENET = {
    "conv2d_0": (25 * 6 * 28 * 28, 25 * 6 + 6, 28 * 28, (6, 14, 14)),
    "conv2d_1": (6 * 25 * 16 * 10 * 10, 6 * 25 * 16 + 16, 6 * 14 * 14, (16, 5, 5)),
    "linear_0": (400 * 120, 400 * 120 + 120, 400, (120,)),
    "linear_1": (120 * 84, 120 * 84 + 84, 120, (84,)),
    "linear_2": (84 * 10, 84 * 10 + 10, 84, (10,)),
}
MULTIPLY_ADDS, PARAMETERS = 416_520, 61_706


def check_shares(profile):
    """Compare the totals and the shares, which C++ gives, with their definition."""
    for part in profile.parts:
        for field in ("multiply_adds", "weight_bytes", "activation_bytes", "microseconds"):
            total = sum(getattr(layer, field) for layer in part.layers)
            assert getattr(part.total, field) == pytest.approx(total)
        for layer in (*part.layers, part.total):
            assert layer.time_share == pytest.approx(layer.microseconds / part.total.microseconds)
            work = part.at_once * layer.multiply_adds / profile.multiply_add_limit
            moved = layer.weight_bytes + part.at_once * layer.activation_bytes
            seconds = 1e-6 * layer.microseconds
            assert layer.multiply_add_share * seconds == pytest.approx(work)
            assert layer.memory_share * seconds == pytest.approx(moved / profile.memory_limit)
    work = profile.multiply_adds * profile.images / profile.multiply_add_limit
    assert profile.multiply_add_share * 1e-6 * profile.microseconds == pytest.approx(work)


@pytest.fixture(
    params=[(1, None), (3, None), (21, None), (130, None), (21, "scalar"), (21, "sse42")],
    ids=lambda case: f"{case[0]}-{case[1]}",
)
def profile_case(request, model_dir, monkeypatch):
    """A number of images, a set of instructions, a predictor and its profile."""
    images, instruction_set = request.param
    if instruction_set is not None:
        monkeypatch.setenv("LENET_NATIVE_ISA", instruction_set)
    with lenet_cpp.Predictor(model_dir=model_dir, engine="native", threads=2) as predictor:
        yield images, instruction_set, predictor, predictor.profile(images, runs=2)


def test_the_profile_says_what_was_measured(profile_case):
    images, instruction_set, predictor, profile = profile_case
    assert profile.model_file == str(predictor.model_file)
    assert (profile.engine, profile.images, profile.runs) == ("native", images, 2)
    assert (profile.precision, profile.threads) == ("fp32", 2)
    assert profile.reason == "the one that was named"
    if instruction_set is not None:
        assert profile.instructions == instruction_set
    if images == 1:
        assert predictor.profile().runs > 2  # as many as fit into half a second


def test_the_parts_of_a_profile_add_up(profile_case):
    images, _, _, profile = profile_case
    assert min(profile.multiply_add_limit, profile.memory_limit) > 1e8
    assert sum(part.images for part in profile.parts) == min(images, 64)
    check_shares(profile)
    assert profile.multiply_adds == MULTIPLY_ADDS
    for part in profile.parts:
        assert 1 <= part.at_once <= part.images
        assert part.total.multiply_adds == MULTIPLY_ADDS
        assert part.total.weight_bytes == 4 * PARAMETERS


def test_every_layer_of_lenet_is_there_once_in_its_order(profile_case):
    _, _, _, profile = profile_case
    for part in profile.parts:
        reading, *layers, writing = part.layers
        assert (reading.name, reading.activation_bytes) == ("reading the images", 2 * 4 * 28 * 28)
        assert (writing.name, writing.activation_bytes) == ("writing the output", 2 * 4 * 10)
        assert all(layer.kernel and layer.microseconds > 0 for layer in layers)
        # A line names all the layers that are computed together.
        names = re.findall(r"'(\w+)\.tmp_\d'", ", ".join(layer.name for layer in layers))
        assert [name for name in names if name in LENET] == list(LENET)


def test_the_work_of_every_layer_of_lenet(profile_case):
    _, _, _, profile = profile_case
    for part in profile.parts:
        _reading, *layers, _writing = part.layers
        for layer in layers:
            own = [numbers for name, numbers in LENET.items() if f"'{name}." in layer.name]
            ((work, weights, read, output),) = own or [(0, 0, 0, ())]  # a pool by itself
            assert (layer.multiply_adds, layer.weight_bytes) == (work, 4 * weights)
            if own and ("conv2d" not in layer.name or "pool2d" in layer.name):
                assert layer.output == output
                assert layer.activation_bytes == 4 * (read + math.prod(output))


def test_layouts(model_dir, monkeypatch):
    monkeypatch.setenv("LENET_NATIVE_ISA", "sse42")  # four images interleaved
    with lenet_cpp.Predictor(model_dir=model_dir, engine="native") as predictor:
        parts = {
            images: [
                ({layer.layout for layer in part.layers[1:-1]}, part.images)
                for part in predictor.profile(images, runs=1).parts
            ]
            for images in (1, 4, 6)
        }
    alone, together = {"NCHW", "NCHW4c"}, {"NHWC4n"}
    assert parts == {1: [(alone, 1)], 4: [(together, 4)], 6: [(together, 4), (alone, 2)]}


def test_the_program(model_dir, run_program, tmp_path):
    trace = tmp_path / "trace.json"
    flags = ("--profile", f"--trace={trace}", "--repeats=3", "--batch_size=2")
    done = run_program(f"--model_dir={model_dir}", *flags)
    assert (done.returncode, done.stderr) == (0, "")
    assert "engine native (auto: the fastest that runs this model)" in done.stdout
    for name, (work, *_) in LENET.items():
        assert re.search(rf"^  \w+ '{name}\..* {work:,} ", done.stdout, re.MULTILINE)
    assert re.search(r"limit   [\d.]+ billion mul.*\nmemory  [\d.]+ GB a second", done.stdout)
    row = r"^  total +416,520 +[\d,]+ +[\d.]+ +100\.0 % +[\d.]+ % +[\d.]+ %$"
    assert re.search(row, done.stdout, re.MULTILINE)
    assert "\n2 images\n" in done.stdout
    assert "class" not in done.stdout  # nothing else is run
    # The Trace Event Format: complete events of one thread, in microseconds, none within another.
    events = json.loads(trace.read_text())
    assert (events[0]["name"], events[-1]["cat"]) == ("reading the images", "native")
    end = 0
    for event in events:
        assert set(event) == {"name", "cat", "ph", "ts", "dur", "pid", "tid", "args"}
        assert (event["ph"], event["pid"], event["tid"]) == ("X", 1, 1)
        assert (event["ts"], event["args"]["images"]) == (pytest.approx(end), 2)
        end += max(0, event["dur"])
    assert sum(event["args"]["multiply_adds"] for event in events) == MULTIPLY_ADDS
    assert list(tmp_path.iterdir()) == [trace]
    done = run_program(f"--model_dir={model_dir}", f"--trace={trace}")
    assert (done.returncode, "--trace needs" in done.stderr) == (USAGE, True)


@pytest.mark.parametrize("flag", ["--profile", "--explain"])
def test_the_program_in_json(model_dir, run_program, flag):
    flags = ("--engine=native", flag, "--repeats=3", "--format=json")
    done = run_program(f"--model_dir={model_dir}", *flags)
    found = json.loads(done.stdout)
    assert found["parts"][0]["total"]["multiply_adds"] == found["multiply_adds"] == MULTIPLY_ADDS
    assert (found["engine"], found["images"], found["runs"]) == ("native", 1, 3)
    assert re.search(rf"{flag}\s", run_program("--help-all").stdout)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--engine=paddle"], UNSUPPORTED, "only the native engine profiles its layers"),
        (["--accelerator=plain"], UNSUPPORTED, "use the native engine"),
        (["--input=digits.npy"], USAGE, "leave out --input and --output"),
        (["--output=logits.npy"], USAGE, "leave out --input and --output"),
        (["--trace=/no/such/folder/trace.json", "--repeats=1"], FILE_NOT_FOUND, "/no/such/folder"),
        (["--profile=1"], USAGE, "--profile"),
        (["--batch_size=0"], USAGE, "--batch_size"),
        (["--batch_size=9999999"], BAD_INPUT, "expected 0 to 10000 runs, of 1 to 1048576 images"),
    ],
)
def test_what_cannot_be_profiled(model_dir, run_program, arguments, code, words):
    done = run_program(f"--model_dir={model_dir}", "--profile", *arguments)
    assert done.returncode == code
    assert words in done.stderr
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1


def test_errors_in_python(model_dir):
    with lenet_cpp.Predictor(model_dir=model_dir, engine="native") as predictor:
        before = predictor.run(np.ones((1, 28, 28), np.float32))
        for images, runs in ((0, 1), (-1, 1), (1, -1), ("a", 1), (1.5, 1), (2**40, 1)):
            with pytest.raises(lenet_cpp.BadInput, match="cannot profile"):
                predictor.profile(images, runs=runs)
        predictor.profile(3, runs=1)
        assert (predictor.run(np.ones((1, 28, 28), np.float32)) == before).all()
    with pytest.raises(lenet_cpp.BadInput, match="closed"):
        predictor.profile()
    with (
        lenet_cpp.Predictor(model_dir=model_dir, engine="paddle") as predictor,
        pytest.raises(lenet_cpp.Unsupported, match="only the native engine"),
    ):
        predictor.profile()


def test_ctrl_c_while_c_measures(tmp_path):
    """It would take an hour; the engine's threads start with the first run that is measured."""
    command = [
        sys.executable,
        "-m",
        "lenet_cpp",
        "benchmark",
        "--profile",
        "--batch-size=100000",
        "--runs=10000",
    ]
    command += ["--threads=4", f"--trace={tmp_path / 'trace.json'}"]
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=environment, **pipes) as process:
        tasks = Path(f"/proc/{process.pid}/task")
        while len(list(tasks.iterdir())) < 4:  # or one more, which waits for signals
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        try:
            out, error = process.communicate(timeout=30)
        finally:
            process.kill()
    assert (process.returncode, out, error) == (130, "", "lenet-cpp: interrupted\n")
    assert list(tmp_path.iterdir()) == []
