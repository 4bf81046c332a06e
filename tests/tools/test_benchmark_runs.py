"""Quick runs of the whole benchmark. No test asserts on how long anything takes."""

import json
import shutil
import sys
from dataclasses import replace
from itertools import islice

import pytest

import lenet_cpp
from lenet_cpp.errors import BackendFailure, BadInput, FileNotFound
from snippets import run_command
from tools.benchmark import cli, lifetime, photos, speed, subject, tables
from tools.benchmark.contenders import (
    BASELINE,
    CONTENDERS,
    PADDLEX,
    PEERS,
    Contender,
    choose,
)
from tools.benchmark.lenet import MULTIPLY_ADDS, read_weights, write_onnx
from tools.benchmark.subject import Settings
from tools.benchmark.turns import Turn
from tools.survey.summary import block_of

NATIVE = "lenet_cpp/native"
PROGRAM = "program/native"
PADDLEX_ROWS = {"PaddleX", "PaddleX/one thread"}
# As torchvision counts them, of images of 224 x 224; 512 x 1000 of these in the last layer. All
# else goes with the area, which is 49 times that of 32 x 32.
RESNET18_OF_32 = (1_814_073_344 - 512_000) // 49 + 512_000


def quick(model_dir, program, **options):
    few = {"batch_sizes": (1, 8), "seconds": 0.02, "rounds": 2, "baseline": PROGRAM}
    return Settings(model_dir, program, **{**few, **options})


@pytest.fixture(scope="module")
def quick_run(root, model_dir, program, tmp_path_factory):
    """A run of the command, and the file that it wrote."""
    folder = tmp_path_factory.mktemp("quick_run")
    file = folder / "result.json"
    names = f"{NATIVE},{NATIVE}/int8,{PROGRAM},litert,dygraph,{BASELINE},lenet_cpp/*/onednn/bf16"
    arguments = ["--quick", "--batch-sizes", "8", "--contenders", names, "--json", file]
    arguments += ["--model-dir", model_dir, "--program", program, "--plots", folder]
    done = run_command(sys.executable, root / "scripts/benchmark.py", *arguments, timeout=600)
    assert file.is_file(), done.stderr
    return done, file


@pytest.fixture(scope="module")
def quick_result(quick_run):
    _, file = quick_run
    return json.loads(file.read_text())


@pytest.fixture(scope="module")
def quick_cells(quick_result):
    """The measurements by contender; all are of one thread and of batches of 8."""
    (network,) = quick_result["networks"]
    assert {(cell["threads"], cell["batch_size"]) for cell in network["cells"]} == {(1, 8)}
    cells = {cell["contender"]: cell for cell in network["cells"]}
    assert len(cells) == len(network["cells"])
    return cells


def test_the_exit_status_says_whether_every_limit_holds(quick_run, quick_result):
    """No test depends on how fast this machine is now."""
    done, _ = quick_run
    holds = all(figure["holds"] for figure in quick_result["figures"])
    assert done.returncode == (0 if holds else 1)


def test_every_contender_is_measured_or_lacks_something(quick_result, quick_cells):
    (network,) = quick_result["networks"]
    known = {contender.name: contender for contender in CONTENDERS}
    measured = set()
    for row in network["contenders"]:
        missing = known[row["name"]].missing()
        if missing is None:
            assert (row["status"], row["reason"]) == ("measured", None)
            measured.add(row["name"])
        else:
            assert (row["status"], row["reason"]) == ("unavailable", missing)
    assert {NATIVE, PROGRAM, BASELINE, "dygraph", f"{NATIVE}/int8"} <= measured
    assert quick_cells.keys() == measured


def test_limits_are_checked_against_the_ratios(quick_result, quick_cells):
    figures = {one["what"].partition(",")[0]: one for one in quick_result["figures"]}
    assert figures.keys() == {NATIVE, PROGRAM}
    for name, figure in figures.items():
        assert figure["found"] == quick_cells[name]["ratio"]["median"]
        assert figure["limit"] > 1
        assert figure["holds"] == (figure["found"] >= figure["limit"])


def test_times_rates_and_memory_are_consistent(quick_result, quick_cells):
    (network,) = quick_result["networks"]
    (limit,) = network["multiply_add_limit"]
    for cell in quick_cells.values():
        assert 0 < cell["median_us"] <= cell["p90_us"] <= cell["p99_us"]
        rate = 8e6 / cell["median_us"]
        assert cell["images_per_second"] == pytest.approx(rate)
        share = rate * MULTIPLY_ADDS / limit["multiply_adds_per_second"]
        assert cell["share_of_limit"] == pytest.approx(share)
        assert cell["runs"] >= 6  # at least two turns of three
    assert {*quick_cells[BASELINE]["ratio"].values()} == {1}
    for name in (BASELINE, "dygraph"):  # Paddle alone takes more memory than this
        assert quick_cells[name]["peak_bytes"] > 100e6


def test_answers_are_compared_with_float32(quick_cells):
    for name, cell in quick_cells.items():
        if cell["precision"] == "fp32":
            # 995 of the 1,000 digits are right in float32.
            assert (cell["same_class"], cell["accuracy"]) == (1, 0.995)
            assert cell["largest_difference"] < 1e-3
        else:
            assert 0.98 <= cell["same_class"] <= 1
            assert cell["largest_difference"] > 0.1, f"{name} computed in float32"
        in_float = name.removesuffix(f"/{cell['precision']}")
        compared = in_float != name and in_float in quick_cells
        assert (cell["float_ratio"] is not None) == compared


def test_results_are_shown_again_as_they_were_printed(quick_run, capsys):
    done, file = quick_run
    assert cli.main(["--show", str(file), "--plots", str(file.parent)]) == 0
    assert capsys.readouterr().out == done.stdout


@pytest.fixture
def made_up_turns(digits, monkeypatch):
    """Runs take 900 us on one thread and 400 us on two, and nothing is run for it."""
    logits = lenet_cpp.predict(digits)

    def turn(task, size, count=0, **_):
        block = block_of([{1: 900_000, 2: 400_000}[task.model["threads"]]])
        return Turn(1, None, 1, 1, 1, {}, block, logits[:count])

    monkeypatch.setattr(speed, "take_turn", turn)


@pytest.mark.usefixtures("made_up_turns")
def test_speed_up_is_over_the_least_threads(model_dir, program):
    settings = quick(model_dir, program, batch_sizes=(1,), threads=(1, 2))
    (network,) = speed.run_speed(settings, choose([PROGRAM]))["networks"]
    found = [(cell["threads"], cell["speed_up"]) for cell in network["cells"]]
    assert found == [(1, 1), (2, 2.25)]


@pytest.mark.usefixtures("made_up_turns")
@pytest.mark.parametrize("done", [0, 1])
def test_ctrl_c_keeps_the_networks_that_are_done(model_dir, program, monkeypatch, done):
    subjects = speed.subjects

    def interrupted(settings):
        yield from islice(subjects(settings), done)
        raise KeyboardInterrupt

    monkeypatch.setattr(speed, "subjects", interrupted)
    settings = quick(model_dir, program, batch_sizes=(1,))
    if done == 0:
        with pytest.raises(KeyboardInterrupt):
            speed.run_speed(settings, choose([PROGRAM]))
        return
    result = speed.run_speed(settings, choose([PROGRAM]))
    assert len(result["networks"]) == done
    assert "interrupted" in tables.render(result)


@pytest.mark.nightly
def test_a_network_is_compared_with_the_best_peer(program, tmp_path, capsys, monkeypatch):
    """A small ResNet18, against Paddle's training engine; nothing is left behind."""
    monkeypatch.setattr(subject.tempfile, "tempdir", str(tmp_path))
    file = tmp_path / "result.json"
    arguments = ["--networks", "resnet18", "--img_size", "32", "--quick", "--batch_sizes", "3"]
    names = f"{NATIVE},lenet_cpp/auto,onnxruntime,{PROGRAM},litert"
    names += ",*/native/int8,onnxruntime/int8,openvino/int8,lenet_cpp/pdmodel/onednn/int8"
    arguments += ["--contenders", names, "--precision", "fp32,int8", "--program", str(program)]
    status = cli.main([*arguments, "--json", str(file), "--plots", str(tmp_path)])
    assert [path.suffix for path in sorted(tmp_path.iterdir())] == [".png", ".json"]
    assert "3 x 32 x 32, 37,523,456 multiply-adds each" in capsys.readouterr().out
    result = json.loads(file.read_text())
    assert status == 0  # the figures that must hold are LeNet's
    (network,) = result["networks"]
    assert network["multiply_adds_per_image"] == RESNET18_OF_32
    found = {one["name"]: (one["status"], one["reason"]) for one in network["contenders"]}
    for name in ("litert", "litert/int8"):
        assert found.pop(name) == ("unavailable", "a .tflite is written of LeNet only")
    assert {*found.values()} == {("measured", None)}
    cells = {cell["contender"]: cell for cell in network["cells"]}
    assert cells.keys() == found.keys()
    peers = {(cell["precision"], cell["peer"]) for cell in cells.values()}
    assert ("fp32", "onnxruntime") in peers
    assert len(peers) == 2
    assert cells["onnxruntime"]["peer_ratio"]["median"] == 1
    assert cells[NATIVE]["engine"] == "native"


def test_the_model_files_that_a_network_names(model_dir, tmp_path, monkeypatch):
    for path in (*model_dir.glob("lenet.pd*"), model_dir / "lenet.json"):
        shutil.copy(path, tmp_path)
    monkeypatch.chdir(tmp_path)

    def formats(network):
        return [*subject.model_files(network)]

    assert formats("lenet.json") == ["json"]
    assert formats("lenet.pdmodel") == ["pdmodel"]
    assert formats(str(tmp_path / "lenet")) == formats(str(tmp_path)) == ["pdmodel", "json"]
    (tmp_path / "lenet.onnx").touch()
    assert formats("lenet.onnx") == ["onnx"]
    assert formats("lenet.json") == ["json", "onnx"]
    assert formats(str(tmp_path)) == ["pdmodel", "json", "onnx"]
    for name in ("lenet", "ResNet18", "examples/net.py:Net"):
        assert not formats(name)
    with pytest.raises(FileNotFound, match=r"there is no model none\.onnx"):
        formats("none.onnx")
    (tmp_path / "other.onnx").touch()
    with pytest.raises(BadInput, match="has several models"):
        formats(str(tmp_path))


@pytest.mark.parametrize("suffix", ["onnx", pytest.param("json", marks=pytest.mark.nightly)])
def test_model_files_are_compared_with_openvino(suffix, model_dir, program, tmp_path, capsys):
    path, file = tmp_path / "net" / f"model.{suffix}", tmp_path / "result.json"
    path.parent.mkdir()
    if suffix == "onnx":
        write_onnx(read_weights(model_dir / "lenet.pdiparams"), path)
    else:
        shutil.copy(model_dir / "lenet.json", path)
        shutil.copy(model_dir / "lenet.pdiparams", path.with_suffix(".pdiparams"))
    arguments = ["--networks", path, "--quick", "--batch_sizes", "3", "--program", program]
    assert cli.main([*map(str, arguments), "--json", str(file), "--plots", str(tmp_path)]) == 0
    assert "net, images of 1 x 28 x 28\n" in capsys.readouterr().out
    result = json.loads(file.read_text())
    assert result["settings"]["baseline"] == "openvino"
    (network,) = result["networks"]
    found = {one["name"]: one["status"] for one in network["contenders"]}
    assert found[NATIVE] == found["onnxruntime"] == "measured"
    paddle = {"onnx": "unavailable", "json": "measured"}[suffix]
    assert found["lenet_cpp/json/onednn"] == paddle
    assert found["lenet_cpp/pdmodel/onednn"] == "unavailable"
    cells = {cell["contender"]: cell for cell in network["cells"]}
    assert cells[NATIVE]["engine"] == "native"
    assert cells[NATIVE]["share_of_limit"] is None
    if found["openvino"] == "measured":
        assert cells["openvino"]["ratio"]["median"] == 1


def test_outputs_of_any_rank_are_compared(program, tmp_path):
    """A network need not be a classifier: this one gives [N, 2, 6, 5]."""
    parser = pytest.importorskip("onnx.parser", reason="the model is made with it")
    text = """<ir_version: 8, opset_import: ["" : 17]>
        network (float[N,2,6,5] x) => (float[N,2,6,5] y) { y = Relu(x) }"""
    path, file = tmp_path / "net.onnx", tmp_path / "result.json"
    path.write_bytes(parser.parse_model(text).SerializeToString())
    arguments = ["--networks", path, "--quick", "--program", program, "--json", file]
    arguments += ["--contenders", f"{NATIVE},onnxruntime", "--batch_sizes", "3"]
    assert cli.main([*map(str, arguments), "--plots", str(tmp_path)]) == 0
    (network,) = json.loads(file.read_text())["networks"]
    assert {cell["contender"]: cell["error"] for cell in network["cells"]} == {
        NATIVE: 0,
        "onnxruntime": 0,
    }


def test_model_files_are_not_for_every_measurement(capsys, tmp_path):
    (tmp_path / "net.onnx").touch()
    with pytest.raises(SystemExit):
        cli.main(["--serve", "--networks", str(tmp_path / "net.onnx")])
    assert "--serve takes names only" in capsys.readouterr().err


def measure(mode, names, model_dir, program, folder, *more):
    """Run the command in one of its modes; return the result."""
    file = folder / "result.json"
    arguments = ["--model-dir", model_dir, "--program", program, "--json", file, "--plots", folder]
    assert cli.main([*map(str, arguments), mode, "--contenders", ",".join(names), *more]) == 0
    return json.loads(file.read_text())


def test_startup_and_memory(model_dir, program, tmp_path):
    names = ["lenet_infer_native", PROGRAM, NATIVE, "lenet_cpp/pdmodel/plain"]
    where = model_dir, program, tmp_path
    found = measure("--startup", names, *where, "--quick", "--starts", "1")["rows"]
    rows = {row["contender"]: row for row in found}
    assert rows.keys() == {*names}
    for row in rows.values():
        assert row["median_ms"] == row["samples_ms"][0]
        assert row["median_ms"] > row["load_ms"] + row["first_run_ms"] > 0
        assert (row["numpy_ms"] is None) == (row["contender"] in names[:2])
    assert rows["lenet_infer_native"]["peak_bytes"] < 30e6
    assert rows["lenet_cpp/pdmodel/plain"]["peak_bytes"] > 100e6
    series = measure("--memory", [NATIVE], *where, "--quick")["series"]
    assert [one["kind"] for one in series] == ["runs", "creations"]
    for one, count in zip(series, (200, 5), strict=True):
        done = [at for at, _ in one["samples"]]
        assert (done[0], done[-1]) == (0, count)
        assert done == sorted({*done})


@pytest.fixture
def photo_command(program, tmp_path, monkeypatch):
    """Measure a small photo with one network."""
    monkeypatch.setattr(photos, "PHOTOS", {"a small one": (320, 240, "jpg")})
    where = ["--program", program, "--json", tmp_path / "result.json", "--plots", tmp_path]
    return [*map(str, where), "--quick", "--photos", "--networks", "MobileNetV2"]


def test_photos(program, photo_command, tmp_path, monkeypatch):
    """All answer alike for a small one; what answers otherwise is refused."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "without environments"))
    file = tmp_path / "result.json"
    assert cli.main(photo_command) == 0
    rows = json.loads(file.read_text())["rows"]
    reasons = dict.fromkeys(PADDLEX_ROWS, "PaddleX 3.7.2 is not installed: scripts/benchmark.py --")
    if not program.with_name("lenet_serve").is_file():
        reasons["lenet_serve"] = "there is no lenet_serve beside lenet_infer_test: build it"
    for rule, hand in photos.BY_HAND.items():
        found = {row["contender"]: row for row in rows if row["rule"] == rule}
        others = PADDLEX_ROWS if rule == "opencv" else set()
        assert found.keys() == {"lenet_classify", "lenet_serve", "Classifier", hand, *others}
        for name in reasons.keys() & found.keys():
            row = found.pop(name)
            assert row["status"] == "unavailable"
            assert row["reason"].startswith(reasons[name])
        assert {row["status"] for row in found.values()} == {"measured"}
        assert found[hand]["ratio"] == 1
        assert all(row["first_ms"] > row["median_us"] / 1e3 > 0 for row in found.values())
        assert all(row["peak_bytes"] > 10e6 for row in found.values())
        sizes = [found[name]["disk_bytes"] for name in ("lenet_classify", "Classifier", hand)]
        assert 1e6 < sizes[0] < sizes[1] < sizes[2]
    blue_first = replace(photos.imagenet(library="opencv"), mode="BGR")
    monkeypatch.setattr(photos, "imagenet", lambda **_: blue_first)
    monkeypatch.setattr(photos, "RULES", {"opencv": "opencv"})
    assert cli.main([*photo_command, "--contenders", "Classifier,cv2*"]) == 1
    status = {row["contender"]: row["status"] for row in json.loads(file.read_text())["rows"]}
    assert status == {"Classifier": "measured", "cv2 and onnxruntime": "refused"}


@pytest.mark.nightly
def test_photos_of_paddlex(photo_command, tmp_path, monkeypatch):
    """It answers as the others do; with another description it is refused."""
    try:
        PADDLEX.make(sys.executable)
    except BackendFailure as error:
        # It is 1.4 GB of another project's packages, which no machine without a network has.
        pytest.skip(f"PaddleX's environment (1.4 GB, from the network) cannot be made: {error}")
    monkeypatch.setattr(photos, "RULES", {"opencv": "opencv"})
    command = [*photo_command, "--contenders", "Classifier,PaddleX"]
    darker = photos.INFERENCE_YML.replace("mean: [0.485,", "mean: [0.985,")
    for text, status, code in ((photos.INFERENCE_YML, "measured", 0), (darker, "refused", 1)):
        monkeypatch.setattr(photos, "INFERENCE_YML", text)
        assert cli.main(command) == code
        result = json.loads((tmp_path / "result.json").read_text())
        found = {row["contender"]: row["status"] for row in result["rows"]}
        assert found == {"Classifier": "measured", **dict.fromkeys(PADDLEX_ROWS, status)}
        assert result["versions"]["paddlex"] == "3.7.2"


def test_the_environment_of_paddlex_is_made_by_the_command(monkeypatch, capsys):
    made = []
    monkeypatch.setattr(
        type(PADDLEX), "make", lambda environment, python: made.append((environment, python))
    )
    assert cli.main(["--photos", "--make-environment"]) == 0
    assert made == [(PADDLEX, sys.executable)]
    assert capsys.readouterr().out.startswith("PaddleX 3.7.2 is ready: ")
    assert cli.main(["--make-environment"]) == 0
    assert made[1:] == [(PEERS, sys.executable)]
    with pytest.raises(SystemExit, match="2"):
        cli.main(["--make-environment", "--memory"])
    assert "--make-environment: --memory needs none" in capsys.readouterr().err


def test_who_starts_more_threads_is_refused(model_dir, program, digits, monkeypatch):
    logits = lenet_cpp.predict(digits)

    def turn(task, size, count=0, **_):
        return Turn(1, None, 1, 1, 1, {}, block_of([1]), logits[:count], 2)

    monkeypatch.setattr(speed, "take_turn", turn)
    settings = quick(model_dir, program, batch_sizes=(1,), threads=(1,))
    (network,) = speed.run_speed(settings, choose([PROGRAM]))["networks"]
    assert network["cells"] == []
    (one,) = network["contenders"]
    assert one["status"] == "refused"
    assert one["reason"] == "it computes on 2 threads, and 1 were asked for"


@pytest.mark.nightly
def test_memory_of_the_native_engine(model_dir, program, tmp_path):
    """Over 100,000 runs of batches of 1 to 256, and over 1,000 predictors."""
    result = measure("--memory", [NATIVE], model_dir, program, tmp_path)
    assert [one["samples"][-1][0] for one in result["series"]] == [100_000, 1_000]
    assert [one["holds"] for one in result["figures"]] == [True, True]


# What is refused

WRONG = """
import numpy as np

def native(model):
    from lenet_cpp import Predictor
    return Predictor(model["program"], model["params"], engine="native").run

def in_batches(model):
    # Right for one image only: the first logits are no proof.
    run = native(model)
    return lambda batch: np.repeat(run(batch)[:1], len(batch), axis=0)

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
    file = tmp_path / "wrong.py"
    file.write_text(WRONG)
    return lambda *names: [Contender(name, f"{file}:{name}") for name in names]


def test_contenders_that_disagree_or_fail_are_not_timed(model_dir, program, made):
    reasons = {
        "in_batches": ("refused", "in_batches does not compute"),
        "dies": ("refused", "ended by SIGABRT"),
        "cannot": ("unavailable", "not that model"),
    }
    chosen = [*made(*reasons), *choose([NATIVE])]
    (network,) = speed.run_speed(quick(model_dir, program), chosen)["networks"]
    found = {one["name"]: (one["status"], one["reason"]) for one in network["contenders"]}
    assert found.pop(NATIVE) == ("measured", None)
    for name, (status, reason) in reasons.items():
        assert found[name][0] == status
        assert reason in found[name][1]
    timed = {(cell["contender"], cell["batch_size"]) for cell in network["cells"]}
    assert timed == {(NATIVE, 1), (NATIVE, 8), ("in_batches", 1)}
    # At batch 8 the one that was right before is no peer any more.
    peers = {cell["batch_size"]: cell["peer"] for cell in network["cells"]}
    assert peers == {1: "in_batches", 8: None}


def test_a_leak_is_seen(model_dir, program, made):
    """10,000 bytes an image: what stays is what the batch sizes say."""
    result = lifetime.run_memory(quick(model_dir, program, runs=300, seed=7), made("leaks"))
    found = result["series"][0]
    expected = 10_000 * int(lifetime.batch_sizes(300, 7).sum())
    assert found["last_bytes"] - found["first_bytes"] == pytest.approx(expected, rel=0.1)
    assert found["bytes_each"] == pytest.approx(expected / 300, rel=0.3)
