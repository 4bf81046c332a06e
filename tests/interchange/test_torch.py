"""PyTorch: networks, and how their parameters reach C++."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support import (
    NETWORKS,
    assert_same,
    contents,
    enliven,
    images_for,
    lively,
    program_outputs,
    torch_outputs,
)

import lenet_cpp
from lenet_cpp import models
from lenet_cpp.cli import import_model
from lenet_cpp.cli import torch_train as command
from lenet_cpp.data.mnist import read_mnist_dir, sample_dir, to_model_input
from lenet_cpp.errors import BadInput, BadModel, Unsupported
from lenet_cpp.formats.checkpoint import StateMismatch
from lenet_cpp.formats.manifest import read_manifest, sha256_file, verify_checksums
from lenet_cpp.formats.training_record import read_torch_record, record_path
from lenet_cpp.interchange.torch import state as interchange
from lenet_cpp.interchange.torch.models import as_arrays, create_network, load_state, save_state
from lenet_cpp.models.building import build_layer
from numpy_reference import lenet
from snippets import read_snippets, run_snippet

torch = pytest.importorskip("torch", reason="an extra: pip install '.[torch]'")

from torchvision_models import of_torchvision  # noqa: E402 - it needs torch

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "pytorch.md"
QUIET = {"GLOG_minloglevel": "2", "PYTHONWARNINGS": "ignore:No ccache found"}


def test_lenet_computes_what_the_layers_say():
    net = lively("lenet")
    w = {key: value.numpy() for key, value in net.state_dict().items()}
    w |= {key: value.T for key, value in w.items() if value.shape[1:] and "linear" in key}
    images = images_for("lenet")
    assert_same(lenet(w, images).astype(np.float32), torch_outputs(net, images))


def test_resnet18_has_the_names_of_torchvision():
    norms = {"bn1"}
    expected = {"conv1.weight", "fc.weight", "fc.bias"}
    for stage in range(1, 5):
        for name in (f"layer{stage}.0", f"layer{stage}.1"):
            expected |= {f"{name}.conv1.weight", f"{name}.conv2.weight"}
            norms |= {f"{name}.bn1", f"{name}.bn2"}
        if stage > 1:
            expected |= {f"layer{stage}.0.downsample.0.weight"}
            norms |= {f"layer{stage}.0.downsample.1"}
    for kind in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
        expected |= {f"{norm}.{kind}" for norm in norms}
    assert set(create_network("resnet18").state_dict()) == expected
    # torchvision's documentation has this number for its resnet18, which has 1,000 classes.
    parameters = create_network("ResNet18", 1000).parameters()
    assert sum(p.numel() for p in parameters) == 11_689_512


@pytest.mark.parametrize("model", NETWORKS)
def test_paddle_computes_the_same(model):
    net = lively(model, 3)
    arrays = as_arrays(net.state_dict())
    state = interchange.paddle_state(arrays, model)
    layer = build_layer(models.get(model), 3, None)
    assert set(state) == set(layer.state_dict())
    layer.set_state_dict(state)
    images = images_for(model)
    import paddle

    assert_same(torch_outputs(net, images), layer(paddle.to_tensor(images)).numpy())
    back = interchange.torch_state(state, model)
    without_counters = {k: v for k, v in arrays.items() if not k.endswith("num_batches_tracked")}
    assert back.keys() == without_counters.keys()
    assert all(np.array_equal(back[key], value) for key, value in without_counters.items())


def test_networks_by_name_and_seed():
    """Which leaves the global state alone."""
    before = torch.random.get_rng_state()
    first, again, other = (create_network("lenet", seed=seed) for seed in (5, 5, 6))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(first.conv1.weight, again.conv1.weight)
    assert not torch.equal(first.conv1.weight, other.conv1.weight)
    assert first.training
    assert create_network("resnet18").fc.out_features == 2
    with pytest.raises(BadInput, match=r"no network 'resnet81'.*only lenet and resnet18"):
        create_network("resnet81")
    with pytest.raises(BadInput, match="number of classes is 0"):
        create_network("lenet", 0)


def test_a_network_of_ones_own(tmp_path):
    (tmp_path / "mine.py").write_text(
        "import paddle, torch\n"
        "from lenet_cpp.interchange.torch.models import TorchNetwork\n"
        "from lenet_cpp.models import ModelSpec\n"
        "class Layer(paddle.nn.Layer):\n"
        "    def __init__(self, num_classes):\n"
        "        super().__init__()\n"
        "        self.fc = paddle.nn.Linear(48, num_classes)\n"
        "    def forward(self, x):\n"
        "        return self.fc(paddle.flatten(x, 1))\n"
        "class Net(torch.nn.Module):\n"
        "    def __init__(self, classes):\n"
        "        super().__init__()\n"
        "        self.fc = torch.nn.Linear(48, classes)\n"
        "    def forward(self, x):\n"
        "        return self.fc(torch.flatten(x, 1))\n"
        "SPEC = ModelSpec('mine', Layer, (3, 4, 4), classes=5)\n"
        "NET = TorchNetwork('mine', SPEC, Net, classes=5, last='fc')\n"
    )
    name = f"{tmp_path / 'mine.py'}:NET"
    net = create_network(name, seed=1).eval()
    save_state(net, tmp_path / "net.prm")
    interchange.import_state(tmp_path / "net.prm", name, tmp_path / "out", formats=("json",))
    images = np.random.default_rng(1).random((2, 3, 4, 4), np.float32)
    with lenet_cpp.Predictor(model_dir=tmp_path / "out") as predictor:
        assert_same(torch_outputs(net, images), predictor.run(images))
    with pytest.raises(BadInput, match="no TorchNetwork called 'SPEC'"):
        create_network(f"{tmp_path / 'mine.py'}:SPEC")


def test_every_misfit_is_named():
    arrays = as_arrays(lively("resnet18").state_dict())
    del arrays["bn1.running_mean"]
    arrays["layer9.weight"] = arrays["layer4.1.conv2.weight"]
    arrays["layer2.0.downsample.0.weight"] = arrays["conv1.weight"]
    arrays["bn1.bias"] = arrays["bn1.bias"].astype(np.float64)
    with pytest.raises(StateMismatch, match=r"net\.prm does not fit") as info:
        interchange.paddle_state(arrays, "resnet18", path="net.prm")
    assert info.value.missing == ("bn1.running_mean",)
    assert info.value.unexpected == ("layer9.weight",)
    assert info.value.wrong == {
        "layer2.0.downsample.0.weight": "layer2.0.downsample.0.weight is float32[64, 3, 7, 7],"
        " expected float32[128, 64, 1, 1]",
        "bn1.bias": "bn1.bias is float64[64], expected float32[64]",
    }
    with pytest.raises(BadModel, match="of a network of 10 classes, not 2"):
        interchange.paddle_state(as_arrays(lively("lenet").state_dict()), "lenet", num_classes=2)
    with pytest.raises(StateMismatch, match="missing conv1"):
        interchange.paddle_state({}, "lenet")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_sixteen_bits_are_widened(dtype):
    state = {key: value.to(dtype) for key, value in lively("lenet").state_dict().items()}
    found = interchange.paddle_state(as_arrays(state), "lenet")
    assert found["linear1.weight"].dtype == np.float32
    assert np.array_equal(found["linear1.weight"].T, state["linear1.weight"].float().numpy())


@pytest.fixture(scope="module")
def made(program, tmp_path_factory):
    """A folder in which the page's blocks were typed."""
    folder = tmp_path_factory.mktemp("made")
    shutil.copytree(ROOT / "scripts", folder / "scripts")
    (folder / "data").symlink_to(ROOT / "data")
    (folder / "examples").symlink_to(ROOT / "examples")
    (folder / "build").symlink_to(program.parent)
    printed = ""
    for snippet in read_snippets(PAGE):
        if snippet.language not in ("sh", "python"):
            assert snippet.language == "text", snippet.place
            continue
        done = run_snippet(snippet, folder, Path(sys.prefix), HOME=str(folder), **QUIET)
        assert done.returncode == 0, f"{snippet.place}\n{done.stdout[-2000:]}{done.stderr}"
        printed += done.stdout
    (folder / "printed.txt").write_text(printed, encoding="utf-8")
    return folder


def test_a_network_of_your_own(tmp_path):
    """The first commands of the page, with both exporters: a picture gets a label of labels.txt."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    export, predict = [one for one in read_snippets(PAGE) if one.language in {"python", "sh"}][:2]
    older = export._replace(text=export.text.replace("dynamo=True", "dynamo=False"))
    assert older != export
    for snippet in (export, older):
        done = run_snippet(snippet, tmp_path, Path(sys.prefix), HOME=str(tmp_path), **QUIET)
        assert done.returncode == 0, done.stderr
        done = run_snippet(predict, tmp_path, Path(sys.prefix), HOME=str(tmp_path), **QUIET)
        assert done.returncode == 0, done.stderr
        labels = re.findall(r"\b(cat|dog|bird|fish)\b", done.stdout)
        assert sorted(labels) == ["bird", "cat", "dog", "fish"]
        assert "nothing describes how images are prepared for 'model.onnx'" in done.stderr


@pytest.mark.nightly
def test_trained_lenet_in_cpp(made, run_program):
    """The digits' classes and outputs are PyTorch's own, in the C++ program."""
    test = read_mnist_dir(sample_dir()).test
    images = to_model_input(test.images)
    net = create_network("lenet")
    # another reader than ours
    net.load_state_dict(torch.load(made / "net.prm", map_location="cpu", weights_only=False))
    expected = torch_outputs(net.eval(), images)
    correct = int((expected.argmax(axis=1) == test.labels).sum())
    assert correct >= 960
    folder = made / "inference_model" / "lenet_torch"
    for suffix in ("pdmodel", "json"):
        files = folder / f"lenet.{suffix}", folder / "lenet.pdiparams"
        arguments = f"--model_file={files[0]}", f"--params_file={files[1]}"
        assert_same(expected, program_outputs(run_program, made, images, *arguments))
    manifest = read_manifest(folder)
    assert manifest.topology == "lenet"
    assert manifest.classes == tuple("0123456789")
    assert manifest.training["framework"] == "torch"
    source = {"file": "net.prm", "sha256": sha256_file(made / "net.prm")}
    assert manifest.training["source"] == source
    record = read_torch_record(made / "net.prm")
    assert manifest.training["seed"] == record["seed"]
    assert "data" not in manifest.training  # it has a field of its own
    assert manifest.accuracy.top1 * len(test) == pytest.approx(correct)
    assert manifest.data["kind"] == "sample"
    verify_checksums(folder)
    assert f"({correct} of 1000)" in (made / "printed.txt").read_text(encoding="utf-8")


@pytest.mark.nightly
def test_torchvisions_own_resnet18_in_cpp(tmp_path, run_program):
    """The guide's network and its way to save it."""
    net = of_torchvision("resnet18")()
    net.fc = torch.nn.Linear(net.fc.in_features, 2)
    enliven(net, seed=5)
    torch.save(net.cpu().state_dict(), tmp_path / "net.prm", pickle_protocol=4)
    folder = tmp_path / "out"
    command = [str(tmp_path / "net.prm"), "--model=resnet18", f"--output={folder}", "--img_size=64"]
    assert import_model.main(command) == 0
    images = images_for("resnet18")
    found = program_outputs(run_program, tmp_path, images, f"--model_dir={folder}")
    assert_same(torch_outputs(net, images), found)


def test_resnet18_of_two_classes_in_cpp(tmp_path, run_program):
    net = lively("resnet18")
    save_state(net, tmp_path / "net.prm")
    folder = tmp_path / "out"
    result = interchange.import_state(
        tmp_path / "net.prm", "ResNet18", folder, image_size=64, softmax=True, formats=("json",)
    )
    images = images_for("resnet18")
    expected = torch.from_numpy(torch_outputs(net, images)).softmax(dim=1).numpy()
    found = program_outputs(run_program, tmp_path, images, f"--model_dir={folder}")
    assert_same(expected, found)
    model = {"inference.json", "inference.pdiparams"}
    assert contents(folder).keys() == model | {"preprocess.json", "manifest.json", "SHA256SUMS"}
    assert result.manifest.softmax
    assert result.manifest.num_classes == 2
    assert result.manifest.image_size == 64
    assert result.max_difference < 1e-5


@pytest.mark.parametrize(
    "fault", ["perturbed", "mixed up", "not finite", "other classes", "no record"]
)
def test_nothing_is_written_when_it_is_wrong(tmp_path, monkeypatch, fault):
    path, folder = tmp_path / "net.prm", tmp_path / "out"
    save_state(lively("lenet"), path)
    interchange.import_state(path, "lenet", folder, formats=("pdmodel",))
    before = contents(folder)
    save_state(lively("lenet", seed=8), path)
    convert, options = interchange.paddle_state, {}

    def wrong(*arguments, **named):
        state = convert(*arguments, **named)
        if fault == "mixed up":
            state["conv2.weight"] = np.ascontiguousarray(state["conv2.weight"][..., ::-1, :])
        else:
            state["linear3.bias"] = state["linear3.bias"] + np.float32(1e-3)
        return state

    message = "does not compute what .*net.prm in PyTorch computes.*nothing was written"
    if fault in ("perturbed", "mixed up"):
        monkeypatch.setattr(interchange, "paddle_state", wrong)
    elif fault == "not finite":
        net = lively("lenet")
        net.conv1.bias.data[2] = torch.nan
        save_state(net, path)
        message = r"net\.prm: conv1.bias is not finite"
    elif fault == "other classes":
        options["num_classes"] = 3
        message = "of a network of 10 classes, not 3"
    else:
        record_path(path).write_text("[" * 100_000, encoding="utf-8")
        message = "the training record .* is damaged"
    for target in (folder, tmp_path / "new"):
        with pytest.raises(BadModel, match=message) as info:
            interchange.import_state(path, "lenet", target, formats=("pdmodel",), **options)
        assert "\n" not in str(info.value)
    assert contents(folder) == before
    assert not (tmp_path / "new").exists()


def test_a_record_of_other_parameters_is_left_out(tmp_path, capsys):
    path = tmp_path / "net.prm"
    assert command.main(["--epochs", "0", "--seed", "3", "-o", str(path)]) == 0
    assert "the parameters are random" in capsys.readouterr().out
    assert torch.equal(load_state(path)["conv1.bias"], create_network("lenet", seed=3).conv1.bias)
    record = read_torch_record(path)
    assert record["seed"] == 3
    assert record["test"] is None
    save_state(lively("lenet"), path)
    assert read_torch_record(path) == {}
    result = interchange.import_state(path, "lenet", tmp_path / "out", formats=("json",))
    assert result.manifest.training.keys() == {"framework", "source"}


@pytest.mark.parametrize("state", ["missing", "too old"])
def test_without_torch_it_says_what_to_install(tmp_path, monkeypatch, capsys, state):
    path, output = tmp_path / "net.prm", tmp_path / "out"
    save_state(lively("lenet"), path)
    if state == "missing":
        monkeypatch.setitem(sys.modules, "torch", None)
        remedy = "pip install '.[torch]' in a clone of lenet_cpp, or pip install torch"
    else:
        monkeypatch.setattr(torch, "__version__", "2.5.1+cpu")
        remedy = "PyTorch 2.5.1+cpu is too old: pip install 'torch>=2.6'"
    for call in (
        lambda: create_network("lenet"),
        lambda: load_state(path),
        lambda: interchange.import_state(path, "lenet", output),
    ):
        with pytest.raises(Unsupported, match=re.escape(remedy)):
            call()
    assert command.main(["-o", str(tmp_path / "new.prm")]) == 6
    assert import_model.main([str(path), "-m", "lenet", "-o", str(output)]) == 6
    first, second = capsys.readouterr().err.splitlines()
    assert first.endswith(remedy)
    assert second.endswith(remedy)
    assert [path.name for path in tmp_path.iterdir()] == ["net.prm"]


# PyTorch, Paddle and lenet_cpp in one process

_TOGETHER = """
import sys
import numpy as np
from lenet_cpp.data.mnist import sample_dir, read_mnist_dir, to_model_input
x = to_model_input(read_mnist_dir(sample_dir()).test.images[:64])
def torch():
    import torch
    torch.manual_seed(0)
    net = torch.nn.Conv2d(1, 6, 5)
    net(torch.from_numpy(x)).sum().backward()
    return net(torch.from_numpy(x)).sum().item()
def paddle():
    import paddle
    net = paddle.nn.Conv2D(1, 6, 5, weight_attr=paddle.nn.initializer.Constant(0.1))
    net(paddle.to_tensor(x)).sum().backward()
    return net(paddle.to_tensor(x)).sum().item()
def lenet_cpp():
    import lenet_cpp
    return lenet_cpp.predict(x).sum().item()
order = [globals()[name] for name in sys.argv[1].split(",")]
results = {run.__name__: run() for run in order}
assert results == {run.__name__: run() for run in reversed(order)}
print(*(results[name].hex() for name in ("torch", "paddle", "lenet_cpp")))
"""


@pytest.mark.nightly
def test_any_order_of_imports():
    """PyTorch before Paddle and after it; docs/pytorch.md speaks of all six."""
    printed = {
        subprocess.run(
            [sys.executable, "-c", _TOGETHER, order],
            env={**os.environ, **QUIET, "OMP_NUM_THREADS": "2"},
            stdout=subprocess.PIPE,
            check=True,
            timeout=120,
        ).stdout
        for order in ("torch,paddle,lenet_cpp", "lenet_cpp,paddle,torch")
    }
    assert len(printed) == 1
