"""The one rule of equality, and that everything that compares outputs applies it."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import lenet_cpp
from lenet_cpp import _core, agreement, verify
from lenet_cpp.agreement import compare, compare_batches, compare_outputs, difference
from lenet_cpp.errors import BackendFailure, BadModel
from lenet_cpp.export import checks, inference_model, separate_layout
from lenet_cpp.interchange import checks as imports
from lenet_cpp.interchange.onnx import export
from lenet_cpp.paddle_engines.running import Runs
from lenet_cpp.verify import across
from tools.caffe2 import roundtrip

NEAR_TIE = ([1.0, 1.000004], [1.000004, 1.0])
ANOTHER_CLASS = ([1000.0, 1000.012], [1000.006, 1000.005])
TOO_FAR = ([1.0, 2.0], [1.0, 2.1])


def rows(*values):
    return np.array(values, np.float32)


@pytest.mark.parametrize(
    ("reference", "found", "within"),
    [
        ([0.0, 1.0], [9.9e-6, 1.0], True),
        ([0.0, 1.0], [1.1e-5, 1.0], False),
        ([0.5, 0.9], [0.5 + 1.1e-5, 0.9], False),  # absolute below 1
        ([0.5, 3.0], [0.5 + 2.9e-5, 3.0], True),  # relative to the image's largest above
        ([0.5, 3.0], [0.5 + 3.1e-5, 3.0], False),
        ([0.0, 100.0], [0.0, 100.0009], True),
        ([0.0, -100.0], [0.0, -100.0011], False),
        ([0.0, 1.0], [np.nan, 1.0], False),
        ([np.nan, 1.0], [np.nan, 1.0], True),
        ([np.inf, 1.0], [np.inf, 1.0], True),
        ([np.inf, 1.0], [3e38, 1.0], False),
        ([np.inf, 1.0], [-np.inf, 1.0], False),
        ([1.0, 1.000004], [1.000004, 1.0], True),  # another class, but nearly a tie
        ([0.1, 0.0, 0.1 + 5e-6], [0.1 + 5e-6, 0.0, 0.1], True),
    ],
)
def test_the_rule(reference, found, within):
    ok = [2.0] + [0.0] * (len(reference) - 1)
    comparison = compare(rows(ok, reference), rows(ok, found), exact=False)
    assert comparison.within is within
    assert comparison.agrees is within
    assert (comparison.verdict == "DIFFERS") is not within


def test_another_class_differs_even_within_the_tolerance_of_large_outputs():
    expected, found = ANOTHER_CLASS
    comparison = compare(rows(expected), rows(found))
    assert comparison.largest_difference < 1e-5 * 1000
    assert comparison.equal_predictions == 0
    assert not comparison.agrees


def test_one_bit_differs_where_bits_have_to_be_the_same():
    a = rows([1.0, 2.0])
    b = a.copy()
    b[0, 1] = np.nextafter(np.float32(2), np.float32(3))
    assert compare(a, b, exact=True).verdict == "DIFFERS"
    assert compare(a, b, exact=False).verdict == "within tolerance"
    assert compare(a, a.copy(), exact=True).verdict == "identical"
    assert not compare(rows([0.0, 1.0]), rows([-0.0, 1.0]), exact=True).agrees


def test_outputs_of_other_shapes_are_not_compared():
    with pytest.raises(BadModel, match="do not run the same model"):
        compare(rows([1.0, 2.0]), rows([1.0, 2.0, 3.0]))


def test_batches_are_one_comparison():
    a, b = rows([1.0, 2.0]), rows([3.0, 2.0], [5.0, 4.0])
    found = compare_batches([(a, a), (b, b + np.float32(2e-5))])
    assert (found.images, found.equal_predictions) == (3, 3)
    assert found.largest_difference == pytest.approx(2e-5, rel=0.05)
    assert found.share == pytest.approx(2 / 3, rel=0.05)  # of the row whose largest output is 3
    assert found.agrees


def test_outputs_that_are_no_classes_have_no_class():
    a = np.arange(8, dtype=np.float32).reshape(2, 2, 2)
    assert compare(a, a + np.float32(1e-5)).agrees
    assert not compare(a, a + np.float32(1e-4)).agrees


def test_a_difference_is_written_with_its_share():
    assert difference(1.9e-5, 0.123) == "1.9e-05 (12 %)"
    assert difference(1e-8, 1e-4) == "1e-08 (<1 %)"
    assert difference(0.0, 0.0) == "0 (0 %)"
    assert difference(3e-4, 30) == "0.0003 (3000 %)"
    assert difference(np.inf, np.inf) == "inf"


@pytest.mark.parametrize("shape", [(), (3,), (3, 1), (3, 4, 62), (3, 2, 4, 4), (0, 5)])
def test_values_of_any_shape(shape):
    a = np.full(shape, 2, np.float32)
    assert compare(a, a).identical
    assert compare(a, a + np.float32(1.9e-5)).agrees
    assert compare(a, a + np.float32(2.2e-5)).agrees is (a.size == 0)
    for dtype in (np.int32, np.int64, np.uint8, np.bool_):
        numbers = np.zeros(shape, dtype)
        assert compare(numbers, numbers).agrees
        assert compare(numbers, numbers + dtype(1)).agrees is (a.size == 0)


def test_integers_are_the_same_or_not():
    a = np.int64([[2**53, 4], [-1, 6]])
    found = compare(a, a + np.int64([[1, 0], [0, 0]]))  # which float64 does not tell apart
    assert (found.agrees, found.equal_predictions, found.verdict) == (False, 1, "DIFFERS")
    assert compare(a, a).equal_predictions == 2
    with pytest.raises(BadModel, match=r"int32 \[2, 2\] where .* int64"):
        compare(a, a.astype(np.int32))


SCORES = np.float32([[0.1, 0.9, 0.900005, 0.5], [0.7, 0.2, 0.1, 0.699996]])


@pytest.mark.parametrize(
    ("outputs", "found", "agrees"),
    [
        ({"scores": SCORES, "n": SCORES.argmax(1)}, [1, 3], True),  # both are near ties
        ({"scores": SCORES, "n": SCORES.argmax(1)[:, None]}, [[1], [3]], True),
        ({"n": SCORES.argmax(1)}, [2, 3], False),  # without the scores nobody knows
        ({"scores": SCORES * 2, "n": SCORES.argmax(1)}, [2, 3], True),
        ({"scores": SCORES * 1e-9, "n": np.array([2, 3])}, [2, 0], False),  # no ArgMax of them
        ({"values": SCORES[:, [2, 1, 3]], "n": np.array([[2, 1, 3], [0, 3, 1]])}, None, False),
        (
            {"values": np.float32([[0.9, 0.899995, 0.5]]), "n": np.array([[2, 1, 3]])},
            [[1, 2, 3]],
            True,
        ),
        (
            {"values": np.float32([[0.9, 0.899995, 0.5]]), "n": np.array([[2, 1, 3]])},
            [[2, 1, 0]],
            False,
        ),
        ({"scores": SCORES, "n": np.argsort(-SCORES)[:, :2]}, [[1, 2], [3, 0]], True),
        ({"scores": SCORES, "n": np.argsort(-SCORES)[:, :2]}, [[1, 2], [3, 1]], True),
        ({"scores": SCORES, "n": np.argsort(-SCORES)[:, :3]}, [[1, 2, 3], [3, 0, 2]], False),
        ({"heads": SCORES[None], "n": SCORES.argmax(1)[None]}, [[1, 3]], True),
        ({"heads": SCORES[None], "n": SCORES.argmax(1)[None]}, [[1, 1]], True),
    ],
)
def test_class_numbers_in_a_near_tie(outputs, found, agrees):
    """As of the two largest outputs, where the scores are there to see it."""
    outputs = {name: np.asarray(output) for name, output in outputs.items()}
    other = outputs | {"n": np.array(found if found is not None else -outputs["n"])}
    images = len(outputs["n"])
    assert compare_outputs(outputs, other, images=images).agrees is agrees
    assert compare_outputs(outputs, outputs, images=images).identical
    assert not compare_outputs(outputs, other, images=images, exact=True).agrees


def test_outputs_are_compared_by_name():
    outputs = {"b": np.int32([1, 2]), "a": rows([1.0, 2.0], [3.0, 1.0]), "mean": np.float32(3)}
    turned = dict(reversed(outputs.items()))
    found = compare_outputs(outputs, turned, images=2)
    assert (found.identical, found.equal_predictions, found.images) == (True, 2, 2)
    assert not compare_outputs(outputs, turned | {"mean": np.float32(4)}, images=2).agrees
    with pytest.raises(BadModel, match="one gives an output 'mean', two does not"):
        compare_outputs(
            outputs, {"a": outputs["a"], "b": outputs["b"]}, names=("one", "two"), images=2
        )


def refuses(call):
    """Whether a comparison that raises refuses; the message is the rule's own."""
    try:
        call()
    except (BackendFailure, BadModel) as error:
        said = str(error)
    else:
        return False
    assert "does not compute what" in said
    assert "times the tolerance" in said
    return True


IMAGE = np.zeros((1, 1, 28, 28), np.float32)


def in_verify(a, b, monkeypatch, **_):
    def run_reference(cases, *_, **__):
        return "dygraph", {case.batch_size: {"y": a} for case in cases}

    for name in ("run_paddle_inference", "run_lenet_cpp", "run_program"):
        monkeypatch.setattr(verify, name, lambda *_: {"y": b})
    same = {"lenet_cpp": True, "C++ program": True}
    monkeypatch.setattr(verify, "_same_engine", lambda *_: (same, []))
    monkeypatch.setattr(verify, "_run_reference", run_reference)
    how = {"formats": ["pdmodel"], "accelerators": ["plain"], "batch_sizes": [1]}
    return not verify.verify(lenet_cpp.bundled_model_dir(), IMAGE, program=Path(), **how).agrees


def in_across(a, b, monkeypatch, **_):
    monkeypatch.setattr(across, "WAYS", {"one": lambda _: a, "another": lambda _: b})
    return not across.across(lenet_cpp.bundled_model_dir(), IMAGE, program=Path()).agrees


def runs(*outputs):
    """What stands for run_model: the outputs of one batch, of one model after the other."""
    left = list(outputs)
    return lambda *_: Runs("x", ["y"], [[left.pop(0)]])


def in_export(a, b, monkeypatch, **_):
    monkeypatch.setattr(checks, "run_model", runs(b))
    monkeypatch.setattr(inference_model, "signature_of", lambda *_: None)
    where = Path("model.json"), Path("model.pdiparams")
    return refuses(lambda: inference_model.check_exported(*where, [a], [a]))


def in_conversion_by_parameters(a, b, monkeypatch, **_):
    paddle = pytest.importorskip("paddle", reason="the network is Paddle's")

    monkeypatch.setattr(checks, "run_model", runs(b))
    monkeypatch.setattr(checks, "random_batches", lambda *_: [a])
    spec = SimpleNamespace(dtype="float32")
    model = SimpleNamespace(
        program=Path("m"), params=None, input_shape=(-1, 2), input_spec=spec, output_role="logits"
    )
    return refuses(lambda: checks.compare_with_program(lambda _: paddle.to_tensor(a), model))


def in_separate_and_combined(a, b, monkeypatch, **_):
    monkeypatch.setattr(checks, "run_model", runs(a, b))
    monkeypatch.setattr(separate_layout, "signature_of", lambda *_: None)
    model = Path("m"), None
    return refuses(lambda: separate_layout.compare_outputs([a], model, model, exact=False))


def in_export_to_onnx(a, b, monkeypatch, tmp_path, **_):
    given = SimpleNamespace(shape=(-1, 2), dtype="float32")
    info = SimpleNamespace(batch=-1, inputs=[given], opset=13)
    for name in ("_tidy", "set_metadata", "check_onnx"):
        monkeypatch.setattr(export, name, lambda *_: None)
    monkeypatch.setattr(export, "describe_onnx", lambda _: info)
    monkeypatch.setattr(export, "random_batches", lambda *_: [a])
    monkeypatch.setattr(export, "OnnxSession", lambda _: SimpleNamespace(run=lambda _: [b]))
    model = SimpleNamespace(SerializeToString=lambda: b"x")
    path = tmp_path / "m.onnx"
    refused = refuses(lambda: export._finish(model, path, {}, "PyTorch", lambda _: a))
    assert path.exists() is not refused
    return refused


def in_import_from_onnx_torch_and_caffe2(a, b, monkeypatch, **_):
    monkeypatch.setattr(imports, "outputs_by_route", lambda *_: {"it": [b]})
    exported = SimpleNamespace(folder=Path("m"), manifest=SimpleNamespace(models={}))
    return refuses(lambda: imports.compare_routes("m.pt", exported, [a], [a]))


def in_round_trip_through_caffe2(a, b, **_):
    return not roundtrip._compare(a, {"Caffe2": b})[1].comparison.agrees


COMPARISONS = [each for name, each in list(globals().items()) if name.startswith("in_")]


@pytest.mark.parametrize(
    ("pair", "refused"), [(NEAR_TIE, False), (ANOTHER_CLASS, True), (TOO_FAR, True)]
)
@pytest.mark.parametrize("comparison", COMPARISONS, ids=lambda one: one.__name__)
def test_all_comparisons_are_one_rule(comparison, pair, refused, monkeypatch, tmp_path):
    a, b = (rows(values) for values in pair)
    assert comparison(a, b, monkeypatch=monkeypatch, tmp_path=tmp_path) is refused


@pytest.mark.parametrize("precision", agreement.TOLERANCES)
def test_cpp_has_the_same_tolerances(precision):
    """Those of self_check, and of verify against the plain program."""
    config = _core.Config()
    config.precision = precision
    config.engine = "onnxruntime"
    assert _core.plain_tolerance(config, False) == agreement.TOLERANCES[precision]
    # Two routes that round by the same scales.
    config.engine = "native"
    rounding = precision in {"fp32", "int8"}
    expected = agreement.ROUNDING_TOLERANCE if rounding else agreement.TOLERANCES[precision]
    assert _core.plain_tolerance(config, True) == expected
