"""Formats: every cell of the tables in docs/formats.md, and what a conversion has to refuse.

About 25 s on one core.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import paddle
import pytest

from lenet_cpp import errors, export, formats, models
from lenet_cpp.cli.convert_model import main
from lenet_cpp.cli.export_model import main as export_main
from lenet_cpp.export import separate_layout
from lenet_cpp.formats.tensors import read_combined, read_variable
from lenet_cpp.inference.engine_loading import load
from lenet_cpp.models.parameter_names import as_state_dict

pytestmark = pytest.mark.timeout(300)

DOCUMENT = Path(__file__).parents[2] / "docs" / "formats.md"
FORMATS = ("pdparams", "persistables", "pdmodel", "model-params", "separate", "json")
# Which names each format's files have when it is written as LeNet.
VARIABLES = {f"{kind}_{i}.{part}_0" for kind, n in (("conv2d", 2), ("linear", 3)) for i in range(n)
             for part in "wb"}  # fmt: skip
FILES = {
    "pdparams": {"lenet.pdparams"},
    "persistables": VARIABLES,
    "pdmodel": {"lenet.pdmodel", "lenet.pdiparams"},
    "model-params": {"model", "params"},
    "separate": {"__model__", *VARIABLES},
    "json": {"lenet.json", "lenet.pdiparams"},
}
COMPANIONS = {"preprocess.json", "manifest.json", "SHA256SUMS"}
Array = Any

# A child process for each conversion takes two seconds to import Paddle: here one does them all.
# tests/export/test_export.py and test_commands have one for each, as users have.
_SERVER = """
import json, sys
from lenet_cpp.errors import Error
from lenet_cpp.export.separate_child import transcribe
for line in sys.stdin:
    try:
        answer = {"result": transcribe(**json.loads(line), report=lambda *_: None)}
    except Error as error:
        answer = {"error": type(error).__name__, "message": str(error)}
    print("ANSWER " + json.dumps(answer), flush=True)
"""


@pytest.fixture(scope="module", autouse=True)
def one_child() -> Iterator[None]:
    child: list[subprocess.Popen[str]] = []

    def call(function: str, arguments: Any, *, doing: str, variables: dict[str, str]) -> Any:
        assert function == "lenet_cpp.export.separate_child:transcribe"
        if not child:
            child.append(
                subprocess.Popen(
                    [sys.executable, "-c", _SERVER],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    env={**os.environ, **variables, "GLOG_minloglevel": "3"},
                    text=True,
                )
            )
        assert child[0].stdin
        assert child[0].stdout
        child[0].stdin.write(json.dumps(arguments) + "\n")
        child[0].stdin.flush()
        line = next(line for line in child[0].stdout if line.startswith("ANSWER "))
        answer = json.loads(line.removeprefix("ANSWER "))
        if "error" in answer:
            raise getattr(errors, answer["error"])(answer["message"])
        return SimpleNamespace(result=answer["result"])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(separate_layout, "call", call)
        yield
    for process in child:
        process.communicate()


def table(heading: str) -> list[dict[str, str]]:
    """The first table after a heading of the document: column title to cell, for each row."""
    text = DOCUMENT.read_text(encoding="utf-8").split(f"\n## {heading}\n")[1]
    rows = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip().replace("`", "") for cell in row] for row in rows]
    width = next((i for i, row in enumerate(cells) if len(row) != len(cells[0])), len(cells))
    body = cells[2:width]
    found = []
    for row in body:
        if row[0] not in FORMATS:
            break
        found.append(dict(zip(cells[0], row, strict=True)))
    return found


CONVERSIONS = table("From one to the other")
READERS = table("Who reads it")
WRITERS = table("Who writes it")


def images(batch: int = 3) -> Array:
    return np.random.default_rng(batch).random((batch, 1, 28, 28), dtype=np.float32)


@pytest.fixture(scope="module")
def layer() -> Any:
    net = models.build("lenet", seed=5)
    net.eval()
    return net


@pytest.fixture(scope="module")
def expected(layer: Any) -> Array:
    return layer(paddle.to_tensor(images())).numpy()


@pytest.fixture(scope="module")
def sources(layer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same LeNet in every format, made by Paddle's own functions where it still has them."""
    root = tmp_path_factory.mktemp("sources")
    for format_ in FORMATS:
        (root / format_).mkdir()
    paddle.save(layer.state_dict(), str(root / "pdparams" / "lenet.pdparams"))
    code = (
        "import sys, paddle; from lenet_cpp import models; net = models.build('lenet');"
        "net.set_state_dict(paddle.load(sys.argv[1])); net.eval();"
        "spec = [paddle.static.InputSpec([None, 1, 28, 28], name='x')];"
        "static = paddle.jit.to_static(net, input_spec=spec, full_graph=True);"
        "paddle.jit.save(static, sys.argv[2])"
    )
    for format_, flag in (("pdmodel", "0"), ("json", "1")):
        subprocess.run(
            [
                sys.executable,
                "-W",
                "ignore",
                "-c",
                code,
                root / "pdparams" / "lenet.pdparams",
                root / format_ / "lenet",
            ],
            env=os.environ | {"FLAGS_enable_pir_api": flag},
            check=True,
            capture_output=True,
        )
        (root / format_ / "lenet.pdiparams.info").unlink(missing_ok=True)
    for old, new in (("lenet.pdmodel", "model"), ("lenet.pdiparams", "params")):
        shutil.copy(root / "pdmodel" / old, root / "model-params" / new)
    shutil.copy(root / "pdmodel" / "lenet.pdmodel", root / "separate" / "__model__")
    for name, tensor in zip(sorted_variables(layer), layer.state_dict().values(), strict=True):
        for format_ in ("persistables", "separate"):
            paddle.save(tensor, str(root / format_ / name), use_binary_format=True)
    return root


def sorted_variables(layer: Any) -> list[str]:
    """The generated name of each parameter, in the order of the state dict."""
    names = []
    numbers = {"conv": 0, "linear": 0}
    for key in layer.state_dict():
        kind = "conv" if key.startswith("conv") else "linear"
        is_bias = key.endswith("bias")
        names.append(
            f"{kind.replace('conv', 'conv2d')}_{numbers[kind]}.{'b' if is_bias else 'w'}_0"
        )
        numbers[kind] += is_bias
    return names


def run(format_: str, folder: Path, x: Array) -> Array:
    """What a model computes, by Paddle itself: a layer, or paddle.inference."""
    if format_ == "pdparams":
        net = models.build("lenet")
        (path,) = folder.glob("*.pdparams")
        assert net.set_state_dict(paddle.load(str(path))) == ([], [])
        net.eval()
        return net(paddle.to_tensor(x)).numpy()
    if format_ == "persistables":
        net = models.build("lenet")
        values = [
            paddle.load(str(folder / name)) for name in sorted_variables(net)
        ]  # Paddle's own reader of such files
        state = dict(zip(net.state_dict(), values, strict=True))
        assert net.set_state_dict(state) == ([], [])
        net.eval()
        return net(paddle.to_tensor(x)).numpy()
    from paddle.inference import Config, create_predictor

    (program,) = (
        path
        for path in folder.iterdir()
        if path.name in {"model", "__model__", "lenet.pdmodel", "lenet.json", "inference.json"}
    )
    params = {"model": folder / "params"}.get(program.name, program.with_suffix(".pdiparams"))
    paths = (folder,) if program.name == "__model__" else (program, params)
    config = Config(*map(str, paths))
    config.disable_glog_info()
    predictor = create_predictor(config)
    handle = predictor.get_input_handle("x")
    handle.reshape(x.shape)
    handle.copy_from_cpu(x)
    predictor.run()
    result: Array = predictor.get_output_handle(predictor.get_output_names()[0]).copy_to_cpu()
    return result


def test_the_document_has_every_pair() -> None:
    assert set(formats.FORMATS) == set(FORMATS)
    pairs = [(row["from"], row["to"]) for row in CONVERSIONS]
    assert pairs == [(a, b) for a in FORMATS for b in FORMATS if a != b]
    for rows in (READERS, WRITERS):
        assert [row["format"] for row in rows] == list(FORMATS)


@pytest.mark.parametrize(
    "row", CONVERSIONS, ids=[f"{row['from']} to {row['to']}" for row in CONVERSIONS]
)
def test_conversion(
    row: dict[str, str],
    sources: Path,
    expected: Array,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(sources)
    script, *arguments = row["command"].split()
    assert script == "scripts/convert_model.py"
    at = arguments.index("-o") + 1
    assert arguments[at] == "out"
    arguments[at] = str(tmp_path / "out")
    assert main(arguments) == 0
    assert f"({row['from']}) to {row['to']}" in capsys.readouterr().out

    written = {path.name for path in (tmp_path / "out").iterdir()}
    if row["to"] == "pdparams":
        assert written == FILES["pdparams"]
    elif row["to"] == "persistables":
        assert written == FILES["persistables"] | {"SHA256SUMS"}
    else:
        assert written - {"preprocess.json"} == FILES[row["to"]] | COMPANIONS - {"preprocess.json"}
        if row["how"] == "parameters":
            assert "preprocess.json" in written
    found = run(row["to"], tmp_path / "out", images())
    assert np.abs(found - expected).max() <= 1e-5 * max(1, np.abs(expected).max())
    if row["how"] == "kept" and row["to"] != "persistables":
        assert np.array_equal(found, run(row["from"], sources / row["from"], images()))
        names = {"separate": "__model__", "model-params": "model", "pdmodel": "lenet.pdmodel"}
        if row["to"] in names:
            program = (tmp_path / "out" / names[row["to"]]).read_bytes()
            assert program == (sources / "pdmodel" / "lenet.pdmodel").read_bytes()
    parameters = sources / "pdmodel" / "lenet.pdiparams"
    if row["to"] in {"pdmodel", "model-params", "json"}:
        name = "params" if row["to"] == "model-params" else "lenet.pdiparams"
        assert (tmp_path / "out" / name).read_bytes() == parameters.read_bytes()
    if row["to"] in {"separate", "persistables"}:
        stored = b"".join((tmp_path / "out" / name).read_bytes() for name in sorted(VARIABLES))
        assert stored == parameters.read_bytes()


ENGINES = {
    "layer (infer.py)": "dygraph",
    "executor (py_infer.py)": "executor",
    "inference engine (predict.py --engine=python)": "python",
    "lenet_cpp.Predictor": "paddle",
}


def paths_of(format_: str, sources: Path) -> dict[str, Path]:
    folder = sources / format_
    return {"model_dir": folder}


@pytest.mark.parametrize("row", READERS, ids=[row["format"] for row in READERS])
@pytest.mark.parametrize("reader", [*READERS[0]][1:])
def test_reader(
    row: dict[str, str],
    reader: str,
    sources: Path,
    expected: Array,
    tmp_path: Path,
    run_program: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    paths = paths_of(row["format"], sources)
    reads = {"yes": True, "no": False}[row[reader]]
    if reader == "C++ program":
        np.save(tmp_path / "x.npy", images())
        output = tmp_path / "y.npy"
        flags = [f"--{name}={path}" for name, path in paths.items()]
        done = run_program(*flags, f"--input={tmp_path / 'x.npy'}", f"--output={output}")
        if not reads:
            assert done.returncode in {3, 4}
            assert re.fullmatch("lenet_infer_test: (FileNotFound|BadModel): .*\n", done.stderr)
            assert not output.exists()
            return
        assert done.returncode == 0, done.stderr
        found = np.load(output)
    else:
        if ENGINES[reader] == "dygraph":
            files = [path for path in (sources / row["format"]).iterdir() if path.is_file()]
            arguments: tuple[Any, ...] = ("lenet", files[0])
            paths = {}
        else:
            arguments = ()
        if not reads:
            with pytest.raises((errors.BadModel, errors.FileNotFound)) as error:
                load(ENGINES[reader], *arguments, options={}, **paths)
            assert "\n" not in str(error.value)
            return
        loaded = load(ENGINES[reader], *arguments, options={}, **paths)
        found = loaded.engine.run(images())
        loaded.engine.close()
    assert np.abs(found - expected).max() <= 1e-5 * max(1, np.abs(expected).max())


@pytest.mark.parametrize("row", WRITERS, ids=[row["format"] for row in WRITERS])
def test_export_writes_what_the_table_says(
    row: dict[str, str],
    sources: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    params = sources / "pdparams" / "lenet.pdparams"
    arguments = ["-m", "lenet", "-p", str(params), "-o", str(tmp_path / "out")]
    assert row["convert_model.py"] == "yes"  # test_conversion has a row for each
    assert (row["train.py"] == "yes") == (row["format"] == "pdparams")
    if row["export_model.py"] == "no":
        with pytest.raises(SystemExit):
            export_main([*arguments, "--format", row["format"]])
        assert "invalid choice" in capsys.readouterr().err
        return
    flags = re.fullmatch("yes: (--format .+)", row["export_model.py"])
    assert flags
    assert export_main([*arguments, *flags[1].split()]) == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == FILES[row["format"]] | COMPANIONS


def test_train_writes_a_state_dict(tmp_path: Path, layer: Any) -> None:
    from lenet_cpp.formats.checkpoint import save_checkpoint

    save_checkpoint(
        tmp_path,
        "lenet",
        parameters=layer.state_dict(),
        optimizer={"step": 1},
        record={},
        save=paddle.save,
    )  # what train.py does
    assert formats.find_source(tmp_path) == formats.Source("pdparams", tmp_path / "lenet.pdparams")
    done = export.convert_model(tmp_path / "lenet", tmp_path / "out", "json", model="lenet")
    assert (done.folder / "lenet.json").is_file()


# A network with normalizations, whose programs have outputs and variables that LeNet's have not.


@pytest.fixture(scope="module")
def resnet() -> Any:
    return models.build("ResNet18_vd", 4, 32, seed=2)


@pytest.fixture(scope="module")
def resnet_params(resnet: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("resnet") / "resnet.pdparams"
    paddle.save(resnet.state_dict(), str(path))
    return path


@pytest.fixture(scope="module")
def resnet_exports(resnet_params: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("resnet_export")
    options: dict[str, Any] = {"model": "ResNet18_vd", "class_dim": 4, "img_size": 32}
    export.export_model(resnet_params, folder / "pdmodel", formats=["pdmodel"], **options)
    export.export_model(resnet_params, folder / "json", formats=["json"], softmax=True, **options)
    return folder


def same_state(path: Path, layer: Any) -> bool:
    found = paddle.load(str(path), return_numpy=True)
    state = {key: value.numpy() for key, value in layer.state_dict().items()}
    found.pop("StructuredToParameterName@@", None)
    return found.keys() == state.keys() and all(
        np.array_equal(found[key], state[key]) for key in state
    )


def test_translated_program_runs_at_every_door(
    resnet: Any,
    resnet_exports: Path,
    tmp_path: Path,
    run_program: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    done = export.convert_model(resnet_exports / "pdmodel", tmp_path / "out", "json")
    # Counted by hand: an image passes 8 blocks of 2 convolutions, 4 projections, 3 of the stem.
    operators = json.loads((tmp_path / "out" / "inference.json").read_bytes())["program"]["regions"]
    kinds = [op["#"] for op in operators[0]["blocks"][0]["ops"]]
    assert kinds.count("1.conv2d") == 8 * 2 + 4 + 3
    assert "op_callstack" not in (tmp_path / "out" / "inference.json").read_text()
    x = np.random.default_rng(0).random((2, 3, 32, 32), dtype=np.float32)
    a = resnet_eval(resnet, x)
    for engine in ("paddle", "python", "executor"):
        loaded = load(engine, model_dir=done.folder, options={})
        b = loaded.engine.run(x)
        loaded.engine.close()
        assert np.abs(a - b).max() <= 1e-5 * max(1, np.abs(a).max())
    np.save(tmp_path / "x.npy", x)
    assert (
        run_program(f"--model_dir={done.folder}", f"--input={tmp_path / 'x.npy'}").returncode == 0
    )
    manifest = json.loads((done.folder / "manifest.json").read_bytes())
    assert (manifest["topology"], manifest["softmax"]) == ("ResNet18_vd", False)


def resnet_eval(resnet: Any, x: Array) -> Array:
    resnet.eval()
    with paddle.no_grad():
        result: Array = resnet(paddle.to_tensor(x)).numpy()
    return result


def test_manifest_names_the_network_and_keeps_the_softmax(
    resnet: Any, resnet_exports: Path, tmp_path: Path
) -> None:
    back = export.convert_model(resnet_exports / "json", tmp_path / "old", "separate")
    assert back.max_difference <= 1e-5
    x = np.random.default_rng(0).random((2, 3, 32, 32), dtype=np.float32)
    a = paddle.nn.functional.softmax(paddle.to_tensor(resnet_eval(resnet, x))).numpy()
    assert np.abs(a - run("separate", tmp_path / "old", x)).max() <= 1e-5
    export.convert_model(tmp_path / "old", tmp_path / "params", "pdparams")
    assert same_state(tmp_path / "params" / "ResNet18_vd.pdparams", resnet)


# What PaddleClas 1 called the variables of ResNet50_vd; the first group is in Paddle's guide.
GUIDE = ["bn2a_branch1_mean", "bn2a_branch1_offset", "bn2a_branch1_scale", "bn2a_branch1_variance"]
GUIDE += ["bn2a_branch2a_mean", "bn2a_branch2a_offset", "bn2a_branch2a_variance"]
GUIDE += ["res5c_branch2c_weights", "bnv1_1_scale", "conv1_3_weights", "fc_0.w_0", "fc_0.b_0"]


@pytest.mark.parametrize(
    ("name", "some", "absent"),
    [
        ("ResNet50_vd", [*GUIDE, "res4f_branch2b_weights"], ["res2b_branch1_weights"]),
        ("ResNet101_vd", ["res4a_branch1_weights", "res4b22_branch2c_weights"], ["res4b_branch2a"]),
        (
            "ResNet18_vd",
            ["res2b_branch2b_weights", "bn5a_branch1_mean"],
            ["res2a_branch2c_weights"],
        ),
    ],
)
def test_names_of_paddleclas_1(name: str, some: list[str], absent: list[str]) -> None:
    from lenet_cpp.models.parameter_names import _paddleclas1_names

    keys = list(models.build(name, 2).state_dict())
    names = _paddleclas1_names(keys)
    assert list(names) == keys
    assert len(set(names.values())) == len(keys)
    assert set(some) <= set(names.values())
    assert not set(absent) & set(names.values())


@pytest.fixture(scope="module")
def paddleclas_folder(resnet: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ResNet18_vd as fluid.io.save_persistables left it while training: momentum and all."""
    folder = tmp_path_factory.mktemp("paddleclas")
    places = {"weight": "scale", "bias": "offset", "_mean": "mean", "_variance": "variance"}
    for key, tensor in resnet.state_dict().items():
        where, _, rest = key.partition(".")
        if where == "fc":
            name = f"fc_0.{rest[0]}_0"
        else:
            number, _, rest = rest.partition(".")
            if where == "stem":
                stem, norm = f"conv1_{int(number) + 1}", f"bnv1_{int(number) + 1}"
            else:
                block = f"{int(number) // 2 + 2}{'ab'[int(number) % 2]}"  # 2 blocks a stage
                branch, _, rest = rest.partition(".")
                branch = {"conv0": "branch2a", "conv1": "branch2b", "short": "branch1"}[branch]
                stem, norm = f"res{block}_{branch}", f"bn{block}_{branch}"
            kind, _, last = rest.partition(".")
            name = f"{stem}_weights" if kind == "conv" else f"{norm}_{places[last]}"
        paddle.save(tensor, str(folder / name), use_binary_format=True)
        if name.endswith("_weights"):
            zeros = paddle.zeros_like(tensor)
            paddle.save(zeros, str(folder / f"{name}_velocity_0"), use_binary_format=True)
    rate = paddle.to_tensor([0.1])
    paddle.save(rate, str(folder / "learning_rate_0"), use_binary_format=True)
    return folder


def test_folder_of_paddleclas_1(resnet: Any, paddleclas_folder: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"model": "resnet18_VD", "class_dim": 4, "img_size": 32}
    export.convert_model(paddleclas_folder, tmp_path / "a", "pdparams", **options)
    assert same_state(tmp_path / "a" / "ResNet18_vd.pdparams", resnet)
    export.convert_model(paddleclas_folder, tmp_path / "b", "model-params", softmax=True, **options)
    x = np.random.default_rng(0).random((2, 3, 32, 32), dtype=np.float32)
    a = paddle.nn.functional.softmax(paddle.to_tensor(resnet_eval(resnet, x))).numpy()
    assert np.abs(a - run("model-params", tmp_path / "b", x)).max() <= 1e-5


def test_folder_that_does_not_fit_is_listed(
    resnet: Any, paddleclas_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    shutil.copytree(paddleclas_folder, folder)
    (folder / "bn2a_branch2a_mean").unlink()
    (folder / "bnv1_1_scale").rename(folder / "of_my_own")
    zeros = paddle.zeros([5, 6, 7])
    paddle.save(zeros, str(folder / "res2a_branch2a_weights"), use_binary_format=True)
    options: dict[str, Any] = {"model": "ResNet18_vd", "class_dim": 4, "img_size": 32}
    with pytest.raises(errors.BadModel) as error:
        export.convert_model(folder, tmp_path / "out", "pdparams", **options)
    for part in (
        "missing bnv1_1_scale, bn2a_branch2a_mean",
        "unexpected of_my_own",
        "res2a_branch2a_weights is float32[5, 6, 7], expected float32[64, 64, 3, 3]",
    ):
        assert part in str(error.value)
    assert not (tmp_path / "out").exists()


def jit_save(net: Any, prefix: Path) -> None:
    """Save as a user does who built other layers before: the numbers do not begin at zero."""
    from paddle.pir_utils import DygraphOldIrGuard

    net.eval()
    with DygraphOldIrGuard():
        spec = [paddle.static.InputSpec([None, 1, 28, 28], "float32", name="x")]
        paddle.jit.save(paddle.jit.to_static(net, input_spec=spec, full_graph=True), str(prefix))


@pytest.fixture(scope="module")
def renumbered(layer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from paddle.pir_utils import DygraphOldIrGuard

    folder = tmp_path_factory.mktemp("renumbered")
    with DygraphOldIrGuard(), paddle.utils.unique_name.guard():
        # 9 and 10: as text, the second comes first.
        others = [paddle.nn.Conv2D(1, 1, 1) for _ in range(9)]
        net = models.build("lenet")
    assert len(others) == 9
    assert net.conv1.weight.name == "conv2d_9.w_0"
    net.set_state_dict({key: value.numpy() for key, value in layer.state_dict().items()})
    jit_save(net, folder / "lenet")
    return folder


def test_other_numbers_are_taken_from_a_program_only(
    renumbered: Path, layer: Any, tmp_path: Path
) -> None:
    export.convert_model(renumbered / "lenet", tmp_path / "a", "pdparams", model="lenet")
    assert same_state(tmp_path / "a" / "lenet.pdparams", layer)
    export.convert_model(renumbered, tmp_path / "b", "persistables")
    assert (tmp_path / "b" / "conv2d_10.w_0").is_file()
    with pytest.raises(errors.BadModel, match=r"missing .*unexpected conv2d_10\.b_0"):
        export.convert_model(tmp_path / "b", tmp_path / "c", "pdparams", model="lenet")


def test_another_network_with_the_same_parameters_is_found_out(layer: Any, tmp_path: Path) -> None:
    class Other(models.get("lenet").build().__class__):  # type: ignore[misc]
        def forward(self, x: Any) -> Any:
            return super().forward(x * 2)

    with paddle.utils.unique_name.guard():
        net = Other()
    net.set_state_dict({key: value.numpy() for key, value in layer.state_dict().items()})
    jit_save(net, tmp_path / "other")
    with pytest.raises(errors.BadModel, match="it is another network"):
        export.convert_model(tmp_path / "other", tmp_path / "out", "pdparams", model="lenet")
    assert not (tmp_path / "out").exists()
    with pytest.raises(errors.BadModel, match="does not fit the model"):
        export.convert_model(
            tmp_path / "other", tmp_path / "out", "pdparams", model="ResNet18_vd", img_size=32
        )


def test_static_state_dict(layer: Any, tmp_path: Path) -> None:
    """paddle.static.save, once fluid.save, has generated names in its .pdparams."""
    state = dict(
        zip(sorted_variables(layer), (v.numpy() for v in layer.state_dict().values()), strict=True)
    )
    paddle.save(state, str(tmp_path / "old.pdparams"))
    done = export.convert_model(tmp_path / "old", tmp_path / "out", "json", model="lenet")
    found = run("json", done.folder, images())
    a = layer(paddle.to_tensor(images())).numpy()
    assert np.abs(a - found).max() <= 1e-5 * max(1, np.abs(a).max())


@pytest.mark.parametrize(
    ("source", "program", "params"),
    [
        ("separate", "model", None),
        ("model-params", "__model__", "params"),
        ("model-params", "__model__", "__params__"),
        ("model-params", "model", "__params__"),
    ],
)
def test_other_names_of_the_guides(
    source: str, program: str, params: str | None, sources: Path, expected: Array, tmp_path: Path
) -> None:
    folder = tmp_path / "guide"
    shutil.copytree(sources / source, folder)
    (folder / FIRST[source]).rename(folder / program)
    if params is not None:
        (folder / "params").rename(folder / params)
    assert formats.find_source(folder).format == source
    assert formats.find_source(folder / program).format == source
    for to in ("pdmodel", "pdparams"):
        export.convert_model(folder, tmp_path / to, to, model="lenet", name="lenet")
        found = run(to, tmp_path / to, images())
        assert np.abs(found - expected).max() <= 1e-5 * max(1, np.abs(expected).max())
    for engine in ("paddle", "python", "executor"):
        loaded = load(engine, model_dir=folder, options={})
        found = loaded.engine.run(images())
        loaded.engine.close()
        assert np.abs(found - expected).max() <= 1e-5 * max(1, np.abs(expected).max())


FIRST = {"separate": "__model__", "model-params": "model"}


def test_a_network_that_is_not_registered_keeps_its_program(
    resnet_exports: Path, tmp_path: Path
) -> None:
    shutil.copytree(resnet_exports / "pdmodel", tmp_path / "own")
    (tmp_path / "own" / "SHA256SUMS").unlink()
    path = tmp_path / "own" / "manifest.json"
    path.write_text(path.read_text().replace('"ResNet18_vd"', '"Of my own"'))
    export.convert_model(tmp_path / "own", tmp_path / "json", "json")
    manifest = json.loads((tmp_path / "json" / "manifest.json").read_bytes())
    assert manifest["topology"] == "Of my own"
    assert (tmp_path / "json" / "preprocess.json").read_bytes() == (
        tmp_path / "own" / "preprocess.json"
    ).read_bytes()
    with pytest.raises(errors.BadInput, match="from json to pdmodel the network has to be named"):
        export.convert_model(tmp_path / "json", tmp_path / "out", "pdmodel")


# Files of variables.


def variable(values: Array, kind: int, *, packed: bool) -> bytes:
    """A variable's file, from the definition of the format; for fewer than 128 in a dimension."""
    dims = bytes(values.shape)
    shape = (
        bytes([0x12, len(dims)]) + dims if packed else b"".join(b"\x10" + bytes([n]) for n in dims)
    )
    message = bytes([0x08, kind]) + shape
    return struct.pack("<IQIi", 0, 0, 0, len(message)) + message + values.tobytes()


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("dtype", "kind"), [("float32", 5), ("float64", 6), ("int64", 3), ("uint8", 20), ("bool", 0)]
)
def test_variables_by_definition(dtype: str, kind: int, packed: bool, tmp_path: Path) -> None:
    values = np.arange(24).reshape(2, 3, 4).astype(dtype)
    (tmp_path / "v").write_bytes(variable(values, kind, packed=packed))
    found = read_variable(tmp_path / "v")
    assert found.dtype == values.dtype
    assert np.array_equal(found, values)
    two = variable(values, kind, packed=packed) + variable(values[0], kind, packed=packed)
    (tmp_path / "two").write_bytes(two)
    both = read_combined(tmp_path / "two", ["b_10", "b_9"])
    assert [value.shape for value in both.values()] == [(2, 3, 4), (3, 4)]
    assert list(both) == ["b_10", "b_9"]  # as text: 1 comes before 9


def test_variables_as_paddle_writes_them(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random((300, 2, 1)).astype("float32")
    paddle.save(paddle.to_tensor(values), str(tmp_path / "v"), use_binary_format=True)
    assert np.array_equal(read_variable(tmp_path / "v"), values)


GOOD = variable(np.ones((2, 3), np.float32), 5, packed=False)


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"", errors.BadModel),
        (GOOD[:-1], errors.BadModel),
        (GOOD + b"\0", errors.BadModel),
        (b"\1" + GOOD[1:], errors.BadModel),  # another version
        (GOOD[:16] + struct.pack("<i", -1) + GOOD[20:], errors.BadModel),
        (GOOD[:16] + struct.pack("<i", 1 << 30) + GOOD[20:], errors.BadModel),
        (GOOD[:21] + bytes([22]) + GOOD[22:], errors.Unsupported),  # bfloat16
        (GOOD[:23] + b"\x7f" + GOOD[24:], errors.BadModel),  # longer than the file
        (b"\x80\x04" + GOOD, errors.BadModel),  # a pickle
        (GOOD[:20] + b"\xff" * 6 + GOOD[26:], errors.BadModel),
    ],
)
def test_damaged_variable(content: bytes, error: type[Exception], tmp_path: Path) -> None:
    (tmp_path / "v").write_bytes(content)
    with pytest.raises(error, match=str(tmp_path / "v")):
        read_variable(tmp_path / "v")


# What is refused.


@pytest.mark.parametrize(
    ("source", "options", "error", "message"),
    [
        ("nowhere", {}, errors.FileNotFound, "nowhere is not a model: no such files"),
        ("pdmodel", {"source_format": "json"}, errors.FileNotFound, r"found: pdmodel"),
        ("pdmodel", {"source_format": "onnx"}, errors.BadInput, "choose among pdparams, "),
        ("pdmodel", {"to": "onnx"}, errors.BadInput, "choose among pdparams, "),
        ("persistables", {}, errors.BadInput, "has to be named .--model.*lenet"),
        ("persistables", {"model": "LeNext"}, errors.BadInput, "did you mean lenet"),
        ("pdparams", {}, errors.BadInput, "has to be named"),
        ("json", {"to": "pdmodel"}, errors.BadInput, "has to be named"),
        ("json", {"to": "pdparams", "softmax": True}, errors.BadInput, "leave it out"),
        ("pdparams", {"model": "lenet", "class_dim": 11}, errors.BadModel, "for 10 classes"),
        ("pdparams", {"model": "ResNet18_vd", "img_size": 32}, errors.BadModel, "stem.0.conv.wei"),
    ],
)
def test_refused(
    source: str,
    options: dict[str, Any],
    error: type[Exception],
    message: str,
    sources: Path,
    tmp_path: Path,
) -> None:
    to = options.pop("to", "json" if source != "json" else "pdmodel")
    try:
        with pytest.raises(error, match=message):
            export.convert_model(sources / source, tmp_path / "out", to, **options)
    finally:
        options["to"] = to
    assert not (tmp_path / "out").exists()


def test_folders_in_use(sources: Path, tmp_path: Path) -> None:
    with pytest.raises(errors.BadInput, match="holds the model to convert"):
        export.convert_model(sources / "pdmodel", sources / "pdmodel", "json")
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(errors.BadInput, match="choose a folder that is empty"):
        export.convert_model(sources / "pdmodel", tmp_path, "persistables")
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    for to, name in (("model-params", "params"), ("pdparams", "lenet.pdparams")):
        folder = tmp_path / to
        folder.mkdir()
        (folder / name).write_text("mine")
        with pytest.raises(errors.BadInput, match=f"{name} exists: choose another output folder"):
            export.convert_model(sources / "separate", folder, to, model="lenet")
        assert [path.read_text() for path in folder.iterdir()] == ["mine"]
    for name in ("a", "b"):
        shutil.copy(sources / "pdparams" / "lenet.pdparams", tmp_path / f"{name}.pdparams")
    with pytest.raises(
        errors.BadInput, match=r"holds several models: .*a.pdparams and .*b.pdparam"
    ):
        export.convert_model(tmp_path, tmp_path / "out", "json", model="lenet")


def test_both_formats_in_one_folder(model_dir: Path, tmp_path: Path) -> None:
    assert formats.find_source(model_dir).format == "pdmodel"
    assert formats.find_source(model_dir / "lenet").format == "pdmodel"
    done = export.convert_model(
        model_dir / "lenet", tmp_path, "pdmodel", source_format="json"
    )  # the manifest says which network
    assert done.source.format == "json"
    ours, theirs = (
        json.loads((folder / "manifest.json").read_bytes()) for folder in (tmp_path, model_dir)
    )
    for known in ("training", "data", "accuracy", "classes", "name", "topology", "softmax"):
        assert ours[known] == theirs[known]
    assert (tmp_path / "lenet.pdiparams").read_bytes() == (
        model_dir / "lenet.pdiparams"
    ).read_bytes()


@pytest.mark.parametrize("format_", ["persistables", "json", "separate"])
def test_damage_is_noticed_by_the_checksums(format_: str, model_dir: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    if format_ == "json":
        shutil.copytree(model_dir, source)
        (source / "lenet.pdmodel").unlink()
        sums = source / "SHA256SUMS"
        lines = [line for line in sums.read_text().splitlines(True) if "pdmodel" not in line]
        sums.write_text("".join(lines))
    else:
        export.convert_model(model_dir, source, format_)
    name = "lenet.pdiparams" if format_ == "json" else "linear_0.w_0"
    content = bytearray((source / name).read_bytes())
    content[len(content) // 2] ^= 1
    (source / name).write_bytes(content)
    with pytest.raises(errors.BadModel, match=f"{name} was changed or damaged"):
        export.convert_model(source, tmp_path / "out", "pdparams", model="lenet")


def test_wrong_outputs_are_not_installed(
    sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lenet_cpp.formats import checkpoint

    read = checkpoint.read_state

    def disturbed(path: Path) -> dict[str, Any]:
        state = read(path)
        state["linear3.bias"] = state["linear3.bias"] + 1
        return state

    monkeypatch.setattr(checkpoint, "read_state", disturbed)
    with pytest.raises(errors.BackendFailure, match="wrote other parameters"):
        export.convert_model(sources / "json", tmp_path / "out", "pdparams", model="lenet")
    assert not any(tmp_path.iterdir())


def test_names_are_matched_whole(layer: Any) -> None:
    arrays = {key: value.numpy() for key, value in layer.state_dict().items()}
    assert as_state_dict(Path("x"), arrays, layer, checked=False).keys() == arrays.keys()
    mixed = dict(arrays)
    mixed["linear_2.b_0"] = mixed.pop("linear3.bias")
    with pytest.raises(errors.BadModel, match=r"missing linear3.bias; unexpected linear_2.b_0"):
        as_state_dict(Path("x"), mixed, layer, checked=False)


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["nowhere", "-o", "out", "--to", "json"], 3, "nowhere is not a model"),
        (["persistables", "-o", "out", "--to", "json"], 5, "the network has to be named"),
        (["pdparams", "-o", "out", "--to", "json", "-m", "AlexNet"], 4, "does not fit"),
    ],
)
def test_commands(
    arguments: list[str],
    status: int,
    message: str,
    sources: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(sources)
    assert main(arguments) == status
    captured = capsys.readouterr()
    assert captured.out == ""
    assert re.fullmatch(f".*{message}.*\n", captured.err)
    assert not (sources / "out").exists()


def test_the_script_in_a_process_of_its_own(root: Path, sources: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [
            sys.executable,
            root / "scripts" / "convert_model.py",
            sources / "separate" / "__model__",
            "-o",
            tmp_path / "out",
            "--to",
            "json",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "checked: outputs differ from the source's by at most " in done.stdout
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        *("model.json", "model.pdiparams", "manifest.json", "SHA256SUMS")
    }
