"""The command lenet-cpp: subcommands, help, options that are alike, completion, versions."""

import json
import os
import re
import sys
from functools import partial
from importlib.metadata import entry_points, version
from importlib.util import find_spec
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from classifiers import MAINS, PARSED, ROOT, answers
from PIL import Image

import lenet_cpp
from lenet_cpp.cli import COMMANDS, main, serve
from lenet_cpp.inference.bundled import bundled_model_dir
from lenet_cpp.paddle_engines.records import read_record
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
        ("quantze x", "lenet-cpp: error: No such command 'quantze'. Did you mean 'quantize'?"),
        ("help quantze", "error: No such command 'quantze'. Did you mean 'quantize'?"),
        ("predict --batch 3 x.png", "Did you mean '--batch-size'?"),
        ("convert x -o y", "lenet-cpp convert: error: Missing option '--to'"),
        ("export --combine x --softmax", "--softmax cannot be combined with --combine"),
        ("export x --combine x", "PARAMS cannot be combined with --combine"),
        ("benchmark --trace x", "--trace needs --profile"),
        ("predict --bundled x.png --json -o x.json", "--output cannot be combined with --json"),
        ("predict --bundled x.png -o x.parquet", "lenet-cpp predict-many writes .parquet"),
        ("predict x.pdparams x.png --engine dygraph", "--engine dygraph needs -n, the network"),
        ("predict --bundled -d x x.png", "--bundled cannot be combined with another model"),
        ("predict model x.png --use-tensorrt", "No such option"),
        (
            "predict a x.png --engine dygraph -n lenet -p b",
            "-p cannot be used with --engine dygraph",
        ),
        ("predict --bundled x.png -p b", "-p needs the program of these parameters"),
        ("explain model", "explain was replaced by the profile of benchmark; see"),
        ("classify a x.png", "No such command 'classify'. Did you mean 'predict'?"),
        ("predict --model a x.png", "there is no option --model: give the model as the first arg"),
        ("bundle --model=a", "there is no option --model: give the model as the first argument"),
        ("verify --model vit.onnx", "vit.onnx is an exported model, and the name of a network is"),
        ("verify --model-dir", "Option '--model-dir' needs a value; see lenet-cpp verify --help"),
        ("export a b", "unexpected extra argument (b)"),
        ("quantize", "lenet-cpp quantize: error: give one of --method and --analyse"),
    ],
)
def test_wrong_usage_is_one_line(arguments, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("a", "x", "model", "x.png", "x.pdparams"):
        Path(name).touch()  # a missing file would be named first
    with pytest.raises(SystemExit) as caught:
        main(arguments.split())
    assert caught.value.code == 2
    captured = capsys.readouterr()
    (line,) = captured.err.splitlines()
    assert said in line
    assert captured.out == ""


@pytest.mark.parametrize(
    "arguments",
    [
        "convert none.pdmodel -o y",
        "import none.onnx",
        "import none.pth -o y",
        "export-onnx none.pth -o y.onnx",
        "match-preprocess none.onnx photo.png",
        "predict none.onnx",
        "predict none.pdparams photo.png --engine dygraph",
    ],
)
def test_a_missing_file_comes_before_a_missing_option(arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(arguments.split()) == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert re.match(r"lenet-cpp: error: none\.\w+ does not exist: check the path$", line)


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
        ("export", ["-n AlexNet", "-m AlexNet", "--model=AlexNet", "--model_name AlexNet"]),
        ("export", ["--network AlexNet", "--m=AlexNet", "--n=AlexNet", "--network=AlexNet"]),
        ("predict", ["-i x", "-i=x", "-ix", "--image_file x", "--img_path=x", "--i x"]),
        ("predict", ["-d x y", "--model_dir=x y", "y --model-dir x", "--d=x y"]),
        ("predict", ["m x --threads 2", "m x --cpu_threads=2", "--cpu-threads 2 m x"]),
        ("predict", ["m x --benchmark", "--enable_benchmark m x", "m --benchmark on x"]),
        ("verify", ["model", "--model-dir model", "--model_dir=model", "-d x -d model"]),
        ("verify", ["-i x -i y", "--image_file=x --img_path y"]),
        ("benchmark", ["model", "-d model", "--model_dir=model", "-m model", "--model-file model"]),
        ("match-preprocess", ["m x --expect e", "-d m x --expect e", "x --expect=e --model_dir m"]),
        ("torch-train", ["--lr 0.1", "--learning_rate=0.1"]),
    ],
)
def test_spellings_are_alike(command, spellings):
    first, *others = (values(command, *spelling.split()) for spelling in spellings)
    assert command == "match-preprocess" or first != values(command)
    for other in others:
        assert other == first


def modules_after(statement, *names):
    code = f"import sys\ntry:\n    {statement}\nexcept SystemExit: pass\nprint(*sys.modules)"
    return set(names) & set(printed_by(sys.executable, "-c", code).splitlines()[-1].split())


def test_what_is_not_needed_is_not_imported(lenet):
    assert modules_after("import lenet_cpp", "click", "lenet_cpp.cli") == set()
    others = [f"lenet_cpp.cli.{place}" for place, _ in COMMANDS.values()]
    frameworks = ("paddle", "torch", "onnx", "onnxruntime")
    for flag in ("--help", "--version"):
        run = f"from lenet_cpp.cli import main; main(['{flag}'])"
        assert modules_after(run, *frameworks, *others) == set()
    modules = [f"lenet_cpp.{name}" for name in ("models", "data.mnist", "interchange.torch.state")]
    run = f"import {', '.join([*modules, *others])}, lenet_cpp.interchange.torch.models"
    assert modules_after(run, *frameworks) == set()
    assert modules_after("import lenet_cpp.data.images", "PIL", "yaml", "paddle") == set()
    given = ["predict", str(lenet.exported), str(lenet.photos), "--benchmark"]
    run = f"from lenet_cpp.cli import main; assert main({given}) == 0"
    assert modules_after(run, "paddle") == set()


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({}, "native bf16 is "),
        ({"LENET_NATIVE_ISA": "scalar"}, "native bf16 is not available: bf16 needs"),
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
    if "LIBRARY" not in str(environment) and find_spec("onnxruntime"):
        assert lines["onnxruntime"] == version("onnxruntime")
    with lenet_cpp.Predictor(engine="native") as predictor:
        here = predictor.profile(1, runs=1).instructions
    assert lines["native instructions"] == environment.get("LENET_NATIVE_ISA", here)


def test_entry_point_and_module():
    (found,) = entry_points(group="console_scripts", name="lenet-cpp")
    assert found.load() is main
    done = run_command(sys.executable, "-m", "lenet_cpp", "web", "--batch", "1")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("lenet-cpp web: error: No such option")


@pytest.mark.parametrize(
    ("line", "some", "none"),
    [
        ("lenet-cpp ", {*COMMANDS}, {"--version"}),
        ("lenet-cpp ex", {"export", "export-onnx"}, {"predict"}),
        ("lenet-cpp export --", {"--num-classes", "--image-size"}, {"--class_dim", "--img_size"}),
        ("lenet-cpp train --network Le", {"lenet"}, {"AlexNet"}),
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


def test_profile(capsys, tmp_path):
    profile = ["benchmark", "--profile"]
    assert main([*profile, "-b", "3", "--runs", "2", "--trace", str(tmp_path / "trace")]) == 0
    text = capsys.readouterr().out
    assert "3 images" in text
    assert {event["ph"] for event in json.loads((tmp_path / "trace").read_text())} == {"X"}
    assert " 117,600 " in text  # 1 * 5 * 5 * 6 * 28 * 28, of the first layer
    assert main([*profile, "nowhere"]) == 3
    assert "there is no model 'nowhere'" in capsys.readouterr().err
    assert main([*profile, "--json", "--runs", "1"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["multiply_adds"] == 416_520
    assert (found["engine"], found["images"]) == ("native", 1)


def test_benchmark(capsys):
    sizes = ["--batch-sizes", "1,3", "--threads", "1,2", "--seconds", "0"]
    assert main(["benchmark", "--json", *sizes]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found["left_out"]) == {"onnxruntime"}  # it runs .onnx only
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
    assert f"{folder} does not exist: run lenet-cpp fetch-paddle" in done.stderr
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


def test_serve_has_the_help_of_the_program(built, monkeypatch, capsys):
    monkeypatch.setattr(serve, "find_built", lambda *_: built("lenet_serve"))
    short, whole = (help_of(["serve", flag], capsys) for flag in ("--help", "--help-all"))
    for text in (short, whole):
        assert "  lenet-cpp serve model.onnx" in text
        assert "Without MODEL, the server uses the digit model" in text
        assert "lenet_serve" not in text
    assert "--max_tensors" in whole
    assert "--max_tensors" not in short


def test_serve_has_help_without_the_program(monkeypatch, capsys):
    monkeypatch.setattr(serve, "find_built", lambda *_: None)
    text = help_of(["serve", "--help"], capsys)
    assert text.startswith("Usage: lenet-cpp serve")
    assert "lenet_serve is missing" in text
    assert main(["serve"]) == 3


@pytest.mark.parametrize(
    "model",
    [
        ["{0}"],
        ["{0}/lenet.pdmodel"],
        ["--bundled"],
        ["-d", "{0}"],
        ["--model-dir={0}"],
        ["-m", "{0}/lenet.json"],
    ],
)
def test_which_is_the_model_and_which_are_images(lenet, model, tmp_path):
    """A folder and a folder, a file and an image; where a flag names the model, all are images."""
    first, *_ = sorted(lenet.photos.iterdir())
    named = [each.format(lenet.exported) for each in model]
    target = tmp_path / "out.json"
    for images, names in (
        ([lenet.photos], {path.name for path in lenet.photos.iterdir()}),
        ([first], {first.name}),
        ([first, lenet.photos / "00[1-3].png"], {f"00{i}.png" for i in range(4)}),
    ):
        assert main(["predict", *named, *map(str, images), "-o", str(target)]) == 0
        assert answers(target).keys() == names
    assert main(["predict", "-i", str(first), *named, "-o", str(target)]) == 0
    assert answers(target).keys() == {first.name}


def test_an_onnx_model_and_an_image(lenet, tmp_path, capsys):
    onnx = pytest.importorskip("onnx", reason="it writes the model")
    network = """<ir_version: 8, opset_import: ["" : 17]> network (float[N,1,28,28] x) =>
        (float[N,784] y) { y = Flatten(x) }"""
    onnx.save(onnx.parser.parse_model(network), tmp_path / "model.onnx")
    image = lenet.photos / "000.png"
    given = [str(tmp_path / "model.onnx"), str(image), "-n", "lenet", "--json"]
    assert main(["predict", *given]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    brightest = np.asarray(Image.open(image)).reshape(-1)[found["predictions"][0]["class_id"]]
    assert brightest == np.asarray(Image.open(image)).max()


@pytest.mark.parametrize("command", ["predict", "predict-many -o x.csv"])
@pytest.mark.parametrize("given", ["", "MODEL", "IMAGE", "--bundled", "-d MODEL", "-i IMAGE"])
def test_a_model_or_images_are_missing(command, given, lenet, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    image = lenet.photos / "000.png"
    given = given.replace("MODEL", str(lenet.exported)).replace("IMAGE", str(image))
    for arguments in [given.split()] + [[str(image)] * 2] * (given == ""):
        with pytest.raises(SystemExit) as caught:
            main([*command.split(), *arguments])
        assert caught.value.code == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "give MODEL IMAGE..., or --bundled IMAGE..." in line


@pytest.mark.parametrize("engine", ["executor", "dygraph", "python", "native"])
def test_engines_of_predict(engine, lenet, capsys):
    model = [str(lenet.exported)]
    if engine == "dygraph":
        model = [str(lenet.params), "-n", "lenet"]
    given = ["predict", *model, str(lenet.photos), "--topk=1", f"--engine={engine}", "--json"]
    assert main(given) == 0
    found = [one["predictions"][0]["label"] for one in json.loads(capsys.readouterr().out)]
    assert found == lenet_cpp.classify(sorted(lenet.photos.iterdir())).labels


def test_models_lists_the_registry(capsys):
    from lenet_cpp.models import MODELS

    assert main(["models"]) == 0
    lines = capsys.readouterr().out.splitlines()[2:]
    assert [line.split()[0] for line in lines] == list(MODELS)
    assert main(["models", "--json"]) == 0
    found = {each.pop("name"): each for each in json.loads(capsys.readouterr().out)}
    assert found["AlexNet"]["image_sizes"] == [223, 254]
    assert [each["num_classes"] for each in found.values()] == [s.classes for s in MODELS.values()]


def test_exit_statuses_are_those_of_the_page(capsys):
    assert main(["help", "exit-status"]) == 0
    printed = capsys.readouterr().out
    page = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8").partition("## Errors by")[0]
    for name, code in re.findall(r"^\| `(\w+)` \| (\d) \|", page, re.MULTILINE):
        assert re.search(f"^ *{code}  {name}: ", printed, re.MULTILINE)
    printed_codes = set(re.findall(r"^ *(\d+)  ", printed, re.MULTILINE))
    assert printed_codes == set(re.findall(r"\b\d{1,3}\b", page.replace("| head -1", "")))


@pytest.mark.parametrize("command", [[], ["predict"], ["models"]])
def test_help_of_a_command(command, capsys):
    assert help_of(["help", *command], capsys) == help_of([*command, "--help"], capsys)
