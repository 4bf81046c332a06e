"""Parity: trained network, paddle.inference, C++ program and lenet_cpp give the same answers."""

import hashlib
import json
import re
import shutil
import struct
import sys

import numpy as np
import pytest

import lenet_cpp
from lenet_cpp import export, verify
from lenet_cpp.cli.verify import main
from lenet_cpp.data.mnist import read_mnist_dir, sample_dir
from lenet_cpp.verify.layers import compare_layers
from numpy_reference import lenet, lenet_parameters

pytestmark = [
    pytest.mark.timeout(300),
    # Some of the images have numbers of every size.
    pytest.mark.filterwarnings("ignore::lenet_cpp.InputRangeWarning"),
]

COMBINATIONS = [
    ("pdmodel", "plain"),
    ("pdmodel", "onednn"),
    ("pdmodel", "openvino"),
    ("pdmodel", "native"),
    ("json", "plain"),
    ("json", "onednn"),
    ("json", "native"),
]
# How many images each batch size has: those of every kind, and the more digits the fewer runs.
COUNTS = {1: 250, 3: 250, 64: 1052, 1000: 1052}
CASES = [
    pytest.param(*combination, batch, marks=[pytest.mark.nightly] * (batch == 3))
    for combination in COMBINATIONS
    for batch in COUNTS
]
KINDS = ("noise", "zeros", "ones", "denormals", "1e30", "1e30 noise", "digits")


@pytest.fixture(scope="module")
def inputs(digits):
    random = np.random.default_rng(1)
    noise = random.standard_normal((8, 1, 28, 28), dtype=np.float32)
    shape = (3, 1, 28, 28)
    values = {
        "noise": random.random((32, 1, 28, 28), dtype=np.float32),
        "zeros": np.zeros(shape, np.float32),
        "ones": np.ones(shape, np.float32),
        "denormals": (random.random(shape) * 1e-39).astype(np.float32),
        "1e30": np.full(shape, 1e30, np.float32),
        "1e30 noise": noise * np.float32(1e30),
        "digits": digits,
    }
    assert tuple(values) == KINDS
    assert (values["denormals"] > 0).any()
    return values


@pytest.fixture(scope="module")
def images(inputs):
    everything = np.concatenate(list(inputs.values()))
    assert len(everything) == max(COUNTS.values())
    return {batch: everything[:count] for batch, count in COUNTS.items()}


@pytest.fixture(scope="module")
def runs(model_dir, program, layer, images):
    """The outputs of every route, computed once for each case."""
    found = {model.format: model for model in verify.find_models(model_dir)}
    done = {}
    references = {}

    def run(format_, accelerator, batch):
        key = (format_, accelerator, batch)
        x = images[batch]
        if batch not in references:
            references[batch] = only(verify.run_dygraph(layer, x, batch))
        if key not in done:
            case = verify.Case(found[format_], accelerator, batch)
            done[key] = {
                "dygraph": references[batch],
                "lenet_cpp": only(verify.run_lenet_cpp(case, x)),
                "C++ program": only(verify.run_program(program, case, x)),
                "paddle.inference": only(verify.run_paddle_inference(case, x)),
            }
        return done[key]

    return run


def only(outputs):
    """The output of a model that has one."""
    (output,) = outputs.values()
    return output


def of_kind(kind, inputs, outputs):
    begin = sum(len(inputs[other]) for other in KINDS[: KINDS.index(kind)])
    return outputs[begin : begin + len(inputs[kind])]


@pytest.mark.parametrize(("format_", "accelerator", "batch"), CASES)
def test_one_engine_with_the_same_options_gives_the_same_bits(
    runs, images, format_, accelerator, batch
):
    outputs = runs(format_, accelerator, batch)
    # The engine native is no part of Paddle; how far it may be is the next test's.
    expected = outputs["C++ program" if accelerator == "native" else "paddle.inference"]
    assert expected.shape == (len(images[batch]), 10)
    assert np.isfinite(expected).all()
    for route in ("C++ program", "lenet_cpp"):
        assert outputs[route].dtype == np.float32
        assert outputs[route].shape == expected.shape
        assert outputs[route].tobytes() == expected.tobytes(), route


@pytest.mark.parametrize(("format_", "accelerator", "batch"), CASES)
def test_exported_model_agrees_with_the_trained_network(runs, inputs, format_, accelerator, batch):
    outputs = runs(format_, accelerator, batch)
    for kind in KINDS:
        expected = of_kind(kind, inputs, outputs["dygraph"]).astype(np.float64)
        found = of_kind(kind, inputs, outputs["lenet_cpp"]).astype(np.float64)
        scale = np.maximum(1, np.abs(expected).max(axis=1, keepdims=True))
        if kind.startswith("1e30"):
            # Rounding errors are relative to the terms added up, some 1e30, not to what they leave.
            scale = np.maximum(scale, 1e30)
        assert (np.abs(found - expected) <= 1e-5 * scale).all(), kind
        first, second = np.sort(expected, axis=1)[:, :-3:-1].T
        clear = first - second >= 1e-5 * scale[:, 0]
        assert (found.argmax(axis=1) == expected.argmax(axis=1))[clear].all(), kind


def test_accelerators_differ(runs):
    """Else the switch would have been lost on the way, and the comparisons above say nothing."""
    for format_, others in (
        ("pdmodel", ("onednn", "openvino", "native")),
        ("json", ("onednn", "native")),
    ):
        plain = runs(format_, "plain", 64)["lenet_cpp"]
        for accelerator in others:
            assert (runs(format_, accelerator, 64)["lenet_cpp"] != plain).any()


def test_outputs_are_those_of_the_definition(runs, inputs, model_dir):
    weights = lenet_parameters(model_dir / "lenet.pdiparams")
    for kind in ("digits", "noise", "ones"):
        expected = lenet(weights, inputs[kind])
        tolerance = 2e-5 * np.maximum(1, np.abs(expected))
        for combination in COMBINATIONS:
            for route, outputs in runs(*combination, 64).items():
                found = of_kind(kind, inputs, outputs)
                assert (np.abs(found - expected) <= tolerance).all(), (combination, route)


def test_bundled_model_knows_the_digits(runs, inputs, mnist_test):
    """The other routes put them into the same classes, see above."""
    outputs = of_kind("digits", inputs, runs("pdmodel", "plain", 1000)["lenet_cpp"])
    assert (outputs.argmax(axis=1) == mnist_test.labels).mean() >= 0.98


def test_two_threads_give_the_same_bits_in_every_route(model_dir, program, inputs):
    for model in verify.find_models(model_dir):
        case = verify.Case(model, "onednn", 64, threads=2)
        expected = only(verify.run_paddle_inference(case, inputs["digits"])).tobytes()
        assert only(verify.run_lenet_cpp(case, inputs["digits"])).tobytes() == expected
        assert only(verify.run_program(program, case, inputs["digits"])).tobytes() == expected


def test_values_that_are_not_finite_give_the_same_bits_when_let_through(model_dir, program):
    x = np.random.default_rng(0).random((4, 1, 28, 28), dtype=np.float32)
    x[1:, 0, 14, 14] = [np.nan, np.inf, -np.inf]
    for model in verify.find_models(model_dir):
        case = verify.Case(model, "onednn", 4, check_finite=False)
        expected = only(verify.run_paddle_inference(case, x)).tobytes()
        assert only(verify.run_lenet_cpp(case, x)).tobytes() == expected
        assert only(verify.run_program(program, case, x)).tobytes() == expected


def changed_model(model_dir, target, name, *, checksums):
    """A copy of the model in which one value of a parameter is 1e-3 larger."""
    shutil.copytree(model_dir, target)
    path = target / "lenet.pdiparams"
    content = bytearray(path.read_bytes())
    at = content.index(lenet_parameters(path)[name].tobytes())
    (value,) = struct.unpack_from("<f", content, at)
    struct.pack_into("<f", content, at, value + 1e-3)
    path.write_bytes(content)
    if checksums:
        sums = target / "SHA256SUMS"
        digest = hashlib.sha256(content).hexdigest()
        text = re.sub(r"^\S+(?=  lenet\.pdiparams$)", digest, sums.read_text(), flags=re.M)
        sums.write_text(text)
    return target


QUICK = ("--images", "32", "--batch-sizes", "16")


def test_one_weight_changed_by_a_thousandth_fails_the_check(
    model_dir, params, program, tmp_path, capsys
):
    folder = changed_model(model_dir, tmp_path / "model", "conv2.weight", checksums=True)
    arguments = [f"--model-dir={folder}", f"--params={params}", f"--program={program}", *QUICK]
    arguments += ["--data-dir", str(sample_dir())]
    assert main([*arguments, "--layers"]) == 1
    text = capsys.readouterr().out
    assert text.count("DIFFERS") >= len(COMBINATIONS)
    assert f"The routes DIFFER in {len(COMBINATIONS)} of {len(COMBINATIONS)} rows" in text
    assert "The first layer that differs is conv2 (Conv2D, .pdmodel)." in text

    assert main([*arguments, "--accelerators=plain", "--layers", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["agrees"] is False
    assert found["largest_difference"] > 1e-5
    assert found["first_differing_layer"] == "conv2"
    assert [one["operator"] for one in found["layers"][:2]] == ["elementwise_add", "pool2d"]


@pytest.mark.parametrize(
    "name", ["conv1.weight", "conv2.bias", "linear1.weight", "linear2.bias", "linear3.bias"]
)
def test_layers_name_the_changed_one(model_dir, params, inputs, tmp_path, name):
    folder = changed_model(model_dir, tmp_path / "model", name, checksums=True)
    layers = compare_layers(folder, inputs["digits"], params=params)
    order = ["conv1", "max_pool1", "conv2", "max_pool2", "linear1", "linear2", "linear3"]
    assert [(one.format, one.layer) for one in layers] == [
        (format_, layer) for format_ in ("pdmodel", "json") for layer in order
    ]
    for format_ in ("pdmodel", "json"):
        differing = [one.layer for one in layers if one.format == format_ and one.differs]
        assert differing[0] == name.partition(".")[0]


def test_no_layer_of_an_unchanged_model_differs(model_dir, params, inputs):
    layers = compare_layers(model_dir, inputs["noise"], params=params)
    assert len(layers) == 14
    assert not any(one.differs for one in layers)
    assert layers[0].shape == (32, 6, 28, 28)
    assert [one.operator for one in layers[:3]] == ["elementwise_add", "pool2d", "elementwise_add"]
    assert layers[7].operator.startswith("pd_op.add")


def test_program_and_manifest_are_opened_once(model_dir, params, inputs, tmp_path, monkeypatch):
    """Beside the check: the batch sizes of one format and accelerator share a predictor.

    A program is opened by a predictor of C++, a manifest by what reads files in Python.
    """
    opened = {"program": [], "manifest.json": []}

    def program(config, *contents):
        opened["program"].append(config.model_file)
        return original(config, *contents)

    def event(name, arguments):
        if watching and name == "open" and str(arguments[0]).endswith("manifest.json"):
            opened["manifest.json"].append(arguments[0])

    original, watching = lenet_cpp._core.Predictor, [True]
    monkeypatch.setattr(lenet_cpp._core, "Predictor", program)
    sys.addaudithook(event)  # which cannot be removed
    try:
        report = verify.verify(
            model_dir,
            inputs["digits"],
            program=None,
            params=params,
            batch_sizes=(1, 64),
            record=True,
        )
        assert report.agrees
        assert len(report.rows) == len(COMBINATIONS) * 2
        assert len(opened["program"]) == len(COMBINATIONS) + 1
        assert len(opened["manifest.json"]) == 1
        # The seed of random parameters and the network are in the manifest too.
        export.export_model(None, tmp_path / "seeded", model="lenet", formats=("pdmodel",), seed=1)
        for files in opened.values():
            files.clear()
        settings = {"accelerators": ("plain",), "batch_sizes": (64,), "training_engine": True}
        report = verify.verify(tmp_path / "seeded", inputs["digits"], program=None, **settings)
        assert report.reference == "dygraph"
        assert [len(files) for files in opened.values()] == [2, 1]
        for files in opened.values():
            files.clear()
        report = verify.verify(model_dir, inputs["digits"], program=None, **settings)
        assert "training engine" in report.reference
        assert [len(files) for files in opened.values()] == [2 + 1, 1]
    finally:
        watching.clear()


def test_changed_file_is_refused(model_dir, params, program, tmp_path, capsys):
    folder = changed_model(model_dir, tmp_path / "model", "conv2.weight", checksums=False)
    message = "lenet.pdiparams' has SHA-256 .* damaged or replaced"
    with pytest.raises(lenet_cpp.BadModel, match=message):
        lenet_cpp.PredictorPool(folder / "lenet.json", size=2)
    arguments = [f"--model-dir={folder}", f"--program={program}", *QUICK]
    for more in ([], [f"--params={params}", "--layers"]):
        assert main([*arguments, *more]) == 4
        captured = capsys.readouterr()
        assert captured.out == ""
        assert re.search(message, captured.err)


def test_verify_agrees_and_reports_it(model_dir, params, program, tmp_path, monkeypatch, capsys):
    # As after ./run.sh, seen from another folder.
    shutil.copytree(model_dir, tmp_path / "inference_model" / "lenet")
    checkpoint = tmp_path / "checkpoints" / "lenet" / "lenet.pdparams"
    checkpoint.parent.mkdir(parents=True)
    shutil.copy(params, checkpoint)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    arguments = [f"--program={program}", "--data-dir", str(sample_dir())]
    arguments += ["--images=50", "--batch-sizes=3"]
    assert main([*arguments, "--json"], root=tmp_path) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(elsewhere.iterdir()) == []  # OpenVINO leaves its cache elsewhere

    assert found["agrees"] is True
    assert found["images"] == found["equal_predictions"] == 50
    assert 0 < found["largest_difference"] <= 1e-3
    assert found["reference"] == "dygraph"
    rows = [(row["format"], row["accelerator"], row["batch_size"]) for row in found["rows"]]
    assert rows == [(*combination, 3) for combination in COMBINATIONS]
    for row in found["rows"]:
        assert row["verdict"] in {"identical", "within tolerance"}
        program_, module, reference, *of_native = row["comparisons"]
        assert program_["routes"] == ["paddle.inference", "C++ program"]
        assert module["routes"] == ["paddle.inference", "lenet_cpp"]
        if row["accelerator"] == "native":
            (both,) = of_native
            assert both["routes"] == ["C++ program", "lenet_cpp"]
            assert both["verdict"] == "identical"
        else:
            assert program_["verdict"] == module["verdict"] == "identical"
            assert not of_native
        assert reference["routes"] == ["dygraph", "paddle.inference"]
        assert reference["largest_difference"] <= found["largest_difference"]
    assert [(one["format"], one["accelerator"]) for one in found["unavailable"]] == [
        ("json", "openvino")
    ]
    split = read_mnist_dir(sample_dir()).test
    correct = int((lenet_cpp.predict(split.images[:50]).argmax(axis=1) == split.labels[:50]).sum())
    assert found["accuracy"] == {
        route: {"correct": correct, "total": 50, "fraction": correct / 50}
        for route in ("dygraph", "paddle.inference", "C++ program", "lenet_cpp")
    }


def test_without_the_trained_parameters_the_table_says_so(model_dir, program, capsys):
    arguments = [f"--model-dir={model_dir}", f"--program={program}", *QUICK]
    arguments += ["--formats=json", "--accelerators=onednn,openvino"]
    assert main(arguments) == 0
    text = capsys.readouterr().out
    assert "dygraph is left out: no trained parameters" in text
    assert "OpenVINO runs .pdmodel programs only" in text
    # The reason stands in the last column, where the others have their verdict.
    rows = [line for line in text.splitlines() if re.search("  (onednn|openvino)  ", line)]
    assert len(rows) > 1
    assert len({line.rindex("  ") for line in rows}) == 1
    assert "32/32" in text
    assert re.search(r"^accuracy: paddle\.inference .*, C\+\+ program .*, lenet_cpp ", text, re.M)
    assert re.search(
        r"^The routes agree: largest difference \S+ \(.*%\), 32 equal predictions\.$", text, re.M
    )


def test_model_with_softmax_is_compared_with_probabilities(params, program, inputs, tmp_path):
    export.export_model(params, tmp_path, softmax=True)
    report = verify.verify(
        tmp_path,
        inputs["digits"][:16],
        program=program,
        params=params,
        batch_sizes=(8,),
        accelerators=["onednn", "native"],
    )
    assert report.agrees
    assert len(report.rows) == 4
    assert report.correct == {}
    layers = compare_layers(tmp_path, inputs["digits"], params=params)
    assert [one.layer for one in layers if one.format == "json"][-2:] == ["linear3", "softmax"]
    assert not any(one.differs for one in layers)


def wrapper(path, script):
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def run_openvino(model_dir, program, images):
    return verify.verify(
        model_dir,
        images[:64],
        program=program,
        formats=["pdmodel"],
        accelerators=["openvino"],
        batch_sizes=[64],
    )


def test_program_that_computes_otherwise_is_found_out(model_dir, program, inputs, tmp_path):
    # Within the tolerance, but one engine with the same options has to give the same bits.
    other = wrapper(tmp_path / "program", f'exec "{program}" "$@" --accelerator=plain')
    report = run_openvino(model_dir, other, inputs["digits"])
    assert not report.agrees
    in_program, in_module, reference = report.rows[0].comparisons
    assert (in_program.verdict, in_module.verdict) == ("DIFFERS", "identical")
    assert reference.verdict == "within tolerance"
    assert report.rows[0].verdict == "DIFFERS"


def test_program_of_another_paddle_is_compared_within_the_tolerance(
    model_dir, program, inputs, tmp_path
):
    script = 'case $1 in --version) echo "paddle 3.0.0";; '
    script += f'*) exec "{program}" "$@" --accelerator=plain;; esac'
    other = wrapper(tmp_path / "program", script)
    report = run_openvino(model_dir, other, inputs["digits"])
    assert report.agrees
    assert any("C++ program runs on Paddle 3.0.0" in note for note in report.notes)


@pytest.mark.parametrize(
    ("script", "error", "message"),
    [
        ("kill -SEGV $$", lenet_cpp.BackendFailure, "signal 11"),
        ("echo what happened >&2; exit 7", lenet_cpp.VersionMismatch, "what happened"),
        ("exit 77", lenet_cpp.BackendFailure, "it printed nothing"),
    ],
)
def test_failure_of_the_program_is_reported(model_dir, tmp_path, script, error, message):
    case = verify.Case(verify.find_models(model_dir)[0], "plain", 1)
    program = wrapper(tmp_path / "program", script)
    with pytest.raises(error, match=message):
        verify.run_program(program, case, np.zeros((1, 1, 28, 28), np.float32))


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--model-dir=nowhere"], 3, "there is no folder nowhere"),
        (["--program=nothing"], 3, "cannot run nothing .*run.sh"),
        (["--params=nothing.pdparams"], 3, "cannot read nothing.pdparams"),
        (["--batch-sizes=2000"], 5, "from 1 to 1024"),
        (["--images=99999999"], 5, "test images"),
        (["--formats=json", "--accelerators=openvino"], 5, "OpenVINO runs .pdmodel"),
        (["--data-dir=nowhere"], 3, "there is no folder nowhere"),
    ],
)
def test_what_is_missing_or_wrong_is_one_line(
    model_dir, program, capsys, arguments, status, message
):
    assert main([f"--model-dir={model_dir}", f"--program={program}", *QUICK, *arguments]) == status
    captured = capsys.readouterr()
    assert captured.out == ""
    assert re.fullmatch(f".*{message}.*\n", captured.err)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--batch-sizes=0"], "--batch-sizes"),
        (["--batch-sizes=a"], "--batch-sizes"),
        (["--accelerators=gpu"], "--accelerators"),
        (["--formats=onnx"], "--formats"),
        (["--threads=0"], "--threads"),
        (["--layers"], "--params"),
        (["-i=a.png", "--data-dir=."], "--image-file cannot be combined with --data-dir"),
    ],
)
def test_wrong_usage(model_dir, arguments, said, capsys):
    with pytest.raises(SystemExit) as stop:
        main([f"--model-dir={model_dir}", *arguments])
    assert stop.value.code == 2
    assert said in capsys.readouterr().err
