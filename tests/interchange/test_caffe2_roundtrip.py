"""Caffe2 itself, in its environment, and the round trip through it.

What needs that environment runs where it has been made, which is not part of the quick tests;
``LENET_TEST_CAFFE2=1`` makes it first, from a Python 3.9, in the cache folder: 0.9 GB to
download. All of it then takes about 70 s.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from caffe2_cases import CASES, op, small_nets, write_nets
from PIL import Image
from support import assert_same, program_outputs, run_onnx, torch_outputs

from lenet_cpp._base.files import cache_folder
from lenet_cpp.errors import BackendFailure, BadInput, BadModel, FileNotFound, Unsupported
from lenet_cpp.interchange.caffe2.nets import find_nets, read_nets
from lenet_cpp.interchange.torch import create_network, save_state
from lenet_cpp.quantize import environments as _environments
from snippets import read_snippets, run_snippet
from tools.caffe2 import cli as command
from tools.caffe2 import environment as caffe2_environment
from tools.caffe2 import roundtrip as caffe2_roundtrip

pytest.importorskip("onnxruntime", reason="runs what Caffe2's nets become")

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "caffe2.md"

# Caffe2's environment


def fake_python(path, version):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho {version}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def bare(tmp_path, monkeypatch):
    """No environment and no Python 3.9 anywhere."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return tmp_path


def test_a_python_is_found_on_the_path_or_in_pyenv(bare):
    with pytest.raises(Unsupported, match=r"no python3.9 on PATH and none in .*pyenv.versions"):
        caffe2_environment.find_interpreter()
    fake_python(bare / "pyenv/versions/3.9.9/bin/python", "3 9")
    newest = fake_python(bare / "pyenv/versions/3.9.18/bin/python", "3 9")
    fake_python(bare / "pyenv/versions/3.10.1/bin/python", "3 10")
    assert caffe2_environment.find_interpreter() == newest
    first = fake_python(bare / "bin/python3.9", "3 9")
    assert caffe2_environment.find_interpreter() == first
    first.write_text("#!/bin/sh\nexit 127\n")  # a shim of pyenv's for a version that is not chosen
    assert caffe2_environment.find_interpreter() == newest
    for named, error, said in (
        (bare / "nowhere", FileNotFound, "no such program"),
        (sys.executable, BadInput, r"is 3\.\d+; Caffe2 needs Python 3.9"),
        (fake_python(bare / "bin/broken", "hello"), BadInput, "no Python that runs"),
    ):
        with pytest.raises(error, match=said):
            caffe2_environment.find_interpreter(named)


def test_the_environment_is_made_once_and_only_on_request(bare, monkeypatch, capsys):
    def pretend(what, line, _remedy):
        commands.append(line)
        if "venv" in line:
            fake_python(Path(line[-1], "bin", "python"), "3 9")
        elif fails:
            raise BackendFailure(f"{what} failed")

    environment, commands, fails = caffe2_environment.ENVIRONMENT, [], True
    monkeypatch.setattr(_environments, "_run", pretend)
    assert command.main([]) == Unsupported.exit_code == 6
    assert "no python3.9 on PATH" in capsys.readouterr().err
    python = fake_python(bare / "bin/python3.9", "3 9")
    assert command.main([]) == 6
    assert re.search(f"--make-environment .* it will use {python}", capsys.readouterr().err)
    with pytest.raises(Unsupported, match="--make-environment"):
        caffe2_environment.run_nets(*small_nets(bare), np.ones((1, 4, 8, 8), np.float32))
    with pytest.raises(BackendFailure, match="installing Caffe2 failed"):
        caffe2_environment.make_environment()
    assert not environment.folder.exists()
    fake_python(environment.folder / "bin" / "python", "3 9")  # what a kill leaves
    assert environment.find() is None
    commands, fails = [], False
    assert command.main(["--make-environment"]) == 0
    assert str(environment.find()) in capsys.readouterr().out
    assert commands[0][0] == str(python)
    assert {"torch==1.10.2", "onnx==1.10.2", "protobuf==3.20.1", "--only-binary"} <= {*commands[1]}
    assert command.main(["--make-environment"]) == 0
    assert len(commands) == 3


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--params", "no.prm"], 3, "no.prm"),
        (["--images", "1025"], 5, "1025 images"),
        (["--seed", "-1"], 5, "seed"),
        (["--classes", "1048577"], 5, "classes"),
        (["--image", "no.jpg"], 3, "no.jpg"),
        (["-o", "{file}"], 5, "is a file"),
    ],
)
def test_settings_that_cannot_be_are_refused(tmp_path, monkeypatch, capsys, arguments, code, said):
    pytest.importorskip("torch", reason="reads --params")
    monkeypatch.setattr(caffe2_environment, "require_environment", lambda: tmp_path)
    file = tmp_path / "file"
    file.touch()
    assert command.main([a.format(file=file) for a in arguments]) == code
    assert said in capsys.readouterr().err


@pytest.fixture(scope="session")
def caffe2_python():
    """The interpreter of Caffe2's environment."""
    if os.environ.get("LENET_TEST_CAFFE2") == "1":
        try:
            return caffe2_environment.make_environment()
        except (BackendFailure, Unsupported) as error:
            # An interpreter or packages of 2021 that this machine cannot have are no fault of ours.
            pytest.skip(f"Caffe2's environment cannot be made: {error}")
    found = caffe2_environment.ENVIRONMENT.find()
    if found is None:
        pytest.skip("Caffe2's environment has not been made; LENET_TEST_CAFFE2=1 makes it")
    return found


# All nets in one process, as starting Caffe2 takes half a second.
_RUN_ALL = """
import sys
from pathlib import Path
import numpy as np
from caffe2.python import workspace
for folder in sorted(Path(sys.argv[1]).iterdir()):
    nets = [(folder / name).read_bytes() for name in ("init_net.pb", "predict_net.pb")]
    y = workspace.Predictor(*nets).run([np.load(folder / "x.npy")])[0]
    np.save(folder / "y.npy", y)
"""


def test_caffe2_computes_what_the_definitions_say(tmp_path, caffe2_python):
    """So the cases of the quick tests are judged by Caffe2, and the translation with them."""
    for number, case in enumerate(CASES.values()):
        folder = tmp_path / f"{number:03}"
        folder.mkdir()
        write_nets(folder, case.operators, case.params)
        np.save(folder / "x.npy", case.inputs())
    subprocess.run([caffe2_python, "-I", "-c", _RUN_ALL, tmp_path], check=True, capture_output=True)
    for number, (name, case) in enumerate(CASES.items()):
        folder = tmp_path / f"{number:03}"
        found = np.load(folder / "y.npy")
        assert_same(case.expected(case.inputs(), **case.params), found, name)
        nets = folder / "init_net.pb", folder / "predict_net.pb"
        read = run_onnx(read_nets(*nets, input_shape=case.shape[1:]), case.inputs())
        assert_same(found, read, name)


# A net as Caffe2's own tools make it, with all the arguments that they write.
_MAKE_NET = """
import sys
from pathlib import Path
import numpy as np
from caffe2.python import brew, model_helper, workspace
from caffe2.python.predictor import mobile_exporter
folder = Path(sys.argv[1])
net = model_helper.ModelHelper(name="lenet", arg_scope={"order": "NCHW"})
x = brew.conv(net, "data", "conv1", dim_in=1, dim_out=8, kernel=5)
x = brew.spatial_bn(net, x, "bn1", 8, epsilon=1e-3, is_test=True)
x = brew.max_pool(net, x, "pool1", kernel=2, stride=2)
x = brew.lrn(net, x, "lrn1", size=5, alpha=1e-4, beta=0.75, bias=1.0)
x = brew.group_conv(net, x, "conv2", dim_in=8, dim_out=16, kernel=5, group=2)
x = brew.average_pool(net, x, "pool2", kernel=2, stride=2)
x = brew.fc(net, x, "fc3", dim_in=16 * 4 * 4, dim_out=32)
x = brew.relu(net, x, x)
x = brew.dropout(net, x, "drop", ratio=0.5, is_test=1)
x = brew.fc(net, x, "pred", 32, 10)
brew.softmax(net, x, "softmax")
workspace.RunNetOnce(net.param_init_net)
random = np.random.RandomState(0)
for name in ("bn1_rm", "bn1_riv", "bn1_s", "bn1_b"):
    workspace.FeedBlob(name, random.uniform(0.5, 1.5, 8).astype(np.float32))
images = random.rand(4, 1, 28, 28).astype(np.float32)
workspace.FeedBlob("data", images)
workspace.CreateNet(net.net)
nets = mobile_exporter.Export(workspace, net.net, net.GetAllParams())
for name, one in zip(("init_net.pb", "predict_net.pb"), nets):
    (folder / name).write_bytes(one.SerializeToString())
workspace.RunNet(net.net)
np.save(folder / "x.npy", images)
np.save(folder / "y.npy", workspace.FetchBlob("softmax"))
"""


def test_a_net_that_caffe2_made_is_read(tmp_path, caffe2_python):
    subprocess.run([caffe2_python, "-I", "-c", _MAKE_NET, tmp_path], check=True)
    x, y = np.load(tmp_path / "x.npy"), np.load(tmp_path / "y.npy")
    model = read_nets(*find_nets(tmp_path))
    ends = *model.graph.input, *model.graph.output
    assert [entry.name for entry in ends] == ["data", "softmax"]
    assert_same(y, run_onnx(model, x))
    assert_same(y, run_onnx(read_nets(*find_nets(tmp_path), input_shape=(1, 28, 28)), x))


@pytest.mark.parametrize("model", ["lenet", pytest.param("resnet18", marks=pytest.mark.nightly)])
def test_the_round_trip(tmp_path, capsys, model, caffe2_python):
    output = tmp_path / "nets"
    assert command.main(["--model", model, "--images", "2", "-o", str(output)]) == 0
    table = capsys.readouterr().out
    for name in ("PyTorch", "Caffe2 through ONNX", "Caffe2 alone", "its nets in onnxruntime"):
        assert f"\n{name} " in table
    assert table.count("2 of 2") == 4
    shape = caffe2_roundtrip.IMAGE_SHAPES[model]
    assert json.loads((output / "value_info.json").read_text()) == {"input": [1, [1, *shape]]}
    # What was written, and not only what was compared on the way; a batch of several images too.
    x = np.random.default_rng(9).random((3, *shape), np.float32)
    nets = find_nets(output)
    of_caffe2 = caffe2_environment.run_nets(*nets, x, batch_size=2)
    assert_same(of_caffe2, run_onnx(read_nets(*nets), x))
    import onnx

    exported = onnx.load(output / "output.onnx")
    assert_same(of_caffe2[:1], run_onnx(exported, x[:1]))


def test_a_photo_takes_the_round_trip(tmp_path, capsys, caffe2_python):
    """Its middle 224 x 224 pixels, divided by 255, as the guide cuts them."""
    pixels = np.random.default_rng(2).integers(0, 256, (260, 301, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "test.png")
    (image,) = caffe2_roundtrip.guide_images("resnet18", [tmp_path / "test.png"])
    middle = pixels[18 : 18 + 224, 38 : 38 + 224].transpose(2, 0, 1)  # 38.5 is rounded to even
    np.testing.assert_allclose(image, middle / 255, rtol=1e-6)
    output = tmp_path / "nets"
    assert command.main(["--image", str(tmp_path / "test.png"), "-o", str(output)]) == 0
    assert capsys.readouterr().out.count("1 of 1") == 4
    nets = find_nets(output)
    expected = caffe2_environment.run_nets(*nets, image[None])
    assert_same(expected, run_onnx(read_nets(*nets), image[None]))


def test_parameters_arrive_in_caffe2(tmp_path, caffe2_python):
    pytest.importorskip("torch", reason="writes net.prm")
    net = create_network("lenet", 4, seed=3).eval()
    save_state(net, tmp_path / "net.prm")
    images = np.random.default_rng(1).random((3, 1, 28, 28), np.float32)
    params, output = tmp_path / "net.prm", tmp_path / "nets"
    found = caffe2_roundtrip.round_trip("lenet", images, output, params=params)
    assert found.agrees
    for station in found.stations:
        assert_same(torch_outputs(net, images), station.outputs)


def test_parameters_of_another_network_are_refused(tmp_path, caffe2_python):
    torch = pytest.importorskip("torch", reason="writes net.prm")
    state = {"linear3.bias": torch.zeros(10), "other": torch.zeros(3)}
    torch.save(state, tmp_path / "net.prm")
    images = np.zeros((1, 1, 28, 28), np.float32)
    with pytest.raises(BadModel, match=r"net.prm: .*Missing key"):
        caffe2_roundtrip.round_trip("lenet", images, tmp_path / "nets", params=tmp_path / "net.prm")
    assert not (tmp_path / "nets").exists()


def test_a_difference_is_an_error_and_writes_nothing(tmp_path, monkeypatch, capsys, caffe2_python):
    compare = caffe2_roundtrip._compare

    def disturbed(reference, found):
        return compare(reference, found | {"Caffe2 alone": found["Caffe2 alone"] + 1e-3})

    monkeypatch.setattr(caffe2_roundtrip, "_compare", disturbed)
    output = tmp_path / "nets"
    assert command.main(["--model", "lenet", "-o", str(output)]) == 1
    assert "nothing was written" in capsys.readouterr().out
    assert not output.exists()


def test_caffe2_refuses_in_one_line(tmp_path, caffe2_python):
    nets = write_nets(tmp_path, [op("NoSuchOperator", ["x"], ["y"])], {})
    with pytest.raises(BackendFailure, match="NoSuchOperator") as caught:
        caffe2_environment.run_nets(*nets, np.ones((1, 4, 8, 8), np.float32))
    assert "\n" not in str(caught.value)


@pytest.mark.nightly
def test_the_page_does_what_it_says(tmp_path, program, run_program, caffe2_python):
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts")
    (tmp_path / "tools").symlink_to(ROOT / "tools")
    (tmp_path / "build").symlink_to(program.parent)
    quiet = {
        "XDG_CACHE_HOME": str(cache_folder().parent),
        "GLOG_minloglevel": "2",
        "PYTHONWARNINGS": "ignore:No ccache found",
    }
    printed = ""
    for snippet in read_snippets(PAGE):
        if snippet.language not in ("sh", "python"):
            continue
        done = run_snippet(snippet, tmp_path, Path(sys.prefix), **quiet)
        assert done.returncode == 0, f"{snippet.place}\n{done.stdout[-2000:]}{done.stderr}"
        printed += done.stdout
    table = next(s.text for s in read_snippets(PAGE) if "random parameters" in s.text)
    # The first digits of each output are the page's; the differences are another machine's.
    for line in table.splitlines()[4:8]:
        name, first, second = (part.strip() for part in re.split(r"  +", line)[:3])
        found = re.search(rf"^{name} +(\S+)  (\S+)", printed, re.MULTILINE)
        assert found, name
        assert [float(v) for v in found.groups()] == pytest.approx(
            [float(first), float(second)], abs=1e-5
        )
    assert "input -> output" in printed
    # The way out: what Caffe2 computes, the C++ program computes too.
    images = np.random.default_rng(0).random((3, 1, 28, 28), np.float32)
    expected = caffe2_environment.run_nets(*find_nets(tmp_path / "caffe2_model/lenet"), images)
    model = f"--model_dir={tmp_path / 'inference_model/from_caffe2'}"
    assert_same(expected, program_outputs(run_program, tmp_path, images, model))
