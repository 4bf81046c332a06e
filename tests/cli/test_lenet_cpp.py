"""The command lenet-cpp: subcommands, help, options that are alike, completion, versions."""

import ast
import json
import os
import re
import sys
from functools import partial
from importlib.metadata import entry_points, version
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from classifiers import MAINS, PARSED, ROOT
from PIL import Image

import lenet_cpp
from lenet_cpp.cli import COMMANDS, main, serve
from lenet_cpp.inference.bundled import bundled_model_dir
from lenet_cpp.verify.reprod import read_record
from snippets import printed_by, run_command

PROGRAM = Path(sys.executable).with_name("lenet-cpp")


lenet_cpp_command = partial(run_command, PROGRAM, timeout=300)


def help_of(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_help_lists_the_commands(arguments, capsys):
    text = help_of(arguments, capsys)
    listed = text[text.index("Commands:\n") : text.index("\nExamples:")]
    assert re.findall(r"^  ([a-z-]+)  ", listed, re.MULTILINE) == list(COMMANDS)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("predct x.png", "lenet-cpp: error: No such command 'predct'. Did you mean 'predict'?"),
        ("predict --batch 3 x.png", "Did you mean '--batch-size'?"),
        ("convert x -o y", "lenet-cpp convert: error: Missing option '--to'"),
        ("export --combine x --softmax", "--softmax does not go with --combine"),
        ("verify --model-dir", "Option '--model-dir' needs a value; see lenet-cpp verify --help"),
        ("export a b", "unexpected extra argument (b)"),
        ("quantize", "lenet-cpp quantize: error: give one of --method and --analyse"),
    ],
)
def test_wrong_usage_is_one_line(arguments, said, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments.split())
    assert caught.value.code == 2
    captured = capsys.readouterr()
    (line,) = captured.err.splitlines()
    assert said in line
    assert captured.out == ""


def values(command, *arguments):
    """What a command would get."""
    name, context = command, PARSED[command].make_context(command, list(arguments))
    assert name == context.info_name
    return context.params


@pytest.mark.parametrize(
    ("command", "spellings"),
    [
        ("export", ["--num-classes=7", "--num_classes 7", "--class_dim=7", "--class-dim 7"]),
        ("export", ["--image-size 64", "--img_size=64", "--image_size=64"]),
        ("export", ["-o out", "-o=out", "--o out", "--output_dir=out", "--save_inference_dir out"]),
        ("export", ["net", "-p net", "-p=net", "-pnet", "--pretrained=net", "--params net"]),
        ("export", ["params", "-p params"]),
        ("export", ["-m AlexNet", "--model=AlexNet", "--model_name AlexNet", "--m=AlexNet"]),
        ("predict", ["x", "-i x", "-i=x", "-ix", "--image_file x", "--img_path=x", "--i x"]),
        ("predict", ["x", "--i=x", "--image-file x", "--image_file=x"]),
        ("predict", ["x --threads 2", "x --cpu_threads=2", "--cpu-threads 2 x"]),
        ("predict", ["x --use_onednn", "--use_mkldnn x", "-i=x --use-mkldnn=True"]),
        ("predict", ["x --benchmark", "--enable_benchmark x", "-i=x --benchmark on"]),
        ("verify", ["model", "--model-dir model", "--model_dir=model", "-d x -d model"]),
        ("verify", ["-i x -i y", "--image_file=x --img_path y"]),
        ("explain", ["model", "-d model", "--model_dir=model", "-m model", "--model-file model"]),
        ("torch-train", ["--lr 0.1", "--learning_rate=0.1"]),
    ],
)  # fmt: skip
def test_spellings_are_alike(command, spellings):
    first, *others = (values(command, *spelling.split()) for spelling in spellings)
    assert "x" in spellings or first != values(command, *["x"] * (command == "predict"))
    for other in others:
        assert other == first


def attributes_of(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "options.only":
            yield from (name.value for name in node.args)
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == "options":
            yield from [node.attr] if node.attr != "only" else []


@pytest.mark.parametrize("name", PARSED)
def test_commands_read_only_options_that_there_are(name):
    """Their attributes are not known to mypy."""
    module = COMMANDS[name][0].partition(":")[0]
    path = ROOT / "python" / "lenet_cpp" / "cli" / f"{module}.py"
    together = [one for one, (place, _) in COMMANDS.items() if place.partition(":")[0] == module]
    known = {param.name for one in together for param in PARSED[one].params}
    assert set(attributes_of(path)) <= known


def modules_after(statement, *names):
    code = f"import sys\ntry:\n    {statement}\nexcept SystemExit: pass\nprint(*sys.modules)"
    return set(names) & set(printed_by(sys.executable, "-c", code).splitlines()[-1].split())


def test_what_is_not_needed_is_not_imported(lenet):
    assert modules_after("import lenet_cpp", "click", "lenet_cpp.cli") == set()
    others = [f"lenet_cpp.cli.{place.partition(':')[0]}" for place, _ in COMMANDS.values()]
    frameworks = ("paddle", "torch", "onnx", "onnxruntime")
    for flag in ("--help", "--version"):
        run = f"from lenet_cpp.cli import main; main(['{flag}'])"
        assert modules_after(run, *frameworks, *others) == set()
    modules = [f"lenet_cpp.{name}" for name in ("models", "data.mnist", "interchange.torch.state")]
    run = f"import {', '.join([*modules, *others])}, lenet_cpp.interchange.torch.models"
    assert modules_after(run, *frameworks) == set()
    assert modules_after("import lenet_cpp.data.images", "PIL", "yaml", "paddle") == set()
    flags = [f"-i={lenet.photos}", f"--model_dir={lenet.exported}", "--benchmark"]
    run = f"from lenet_cpp.cli.classify import predict; assert predict({flags}) == 0"
    assert modules_after(run, "paddle") == set()


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({}, "native bf16 is "),
        ({"LENET_NATIVE_ISA": "scalar"}, "native bf16 is not available: precision bf16 needs"),
        ({"LENET_NATIVE_BF16": "x"}, "native bf16 is not available: LENET_NATIVE_BF16 is 'x'"),
        ({"LENET_ONNXRUNTIME_LIBRARY": "/nothing.so"}, "onnxruntime is not available: there is no"),
    ],
)
def test_versions(environment, said):
    done = lenet_cpp_command("--version", env=os.environ | environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert said in done.stdout
    lines = dict(line.rsplit(" ", 1) for line in done.stdout.splitlines())
    assert lines["lenet-cpp"] == lines["native"] == version("lenet-cpp") == lenet_cpp.__version__
    assert lines["paddle"] == version("paddlepaddle")
    assert "LIBRARY" in str(environment) or lines["onnxruntime"] == version("onnxruntime")
    with lenet_cpp.Predictor(engine="native") as predictor:
        here = predictor.profile(1, runs=1).instructions
    assert lines["native instructions"] == environment.get("LENET_NATIVE_ISA", here)


def test_entry_point_and_module():
    (found,) = entry_points(group="console_scripts", name="lenet-cpp")
    assert found.load() is main
    done = run_command(sys.executable, "-m", "lenet_cpp", "explain", "--batch", "1")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("lenet-cpp explain: error: No such option")


@pytest.mark.parametrize(
    ("line", "some", "none"),
    [
        ("lenet-cpp ", {*COMMANDS}, {"--version"}),
        ("lenet-cpp ex", {"export", "export-onnx", "explain"}, {"predict"}),
        ("lenet-cpp export --", {"--num-classes", "--image-size"}, {"--class_dim", "--img_size"}),
        ("lenet-cpp train --model Le", {"lenet"}, {"AlexNet"}),
        ("lenet-cpp convert x --to pd", {"pdmodel"}, {"json"}),
    ],
)
def test_completion(line, some, none):
    words = line.split(" ")
    asked = {"_LENET_CPP_COMPLETE": "bash_complete", "COMP_WORDS": line}
    done = lenet_cpp_command(env=os.environ | asked | {"COMP_CWORD": str(len(words) - 1)})
    found = {line.partition(",")[2] for line in done.stdout.splitlines()}
    assert some <= found
    assert not none & found


def test_explain(capsys, tmp_path):
    assert main(["explain", "-b", "3", "--runs", "2", "--trace", str(tmp_path / "trace")]) == 0
    text = capsys.readouterr().out
    assert "3 images" in text
    assert {event["ph"] for event in json.loads((tmp_path / "trace").read_text())} == {"X"}
    assert " 117,600 " in text  # 1 * 5 * 5 * 6 * 28 * 28, of the first layer
    assert main(["explain", "nowhere"]) == 3
    assert "there is no model 'nowhere'" in capsys.readouterr().err
    assert main(["explain", "--json", "--runs", "1"]) == 0
    profile = json.loads(capsys.readouterr().out)
    assert profile["multiply_adds"] == 416_520
    assert (profile["engine"], profile["images"]) == ("native", 1)


def test_benchmark(capsys):
    sizes = ["--batch-sizes", "1,3", "--threads", "1,2", "--seconds", "0"]
    assert main(["benchmark", "--json", "--profile", *sizes]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found["left_out"]) == {"onnxruntime", "profile of paddle"}  # it runs .onnx only
    profiled = [(each["threads"], each["images"]) for each in found["profiles"]]
    assert profiled == list(product((1, 2), (1, 3)))
    ran = [(row["engine"], row["threads"], row["batch_size"]) for row in found["rows"]]
    assert ran == list(product(("native", "paddle"), (1, 2), (1, 3)))
    for row in found["rows"]:
        assert row["runs"] >= 10
        assert 0 < row["p50_ms"] <= row["p90_ms"] <= row["p99_ms"]
        assert row["images_per_second"] > 0
    assert found["differences"]["paddle"] < 1e-3
    for arguments, code, said in (
        ("nowhere", 3, "nowhere"),
        ("--engines onnxruntime", 6, "onnxruntime"),
        ("--accelerator onednn --engines native", 6, "native"),
    ):
        assert main(["benchmark", "--seconds", "0", *arguments.split()]) == code
        (line,) = capsys.readouterr().err.splitlines()
        assert said in line


def test_fetch_paddle_is_in_the_wheel(tmp_path):
    done = lenet_cpp_command("fetch-paddle", "--check", cwd=tmp_path)
    assert done.returncode == 3
    folder = tmp_path / "third_party" / "paddle_inference"
    assert f"{folder} is not there: run lenet-cpp fetch-paddle" in done.stderr
    done = lenet_cpp_command("fetch-paddle", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    header, ours = "paddle/include/paddle_inference_api.h", "cpp/compat/paddle_inference_api.h"
    assert (folder / header).read_bytes() == (ROOT / ours).read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["third_party"]


def test_verify_without_the_program(model_dir, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    flags = ["--images=5", "--batch-sizes=5", "--formats=json", "--accelerators=plain,native"]
    assert main(["verify", str(model_dir), *flags]) == 0
    text = capsys.readouterr().out
    assert "the C++ program is left out: there is none here; ./run.sh builds it" in text
    assert main(["verify", str(model_dir), "--program=no", *flags]) == 3  # which was named


def test_records_of_predict_and_infer(lenet, tmp_path, capsys):
    pytest.importorskip("reprod_log", reason="it writes them")
    images = sorted(lenet.photos.iterdir())
    pixels = np.stack([np.asarray(Image.open(path)) for path in images])
    logits = lenet_cpp.predict(pixels)
    for name, flags, file in (
        ("predict", lenet.flags("pdmodel"), "output_inference_engine.npy"),
        ("infer", lenet.infer_flags(), "output_training_engine.npy"),
    ):
        given = [*flags, "-b=3", f"--reprod-dir={tmp_path}", "--benchmark"]
        assert MAINS[name]([*map(str, images), *given]) == 0
        record = read_record(tmp_path / file)
        np.testing.assert_allclose(record["output"], logits, rtol=0, atol=1e-3)
        np.testing.assert_array_equal(record["class_id"], logits.argmax(axis=1))
        expected = lenet_cpp.classify(pixels).probabilities.max(axis=1)
        np.testing.assert_allclose(record["prob"], expected, rtol=0, atol=1e-5)


def test_predictors_without_a_model_have_the_bundled_one():
    x = np.random.default_rng(1).random((5, 28, 28), np.float32)
    for one in (lenet_cpp.Predictor(), lenet_cpp.PredictorPool(size=2)):
        np.testing.assert_array_equal(one.run(x), lenet_cpp.predict(x))


@pytest.mark.parametrize(
    ("given", "served"),
    [(["--port=0"], [bundled_model_dir()]), (["--port=0", "mine"], []), (["a=b"], [])],
)
def test_serve_has_the_bundled_model_when_none_is_named(given, served, monkeypatch):
    calls = []
    monkeypatch.setattr(serve, "become_program", lambda _, arguments: calls.append(arguments))
    serve.main(given, standalone_mode=False)
    assert calls == [(*given, *map(str, served))]
