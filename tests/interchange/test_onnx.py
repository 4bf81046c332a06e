"""ONNX out of Paddle and PyTorch, any ONNX classifier in, and all frameworks compared.

What an operator computes is onnxruntime's word, and of LeNet PyTorch's. About 60 s on one core.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import lenet_cpp
from lenet_cpp._base import optional as _extras
from lenet_cpp.agreement import compare
from lenet_cpp.cli import export_onnx, import_model, verify
from lenet_cpp.data.images import digit
from lenet_cpp.data.mnist import read_mnist_dir, sample_dir, to_model_input
from lenet_cpp.errors import BackendFailure, BadInput, BadModel, FileNotFound, Unsupported
from lenet_cpp.formats import StateMismatch
from lenet_cpp.formats.manifest import read_manifest, sha256_file, verify_checksums
from lenet_cpp.formats.onnx_metadata import read_onnx_metadata
from lenet_cpp.interchange.onnx import export, import_
from lenet_cpp.interchange.onnx import files as onnx_files
from lenet_cpp.interchange.onnx.import_ import import_onnx
from lenet_cpp.interchange.onnx.network import build_network
from lenet_cpp.interchange.onnx.reduce import to_steps, upgraded
from lenet_cpp.interchange.onnx.rules import RULES
from lenet_cpp.interchange.onnx.steps import Steps
from lenet_cpp.interchange.torch import models as torch_models
from lenet_cpp.verify import across
from snippets import read_snippets, run_snippet
from tools.caffe2 import route

_REASON = "ONNX is an extra: pip install 'lenet-cpp[onnx]'"
onnx = pytest.importorskip("onnx", reason=_REASON)
onnxruntime = pytest.importorskip("onnxruntime", reason=_REASON)
pytest.importorskip("paddle2onnx", reason=_REASON)
paddle = pytest.importorskip("paddle", reason="PaddlePaddle is an extra")
torch = pytest.importorskip("torch", reason="PyTorch is an extra: pip install 'lenet-cpp[torch]'")

import onnx_models as made  # noqa: E402 - needs onnx

pytestmark = pytest.mark.timeout(300)

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "onnx.md"
DIGITS = 200


def run_onnx(model: onnx.ModelProto | Path, images: np.ndarray) -> np.ndarray:
    """What onnxruntime computes; one image after the other when the model takes one."""
    source = str(model) if isinstance(model, Path) else model.SerializeToString()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    first = session.get_inputs()[0]
    size = first.shape[0] if isinstance(first.shape[0], int) else len(images)
    parts = [
        session.run(None, {first.name: images[begin : begin + size]})[0]
        for begin in range(0, len(images), size)
    ]
    return np.concatenate(parts).reshape(len(images), -1)


def assert_same(expected: np.ndarray, found: np.ndarray) -> None:
    assert expected.shape == found.shape
    assert np.isfinite(expected).all()
    assert compare(expected, found).agrees
    assert (expected.argmax(axis=1) == found.argmax(axis=1)).all()


def save(model: onnx.ModelProto, path: Path) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


@pytest.fixture(scope="module")
def digits() -> np.ndarray:
    return to_model_input(read_mnist_dir(sample_dir()).test.images[:DIGITS])


@pytest.fixture(scope="module")
def net(model_dir: Path) -> torch.nn.Module:
    """LeNet in PyTorch, with trained parameters, so that its answers are apart."""
    from lenet_cpp.interchange.torch.state import torch_state
    from lenet_cpp.verify.across import Context
    from lenet_cpp.verify.files import find_models

    context = Context(
        find_models(model_dir)[0],
        np.zeros(0),
        Path(),
        1,
        Path(),
        lenet_cpp.models.get("lenet"),
        None,
    )
    arrays = {key: value.numpy() for key, value in context.layer().state_dict().items()}
    net = torch_models.create_network("lenet")
    state = torch_state(arrays, "lenet")
    net.load_state_dict({key: torch.from_numpy(value.copy()) for key, value in state.items()})
    return net.eval()


@pytest.fixture(scope="module")
def expected(net: torch.nn.Module, digits: np.ndarray) -> np.ndarray:
    """What PyTorch computes from the digits."""
    with torch.inference_mode():
        return net(torch.from_numpy(digits)).numpy()


@pytest.fixture(scope="module")
def exported(net: torch.nn.Module, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The network as net.prm, and in ONNX by either exporter."""
    folder = tmp_path_factory.mktemp("exported")
    files = {"prm": folder / "net.prm"}
    torch_models.save_state(net, files["prm"])
    for exporter in export.EXPORTERS:
        files[exporter] = folder / f"{exporter}.onnx"
        arguments = [str(files["prm"]), "--model=lenet", f"--exporter={exporter}"]
        assert export_onnx.main([*arguments, f"--output={files[exporter]}"]) == 0
    return files


@pytest.mark.parametrize("exporter", export.EXPORTERS)
def test_torch_becomes_onnx(
    exporter: str, exported: dict[str, Path], digits: np.ndarray, expected: np.ndarray
) -> None:
    path = exported[exporter]
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert model.opset_import[0].version == export.EXPORTERS[exporter]
    for value in (*model.graph.input, *model.graph.output):
        assert value.type.tensor_type.shape.dim[0].dim_param == "N"
    for count in (1, 3, DIGITS):
        assert_same(expected[:count], run_onnx(path, digits[:count]))
    with lenet_cpp.Predictor(path, engine="native") as predictor:
        assert_same(expected, predictor.run(digits))
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


@pytest.mark.parametrize("exporter", export.EXPORTERS)
def test_onnx_from_torch_arrives_in_cpp(
    exporter: str,
    exported: dict[str, Path],
    digits: np.ndarray,
    expected: np.ndarray,
    run_program,
    tmp_path: Path,
) -> None:
    output = tmp_path / "imported"
    assert import_model.main([str(exported[exporter]), f"--output={output}"]) == 0
    manifest = read_manifest(output)
    verify_checksums(output)
    assert set(manifest.models) == {f"{exporter}.json", f"{exporter}.pdmodel"}
    assert manifest.classes == tuple("0123456789")
    assert manifest.softmax is False
    source = manifest.training["source"]
    assert source["file"] == f"{exporter}.onnx"
    assert source["sha256"] == sha256_file(exported[exporter])
    assert json.loads((output / "preprocess.json").read_text()) == digit().to_dict()
    np.save(tmp_path / "digits.npy", digits)
    for program in manifest.models:
        done = run_program(
            f"--model_file={output / program}",
            f"--params_file={output / exporter}.pdiparams",
            f"--input={tmp_path / 'digits.npy'}",
            f"--output={tmp_path / 'outputs.npy'}",
        )
        assert done.returncode == 0, done.stderr
        assert_same(expected, np.load(tmp_path / "outputs.npy"))


@pytest.fixture(scope="module")
def paddle_onnx(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The bundled model in ONNX, from either format."""
    folder = tmp_path_factory.mktemp("paddle")
    files = {name: folder / name / "lenet.onnx" for name in ("pdmodel", "json")}
    for model_format, path in files.items():
        program = model_dir / f"lenet.{model_format}"
        assert export_onnx.main([str(program), f"--output={path}"]) == 0
    return files


@pytest.mark.parametrize("model_format", ["pdmodel", "json"])
def test_paddle_becomes_onnx(
    model_format: str, paddle_onnx: dict[str, Path], model_dir: Path, digits: np.ndarray
) -> None:
    path = paddle_onnx[model_format]
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    for value in (*model.graph.input, *model.graph.output):
        assert value.type.tensor_type.shape.dim[0].dim_param == "N"
    for count in (1, 3, DIGITS):
        assert_same(lenet_cpp.predict(digits[:count]), run_onnx(path, digits[:count]))
    with lenet_cpp.Predictor(path, engine="native") as predictor:
        assert_same(lenet_cpp.predict(digits), predictor.run(digits))
    described = read_onnx_metadata(path)
    manifest = read_manifest(model_dir)
    assert described["source"]["sha256"] == manifest.files[f"lenet.{model_format}"].sha256
    assert described["training"] == manifest.training
    assert described["accuracy"]["top1"] == manifest.accuracy.top1
    assert re.fullmatch(r"paddle 3\.\d+\.\d+, paddle2onnx 2\.1\.0", described["exporter"])


def test_onnx_from_paddle_comes_back(
    paddle_onnx: dict[str, Path],
    model_dir: Path,
    digits: np.ndarray,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    back = tmp_path / "back"
    assert import_model.main([str(paddle_onnx["json"]), f"--output={back}"]) == 0
    assert "checked: outputs differ" in capsys.readouterr().out
    manifest, origin = read_manifest(back), read_manifest(model_dir)
    assert (manifest.data, manifest.accuracy) == (origin.data, origin.accuracy)
    with lenet_cpp.Predictor(model_dir=back) as predictor:
        assert_same(lenet_cpp.predict(digits), predictor.run(digits))


def run_steps(steps: Steps, images: np.ndarray) -> np.ndarray:
    """What the Paddle network computes, which only names of ours reach."""
    names = [name for step in steps.steps for name in (step.output, *step.inputs)]
    assert all(re.fullmatch(r"x|[wt][0-9]+", name) for name in (*names, *steps.weights))
    options = [value for step in steps.steps for value in step.options.values()]
    assert not [value for value in options if isinstance(value, str)]
    return build_network(steps)(paddle.to_tensor(images)).numpy()


@pytest.mark.parametrize("name", made.CASES)
def test_the_network_gives_the_same_answers(name: str) -> None:
    source = made.CASES[name]
    onnx.checker.check_model(source, full_check=True)
    steps = to_steps(upgraded(source))
    shape = [dim.dim_value for dim in source.graph.input[0].type.tensor_type.shape.dim][1:]
    for count in (1, 3):
        images = np.random.default_rng(count).random((count, *shape), np.float32)
        assert_same(run_onnx(source, images), run_steps(steps, images))


def test_the_network_can_be_trained() -> None:
    network = build_network(to_steps(made.CASES["BatchNormalization"]))
    parameters = dict(network.named_parameters())
    trained = [name for name, value in parameters.items() if not value.stop_gradient]
    assert len(parameters) - len(trained) == 2  # the statistics of the normalization
    before = {name: parameters[name].numpy() for name in trained}
    images = paddle.rand([8, 3, made.SIDE, made.SIDE])
    labels = paddle.arange(8) % 4
    optimizer = paddle.optimizer.SGD(0.1, parameters=network.parameters())
    losses = []
    for _ in range(20):
        loss = paddle.nn.functional.cross_entropy(network(images), labels)
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert all((parameters[name].numpy() != before[name]).any() for name in trained)


def test_operators_are_converted(tmp_path: Path, run_program) -> None:
    model = made.everything()
    kinds = {node.op_type for node in model.graph.node}
    assert len(kinds) > 40
    path = save(model, tmp_path / "everything.onnx")
    result = import_onnx(path, tmp_path / "out")
    assert not result.notes
    images = np.random.default_rng(1).random((3, 3, made.SIDE, made.SIDE), np.float32)
    np.save(tmp_path / "images.npy", images)
    for program in result.result.manifest.models:
        done = run_program(
            f"--model_file={tmp_path / 'out' / program}",
            f"--params_file={tmp_path / 'out' / 'everything.pdiparams'}",
            f"--input={tmp_path / 'images.npy'}",
            f"--output={tmp_path / 'outputs.npy'}",
        )
        assert done.returncode == 0, done.stderr
        assert_same(run_onnx(path, images), np.load(tmp_path / "outputs.npy"))


class Odds(torch.nn.Module):
    """What today's networks are made of, as PyTorch's exporter writes it."""

    def __init__(self) -> None:
        super().__init__()
        nn = torch.nn
        self.stem = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1),
            nn.BatchNorm2d(8),
            nn.Hardswish(),
            nn.MaxPool2d(3, 2, ceil_mode=True),
        )
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.middle = nn.Sequential(
            nn.PReLU(8), nn.ReLU6(), nn.ZeroPad2d((1, 2, 0, 1)), nn.Conv2d(8, 8, 3)
        )
        self.pool = nn.AdaptiveAvgPool2d((3, 3))
        self.dense = nn.Sequential(nn.Linear(72, 16), nn.BatchNorm1d(16), nn.ELU(), nn.Dropout())
        self.last = nn.Linear(24, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
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


def test_a_network_of_ones_own(tmp_path: Path) -> None:
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


def test_a_model_of_2018_takes_any_number_of_images(tmp_path: Path) -> None:
    path = save(made.squeezenet(), tmp_path / "squeezenet.onnx")
    described = tmp_path / "preprocess.json"
    lenet_cpp.images.imagenet(18).save(described)
    done = import_model.main(
        [str(path), f"--output={tmp_path / 'out'}", f"--preprocess={described}"]
    )
    assert done == 0
    manifest = read_manifest(tmp_path / "out")
    assert (manifest.softmax, manifest.classes, manifest.class_dim) == (True, (), 5)
    images = np.random.default_rng(2).random((7, 3, 18, 18), np.float32)
    with lenet_cpp.Predictor(model_dir=tmp_path / "out") as predictor:
        assert_same(run_onnx(path, images), predictor.run(images))
    assert (tmp_path / "out" / "preprocess.json").read_text() == described.read_text()


# As the target of an assignment in generated code, this makes a folder.
CODE = 'q=globals()[getattr(__import__("os"),"mkdir")("owned")]'


def test_no_name_becomes_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names are chosen so that whatever writes them into Python code would run them."""
    monkeypatch.chdir(tmp_path)
    nodes = [
        made.node("Conv", "input w1", "c", pads=[1, 1, 1, 1], kernel_shape=[3, 3]),
        onnx.helper.make_node("Relu", ["c"], [CODE], name=CODE),
        onnx.helper.make_node("GlobalAveragePool", [CODE], ["p=(1,)"]),
        onnx.helper.make_node("Flatten", ["p=(1,)"], ["f"]),
        onnx.helper.make_node("MatMul", ["f", "w);import os;("], ["y"]),
    ]
    weights = {"w1": made.values(8, 3, 3, 3), "w);import os;(": made.values(8, 4)}
    model = made.model(nodes, weights, 13)
    model.graph.name = model.producer_name = model.doc_string = CODE
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = CODE
    onnx_files.set_metadata(model, {"classes": ["\x1b[31m", "b", "c", "d"]})
    path = save(model, tmp_path / "hostile.onnx")
    result = import_onnx(path, tmp_path / "out").result
    assert not (tmp_path / "owned").exists()
    assert not any(CODE.encode() in file.read_bytes() for file in result.files)
    assert result.manifest.classes == ()
    images = np.random.default_rng(3).random((3, 3, made.SIDE, made.SIDE), np.float32)
    with lenet_cpp.Predictor(model_dir=tmp_path / "out") as predictor:
        assert_same(run_onnx(path, images), predictor.run(images))


def edited(**changes: object) -> onnx.ModelProto:
    """A model with something wrong."""
    model = onnx.ModelProto()
    model.CopyFrom(made.CASES["Relu"])
    for name, value in changes.items():
        if name == "kind":
            model.graph.node[1].op_type = str(value)
        elif name == "domain":
            model.graph.node[1].domain = str(value)
            model.opset_import.append(onnx.helper.make_opsetid(str(value), 1))
        elif name == "input_type":
            model.graph.input[0].type.tensor_type.elem_type = int(str(value))
        elif name == "dims":
            dims = model.graph.input[0].type.tensor_type.shape.dim
            dims[2].dim_param = dims[3].dim_param = "side"
        elif name == "outputs":
            model.graph.output.append(
                onnx.helper.make_tensor_value_info("pooled", 1, ["a", "b", "c", "d"])
            )
    return model


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"kind": "NonZero"}, Unsupported, "operator NonZero cannot be converted; known are Abs"),
        ({"kind": "place_holder"}, BadModel, "not a valid ONNX model"),
        ({"kind": "Relu", "domain": "a.b"}, Unsupported, "'a.b.Relu' cannot be converted"),
        ({"dims": True}, BadInput, r"any size, \[3, -1, -1\]: say which \(--input_shape\)"),
        (
            {"outputs": True},
            BadInput,
            r"several outputs: say which \(--output_name\): 'y', 'pooled'",
        ),
    ],
)
def test_what_cannot_be_converted(
    changes: dict[str, object], error: type[Exception], said: str, tmp_path: Path
) -> None:
    path = save(edited(**changes), tmp_path / "model.onnx")
    with pytest.raises(error, match=said):
        to_steps(onnx_files.read_onnx(path))


def test_what_was_left_open_can_be_said() -> None:
    images = np.random.default_rng(4).random((3, 3, 16, 14), np.float32)
    open_size = edited(dims=True)
    steps = to_steps(open_size, input_shape=(3, 16, 14))
    assert_same(run_onnx(open_size, images), run_steps(steps, images))
    with pytest.raises(BadInput, match=r"takes images \[3, -1, -1\], not \[1, 16, 14\]"):
        to_steps(open_size, input_shape=(1, 16, 14))
    images = np.random.default_rng(5).random((3, 3, made.SIDE, made.SIDE), np.float32)
    chosen = to_steps(edited(outputs=True), output="pooled")
    assert run_steps(chosen, images).shape == (3, 8)
    with pytest.raises(BadInput, match="no output 'z'"):
        to_steps(edited(outputs=True), output="z")


def test_damaged_metadata_is_left_out(tmp_path: Path) -> None:
    model = edited()
    wanted = {"classes": list("abcd"), "preprocess": {"steps": 1}}
    onnx_files.set_metadata(model, wanted)
    for key, value in {"lenet_cpp.data": "{", "lenet_cpp.top1": "NaN", "other": "1"}.items():
        model.metadata_props.add(key=key, value=value)
    path = save(model, tmp_path / "a.onnx")
    assert read_onnx_metadata(path) == wanted
    with lenet_cpp.InferenceEngine("native").load_predictor(path) as engine:
        assert engine.topk(np.arange(4))[0][0].label == "d"
        with pytest.raises(BadModel, match=r"a\.onnx: the preprocessing in its metadata"):
            _ = engine.pipeline
    whole = path.read_bytes()
    for end in range(0, len(whole), 37):  # cut anywhere, or with a length that is too large
        path.write_bytes(whole[:end])
        read_onnx_metadata(path)
        path.write_bytes(whole[:end] + b"\xff" * 20)
        assert read_onnx_metadata(path).items() <= wanted.items()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no operators"),
        (b"\x08\x08\x12\x00 not a model at all", "damaged, or is not an ONNX model"),
        (made.CASES["Relu"].SerializeToString()[:500], "damaged, or is not an ONNX model"),
    ],
)
def test_damaged_files(
    content: bytes, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    assert import_model.main([str(path), f"--output={tmp_path / 'out'}"]) == BadModel.exit_code
    message = capsys.readouterr().err
    assert said in message
    assert message.count("\n") == 1
    assert list(tmp_path.iterdir()) == [path]


def with_weights_at(location: str, length: int = 8 * 3 * 3 * 3 * 4) -> onnx.ModelProto:
    model = edited()
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in {"location": location, "offset": "0", "length": str(length)}.items():
        tensor.external_data.add(key=key, value=value)
    return model


def test_weights_beside_the_model(tmp_path: Path) -> None:
    source = edited()
    folder = tmp_path / "model"
    folder.mkdir()
    data = source.graph.initializer[0].raw_data
    (folder / "weights.bin").write_bytes(data)
    read = onnx_files.read_onnx(save(with_weights_at("weights.bin"), folder / "a.onnx"))
    assert read == source
    (tmp_path / "secret.bin").write_bytes(data)
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    for location in ("../secret.bin", str(tmp_path / "secret.bin"), "link.bin", ""):
        path = save(with_weights_at(location), folder / "b.onnx")
        with pytest.raises(BadModel, match="names weights outside its folder"):
            onnx_files.read_onnx(path)
    with pytest.raises(FileNotFound, match=r"missing\.bin"):
        onnx_files.read_onnx(save(with_weights_at("missing.bin"), folder / "c.onnx"))
    with pytest.raises(BadModel, match="wrong size"):
        onnx_files.read_onnx(save(with_weights_at("weights.bin", 2**40), folder / "d.onnx"))
    (folder / "weights.bin").write_bytes(data[:-1])
    with pytest.raises(BadModel, match="truncated"):
        onnx_files.read_onnx(folder / "a.onnx")


def test_nothing_wrong_is_written(net: torch.nn.Module, tmp_path: Path) -> None:
    class Moody(torch.nn.Module):
        """Computes something else once it has been exported."""

        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, x: torch.Tensor) -> torch.Tensor:
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


def test_an_export_that_is_refused_keeps_its_kind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """StateMismatch is a BadModel whose constructor takes more than a message."""

    def refuse(*_: object, **__: object) -> None:
        raise StateMismatch(tmp_path, ["fc.weight"], [], {})

    monkeypatch.setattr(import_, "export_model", refuse)
    steps = to_steps(made.CASES["Relu"])
    with pytest.raises(BadModel, match=r"cannot be used.*missing fc\.weight"):
        import_._export("a.onnx", "a", steps, tmp_path)


def test_a_format_that_is_refused_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export_model = import_.export_model

    def refuse(*arguments: object, **options: object) -> object:
        if "pdmodel" in options["formats"]:
            raise RuntimeError("a stack\nno such operator")
        return export_model(*arguments, **options)

    monkeypatch.setattr(import_, "export_model", refuse)
    steps = to_steps(made.CASES["Relu"])
    manifest, _, notes = import_._export("a.onnx", "a", steps, tmp_path)
    assert list(manifest.models) == ["a.json"]
    assert notes == [".pdmodel is left out: no such operator"]


def test_an_import_that_computes_something_else_is_refused(tmp_path: Path) -> None:
    outputs = np.array([[1.0, 2.0, 30.0]], np.float32)
    compare_ = import_._compare
    assert compare_("m", "it", [outputs], [outputs + np.float32(2e-4)]) == pytest.approx(2e-4, 0.1)
    with pytest.raises(BackendFailure, match="nothing was written"):
        compare_("m", "it", [outputs], [outputs + np.float32(4e-4)])
    with pytest.raises(BadModel, match="do not run the same model"):
        compare_("m", "it", [outputs], [outputs[:, :2]])
    huge = made.between([made.node("Log", "c", "m")], {})  # of negative numbers
    with pytest.raises(BadModel, match="not finite"):
        import_onnx(save(huge, tmp_path / "a.onnx"), tmp_path / "out")


@pytest.mark.parametrize("module", ["onnx", "onnxruntime", "paddle2onnx"])
def test_what_is_missing_is_named(
    module: str,
    model_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    find = _extras.find_spec
    monkeypatch.setattr(_extras, "find_spec", lambda name: None if name == module else find(name))
    path = save(made.CASES["Relu"], tmp_path / "a.onnx")
    command = (
        export_onnx.main([str(model_dir), f"--output={tmp_path / 'b.onnx'}"])
        if module == "paddle2onnx"
        else import_model.main([str(path), f"--output={tmp_path / 'out'}"])
    )
    assert command == Unsupported.exit_code
    assert f"package {module}: pip install 'lenet-cpp[onnx]'" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["a.onnx", "--output=out"], 3, "cannot read a.onnx"),
        (["a.prm", "--output=out"], 2, "name the network with --model"),
        (["a.onnx", "--output=out", "--model=lenet"], 2, "--model does not go with an ONNX file"),
        (
            ["a.prm", "--output=out", "--like=lenet"],
            2,
            "--like does not go with PyTorch parameters",
        ),
        ([str(PAGE), "--output=out"], 5, "is no model that can be imported"),
        ([".", "--output=out"], 3, "init_net.pb"),
    ],
)
def test_import_usage(
    arguments: list[str],
    status: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    try:
        found = import_model.main(arguments)
    except SystemExit as end:
        found = end.code
    assert found == status
    assert said in capsys.readouterr().err


def test_across(
    model_dir: Path,
    program: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    common = ["--across", f"--model-dir={model_dir}", f"--program={program}", "--images=50"]
    command = [*common, f"--report={tmp_path / 'report.json'}"]
    assert verify.main(command, more_routes={"Caffe2": route.run}) == 0
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
        assert "caffe2_roundtrip.py --make-environment" in report["unavailable"]["Caffe2"]


def test_across_notices_other_weights(
    model_dir: Path,
    program: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    ways = ("torch", "Paddle dygraph", "C++ program", "lenet_cpp")
    monkeypatch.setattr(across, "WAYS", {way: across.WAYS[way] for way in ways})
    torch_models.save_state(torch_models.create_network("lenet", seed=3), tmp_path / "other.prm")
    arguments = ["--across", f"--model-dir={model_dir}", f"--program={program}", "--images=50"]
    assert verify.main([*arguments, f"--torch={tmp_path / 'other.prm'}", "--format=json"]) == 1
    report = json.loads(capsys.readouterr().out)
    wrong = {tuple(pair["routes"]) for pair in report["pairs"] if pair["verdict"] == "DIFFERS"}
    assert wrong == {("torch", way) for way in ways[1:]}


def test_across_says_why_a_way_is_left_out(
    model_dir: Path, program: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("lenet.json", "lenet.pdiparams"):
        shutil.copyfile(model_dir / name, tmp_path / name)
    arguments = ["--across", f"--model-dir={tmp_path}", f"--program={program}", "--images=2"]
    assert verify.main([*arguments, "--format=json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert {"torch", "Paddle dygraph"} < report["unavailable"].keys()
    assert "--model" in report["unavailable"]["torch"]
    assert "OpenVINO" in report["routes"]


@pytest.mark.nightly
def test_the_page(model_dir: Path, tmp_path: Path) -> None:
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


def test_the_page_lists_the_operators() -> None:
    listed = next(block for block in read_snippets(PAGE) if block.text.startswith("Abs Add"))
    assert listed.text.split() == sorted(RULES)


def test_importing_lenet_cpp_imports_none_of_them() -> None:
    code = (
        "import sys, lenet_cpp, lenet_cpp.cli.export_onnx, lenet_cpp.cli.import_model,"
        " lenet_cpp.cli.verify; print(sorted({'onnx', 'onnxruntime', 'torch', 'paddle'}"
        " & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
