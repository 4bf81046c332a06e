"""The benchmark of other networks than LeNet: the reference, the refusals, one quick run."""

from __future__ import annotations

import json
import re
import tempfile

import numpy as np
import paddle
import pytest
from test_benchmark import check_png

import lenet_cpp
from lenet_cpp.errors import BadInput, Unsupported
from lenet_cpp.export.inference_model import export_model
from lenet_cpp.models import build
from tools.benchmark import (
    NETWORK_CONTENDERS,
    Contender,
    Settings,
    choose,
    cli,
    networks,
    run_networks,
)
from tools.benchmark.correctness import assess
from tools.benchmark.graphs import MULTIPLY_ADDS, read_weights, reference
from tools.benchmark.making import run_counted
from tools.benchmark.networks import networks_text
from tools.benchmark.subject import network_subject, read_subject

NATIVE = "lenet_cpp/native"
AUTO = "lenet_cpp/auto"
ONEDNN = "lenet_cpp/pdmodel/onednn"
# As torchvision counts them, of images of 224 x 224; 512 x 1000 of these in the last layer. All
# else goes with the area, which is 49 times that of 32 x 32.
RESNET18 = 1_814_073_344
RESNET18_OF_32 = (RESNET18 - 512_000) // 49 + 512_000


def quick(program, **options):
    few = {"batch_sizes": (1, 3), "seconds": 0.02, "rounds": 2, "starts": 1}
    return Settings(model_dir=program.parent, program=program, **{**few, **options})


# The reference


def test_multiply_adds_of_lenet_are_those_by_hand():
    layer = build("lenet", seed=0)
    layer.eval()
    images = np.random.default_rng(5).random((3, 1, 28, 28), np.float32)
    outputs, multiply_adds = run_counted(layer, images)
    assert multiply_adds == MULTIPLY_ADDS
    weights = {name: values.numpy() for name, values in layer.state_dict().items()}
    np.testing.assert_allclose(outputs, reference(weights, images), atol=1e-5)


def test_multiply_adds_of_groups_strides_and_bare_layers():
    layer = paddle.nn.Conv2D(4, 6, 3, stride=2, groups=2)
    image = np.zeros((2, 4, 9, 7), np.float32)
    # 4 x 3 positions of 6 channels, each from 2 channels of 3 x 3.
    assert run_counted(layer, image)[1] == 4 * 3 * 6 * (2 * 9)


def test_parameters_that_were_trained_have_to_be_named(model_dir, tmp_path):
    with pytest.raises(BadInput, match="--params FILE"):
        network_subject("lenet", model_dir, (1,), tmp_path)
    with pytest.raises(BadInput, match="--params is for other networks"):
        read_subject(model_dir, (1,), tmp_path, params=tmp_path / "x.pdparams")


def test_reference_of_named_parameters(tmp_path):
    params = tmp_path / "mine.pdparams"
    paddle.save(build("lenet", seed=7).state_dict(), str(params))
    exported = tmp_path / "exported"
    export_model(params, exported, formats=["pdmodel"])
    found = network_subject("lenet", exported, (1, 3), tmp_path, params=params)
    assert (found.different, found.count(3), len(found.images)) == (8, 9, 9)
    expected = reference(read_weights(exported / "lenet.pdiparams"), found.images)
    np.testing.assert_allclose(found.expected, expected, atol=1e-5)
    (exported / "manifest.json").unlink()
    with pytest.raises(Unsupported, match="has no manifest"):
        network_subject("lenet", exported, (1,), tmp_path, params=params)


def test_a_model_that_was_exported_before(tmp_path, capsys):
    exported = tmp_path / "exported"
    export_model(None, exported, model="ResNet18", img_size=32, seed=3, formats=["pdmodel"])
    found = read_subject(exported, (1,), tmp_path)
    assert (found.name, found.input_shape) == ("ResNet18", (3, 32, 32))
    assert (found.labels, found.multiply_adds) == (None, RESNET18_OF_32)
    # Of that seed: the engines give the same for the exported files.
    with lenet_cpp.Predictor(model_dir=exported, engine="native") as predictor:
        outputs = predictor.run(found.images)
    assert assess(found.expected, outputs, None, name="native").wrong is None
    assert cli.main(["--model-dir", str(exported), "--list"]) == 0
    listed = capsys.readouterr().out.splitlines()
    names = [line.partition(":")[0] for line in listed]
    assert names == [one.name for one in choose(NETWORK_CONTENDERS, precisions=["fp32"])]
    assert {NATIVE, AUTO, ONEDNN, "lenet_cpp/pdmodel/openvino", "onnxruntime"} <= set(names)


# A whole run


@pytest.fixture(scope="module")
def whole(program, tmp_path_factory):
    """The command, on a small ResNet18; its exit code, folder, result and standard output."""
    folder = tmp_path_factory.mktemp("networks")
    temporary = folder / "temporary"
    temporary.mkdir()
    arguments = ["--networks", "resnet18", "--img-size", "32", "--quick"]
    names = [NATIVE, AUTO, ONEDNN, "dygraph", "onnxruntime", "program/native", "litert"]
    arguments += ["--contenders", ",".join(names)]
    arguments += ["--program", str(program), "--json", str(folder / "result.json")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(temporary))
        code = cli.main([*arguments, "--plots", str(folder / "plots")])
    return code, folder, json.loads((folder / "result.json").read_text())


def test_whole_run_measures_all_that_can_run_it(whole):
    code, folder, result = whole
    assert code == 0
    (network,) = result["networks"]
    assert (network["network"], network["image_shape"]) == ("ResNet18", [3, 32, 32])
    assert network["multiply_adds_per_image"] == RESNET18_OF_32
    found = {one["name"]: (one["status"], one["reason"]) for one in network["contenders"]}
    assert found.pop("litert") == ("unavailable", "a .tflite is written of LeNet only")
    if choose(["onnxruntime"])[0].missing():
        assert found.pop("onnxruntime")[0] == "unavailable"
    assert set(found.values()) == {("measured", None)}
    cells = {(c["contender"], c["threads"], c["batch_size"]) for c in network["cells"]}
    assert cells == {(name, 1, size) for name in found for size in (1, 8)}
    assert list((folder / "temporary").iterdir()) == []
    check_png(folder / "plots" / "networks-1-threads.png")


def test_whole_run_compares_with_the_best_peer(whole):
    _, _, result = whole
    (network,) = result["networks"]
    (limit,) = network["multiply_add_limit"]
    by_size = {}
    for cell in network["cells"]:
        by_size.setdefault(cell["batch_size"], {})[cell["contender"]] = cell
    for cells in by_size.values():
        others = {n: c["median_us"] for n, c in cells.items() if "native" not in n and n != AUTO}
        best = min(others, key=others.get)
        assert {cell["peer"] for cell in cells.values()} == {best}
        assert cells[best]["peer_ratio"]["median"] == 1
        for cell in cells.values():
            ratio = cell["peer_ratio"]
            assert ratio["low"] <= ratio["median"] <= ratio["high"]
            rate = cell["images_per_second"] * RESNET18_OF_32
            share = rate / limit["multiply_adds_per_second"]
            assert cell["share_of_limit"] == pytest.approx(share)
            assert cell["accuracy"] is None
        assert cells[AUTO]["engine"] in {"native", "paddle, openvino"}
        assert cells[NATIVE]["engine"] == "native"
        assert cells[ONEDNN]["engine"] == "paddle, onednn"
        assert cells["dygraph"]["engine"] is None


def test_whole_run_prints_what_it_wrote(whole, capsys):
    _, folder, result = whole
    assert cli.main(["--show", str(folder / "result.json")]) == 0
    text = capsys.readouterr().out
    assert text == networks_text(result) + "\n"
    (network,) = result["networks"]
    overview = text.partition("fastest of the others")[2].partition("ResNet18, images of")[0]
    for cell in network["cells"]:
        if cell["contender"] != NATIVE:
            continue
        row = next(
            line.split()
            for line in overview.splitlines()
            if re.match(rf"ResNet18 +1 +{cell['batch_size']} ", line)
        )
        assert row[3] == f"{cell['median_us'] / cell['batch_size'] / 1e3:,.2f}"
        assert row[5] == cell["peer"]
        assert row[6] == f"{1 / cell['peer_ratio']['median']:.2f}"
        assert row[9:] in (["native"], ["paddle,", "openvino"])
    assert "3 x 32 x 32, 37,523,456 multiply-adds each" in text
    assert f"{AUTO} is " in text
    assert "accuracy" not in text


# What is refused

WRONG = """
import numpy as np

def other_weights(model):
    # A network of the same shape: what it takes as long as the right one says nothing.
    import lenet_cpp
    predictor = lenet_cpp.Predictor(model_dir=lenet_cpp.bundled_model_dir(), engine="native")
    return predictor.run

def in_batches(model):
    # Right for one image; in a batch each gets the logits of the first.
    import lenet_cpp
    run = lenet_cpp.Predictor(model["program"], model["params"], engine="native").run
    return lambda batch: np.repeat(run(batch)[:1], len(batch), axis=0)
"""


def test_contenders_that_disagree_with_paddle_are_not_timed(program, tmp_path):
    path = tmp_path / "contenders.py"
    path.write_text(WRONG)
    wrong = [Contender(name, f"{path}:{name}") for name in ("other_weights", "in_batches")]
    result = run_networks(["LeNet"], quick(program), [*wrong, *choose([NATIVE])])
    (network,) = result["networks"]
    assert (network["network"], network["multiply_adds_per_image"]) == ("LeNet", MULTIPLY_ADDS)
    found = {one["name"]: (one["status"], one["reason"]) for one in network["contenders"]}
    assert found[NATIVE] == ("measured", None)
    for contender in wrong:
        assert found[contender.name][0] == "refused"
        assert "outputs differ" in found[contender.name][1]
    timed = {(cell["contender"], cell["batch_size"]) for cell in network["cells"]}
    assert timed == {(NATIVE, 1), (NATIVE, 3), ("in_batches", 1)}


@pytest.mark.parametrize(
    "arguments",
    [
        ["--img-size", "32"],
        ["--networks", "lenet", "--img-size", "0"],
        ["--networks", "lenet", "--model-dir", "x"],
        ["--networks", "lenet", "--precision", "int8"],
        ["--networks", "lenet", "--startup"],
    ],
)
def test_wrong_usage(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 2
    assert "--networks" in capsys.readouterr().err or "whole number" in capsys.readouterr().err


def test_networks_that_are_not_there(program, capsys, monkeypatch):
    """Said of all of them before the first is exported."""
    monkeypatch.setattr(networks, "call_maker", None)
    arguments = ["--quick", "--contenders", NATIVE, "--program", str(program), "--networks"]
    assert cli.main([*arguments, "lenet,resnet19"]) == BadInput.exit_code
    assert "resnet19" in capsys.readouterr().err
    assert cli.main([*arguments, "alexnet,resnet18", "--img-size", "2000"]) == BadInput.exit_code
    assert "not 2000" in capsys.readouterr().err
