"""How the native engine says it computes a model: --explain and Predictor.explain."""

import json
import re

import numpy as np
import pytest

import lenet_cpp

USAGE, BAD_INPUT, UNSUPPORTED = 2, 5, 6

# Taps of a filter, times filters, times places; inputs times outputs. Together 416,520.
LENET = {
    "conv2d_0": 1 * 5 * 5 * 6 * 28 * 28,
    "conv2d_1": 6 * 5 * 5 * 16 * 10 * 10,
    "linear_0": 16 * 5 * 5 * 120,
    "linear_1": 120 * 84,
    "linear_2": 84 * 10,
}
SHAPES = {
    "pool2d_1": (16, 5, 5), "linear_0": (120, 1, 1), "linear_1": (84, 1, 1), "linear_2": (10, 1, 1),
}  # fmt: skip


@pytest.mark.parametrize("instruction_set", ["scalar", "sse42", None])
@pytest.mark.parametrize("images", [1, 3, 21, 130])
def test_every_layer_of_lenet(model_dir, images, instruction_set, monkeypatch):
    if instruction_set is not None:
        monkeypatch.setenv("LENET_NATIVE_ISA", instruction_set)
    with lenet_cpp.Predictor(model_dir=model_dir, engine="native") as predictor:
        plan = predictor.explain(images, runs=2)
    assert (plan.engine, plan.images, plan.runs) == ("native", images, 2)
    assert plan.reason == "the one that was named"
    assert instruction_set in (None, plan.instructions)
    assert plan.multiply_adds == sum(LENET.values())
    assert plan.microseconds > 0
    assert plan.limit > 1e8
    assert sum(part.images for part in plan.parts) == min(images, 64)
    for part in plan.parts:
        assert 1 <= part.at_once <= part.images
        assert sum(step.multiply_adds for step in part.steps) == plan.multiply_adds
        assert all(step.microseconds >= 0 for step in part.steps)
        assert part.steps[0].name == "reading the images"
        assert part.steps[-1].name == "writing the output"
        layers = part.steps[1:-1]
        assert all(step.kernel and step.microseconds > 0 for step in layers)
        # What is computed together is on one line; every layer is there once, in its order.
        found = re.findall(r"'(\w+)\.tmp_\d'", ", ".join(step.name for step in layers))
        assert [name for name in found if name in LENET] == list(LENET)
        for step in layers:
            names = [name for name in LENET if f"'{name}." in step.name]
            assert step.multiply_adds == sum(LENET[name] for name in names)
            last = re.findall(r"'(\w+)\.tmp_\d'", step.name)[-1]
            assert step.output == SHAPES.get(last, step.output)


def test_layouts(model_dir, monkeypatch):
    monkeypatch.setenv("LENET_NATIVE_ISA", "sse42")  # four images side by side
    with lenet_cpp.Predictor(model_dir=model_dir, engine="native") as predictor:
        parts = {
            images: [(part.layout, part.images) for part in predictor.explain(images, runs=1).parts]
            for images in (1, 4, 6)
        }
    assert parts == {
        1: [("one by one", 1)],
        4: [("4 side by side", 4)],
        6: [("4 side by side", 4), ("one by one", 2)],
    }


def test_the_program(model_dir, run_program):
    done = run_program(f"--model_dir={model_dir}", "--explain", "--repeats=3", "--batch_size=2")
    assert (done.returncode, done.stderr) == (0, "")
    assert "engine native (auto: the fastest that runs this model)" in done.stdout
    for layer in ("conv2d_0", "conv2d_1", "linear_0", "linear_1", "linear_2"):
        assert f"'{layer}." in done.stdout
    for number in ("117,600", "10,080", "840"):
        assert f" {number} " in done.stdout
    assert re.search(r"^  sum +416,520 +[\d.]+ +100\.0 % +[\d.]+ %$", done.stdout, re.MULTILINE)
    assert re.search(r"limit   [\d.]+ billion multiply-adds a second", done.stdout)
    assert "2 images, one by one" in done.stdout
    assert "class" not in done.stdout  # nothing else is run
    assert re.search(r"--explain\s", run_program("--help").stdout)


def test_the_program_in_json(model_dir, run_program):
    flags = ("--engine=native", "--explain", "--repeats=3", "--format=json")
    done = run_program(f"--model_dir={model_dir}", *flags)
    found = json.loads(done.stdout)
    assert found["multiply_adds"] == sum(LENET.values())
    assert (found["engine"], found["images"], found["runs"]) == ("native", 1, 3)
    assert found["reason"] == "the one that was named"
    (part,) = found["parts"]
    assert sum(step["multiply_adds"] for step in part["steps"]) == sum(LENET.values())


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--engine=paddle"], UNSUPPORTED, "only the native engine shows how it computes"),
        (["--accelerator=plain"], UNSUPPORTED, "only the native engine"),
        (["--input=digits.npy"], USAGE, "leave --input and --output out"),
        (["--output=logits.npy"], USAGE, "leave --input and --output out"),
        (["--explain=1"], USAGE, "--explain"),
        (["--batch_size=0"], USAGE, "--batch_size"),
        (["--batch_size=9999999"], BAD_INPUT, "expected 0 to 10000 runs, of 1 to 1048576 images"),
    ],
)
def test_what_cannot_be_explained(model_dir, run_program, arguments, code, words):
    done = run_program(f"--model_dir={model_dir}", "--explain", *arguments)
    assert done.returncode == code
    assert words in done.stderr
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1


def test_errors_in_python(model_dir):
    with lenet_cpp.Predictor(model_dir=model_dir, engine="native") as predictor:
        before = predictor.run(np.ones((1, 28, 28), np.float32))
        for images, runs in ((0, 1), (-1, 1), (1, -1), ("a", 1), (1.5, 1), (2**40, 1)):
            with pytest.raises(lenet_cpp.BadInput, match="cannot explain"):
                predictor.explain(images, runs=runs)
        predictor.explain(3, runs=1)
        assert (predictor.run(np.ones((1, 28, 28), np.float32)) == before).all()
    with pytest.raises(lenet_cpp.BadInput, match="closed"):
        predictor.explain()
    with (
        lenet_cpp.Predictor(model_dir=model_dir, engine="paddle") as predictor,
        pytest.raises(lenet_cpp.Unsupported, match="only the native engine"),
    ):
        predictor.explain()
