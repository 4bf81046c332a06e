"""Conversions: other names and numbers of parameters, and what has to be refused."""

import json
import pickle
import re
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import paddle
import pytest
from paddle.pir_utils import DygraphOldIrGuard
from paddle_formats import (
    arrays,
    images,
    jit_save,
    run,
    run_engine,
    save_variable,
    sorted_variables,
)

from lenet_cpp import Predictor, errors, export, formats, models
from lenet_cpp.agreement import compare
from lenet_cpp.cli.convert_model import main as convert_main
from lenet_cpp.formats import checkpoint
from lenet_cpp.formats.tensors import read_variable
from lenet_cpp.models.parameter_names import _paddleclas1_names, as_state_dict

pytestmark = [pytest.mark.timeout(300), pytest.mark.usefixtures("one_child", "narrow")]


RESNET = {"model": "ResNet18_vd", "num_classes": 4, "image_size": 32}
"""A network with normalizations, whose programs have outputs and variables that LeNet's lack."""


@pytest.fixture(scope="module")
def resnet():
    net = models.build("ResNet18_vd", 4, 32, seed=2)
    net.eval()
    return net


@pytest.fixture(scope="module")
def pictures():
    return np.random.default_rng(0).random((2, 3, 32, 32), dtype=np.float32)


@pytest.fixture(scope="module")
def logits(resnet, pictures):
    with paddle.no_grad():
        return resnet(paddle.to_tensor(pictures))


@pytest.fixture(scope="module")
def resnet_exports(resnet, tmp_path_factory):
    folder = tmp_path_factory.mktemp("resnet_export")
    params = folder / "resnet.pdparams"
    paddle.save(resnet.state_dict(), str(params))
    export.export_model(params, folder / "pdmodel", formats=["pdmodel"], **RESNET)
    export.export_model(params, folder / "json", formats=["json"], softmax=True, **RESNET)
    return folder


def is_softmax(found, logits):
    return np.abs(paddle.nn.functional.softmax(logits).numpy() - found).max() <= 1e-5


def same_state(path, layer):
    found, state = paddle.load(str(path), return_numpy=True), arrays(layer)
    found.pop("StructuredToParameterName@@", None)
    assert found.keys() == state.keys()
    return all(np.array_equal(found[key], state[key]) for key in state)


def test_translated_program_runs_by_every_route(
    logits, pictures, resnet_exports, tmp_path, run_program
):
    done = export.convert_model(resnet_exports / "pdmodel", tmp_path / "out", "json")
    # Counted by hand: an image passes 8 blocks of 2 convolutions, 4 projections, 3 of the stem.
    operators = json.loads((tmp_path / "out" / "inference.json").read_bytes())["program"]["regions"]
    kinds = [op["#"] for op in operators[0]["blocks"][0]["ops"]]
    assert kinds.count("1.conv2d") == 8 * 2 + 4 + 3
    assert "op_callstack" not in (tmp_path / "out" / "inference.json").read_text()
    for engine in ("paddle", "python", "executor"):
        found = run_engine(engine, pictures, model_dir=done.folder)
        assert compare(logits.numpy(), found).agrees
    np.save(tmp_path / "x.npy", pictures)
    said = run_program(f"--model_dir={done.folder}", f"--input={tmp_path / 'x.npy'}")
    assert said.returncode == 0
    manifest = json.loads((done.folder / "manifest.json").read_bytes())
    assert (manifest["topology"], manifest["softmax"]) == ("ResNet18_vd", False)


def test_manifest_names_the_network_and_keeps_the_softmax(
    resnet, logits, pictures, resnet_exports, tmp_path
):
    back = export.convert_model(resnet_exports / "json", tmp_path / "old", "separate")
    assert back.max_difference <= 1e-5
    assert is_softmax(run("separate", tmp_path / "old", pictures), logits)
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
        ("ResNet101_vd", ["bn4a_branch1_mean", "res4b22_branch2c_weights"], ["bn4b_branch2a_mean"]),
        ("ResNet18_vd", ["res2b_branch2b_weights", "bn5a_branch1_mean"], ["bn2a_branch2c_mean"]),
    ],
)
def test_names_of_paddleclas_1(name, some, absent):
    with paddle.LazyGuard():  # names only
        keys = list(models.build(name, 2).state_dict())
    names = _paddleclas1_names(keys)
    assert list(names) == keys
    assert len(set(names.values())) == len(keys)
    assert set(some) <= set(names.values())
    assert not set(absent) & set(names.values())


@pytest.fixture(scope="module")
def paddleclas_folder(resnet, tmp_path_factory):
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
        save_variable(tensor, folder / name)
        if name.endswith("_weights"):
            save_variable(paddle.zeros_like(tensor), folder / f"{name}_velocity_0")
    save_variable(paddle.to_tensor([0.1]), folder / "learning_rate_0")
    return folder


def test_folder_of_paddleclas_1(resnet, logits, pictures, paddleclas_folder, tmp_path):
    options = {**RESNET, "model": "resnet18_VD"}
    export.convert_model(paddleclas_folder, tmp_path / "a", "pdparams", **options)
    assert same_state(tmp_path / "a" / "ResNet18_vd.pdparams", resnet)
    export.convert_model(paddleclas_folder, tmp_path / "b", "model-params", softmax=True, **options)
    assert is_softmax(run("model-params", tmp_path / "b", pictures), logits)


@pytest.mark.parametrize("layout", ["folder", "with program", "fluid.save"])
def test_parameters_of_paddleclas_1_everywhere(
    layout, logits, pictures, paddleclas_folder, resnet_exports, tmp_path
):
    """The layer of infer.py and export_model.py take the names that conversions take."""
    path = paddleclas_folder
    if layout == "with program":
        path = Path(shutil.copytree(paddleclas_folder, tmp_path / "inference"))
        shutil.copy(resnet_exports / "pdmodel" / "inference.pdmodel", path / "model")
    if layout == "fluid.save":  # which pickled a dictionary of arrays
        values = {file.name: read_variable(file) for file in paddleclas_folder.iterdir()}
        path = tmp_path / "saved" / "resnet"
        path.parent.mkdir()
        path.with_suffix(".pdparams").write_bytes(pickle.dumps(values, protocol=2))
        path.with_suffix(".pdmodel").write_bytes(b"a program without its parameters")
    found = run_engine("dygraph", pictures, "ResNet18_vd", path, num_classes=4, image_size=32)
    assert np.array_equal(found, logits.numpy())
    done = export.export_model(path, tmp_path / "out", formats=["pdmodel"], **RESNET)
    assert compare(logits.numpy(), run_engine("native", pictures, model_dir=done.folder)).agrees


def test_folders_without_parameters(resnet_exports, paddleclas_folder, sources, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    for folder, said in ((empty, "each variable: check"), (resnet_exports / "json", "found: json")):
        with pytest.raises(errors.FileNotFound, match=said):
            export.export_model(folder, tmp_path / "out", **RESNET)
    with pytest.raises(errors.BadInput, match="is a folder: a SHA-256"):
        export.export_model(paddleclas_folder, tmp_path / "out", sha256="0" * 64, **RESNET)
    with pytest.raises(errors.BadModel, match=r"missing .*unexpected conv2d_0\.b_0"):
        export.export_model(sources / "persistables", tmp_path / "out", **RESNET)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("to", ["model-params", "json"])
def test_what_predict_does_not_run_is_not_called_checked(to, tmp_path, capsys):
    class Own(paddle.nn.Layer):
        def __init__(self):
            super().__init__()
            self.linear = paddle.nn.Linear(28, 4)

        def forward(self, x):
            return paddle.polygamma(self.linear(x) + 9, 2)

    with DygraphOldIrGuard(), paddle.utils.unique_name.guard():
        jit_save(Own(), tmp_path / "own")
    assert convert_main([str(tmp_path / "own"), "-o", str(tmp_path / "out"), "--to", to]) == 0
    said = capsys.readouterr().out
    assert "\ncompared: outputs differ from the source's by at most " in said
    assert "\npredict does not run it: " in said
    assert "polygamma" in said
    assert ".export-" not in said
    assert "\nchecked" not in said


def test_folder_that_does_not_fit_is_listed(paddleclas_folder, tmp_path):
    folder = tmp_path / "folder"
    shutil.copytree(paddleclas_folder, folder)
    (folder / "bn2a_branch2a_mean").unlink()
    (folder / "bnv1_1_scale").rename(folder / "of_my_own")
    save_variable(paddle.zeros([5, 6, 7]), folder / "res2a_branch2a_weights")
    with pytest.raises(errors.BadModel) as error:
        export.convert_model(folder, tmp_path / "out", "pdparams", **RESNET)
    for part in (
        "missing bnv1_1_scale, bn2a_branch2a_mean",
        "unexpected of_my_own",
        "res2a_branch2a_weights is float32[5, 6, 7], expected float32[8, 64, 3, 3]",
    ):
        assert part in str(error.value)
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def renumbered(layer, tmp_path_factory):
    """A model of a user who built other layers before: the numbers do not begin at zero."""
    folder = tmp_path_factory.mktemp("renumbered")
    with DygraphOldIrGuard(), paddle.utils.unique_name.guard():
        # 9 and 10: as text, the second comes first.
        others = [paddle.nn.Conv2D(1, 1, 1) for _ in range(9)]
        net = models.build("lenet")
        assert len(others) == 9
        assert net.conv1.weight.name == "conv2d_9.w_0"
        net.set_state_dict(arrays(layer))
        jit_save(net, folder / "lenet")
    return folder


def test_other_numbers_are_taken_from_a_program_only(renumbered, layer, tmp_path):
    export.convert_model(renumbered / "lenet", tmp_path / "a", "pdparams", model="lenet")
    assert same_state(tmp_path / "a" / "lenet.pdparams", layer)
    export.convert_model(renumbered, tmp_path / "b", "persistables")
    assert (tmp_path / "b" / "conv2d_10.w_0").is_file()
    with pytest.raises(errors.BadModel, match=r"missing .*unexpected conv2d_10\.b_0"):
        export.convert_model(tmp_path / "b", tmp_path / "c", "pdparams", model="lenet")


def test_another_network_with_the_same_parameters_is_found_out(layer, tmp_path):
    class Other(models.get("lenet").build().__class__):
        def forward(self, x):
            return super().forward(x * 2)

    with DygraphOldIrGuard(), paddle.utils.unique_name.guard():
        net = Other()
        net.set_state_dict(arrays(layer))
        jit_save(net, tmp_path / "other")
    convert = partial(export.convert_model, tmp_path / "other", tmp_path / "out", "pdparams")
    with pytest.raises(errors.BadModel, match="it is another network"):
        convert(model="lenet")
    assert not (tmp_path / "out").exists()
    with pytest.raises(errors.BadModel, match="does not fit the model"):
        convert(model="ResNet18_vd", image_size=32)


def test_static_state_dict(layer, expected, tmp_path):
    """paddle.static.save, once fluid.save, has generated names in its .pdparams."""
    state = dict(zip(sorted_variables(layer), arrays(layer).values(), strict=True))
    paddle.save(state, str(tmp_path / "old.pdparams"))
    done = export.convert_model(tmp_path / "old", tmp_path / "out", "json", model="lenet")
    assert compare(expected, run("json", done.folder, images())).agrees
    done = export.export_model(tmp_path / "old", tmp_path / "exported", formats=["json"])
    assert compare(expected, run("json", done.folder, images())).agrees
    assert compare(expected, run_engine("dygraph", images(), "lenet", tmp_path / "old")).agrees


@pytest.mark.parametrize(
    ("source", "called", "params"),
    [
        ("separate", "model", None),
        ("model-params", "__model__", "params"),
        ("model-params", "__model__", "__params__"),
        ("model-params", "model", "__params__"),
    ],
)
def test_other_names_of_the_guides(
    source, called, params, sources, expected, tmp_path, run_program
):
    folder = tmp_path / "guide"
    shutil.copytree(sources / source, folder)
    (folder / ("__model__" if params is None else "model")).rename(folder / called)
    if params is not None:
        (folder / "params").rename(folder / params)
    assert formats.find_source(folder).format == source
    assert formats.find_source(folder / called).format == source
    for to in ("pdmodel", "pdparams"):
        export.convert_model(folder, tmp_path / to, to, model="lenet", name="lenet")
        found = run(to, tmp_path / to, images())
        assert compare(expected, found).agrees
    for engine in ("python", "executor"):
        assert compare(expected, run_engine(engine, images(), model_dir=folder)).agrees
    ways = [{"model_dir": folder}, {"model_file": folder / called}]
    if params is not None:
        ways.append({"model_file": folder / called, "params_file": folder / params})
    np.save(tmp_path / "x.npy", images())
    output = tmp_path / "y.npy"
    for named in ways:
        with Predictor(**named, accelerator="plain") as predictor:
            clone = predictor.clone()
            found = predictor.run(images())
        assert compare(expected, found).agrees
        assert (clone.run(images()) == found).all()
        flags = [f"--{key}={value}" for key, value in named.items()]
        files = (f"--input={tmp_path / 'x.npy'}", f"--output={output}")
        done = run_program(*flags, "--accelerator=plain", *files)
        assert done.returncode == 0, done.stderr
        assert (np.load(output) == found).all()


def test_a_network_that_is_not_registered_keeps_its_program(resnet_exports, tmp_path):
    shutil.copytree(resnet_exports / "pdmodel", tmp_path / "own")
    (tmp_path / "own" / "SHA256SUMS").unlink()
    path = tmp_path / "own" / "manifest.json"
    path.write_text(path.read_text().replace('"ResNet18_vd"', '"Of my own"'))
    export.convert_model(tmp_path / "own", tmp_path / "json", "json")
    manifest = json.loads((tmp_path / "json" / "manifest.json").read_bytes())
    assert manifest["topology"] == "Of my own"
    written, given = (tmp_path / folder / "preprocess.json" for folder in ("json", "own"))
    assert written.read_bytes() == given.read_bytes()
    with pytest.raises(errors.BadInput, match="from json to pdmodel the network has to be named"):
        export.convert_model(tmp_path / "json", tmp_path / "out", "pdmodel")


@pytest.mark.parametrize(
    ("source", "to", "options", "error", "message"),
    [
        ("nowhere", "json", {}, "FileNotFound", "nowhere is not a model: no such files"),
        ("pdmodel", "json", {"source_format": "json"}, "FileNotFound", "found: pdmodel"),
        ("pdmodel", "json", {"source_format": "onnx"}, "BadInput", "choose among pdparams, "),
        ("pdmodel", "onnx", {}, "BadInput", "choose among pdparams, "),
        ("persistables", "json", {}, "BadInput", "has to be named .--model.*lenet"),
        ("persistables", "json", {"model": "LeNext"}, "BadInput", "did you mean lenet"),
        ("pdparams", "json", {}, "BadInput", "has to be named"),
        ("json", "pdmodel", {}, "BadInput", "has to be named"),
        ("json", "pdparams", {"softmax": True}, "BadInput", "leave it out"),
        ("pdparams", "json", {"model": "lenet", "num_classes": 11}, "BadModel", "for 10 classes"),
        ("pdparams", "json", RESNET, "BadModel", "stem.0.conv.wei"),
    ],
)
def test_refused(source, to, options, error, message, sources, tmp_path):
    with pytest.raises(getattr(errors, error), match=message):
        export.convert_model(sources / source, tmp_path / "out", to, **options)
    assert not (tmp_path / "out").exists()


def test_what_a_path_without_a_model_lacks(sources, tmp_path):
    (tmp_path / "empty.pdmodel").touch()
    with pytest.raises(errors.BadModel, match=r"empty\.pdmodel is empty \(0 bytes\)"):
        export.convert_model(tmp_path / "empty.pdmodel", tmp_path / "out", "json")
    (tmp_path / "folder").mkdir()
    shutil.copy(sources / "pdmodel" / "lenet.pdmodel", tmp_path)
    for name, why in (
        ("folder", "the folder has no model files"),
        ("lenet.pdmodel", "its parameters lenet.pdiparams are missing"),
    ):
        with pytest.raises(errors.FileNotFound, match=re.escape(f"{name} is not a model: {why}")):
            export.convert_model(tmp_path / name, tmp_path / "out", "json")


def test_folders_in_use(sources, tmp_path):
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
    several = r"holds several models: name one of .*a.pdparams, .*b.pdparams"
    with pytest.raises(errors.BadInput, match=several):
        export.convert_model(tmp_path, tmp_path / "out", "json", model="lenet")


def test_both_formats_in_one_folder(model_dir, tmp_path):
    assert formats.find_source(model_dir).format == "pdmodel"
    assert formats.find_source(model_dir / "lenet").format == "pdmodel"
    # The manifest says which network.
    done = export.convert_model(model_dir / "lenet", tmp_path, "pdmodel", source_format="json")
    assert done.source.format == "json"
    folders = (tmp_path, model_dir)
    ours, theirs = (json.loads((folder / "manifest.json").read_bytes()) for folder in folders)
    for known in ("training", "data", "accuracy", "classes", "name", "topology", "softmax"):
        assert ours[known] == theirs[known]
    ours, theirs = ((folder / "lenet.pdiparams").read_bytes() for folder in folders)
    assert ours == theirs


@pytest.mark.parametrize("format_", ["persistables", "json", "separate"])
def test_damage_is_noticed_by_the_checksums(format_, model_dir, tmp_path):
    source = tmp_path / "source"
    export.convert_model(model_dir, source, format_)
    name = "lenet.pdiparams" if format_ == "json" else "linear_0.w_0"
    content = bytearray((source / name).read_bytes())
    content[len(content) // 2] ^= 1
    (source / name).write_bytes(content)
    with pytest.raises(errors.BadModel, match=f"{name} was changed or damaged"):
        export.convert_model(source, tmp_path / "out", "pdparams", model="lenet")


def test_wrong_outputs_are_not_installed(sources, tmp_path, monkeypatch):
    read = checkpoint.read_state

    def disturbed(path):
        state = read(path)
        state["linear3.bias"] = state["linear3.bias"] + 1
        return state

    monkeypatch.setattr(checkpoint, "read_state", disturbed)
    with pytest.raises(errors.BackendFailure, match="wrote other parameters"):
        export.convert_model(sources / "json", tmp_path / "out", "pdparams", model="lenet")
    assert not any(tmp_path.iterdir())


def test_names_are_matched_whole(layer):
    mixed = arrays(layer)
    assert as_state_dict(Path("x"), mixed, layer, checked=False).keys() == mixed.keys()
    mixed["linear_2.b_0"] = mixed.pop("linear3.bias")
    with pytest.raises(errors.BadModel, match=r"missing linear3.bias; unexpected linear_2.b_0"):
        as_state_dict(Path("x"), mixed, layer, checked=False)
