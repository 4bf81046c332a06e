"""ONNX out of Paddle and PyTorch and back, and all frameworks compared."""

import json
import os
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from support import assert_same, run_onnx, save

import lenet_cpp
from lenet_cpp._base import optional as _extras
from lenet_cpp.cli import export_onnx, import_model, verify
from lenet_cpp.data.images import digit
from lenet_cpp.data.mnist import read_mnist_dir, sample_dir, to_model_input
from lenet_cpp.errors import BackendFailure, BadInput, Unsupported
from lenet_cpp.formats.manifest import read_manifest, sha256_file, verify_checksums
from lenet_cpp.formats.onnx_metadata import read_onnx_metadata
from lenet_cpp.interchange.onnx import export
from lenet_cpp.interchange.onnx.import_ import import_onnx
from lenet_cpp.interchange.onnx.rules import RULES
from lenet_cpp.interchange.torch import models as torch_models
from lenet_cpp.interchange.torch.state import torch_state
from lenet_cpp.verify import across
from numpy_reference import lenet_parameters
from snippets import read_snippets, run_snippet
from tools.caffe2 import roundtrip

_REASON = "ONNX is an extra: pip install '.[onnx]'"
onnx = pytest.importorskip("onnx", reason=_REASON)
onnxruntime = pytest.importorskip("onnxruntime", reason=_REASON)
pytest.importorskip("paddle2onnx", reason=_REASON)
paddle = pytest.importorskip("paddle", reason="PaddlePaddle is an extra")
torch = pytest.importorskip("torch", reason="PyTorch is an extra: pip install '.[torch]'")

import onnx_models as made  # noqa: E402 - needs onnx

pytestmark = pytest.mark.timeout(300)

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "onnx.md"
DIGITS = 200


@pytest.fixture(scope="module")
def digits():
    return to_model_input(read_mnist_dir(sample_dir()).test.images[:DIGITS])


@pytest.fixture(scope="module")
def net(model_dir):
    """LeNet in PyTorch, with trained parameters, so that its answers are apart."""
    state = torch_state(lenet_parameters(model_dir / "lenet.pdiparams"), "lenet")
    net = torch_models.create_network("lenet")
    net.load_state_dict({key: torch.from_numpy(value.copy()) for key, value in state.items()})
    return net.eval()


@pytest.fixture(scope="module")
def expected(net, digits):
    """What PyTorch computes from the digits."""
    with torch.inference_mode():
        return net(torch.from_numpy(digits)).numpy()


@pytest.fixture(scope="module")
def exported(net, tmp_path_factory):
    """The network as net.prm, and in ONNX by either exporter."""
    folder = tmp_path_factory.mktemp("exported")
    files = {"prm": folder / "net.prm"}
    torch_models.save_state(net, files["prm"])
    for exporter in export.EXPORTERS:
        files[exporter] = folder / f"{exporter}.onnx"
        arguments = [str(files["prm"]), "--model=lenet", f"--exporter={exporter}"]
        assert export_onnx.main([*arguments, f"--output={files[exporter]}"]) == 0
    return files


def check(path, digits, expected):
    """A valid model, for any number of images, computes this in onnxruntime and here."""
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    for value in (*model.graph.input, *model.graph.output):
        assert value.type.tensor_type.shape.dim[0].dim_param == "N"
    for count in (1, 3, DIGITS):
        assert_same(expected[:count], run_onnx(path, digits[:count]))
    with lenet_cpp.Predictor(path, engine="native") as predictor:
        assert_same(expected, predictor.run(digits))
    return model


@pytest.mark.parametrize("exporter", export.EXPORTERS)
def test_torch_becomes_onnx(exporter, exported, digits, expected):
    path = exported[exporter]
    model = check(path, digits, expected)
    assert model.opset_import[0].version == export.EXPORTERS[exporter]
    described = {
        prop.key: json.loads(prop.value) for prop in model.metadata_props if "lenet" in prop.key
    }
    source = {"file": "net.prm", "sha256": sha256_file(exported["prm"])}
    assert described["lenet_cpp.source"] == source
    assert described["lenet_cpp.classes"] == list("0123456789")
    assert described["lenet_cpp.preprocess"] == digit().to_dict()
    assert described["lenet_cpp.exporter"] == f"torch {torch.__version__}, {exporter}"
    assert read_onnx_metadata(path)["classes"] == list("0123456789")
    with lenet_cpp.InferenceEngine("native").load_predictor(path) as engine:
        assert engine.pipeline.to_dict() == digit().to_dict()
        label = engine.topk(engine.run(digits[:1]))[0][0].label
        assert label == str(expected[0].argmax())
    # the exporting machine's file names, in the call stacks that PyTorch records
    assert str(ROOT).encode() not in path.read_bytes()
    assert b"torch/nn" not in path.read_bytes()


@pytest.fixture(scope="module")
def paddle_onnx(model_dir, tmp_path_factory):
    """The bundled model in ONNX, from either format."""
    folder = tmp_path_factory.mktemp("paddle")
    files = {name: folder / name / "lenet.onnx" for name in ("pdmodel", "json")}
    for model_format, path in files.items():
        program = model_dir / f"lenet.{model_format}"
        assert export_onnx.main([str(program), f"--output={path}"]) == 0
    return files


@pytest.mark.parametrize("model_format", ["pdmodel", "json"])
def test_paddle_becomes_onnx(model_format, paddle_onnx, model_dir, digits):
    path = paddle_onnx[model_format]
    check(path, digits, lenet_cpp.predict(digits))
    described = read_onnx_metadata(path)
    manifest = read_manifest(model_dir)
    assert described["source"]["sha256"] == manifest.files[f"lenet.{model_format}"].sha256
    assert described["training"] == manifest.training
    assert described["accuracy"]["top1"] == manifest.accuracy.top1
    assert re.fullmatch(r"paddle 3\.\d+\.\d+, paddle2onnx 2\.1\.0", described["exporter"])


def test_onnx_from_paddle_comes_back(paddle_onnx, model_dir, digits, tmp_path, capsys):
    back, path = tmp_path / "back", paddle_onnx["json"]
    assert import_model.main([str(path), f"--output={back}"]) == 0
    assert "checked: outputs differ" in capsys.readouterr().out
    verify_checksums(back)
    manifest, origin = read_manifest(back), read_manifest(model_dir)
    assert (manifest.data, manifest.accuracy) == (origin.data, origin.accuracy)
    assert (manifest.classes, manifest.softmax) == (tuple("0123456789"), False)
    source = manifest.training["source"]
    assert (source["file"], source["sha256"]) == (path.name, sha256_file(path))
    assert json.loads((back / "preprocess.json").read_text()) == digit().to_dict()
    with lenet_cpp.Predictor(model_dir=back) as predictor:
        assert_same(lenet_cpp.predict(digits), predictor.run(digits))


class Odds(torch.nn.Module):
    """What today's networks are made of, as PyTorch's exporter writes it."""

    def __init__(self):
        super().__init__()
        nn = torch.nn
        pool = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.Hardswish(), pool)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.middle = nn.Sequential(
            nn.PReLU(8), nn.ReLU6(), nn.ZeroPad2d((1, 2, 0, 1)), nn.Conv2d(8, 8, 3)
        )
        self.pool = nn.AdaptiveAvgPool2d((3, 3))
        self.dense = nn.Sequential(nn.Linear(72, 16), nn.BatchNorm1d(16), nn.ELU(), nn.Dropout())
        self.last = nn.Linear(24, 5)

    def forward(self, x):
        functional = torch.nn.functional
        x = self.stem(x)
        x = self.middle(functional.silu(self.depthwise(x)) + functional.gelu(x))
        mean, most = x.mean([2, 3]), torch.amax(x, dim=(2, 3))
        first, second = x.chunk(2, 1)
        x = torch.cat([second, first], 1)
        n, c, h, w = x.shape
        x = x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        x = functional.hardsigmoid(x) * x + functional.mish(x) + torch.clamp(x, min=-0.5)
        x = self.dense(self.pool(x[:, :, :6, :6]).flatten(1))
        return functional.softmax(self.last(torch.cat([x, mean * most.sigmoid()], 1)), dim=1)


@pytest.mark.nightly
def test_a_network_of_ones_own(tmp_path):
    torch.manual_seed(0)
    net = Odds().eval()
    done = export.export_torch(
        net, (3, 31, 33), tmp_path / "odds.onnx", metadata={"classes": list("abcde")}
    )
    assert done.opset == 20
    result = import_onnx(done.path, tmp_path / "out")
    assert not result.notes
    assert result.result.manifest.softmax
    assert result.result.manifest.classes == tuple("abcde")
    images = np.random.default_rng(6).random((5, 3, 31, 33), np.float32)
    with torch.inference_mode():
        expected = net(torch.from_numpy(images)).numpy()
    for program in result.result.manifest.models:
        params = tmp_path / "out" / "odds.pdiparams"
        with lenet_cpp.Predictor(tmp_path / "out" / program, params) as predictor:
            assert_same(expected, predictor.run(images))


def test_nothing_wrong_is_written(net, tmp_path):
    class Moody(torch.nn.Module):
        """Computes something else once it has been exported."""

        def __init__(self):
            super().__init__()
            self.net = net

        def forward(self, x):
            result = self.net(x)
            return result if torch.onnx.is_in_onnx_export() else result + 1e-3

    path = tmp_path / "net.onnx"
    path.write_text("what was there before")
    with pytest.raises(BackendFailure, match=r"outputs differ by up to 0\.001"):
        export.export_torch(Moody().eval(), (1, 28, 28), path, exporter="legacy")
    with pytest.raises(BadInput, match=r"net\.eval\(\)"):
        export.export_torch(torch.nn.Linear(3, 2), (3,), path)
    assert path.read_text() == "what was there before"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("module", ["onnx", "onnxruntime", "paddle2onnx"])
def test_what_is_missing_is_named(module, model_dir, monkeypatch, tmp_path, capsys):
    find = _extras.find_spec
    monkeypatch.setattr(_extras, "find_spec", lambda name: None if name == module else find(name))
    path = save(made.CASES["Relu"], tmp_path / "a.onnx")
    export_it = module == "paddle2onnx"
    command, source = (export_onnx, model_dir) if export_it else (import_model, path)
    assert command.main([str(source), f"--output={tmp_path / 'b.onnx'}"]) == Unsupported.exit_code
    assert f"package {module}: pip install '.[onnx]'" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["a.onnx", "--output=out"], 3, "cannot read a.onnx"),
        (["a.prm", "--output=out"], 2, "name the network with -n"),
        (
            ["a.onnx", "--output=out", "--model=lenet"],
            2,
            "--network cannot be used with an ONNX file",
        ),
        (["a.prm", "--output=out", "--like=lenet"], 2, "--like cannot be used with PyTorch"),
        ([str(PAGE), "--output=out"], 5, "cannot be imported"),
        ([".", "--output=out"], 3, "init_net.pb"),
    ],
)
def test_import_usage(arguments, status, said, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    if status == 2:  # a file that is missing would be named first
        Path(arguments[0]).touch()
    try:
        found = import_model.main(arguments)
    except SystemExit as end:
        found = end.code
    assert found == status
    assert said in capsys.readouterr().err


def test_across(model_dir, program, tmp_path, capsys):
    common = ["--across", f"--model-dir={model_dir}", f"--program={program}", "--images=50"]
    command = [*common, f"--report={tmp_path / 'report.json'}"]
    assert verify.main(command, more_routes={"Caffe2": roundtrip.run}) == 0
    text = capsys.readouterr().out
    report = json.loads((tmp_path / "report.json").read_text())
    ways = ["torch", "torch's ONNX in onnxruntime", "Paddle dygraph", "paddle.inference"]
    ways += ["Paddle's ONNX in onnxruntime", "OpenVINO", "C++ program"]
    ways += ["C++ program, onnxruntime", "lenet_cpp"]
    assert report["routes"][:9] == ways
    assert "agree" in text
    assert all(way in text for way in ways)
    count = len(report["routes"])
    assert len(report["pairs"]) == count * (count - 1) // 2
    assert report["agrees"]
    assert report["equal_predictions"] == 50
    assert 0 < report["largest_difference"] < 1e-4
    if count == 9:
        missing = r"caffe2_roundtrip\.py --make-environment|needs Python 3\.9"
        assert re.search(missing, report["unavailable"]["Caffe2"])


def test_across_notices_other_weights(model_dir, program, tmp_path, monkeypatch, capsys):
    ways = ("torch", "Paddle dygraph", "C++ program", "lenet_cpp")
    monkeypatch.setattr(across, "WAYS", {way: across.WAYS[way] for way in ways})
    torch_models.save_state(torch_models.create_network("lenet", seed=3), tmp_path / "other.prm")
    arguments = ["--across", f"--model-dir={model_dir}", f"--program={program}", "--images=50"]
    assert verify.main([*arguments, f"--torch={tmp_path / 'other.prm'}", "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    wrong = {tuple(pair["routes"]) for pair in report["pairs"] if pair["verdict"] == "DIFFERS"}
    assert wrong == {("torch", way) for way in ways[1:]}


def test_across_says_why_a_way_is_left_out(model_dir, program, tmp_path, monkeypatch, capsys):
    ways = ("torch", "Paddle dygraph", "OpenVINO", "lenet_cpp")
    monkeypatch.setattr(across, "WAYS", {way: across.WAYS[way] for way in ways})
    for name in ("lenet.json", "lenet.pdiparams"):
        shutil.copyfile(model_dir / name, tmp_path / name)
    arguments = ["--across", f"--model-dir={tmp_path}", f"--program={program}", "--images=2"]
    assert verify.main([*arguments, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["unavailable"].keys() == {"torch", "Paddle dygraph"}
    assert "--model" in report["unavailable"]["torch"]
    assert "OpenVINO" in report["routes"]


@pytest.mark.nightly
def test_the_page(model_dir, tmp_path):
    """Each command of docs/onnx.md, in a folder like a fresh clone after ./run.sh."""
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts")  # which look for things beside them
    for name in ("data", "tools"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "build").mkdir()
    (tmp_path / "build" / "lenet_infer_test").symlink_to(ROOT / "build" / "lenet_infer_test")
    shutil.copytree(model_dir, tmp_path / "inference_model" / "lenet")
    blocks = [block for block in read_snippets(PAGE) if block.language in {"sh", "python"}]
    assert len(blocks) > 4
    environment = Path(sys.executable).parents[1]
    path = os.pathsep.join(entry for entry in sys.path if entry)
    for block in blocks:
        done = run_snippet(
            block, tmp_path, environment, PYTHONPATH=path, PYTHONWARNINGS="ignore::UserWarning"
        )
        assert done.returncode == 0, f"{block.place}: {done.stderr}"


def test_the_page_lists_the_operators():
    listed = next(block for block in read_snippets(PAGE) if block.text.startswith("Abs Add"))
    assert listed.text.split() == sorted(RULES)
