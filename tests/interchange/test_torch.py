"""PyTorch: networks, files of parameters from friend and foe, and the road to C++; about 55 s."""

from __future__ import annotations

import io
import json
import os
import pickle
import pickletools
import re
import shutil
import signal
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import lenet_cpp
from lenet_cpp import models
from lenet_cpp.cli import torch_train as command
from lenet_cpp.data.images import Pipeline
from lenet_cpp.data.mnist import Mnist, Split, read_mnist_dir, sample_dir, to_model_input
from lenet_cpp.errors import BadInput, BadModel, FileNotFound, Unsupported
from lenet_cpp.formats.checkpoint import StateMismatch
from lenet_cpp.formats.manifest import read_manifest, sha256_file, verify_checksums
from lenet_cpp.interchange.torch import state as interchange
from lenet_cpp.interchange.torch.models import create_network, load_state, save_state
from lenet_cpp.interchange.torch.record import read_record, record_path, write_record
from lenet_cpp.models.registry import build_layer
from lenet_cpp.training.recipes import RECIPES
from numpy_reference import lenet
from snippets import read_snippets, run_snippet

_REASON = "PyTorch is an extra: pip install 'lenet-cpp[torch]'"
torch = pytest.importorskip("torch", reason=_REASON)
training = pytest.importorskip("lenet_cpp.interchange.torch.training", reason=_REASON)
as_arrays = pytest.importorskip("lenet_cpp.interchange.torch.model_state", reason=_REASON).as_arrays

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "pytorch.md"
QUIET = {"GLOG_minloglevel": "2", "PYTHONWARNINGS": "ignore:No ccache found"}
NETWORKS = {"lenet": (1, 28, 28), "resnet18": (3, 64, 64)}


def lively(model: str, classes: int | None = None, seed: int = 0) -> torch.nn.Module:
    """A network in which no two parameters are alike: no zeros, no means of 0, no scales of 1."""
    net = create_network(model, classes, seed=seed)
    random = torch.Generator().manual_seed(seed + 1)
    for key, value in net.state_dict().items():
        if value.ndim == 1:
            positive = key.endswith(("running_var", "weight"))
            noise = torch.rand(value.shape, generator=random)
            value.copy_(noise / 2 + 0.6 if positive else noise - 0.5)
    return net.eval()


def images_for(model: str, count: int = 3) -> np.ndarray:
    return np.random.default_rng(7).random((count, *NETWORKS[model]), dtype=np.float32)


def torch_outputs(net: torch.nn.Module, images: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return net(torch.from_numpy(images)).numpy()


def assert_agree(expected: np.ndarray, found: np.ndarray) -> None:
    allowed = 1e-5 * np.maximum(1, np.abs(expected).max(axis=1, keepdims=True))
    assert (np.abs(expected - found) <= allowed).all()
    assert (expected.argmax(axis=1) == found.argmax(axis=1)).all()


def written_by_torch(state: object, protocol: int = 2, *, archive: bool = True) -> bytes:
    file = io.BytesIO()
    torch.save(state, file, pickle_protocol=protocol, _use_new_zipfile_serialization=archive)
    return file.getvalue()


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# Networks


def test_lenet_computes_what_the_layers_say() -> None:
    net = lively("lenet")
    w = {key: value.numpy() for key, value in net.state_dict().items()}
    w |= {key: value.T for key, value in w.items() if value.shape[1:] and "linear" in key}
    images = images_for("lenet")
    assert_agree(lenet(w, images).astype(np.float32), torch_outputs(net, images))


def test_resnet18_has_the_names_of_torchvision() -> None:
    def norm(name):
        kinds = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
        return {f"{name}.{kind}" for kind in kinds}

    expected = {"conv1.weight", "fc.weight", "fc.bias"} | norm("bn1")
    for stage in range(1, 5):
        for block in range(2):
            name = f"layer{stage}.{block}"
            expected |= {f"{name}.conv1.weight", f"{name}.conv2.weight"}
            expected |= norm(f"{name}.bn1") | norm(f"{name}.bn2")
        if stage > 1:
            expected |= {f"layer{stage}.0.downsample.0.weight"}
            expected |= norm(f"layer{stage}.0.downsample.1")
    assert set(create_network("resnet18").state_dict()) == expected
    # torchvision's documentation has this number for its resnet18, which has 1,000 classes.
    parameters = create_network("ResNet18", 1000).parameters()
    assert sum(p.numel() for p in parameters) == 11_689_512


@pytest.mark.parametrize("model", NETWORKS)
def test_paddle_computes_the_same(model) -> None:
    net = lively(model, 3)
    arrays = as_arrays(net.state_dict())
    state = interchange.paddle_state(arrays, model)
    layer = build_layer(models.get(model), 3, None)
    assert set(state) == set(layer.state_dict())
    layer.set_state_dict(state)
    images = images_for(model)
    import paddle

    assert_agree(torch_outputs(net, images), layer(paddle.to_tensor(images)).numpy())
    back = interchange.torch_state(state, model)
    without_counters = {k: v for k, v in arrays.items() if not k.endswith("num_batches_tracked")}
    assert back.keys() == without_counters.keys()
    assert all(np.array_equal(back[key], value) for key, value in without_counters.items())


def test_seed_decides_and_leaves_the_global_state_alone() -> None:
    before = torch.random.get_rng_state()
    first, again, other = (create_network("lenet", seed=seed) for seed in (5, 5, 6))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(first.conv1.weight, again.conv1.weight)
    assert not torch.equal(first.conv1.weight, other.conv1.weight)
    assert first.training
    assert create_network("resnet18").fc.out_features == 2


def test_unknown_networks() -> None:
    with pytest.raises(BadInput, match=r"no network 'resnet81'.*did you mean resnet18\?"):
        create_network("resnet81")
    with pytest.raises(BadInput, match="number of classes is 0"):
        create_network("lenet", 0)


def test_a_network_of_ones_own(tmp_path) -> None:
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
        assert_agree(torch_outputs(net, images), predictor.run(images))
    with pytest.raises(BadInput, match="no TorchNetwork called 'SPEC'"):
        create_network(f"{tmp_path / 'mine.py'}:SPEC")


# Files


def test_saved_as_the_guide_does(tmp_path) -> None:
    class Net(torch.nn.Linear):
        moved = 0

        def cpu(self):
            self.moved += 1
            return super().cpu()

    net = Net(3, 2)
    path = tmp_path / "net.prm"
    save_state(net, path)
    save_state(net, tmp_path / "again.prm")
    assert net.moved == 2
    assert path.read_bytes() == (tmp_path / "again.prm").read_bytes()
    with zipfile.ZipFile(path) as archive:
        name = next(name for name in archive.namelist() if name.endswith("data.pkl"))
        opcode, protocol, _ = next(pickletools.genops(archive.read(name)))
    assert (opcode.name, protocol) == ("PROTO", 4)
    # what the guide types to read it
    params = torch.load(path, map_location="cpu", weights_only=False)
    found = load_state(path)
    assert list(found) == list(params) == ["weight", "bias"]
    assert all(torch.equal(found[key], params[key]) for key in params)
    net.load_state_dict(found)


def test_a_failed_save_leaves_the_older_file(tmp_path, monkeypatch) -> None:
    path = tmp_path / "net.prm"
    save_state(create_network("lenet", seed=1), path)
    old = path.read_bytes()

    def full_disk(_state, file, **_options):
        file.write(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(OSError, match="No space"):
        save_state(create_network("lenet", seed=2), path)
    assert contents(tmp_path) == {"net.prm": old}


@pytest.mark.parametrize("archive", [True, False], ids=["archive", "before 1.6"])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_pickle_protocol_is_read(tmp_path, protocol, archive) -> None:
    net = lively("resnet18")
    path = tmp_path / "net.prm"
    path.write_bytes(written_by_torch(net.state_dict(), protocol, archive=archive))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = load_state(path)
    expected = net.state_dict()
    assert list(found) == list(expected)
    assert all(torch.equal(found[key], value) for key, value in expected.items())


@pytest.mark.filterwarnings("ignore:Detected pickle protocol 4:UserWarning")
def test_the_reason_for_rewriting_protocol_4_still_holds() -> None:
    """When this fails, PyTorch has learnt it, and interchange.torch.model_state may lose it."""
    with pytest.raises(pickle.UnpicklingError, match="Unsupported operand"):
        torch.load(io.BytesIO(written_by_torch({"a": torch.ones(1)}, 4)), weights_only=True)


@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "model"])
@pytest.mark.parametrize("protocol", [2, 4])
def test_training_checkpoints_and_data_parallel(tmp_path, key, protocol) -> None:
    net = lively("lenet")
    optimizer = torch.optim.Adam(net.parameters())
    net(torch.rand(1, 1, 28, 28)).sum().backward()
    optimizer.step()
    parallel = torch.nn.DataParallel(net)
    whole = {"epoch": 3, key: parallel.state_dict(), "optimizer": optimizer.state_dict()}
    path = tmp_path / "net.pth"
    path.write_bytes(written_by_torch(whole, protocol))
    found = load_state(path)
    expected = net.state_dict()
    assert list(found) == list(expected)
    assert all(torch.equal(found[name], value) for name, value in expected.items())


class Hostile:
    """Makes a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return os.system, (f"touch '{self.target}'",)


@pytest.mark.parametrize("archive", [True, False], ids=["archive", "before 1.6"])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("place", ["value", "key", "whole"])
def test_a_pickle_that_runs_code_does_not(tmp_path, place, protocol, archive) -> None:
    mark, path = tmp_path / "it-ran", tmp_path / "net.prm"
    hostile = Hostile(mark)
    states = {"value": {"a": torch.ones(1), "b": hostile}, "key": {hostile: 1}, "whole": hostile}
    path.write_bytes(written_by_torch(states[place], protocol, archive=archive))
    with pytest.raises(
        BadModel, match=r"net\.prm cannot be read: it asks for posix\.system"
    ) as info:
        load_state(path)
    assert "\n" not in str(info.value)
    assert not mark.exists()
    with pytest.raises(BadModel):
        interchange.import_state(path, "lenet", tmp_path / "out")
    assert not mark.exists()
    assert not (tmp_path / "out").exists()


def test_it_would_run_where_it_is_allowed_to(tmp_path) -> None:
    mark, path = tmp_path / "it-ran", tmp_path / "net.prm"
    path.write_bytes(written_by_torch({"a": Hostile(mark)}, 4))
    with pytest.raises(BadModel):
        load_state(path, weights_only=False)
    assert mark.exists()


def index_replaced(state: object, index: bytes) -> bytes:
    """A file of torch.save with another pickle in it."""
    output = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(written_by_torch(state))) as old,
        zipfile.ZipFile(output, "w") as new,
    ):
        for name in old.namelist():
            new.writestr(name, index if name.endswith("data.pkl") else old.read(name))
    return output.getvalue()


@pytest.mark.parametrize(
    "index",
    [
        # the name of a global is the second line of another, or is taken from the memo, or is made
        b"\x80\x04\x8c\x0bcollections\x8c\x1fOrderedDict\n)Rcos\nsystem\n\x8c\x01a\x93.",
        b"\x80\x04\x8c\x05posix\x94\x8c\x06system\x94h\x00h\x01\x93\x8c\x04true\x85R.",
        b"\x80\x04)\x8c\x06system\x93.",
        b"\x80\x04cos\nsystem\nX\x04\x00\x00\x00true\x85R.",
        b"\x80\x04\x93.",
        b"\x80\x04\x94.",
        b"\x80\x04h\x05.",
        b"\x80\x04.",
        b"\x80\x04]\x94h\x00a.",
        b"\x80\x04\x8c\xff",
        b"\x80\x04\xff",
        b"",
    ],
)
def test_pickles_made_by_hand(tmp_path, index) -> None:
    path = tmp_path / "net.prm"
    for data in (index_replaced({"a": torch.ones(1)}, index), index * 5, index):
        path.write_bytes(data)
        with pytest.raises(BadModel, match=r"net\.prm") as info:
            load_state(path)
        assert "\n" not in str(info.value)
        assert len(str(info.value)) < 500


def test_a_name_cannot_smuggle_instructions_in(tmp_path) -> None:
    """As text of protocol 2 the lines after the name would be instructions that are carried out."""
    attribute = b"OrderedDict\n)R(X\x01\x00\x00\x00aK\x01u."
    index = b"\x80\x04\x8c\x0bcollections\x8c" + bytes([len(attribute)]) + attribute + b"\x93."
    path = tmp_path / "net.prm"
    path.write_bytes(index_replaced({"a": torch.ones(1)}, index))
    with pytest.raises(BadModel, match="the name of a global has two lines"):
        load_state(path)


def bad_files() -> dict[str, tuple[bytes, str]]:
    good = written_by_torch({"a": torch.ones(1000)}, 4)
    compressed = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(good)) as old,
        zipfile.ZipFile(compressed, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for name in old.namelist():
            new.writestr(name, old.read(name))
    twice = io.BytesIO(good)
    with warnings.catch_warnings(), zipfile.ZipFile(twice, "a") as archive:
        warnings.simplefilter("ignore")
        archive.writestr(next(n for n in archive.namelist() if n.endswith("data.pkl")), b"\x80\x04")
    script = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), script)
    sparse = torch.eye(2).to_sparse()
    claims = torch.ones(1).expand(1 << 40)
    return {
        "empty file": (b"", "net.prm"),
        "text": (b"not a model", "damaged"),
        "cut": (good[: len(good) // 2], "damaged"),
        "compressed": (compressed.getvalue(), "compressed parts"),
        "twice": (twice.getvalue(), "two of its parts have the same name"),
        "no parameters": (written_by_torch({}), "does not hold a state_dict"),
        "a list": (written_by_torch([torch.ones(1)]), "does not hold a state_dict but a list"),
        "a number": (written_by_torch({"a": 1}), "'a' is a int"),
        "a whole network": (written_by_torch(torch.nn.Linear(2, 2)), "save net.state_dict"),
        "a script": (script.getvalue(), "net.prm"),
        "sparse": (written_by_torch({"a": sparse}), "a is not a plain tensor"),
        "nowhere": (written_by_torch({"a": torch.ones(2, device="meta")}), "not a plain tensor"),
        "four terabytes": (written_by_torch({"a": claims}), "holds fewer values"),
    }


@pytest.mark.parametrize("case", bad_files())
def test_files_that_are_none(tmp_path, case) -> None:
    data, message = bad_files()[case]
    path = tmp_path / "net.prm"
    path.write_bytes(data)
    with pytest.raises(BadModel, match=re.escape(message)) as info:
        load_state(path)
    assert str(path) in str(info.value)
    assert "\n" not in str(info.value)


def test_every_cut_is_noticed(tmp_path) -> None:
    path = tmp_path / "net.prm"
    for archive in (True, False):
        good = written_by_torch({"a": torch.ones(10)}, 4, archive=archive)
        for length in range(0, len(good), 41):
            path.write_bytes(good[:length])
            with pytest.raises(BadModel):
                load_state(path)


def test_a_whole_network_of_ones_own(tmp_path) -> None:
    path = tmp_path / "net.prm"
    net = lively("lenet")
    path.write_bytes(written_by_torch(net, 4))
    found = load_state(path, weights_only=False)
    assert torch.equal(found["conv1.weight"], net.conv1.weight)


def test_missing_file(tmp_path) -> None:
    with pytest.raises(FileNotFound, match=r"cannot read .*net\.prm: No such file"):
        load_state(tmp_path / "net.prm")


# To Paddle


def test_every_misfit_is_named() -> None:
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
def test_sixteen_bits_are_widened(dtype) -> None:
    state = {key: value.to(dtype) for key, value in lively("lenet").state_dict().items()}
    found = interchange.paddle_state(as_arrays(state), "lenet")
    assert found["linear1.weight"].dtype == np.float32
    assert np.array_equal(found["linear1.weight"].T, state["linear1.weight"].float().numpy())


@pytest.fixture(scope="module")
def made(program: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the page's blocks were typed."""
    folder = tmp_path_factory.mktemp("made")
    shutil.copytree(ROOT / "scripts", folder / "scripts")
    (folder / "data").symlink_to(ROOT / "data")
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


def test_trained_lenet_in_cpp(made, run_program) -> None:
    """The digits' classes and outputs are PyTorch's own, in the C++ program."""
    test = read_mnist_dir(sample_dir()).test
    images = to_model_input(test.images)
    np.save(made / "images.npy", images)
    net = create_network("lenet")
    # another reader than ours
    net.load_state_dict(torch.load(made / "net.prm", map_location="cpu", weights_only=False))
    expected = torch_outputs(net.eval(), images)
    correct = int((expected.argmax(axis=1) == test.labels).sum())
    assert correct >= 960
    folder = made / "inference_model" / "lenet_torch"
    for suffix in ("pdmodel", "json"):
        done = run_program(
            f"--model_file={folder / f'lenet.{suffix}'}",
            f"--params_file={folder / 'lenet.pdiparams'}",
            f"--input={made / 'images.npy'}",
            f"--output={made / 'outputs.npy'}",
        )
        assert done.returncode == 0, done.stderr
        assert_agree(expected, np.load(made / "outputs.npy"))
    manifest = read_manifest(folder)
    assert manifest.topology == "lenet"
    assert manifest.classes == tuple("0123456789")
    assert manifest.training["framework"] == "torch"
    assert manifest.training["source"] == {
        "file": "net.prm",
        "sha256": sha256_file(made / "net.prm"),
    }
    assert manifest.accuracy.top1 * len(test) == pytest.approx(correct)
    assert manifest.data["kind"] == "sample"
    verify_checksums(folder)
    assert f"({correct} of 1000)" in (made / "printed.txt").read_text(encoding="utf-8")


def test_resnet18_of_two_classes_in_cpp(tmp_path, run_program) -> None:
    net = lively("resnet18")
    save_state(net, tmp_path / "net.prm")
    folder = tmp_path / "out"
    result = interchange.import_state(
        tmp_path / "net.prm", "ResNet18", folder, img_size=64, softmax=True, formats=("json",)
    )
    images = images_for("resnet18")
    np.save(tmp_path / "images.npy", images)
    expected = torch.from_numpy(torch_outputs(net, images)).softmax(dim=1).numpy()
    done = run_program(
        f"--model_dir={folder}",
        f"--input={tmp_path / 'images.npy'}",
        f"--output={tmp_path / 'outputs.npy'}",
    )
    assert done.returncode == 0, done.stderr
    assert_agree(expected, np.load(tmp_path / "outputs.npy"))
    assert sorted(contents(folder)) == sorted(
        ["inference.json", "inference.pdiparams", "preprocess.json", "manifest.json", "SHA256SUMS"]
    )
    assert result.manifest.softmax
    assert result.manifest.class_dim == 2
    assert result.manifest.img_size == 64
    assert result.max_difference < 1e-5


@pytest.mark.parametrize(
    "fault", ["perturbed", "mixed up", "not finite", "other classes", "no record"]
)
def test_nothing_is_written_when_it_is_wrong(tmp_path, monkeypatch, fault) -> None:
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

    message = "does not compute what PyTorch computes.*nothing was written"
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
        record_path(path).write_text("{", encoding="utf-8")
        message = "the training record .* is damaged"
    for target in (folder, tmp_path / "new"):
        with pytest.raises(BadModel, match=message) as info:
            interchange.import_state(path, "lenet", target, formats=("pdmodel",), **options)
        assert "\n" not in str(info.value)
    assert contents(folder) == before
    assert not (tmp_path / "new").exists()


def test_a_record_of_other_parameters_is_left_out(tmp_path, capsys) -> None:
    path = tmp_path / "net.prm"
    assert command.main(["--epochs", "0", "--seed", "3", "-o", str(path)]) == 0
    assert "the parameters are random" in capsys.readouterr().out
    assert torch.equal(load_state(path)["conv1.bias"], create_network("lenet", seed=3).conv1.bias)
    record = read_record(path)
    assert record["seed"] == 3
    assert record["test"] is None
    save_state(lively("lenet"), path)
    assert read_record(path) is None
    result = interchange.import_state(path, "lenet", tmp_path / "out", formats=("json",))
    assert result.manifest.training.keys() == {"framework", "source"}


# Training


def test_training_is_repeatable(tmp_path, capsys) -> None:
    files = []
    for number, seed in enumerate((1, 1, 2)):
        files.append(tmp_path / f"{number}.prm")
        torch.manual_seed(number)
        assert command.main(
            ["--epochs", "1", "--batch-size", "200", "--seed", str(seed), "-o", str(files[-1])]
        ) == 0  # fmt: skip
    first, again, other = (path.read_bytes() for path in files)
    assert first == again != other
    record = json.loads(record_path(files[0]).read_text(encoding="utf-8"))
    assert record["test"]["correct"] > 500
    assert f"({record['test']['correct']} of 1000)" in capsys.readouterr().out


def test_resnet18_learns_and_brings_its_image_size(tmp_path, monkeypatch) -> None:
    whole = read_mnist_dir(sample_dir(), kind="sample")
    train_part = Split(whole.train.images[:640], whole.train.labels[:640])
    test_part = Split(whole.test.images[:200], whole.test.labels[:200])
    mnist = Mnist(train_part, test_part, "other", whole.folder, whole.md5)
    settings = training.TorchTrainingSettings("resnet18", training.default_recipe("resnet18"))
    result = training.train(settings, mnist, report=lambda _: None)
    assert result.accuracy.fraction > 0.7  # chance is a half
    assert not result.net.training
    path = tmp_path / "net.prm"
    save_state(result.net, path)
    write_record(path, result.record)
    manifest = interchange.import_state(
        path, "resnet18", tmp_path / "out", formats=("json",)
    ).manifest
    assert manifest.classes == ("even", "odd")
    assert manifest.img_size == 32
    assert manifest.accuracy.top1 == result.accuracy.fraction
    # what the exported model makes of pictures of digits
    labels = test_part.labels[:50] % 2
    pipeline = Pipeline.load(tmp_path / "out" / "preprocess.json")
    images = pipeline.batch([Image.fromarray(digit) for digit in test_part.images[:50]])
    with lenet_cpp.Predictor(model_dir=tmp_path / "out") as predictor:
        found = predictor.run(images).argmax(axis=1)
    expected = torch_outputs(result.net, images).argmax(axis=1)
    assert (found == expected).all()
    assert (found == labels).mean() > 0.7


def test_recipes_of_paddle_that_have_more_are_refused() -> None:
    training.TorchTrainingSettings(recipe=RECIPES["guide"])
    with pytest.raises(BadInput, match="the recipe best is not for PyTorch"):
        training.TorchTrainingSettings(recipe=RECIPES["best"])


def test_ctrl_c_leaves_nothing(tmp_path) -> None:
    # What a shell starts in the background ignores SIGINT, and so would the child.
    command_line = ["env", "--default-signal=INT", sys.executable, ROOT / "scripts/torch_train.py"]
    child = subprocess.Popen(
        [*command_line, "--epochs", "99", "-o", "net.prm"],
        cwd=tmp_path,
        env={**os.environ, "HOME": str(tmp_path), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        for line in child.stdout:
            if line.startswith("epoch"):
                break
        child.send_signal(signal.SIGINT)
        _, errors = child.communicate(timeout=60)
    finally:
        child.kill()
        child.wait()
    assert child.returncode == 130, errors
    assert errors.splitlines()[-1] == "torch_train.py: interrupted"
    assert "Traceback" not in errors
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ("--epochs -1", 5, "epochs must be at least 1"),
        ("--lr 0", 5, "the learning rate must be above 0"),
        ("--seed -1", 5, "the seed must be between"),
        ("--batch-size 1", 5, "the batch size must be at least 2"),
        ("--device nowhere", 5, "cannot train on 'nowhere'"),
        ("--model resnet18 --img_size 8", 5, "takes images of size 32 to 1024, not 8"),
        ("--data-dir missing", 3, "there is no folder missing"),
        ("--epochs 0 -o .", 5, "is a folder"),
        ("--lr 1e30 --epochs 1", 5, "lower the learning rate"),
    ],
)
def test_refusals(tmp_path, monkeypatch, capsys, arguments, code, message) -> None:
    monkeypatch.chdir(tmp_path)
    assert command.main(arguments.split()) == code
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("state", ["missing", "too old"])
def test_without_torch_it_says_what_to_install(tmp_path, monkeypatch, state) -> None:
    path = tmp_path / "net.prm"
    save_state(lively("lenet"), path)
    if state == "missing":
        monkeypatch.setitem(sys.modules, "torch", None)
        remedy = "pip install 'lenet-cpp[torch]'"
    else:
        monkeypatch.setattr(torch, "__version__", "2.5.1+cpu")
        remedy = "PyTorch 2.5.1+cpu is too old: pip install 'torch>=2.6'"
    for call in (
        lambda: create_network("lenet"),
        lambda: load_state(path),
        lambda: interchange.import_state(path, "lenet", tmp_path / "out"),
    ):
        with pytest.raises(Unsupported, match=re.escape(remedy)):
            call()
    assert [path.name for path in tmp_path.iterdir()] == ["net.prm"]


@pytest.mark.parametrize(
    "program", ["torch_train -o new.prm", "import_model net.prm -m lenet -o out"]
)
def test_commands_without_torch(tmp_path, program) -> None:
    name, *arguments = program.split()
    save_state(lively("lenet"), tmp_path / "net.prm")
    code = (
        f"import sys; sys.modules['torch'] = None; from lenet_cpp.cli.{name} import main\n"
        f"sys.exit(main({arguments}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 6, done.stderr
    assert done.stderr.strip().endswith("pip install 'lenet-cpp[torch]'")
    assert len(done.stderr.splitlines()) == 1
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


def test_any_order_of_imports() -> None:
    printed = set()
    # PyTorch before Paddle and after it; docs/pytorch.md speaks of all six.
    orders = ("torch,paddle,lenet_cpp", "lenet_cpp,paddle,torch")
    for order in orders:
        done = subprocess.run(
            [sys.executable, "-c", _TOGETHER, order],
            env={**os.environ, **QUIET, "OMP_NUM_THREADS": "2"},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, f"{order}: {done.stderr[-2000:]}"
        printed.add(done.stdout)
    assert len(printed) == 1


def test_importing_the_package_imports_no_torch() -> None:
    program = (
        "import sys, lenet_cpp.interchange.torch.models, lenet_cpp.interchange.torch.state\n"
        "import lenet_cpp.cli.torch_train, lenet_cpp.interchange.torch.record\n"
        "assert not {'torch', 'paddle'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
