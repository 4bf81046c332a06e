"""int8 and bf16: the same bits through every route, computed as asked, or refused with the reason.

Against ``paddle.inference`` with the same switches, MNIST's labels, and oneDNN's own record of
what it ran. cpp/tests/test_precision.cc compares with values from the definition.
"""

import json
import re
from itertools import product

import numpy as np
import pytest
from PIL import Image

import lenet_cpp
from lenet_cpp.agreement import TOLERANCES, compare
from lenet_cpp.cli.convert_model import main as convert
from lenet_cpp.cli.verify import main as verify
from lenet_cpp.data.mnist import write_idx
from lenet_cpp.paddle_engines.classification import InferenceEngine
from processor import needs_bf16, needs_vnni
from quantized_models import quantized_by_paddle
from scripts.predict import predict
from snippets import printed_by

BAD_INPUT, UNSUPPORTED = 5, 6
# Of oneDNN's primitives those that have weights; the format changed between Paddle 3.1 and 3.3.
PRIMITIVE = re.compile(
    r"onednn_verbose,(?:v1,)?(?:primitive,)?exec,cpu,(convolution|inner_product|matmul),"
    r"[^,]*,[^,]*,src[_:](\w+?):\S* wei[_:](\w+?):"
)


@pytest.fixture(scope="module")
def find(model_dir):
    """From the name of a model in the tables below to its program."""
    folders = {"quantized": "onnx", "float weights": "floats", "old format": "old"}
    quantized = quantized_by_paddle(model_dir)
    places = {name: quantized / folder / "lenet.pdmodel" for name, folder in folders.items()}
    places |= {name: model_dir / f"lenet.{name}" for name in ("pdmodel", "json")}
    return places.__getitem__


def needs(precision):
    if precision == "bf16":
        needs_bf16()


def accuracy(outputs, labels):
    return float((outputs.argmax(axis=1) == labels).mean())


@pytest.mark.parametrize(
    ("name", "precision", "accelerator"),
    [
        ("quantized", "int8", "onednn"),
        ("quantized", "fp32", "plain"),
        ("json", "bf16", "onednn"),  # test_verify_compares_the_routes has the .pdmodel too
    ],
)
def test_three_routes_give_the_same_bits(
    find, run_program, digits, mnist_test, tmp_path, name, precision, accelerator
):
    needs(precision)
    model = find(name)
    source, target = tmp_path / "images.idx", tmp_path / "outputs.npy"
    write_idx(source, mnist_test.images)
    done = run_program(
        *(f"--model_file={model}", f"--input={source}", f"--output={target}"),
        *(f"--precision={precision}", f"--accelerator={accelerator}", "--format=json"),
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    report = json.loads(done.stdout)
    assert (report["precision"], report["accelerator"]) == (precision, accelerator)
    assert report["quantized"] == (name == "quantized")
    program = np.load(target)

    options = {"precision": precision, "accelerator": accelerator}
    batches = [digits[i : i + 64] for i in range(0, len(digits), 64)]
    with lenet_cpp.Predictor(model, **options) as predictor:
        python = np.concatenate([predictor.run(batch) for batch in batches])
        assert predictor.quantized == (name == "quantized")
        assert predictor.options["precision"] == precision
    with InferenceEngine("python", **options).load_predictor(model) as engine:
        paddle = np.concatenate([engine.run(batch) for batch in batches])
    assert (program.view(np.uint32) == python.view(np.uint32)).all()
    assert (program.view(np.uint32) == paddle.view(np.uint32)).all()

    # The float model has 995 of these 1,000.
    assert accuracy(program, mnist_test.labels) >= 0.985
    with lenet_cpp.Predictor(find("pdmodel"), accelerator="plain") as predictor:
        exact = predictor.run(digits)
    assert (program != exact).any()
    assert (program.argmax(axis=1) == exact.argmax(axis=1)).mean() >= 0.99


@pytest.mark.parametrize(
    ("name", "precision"),
    [("quantized", "int8"), ("quantized", "fp32"), ("json", "bf16"), ("pdmodel", "bf16")],
)
def test_what_was_asked_for_is_what_runs(find, program, name, precision):
    needs(precision)
    model = f"--model_file={find(name)}"
    command = (program, model, f"--precision={precision}", "--accelerator=onednn")
    found = PRIMITIVE.findall(printed_by(*command, env={"ONEDNN_VERBOSE": "1"}, timeout=120))
    assert len(found) == 5, found
    types = {(source, weights) for _, source, weights in found}
    if precision == "int8":
        assert [kind for kind, _, _ in found] == ["convolution"] * 2 + ["inner_product"] * 3
        assert {weights for _, weights in types} == {"s8"}
        assert {source for source, _ in types} <= {"s8", "u8"}
    elif precision == "bf16" and name == "json":
        assert types == {("bf16", "bf16")}
    elif precision == "bf16":
        # The first convolution stays in float32: what comes before and after it does.
        assert [weights for _, _, weights in found] == ["f32", *["bf16"] * 4]
    else:
        assert types == {("f32", "f32")}


def test_native_bf16_gives_the_classes_of_paddles(find, digits, monkeypatch):
    """Of LeNet it has the bits of float32; tests/cpp/test_native_zoo.py has larger networks."""
    needs("bf16")
    model = find("pdmodel")
    outputs = {}
    for engine in ("native", "paddle"):
        with lenet_cpp.Predictor(model, engine=engine, precision="bf16") as predictor:
            assert predictor.options["precision"] == "bf16"
            outputs[engine] = predictor.run(digits)
    found = compare(outputs["paddle"], outputs["native"], tolerance=TOLERANCES["bf16"])
    assert found.agrees, found.mismatch
    # As on a processor without it.
    monkeypatch.setenv("LENET_NATIVE_ISA", "avx2")
    with pytest.raises(lenet_cpp.Unsupported, match=r"avx512_bf16 in the native.* avx2; use"):
        lenet_cpp.Predictor(model, engine="native", precision="bf16")
    with lenet_cpp.Predictor(model, precision="bf16") as predictor:
        assert (predictor.run(digits[:64]) == outputs["paddle"][:64]).all()


REFUSED = [
    ("pdmodel", {"precision": "int8"}, lenet_cpp.Unsupported, "not quantized.*lenet-cpp quantize"),
    ("json", {"precision": "int8"}, lenet_cpp.Unsupported, r"\.json.*int8"),
    ("float weights", {"precision": "int8"}, lenet_cpp.Unsupported, "stored as float32"),
    ("quantized", {"precision": "bf16"}, lenet_cpp.Unsupported, "quantized"),
    ("quantized", {"precision": "int4"}, lenet_cpp.BadInput, "'int4'.*fp32, bf16, int8"),
    ("quantized", {"accelerator": "openvino"}, lenet_cpp.Unsupported, "OpenVINO"),
    # cpp/tests/test_precision.cc has each option with each precision.
    ("quantized", {"precision": "int8", "accelerator": "plain"}, lenet_cpp.BadInput, "plain"),
    ("json", {"precision": "bf16", "accelerator": "openvino"}, lenet_cpp.BadInput, "openvino"),
    ("pdmodel", {"precision": "bf16", "ir_optim": False}, lenet_cpp.BadInput, "ir_optim"),
    ("old format", {}, lenet_cpp.Unsupported, "onnx_format=True"),
    ("old format", {"precision": "int8"}, lenet_cpp.Unsupported, "onnx_format=True"),
]


@pytest.mark.parametrize(("name", "options", "error", "message"), REFUSED)
def test_refused_with_the_reason(find, run_program, name, options, error, message):
    model = find(name)
    with pytest.raises(error, match=message):
        lenet_cpp.Predictor(model, **options)
    with pytest.raises(lenet_cpp.Error):
        InferenceEngine("python", **options).load_predictor(model)
    flags = [f"--{key}={str(value).lower()}" for key, value in options.items()]
    done = run_program(f"--model_file={model}", *flags)
    usage = "int4" in options.values()  # which no precision is called
    assert done.returncode == (2 if usage else error.exit_code), done.stderr
    assert re.search(message, done.stderr), done.stderr
    assert done.stderr.count("\n") == 1


def test_a_quantized_model_without_int8_says_so(find, run_program):
    said = "quantized, but computed in float32: --int8"
    model = f"--model_file={find('quantized')}"
    assert said in run_program(model).stdout
    assert said not in run_program(model, "--int8").stdout
    assert ", precision int8," in run_program(model, "--int8").stdout
    assert said not in run_program(f"--model_file={find('pdmodel')}").stdout


def test_auto_is_what_can_run_it(find):
    with lenet_cpp.Predictor(find("quantized"), engine="paddle", precision="int8") as predictor:
        assert {predictor.accelerator(count) for count in (1, 2, 64)} == {"onednn"}
    with lenet_cpp.Predictor(find("quantized"), precision="int8") as predictor:
        assert predictor.options["engine"] == "native"
    for options in ({"accelerator": "onednn"}, {"memory_optim": True}):
        with lenet_cpp.Predictor(find("quantized"), precision="int8", **options) as predictor:
            assert predictor.options["engine"] == "paddle"
    with lenet_cpp.Predictor(find("quantized")) as predictor:
        chosen = [predictor.accelerator(count) for count in (1, 2, 3, 64)]
        assert chosen == ["plain", "plain", "onednn", "onednn"]
    with lenet_cpp.Predictor(find("pdmodel")) as predictor:
        assert not predictor.quantized


def test_predict_takes_the_precision(find, model_dir, mnist_test, tmp_path, capsys):
    photo = tmp_path / "digit.png"
    Image.fromarray(mnist_test.images[0]).save(photo)
    preprocess = ["--preprocess", str(model_dir / "preprocess.json")]
    model = ["-m", str(find("quantized")), "-i", str(photo), *preprocess]
    for engine in ("paddle", "python"):
        assert predict([*model, "--int8", f"--engine={engine}"]) == 0
        assert str(mnist_test.labels[0]) in capsys.readouterr().out
    float_model = ["-m", str(find("pdmodel")), *model[2:]]
    assert predict([*float_model, "--precision=int8"]) == UNSUPPORTED
    assert "not quantized" in capsys.readouterr().err
    assert predict([*model, "--int8", "--accelerator=plain"]) == BAD_INPUT


def test_an_isolated_predictor_says_whether_its_model_is_quantized(find, digits):
    with lenet_cpp.Predictor(find("quantized"), precision="int8") as predictor:
        expected = predictor.run(digits[:3])
    with lenet_cpp.IsolatedPredictor(find("quantized"), precision="int8") as isolated:
        assert isolated.quantized
        assert (isolated.run(digits[:3]) == expected).all()
    with lenet_cpp.IsolatedPredictor(find("pdmodel")) as isolated:
        assert not isolated.quantized
    assert not lenet_cpp.PredictorPool(find("pdmodel"), size=1).quantized


@pytest.mark.parametrize(("name", "precision"), [("quantized", "int8"), ("pdmodel", "bf16")])
def test_verify_compares_the_routes_in_a_precision(find, program, capsys, name, precision):
    needs(precision)
    if precision == "int8":
        needs_vnni()
    command = ["--model=lenet", f"--model-dir={find(name).parent}", f"--program={program}"]
    command += [f"--precision={precision}", "--images=100", "--batch-sizes=3,64"]
    assert verify([*command, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["precision"], found["agrees"]) == (precision, True)
    formats = ("pdmodel",) if precision == "int8" else ("pdmodel", "json")
    rows = [(row["format"], row["accelerator"], row["batch_size"]) for row in found["rows"]]
    assert rows == list(product(formats, ("onednn", "native"), (3, 64)))
    for row in found["rows"]:
        in_program, in_module, exact, *native = row["comparisons"]
        if row["accelerator"] == "native":
            same, *by_onednn = native
            assert same["verdict"] == "identical"
            assert in_program["largest_difference"] < 1
            # In int8 that is what the program says; Paddle's int8 is another arithmetic.
            routes = [one["routes"] for one in by_onednn]
            wanted = [["paddle.inference in int8", "lenet_cpp"]] if precision == "int8" else []
            assert routes == wanted
            assert all(one["largest_difference"] > 1e-3 for one in by_onednn)
            continue
        assert in_program["verdict"] == in_module["verdict"] == "identical"
        # It is another arithmetic, and so not float32's tolerance that holds.
        assert exact["largest_difference"] > 1e-3
        assert row["equal_predictions"] >= 99
    assert found["tolerance"] > 1e-5
    few = [*command, "--formats=pdmodel", "--accelerators=onednn", "--batch-sizes=3"]
    assert verify([*few, "--threshold=1e-5", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["agrees"] is False
    assert verify([*command, "--accelerators=plain"]) == BAD_INPUT
    assert f"precision {precision} is computed by onednn" in capsys.readouterr().err


def test_verify_refuses_a_precision_that_the_model_has_not(find, program, capsys):
    command = ["--model=lenet", f"--program={program}", "--images=3", "--batch-sizes=3"]
    command += ["--precision=int8", f"--model-dir={find('pdmodel').parent}"]
    assert verify(command) == UNSUPPORTED
    assert "not quantized" in capsys.readouterr().err
    assert verify([*command, "--formats=json"]) == BAD_INPUT
    assert "nothing of a .json runs in int8" in capsys.readouterr().err


def test_what_paddle_quantized_converts(find, digits, one_child, tmp_path, capsys):
    """Its scales have other shapes in the program than in the file."""
    model = find("quantized")
    separate, combined = tmp_path / "separate", tmp_path / "combined"
    assert convert([str(model), "-o", str(separate), "--to=separate"]) == 0
    command = [str(separate), "-o", str(combined), "--to=pdmodel", "--name=lenet"]
    assert convert(command) == 0
    again = combined / "lenet.pdiparams"
    assert again.read_bytes() == model.with_suffix(".pdiparams").read_bytes()
    for engine in ("paddle", "native"):
        options = {"engine": engine, "precision": "int8"}
        with lenet_cpp.Predictor(model, **options) as predictor:
            expected = predictor.run(digits[:8])
        for where in ({"model_dir": separate}, {"model_file": combined / "lenet.pdmodel"}):
            with lenet_cpp.Predictor(**where, **options) as predictor:
                assert (predictor.run(digits[:8]) == expected).all()
    capsys.readouterr()
    assert convert([str(model), "-o", str(tmp_path / "json"), "--to=json"]) == UNSUPPORTED
    assert "is quantized" in capsys.readouterr().err
    assert not (tmp_path / "json").exists()
