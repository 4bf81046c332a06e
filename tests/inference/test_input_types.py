"""Models of Paddle whose input is no float32 tensor: each engine, format and binding takes numbers.

Against the layer in Paddle, which computes in the type that the program names. For .onnx files see
tests/cpp/test_onnx_types.py, for the server tests/serve/test_served_types.py.
"""

import pickle
from pathlib import Path

import numpy as np
import pytest

import lenet_cpp
from lenet_cpp.agreement import compare
from lenet_cpp.bulk.batch_predictor import BatchPredictor
from lenet_cpp.cli import main
from shared_models import FORMATS, run_export
from typed_models import EXACT, NATIVE_NUMBERS, NUMBERS, OTHERS

SCRIPT = Path(__file__).parents[1] / "typed_models.py"
# A number that is none of the type, as float32.
WRONG = {"uint8": [0.5, -1, 256], "int32": [0.5, 2**31], "int64": [0.5, 2**63]}


@pytest.fixture(scope="session")
def typed(tmp_path_factory):
    """The folder of each format."""
    folders = {}
    for suffix in FORMATS:
        folders[suffix] = tmp_path_factory.mktemp(suffix)
        run_export(SCRIPT, folders[suffix], suffix)
    return folders


def load(folder, name):
    return np.load(folder / f"{name}.npy"), np.load(folder / f"{name}_expected.npy")


@pytest.mark.parametrize("engine", ["native", "paddle", "auto"])
@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_of_the_models_type(typed, name, suffix, engine):
    numbers, expected = load(typed[suffix], name)
    path = typed[suffix] / f"{name}.{suffix}"
    for accelerator in ("auto",) if engine != "paddle" else ("plain", "onednn"):
        with lenet_cpp.Predictor(path, engine=engine, accelerator=accelerator) as predictor:
            assert predictor.input_spec.dtype == name
            assert predictor.output_spec.dtype == "float32"
            found = predictor.run(numbers)
            assert compare(expected, found).agrees, accelerator
            (named,) = predictor.run_outputs(numbers).values()
            assert (named == found).all()
            assert (predictor.run(numbers[:0]).shape) == (0, 5)
            # The same numbers in other types, of which none changes one.
            for other in (np.float64, np.int64, np.float32):
                changed = numbers.astype(other)
                if (changed == numbers).all() and (np.dtype(name).kind != "f" or other != np.int64):
                    assert (predictor.run(changed) == found).all(), other
            for value in WRONG.get(name, ()):
                for of in (np.float32, np.float64):
                    wrong = np.array(numbers, of)
                    wrong[1, 2, 3, 4] = value
                    with pytest.raises(lenet_cpp.BadInput, match=rf"value .*model's {name}"):
                        predictor.run(wrong)
            assert (predictor.run(numbers) == found).all()


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("name", NATIVE_NUMBERS)
def test_numbers_that_paddle_does_not_take(typed, name, suffix):
    """Values in float32 are rounded to the type, as by onnxruntime."""
    numbers, expected = load(typed[suffix], name)
    path = typed[suffix] / f"{name}.{suffix}"
    with lenet_cpp.Predictor(path) as predictor:
        assert (predictor.input_spec.dtype, predictor.options["engine"]) == (name, "native")
        found = predictor.run(numbers)
        assert compare(expected, found).agrees
        assert (predictor.run(numbers.astype(np.float64)) == found).all()
        assert (predictor.run(numbers.astype(np.float32) * np.float32(1 + 2e-4)) == found).all()
        with pytest.raises(lenet_cpp.BadInput, match=rf"value 65520, .*model's {name}"):
            predictor.run(np.full_like(numbers, 65520, np.float32))
    with lenet_cpp.IsolatedPredictor(path) as isolated:
        assert (isolated.run(numbers) == found).all()
    bulk = BatchPredictor(path, outputs=["logits"])
    assert (bulk.columns(numbers)["logits"] == found).all()
    match = "no tensor of float32, float64, .*export the model in float32, or use the native engine"
    with pytest.raises(lenet_cpp.Unsupported, match=match):
        lenet_cpp.Predictor(path, engine="paddle")


@pytest.mark.parametrize("suffix", FORMATS)
def test_pixels_of_a_model_of_pixels_in_every_binding(typed, suffix, tmp_path, run_program):
    """None of them divides by 255, as the program does that."""
    numbers, expected = load(typed[suffix], "uint8")
    path = typed[suffix] / f"uint8.{suffix}"
    found = {}
    with lenet_cpp.PredictorPool(path, size=2) as pool:
        found["pool"] = pool.run(numbers)
        found["submit"] = pool.submit(numbers).result()
    with lenet_cpp.IsolatedPredictor(path) as isolated:
        assert isolated.input_spec.dtype == "uint8"
        found["isolated"] = isolated.run(numbers)
    params = path.with_suffix(".pdiparams").read_bytes()
    found["bytes"] = lenet_cpp.Predictor.from_bytes(path.read_bytes(), params).run(numbers)
    for engine in ("native", "paddle", "python", "executor"):
        with lenet_cpp.InferenceEngine(engine) as loaded:
            found[engine] = loaded.load_predictor(path).run(numbers)
    bulk = pickle.loads(pickle.dumps(BatchPredictor(path, outputs=["logits"])))
    for form in (numbers, numbers.astype(np.int64), numbers.astype(np.float64), list(numbers)):
        found[f"bulk {type(form)}"] = bulk.columns(form)["logits"]
    found["bulk bytes"] = bulk.columns([each.tobytes() for each in numbers])["logits"]
    np.save(tmp_path / "x.npy", numbers)
    for engine in ("native", "paddle"):
        run_program(
            f"--model_file={path}",
            f"--engine={engine}",
            f"--input={tmp_path / 'x.npy'}",
            f"--output={tmp_path / 'y.npy'}",
        )
        found[f"program {engine}"] = np.load(tmp_path / "y.npy")
    with lenet_cpp.Classifier(path) as classifier:
        (result,) = classifier([numbers[0].astype(np.float32)])
    assert result.class_id == expected[0].argmax()
    for way, outputs in found.items():
        assert compare(expected, outputs).agrees, way


def test_integers_are_taken_as_they_are(typed, tmp_path, run_program):
    """float32 has none of the odd ones; the program sees each."""
    expected = EXACT - 2**24
    with lenet_cpp.Predictor(typed["json"] / "exact.json") as predictor:
        assert predictor.input_spec.dtype == "int64"
        assert (predictor.run(EXACT) == expected).all()
        assert (predictor.run(EXACT.astype(np.int32)) == expected).all()
        assert (predictor.run(EXACT.astype(np.float64)) == expected).all()
        assert (predictor.run(EXACT.astype(np.uint64)) == expected).all()
        many = np.repeat(EXACT, 150, axis=0)  # in several pieces
        many[:, 0] += np.arange(150)
        assert (predictor.run(many) == many - 2**24).all()
        with pytest.raises(lenet_cpp.BadInput, match="value 18446744073709551615"):
            predictor.run(np.full((1, 12), 2**64 - 1, np.uint64))
        for wrong in (np.full((1, 12), True), np.full((1, 12), 1j), np.array([["a"] * 12])):
            with pytest.raises(lenet_cpp.BadInput, match="expected int64 values"):
                predictor.run(wrong)
    with lenet_cpp.IsolatedPredictor(typed["json"] / "exact.json") as isolated:
        with pytest.raises(lenet_cpp.BadInput, match="beyond 16777216"):
            isolated.run(EXACT)
        assert (isolated.run(EXACT % 2**24) == EXACT % 2**24 - 2**24).all()
    bulk = BatchPredictor(typed["json"] / "exact.json", outputs=["logits"], errors="error")
    found = bulk.columns(EXACT.astype(np.uint64) + np.array([[0], [2**63]], np.uint64))
    assert (found["logits"][0] == expected[0]).all()
    assert "model's int64" in found["error"][1]


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("name", OTHERS)
def test_types_that_no_engine_here_takes(typed, suffix, name):
    path = typed[suffix] / f"other_{name}.{suffix}"
    for more in ({}, {"engine": "native"}, {"engine": "paddle"}, {"check_program": False}):
        with pytest.raises(lenet_cpp.Unsupported, match="no tensor of float32, float64, uint8"):
            lenet_cpp.Predictor(path, **more)


@pytest.mark.parametrize("suffix", FORMATS)
def test_commands_that_draw_an_input_draw_numbers_of_the_type(typed, suffix, tmp_path, capsys):
    path = typed[suffix] / f"uint8.{suffix}"
    assert main(["benchmark", str(path), "--seconds=0.1"]) == 0
    assert "native and paddle agree" in capsys.readouterr().out
    written = tmp_path / "m.onnx"
    assert main(["export-onnx", str(path), "-o", str(written)]) == 0
    numbers, expected = load(typed[suffix], "uint8")
    for engine in ("native", "onnxruntime"):
        with lenet_cpp.Predictor(written, engine=engine) as predictor:
            assert predictor.input_spec.dtype == "uint8"
            assert compare(expected, predictor.run(numbers)).agrees
