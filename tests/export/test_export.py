"""Export: both formats, the softmax, what is written beside them, and the command."""

import hashlib
import json
import os
import sys
from pathlib import Path

import numpy as np
import paddle
import pytest
from exports import COMBINED, SEPARATE, images, infer, sha256sum_check, write_params

from lenet_cpp import errors, export, models
from lenet_cpp.agreement import compare
from lenet_cpp.cli.export_model import main
from lenet_cpp.export import inference_model, separate_layout
from lenet_cpp.formats import manifest
from shared_models import contents
from snippets import run_command

SCRIPT = Path(__file__).parents[2] / "scripts" / "export_model.py"


@pytest.mark.parametrize("format_", ["json", "pdmodel"])
def test_softmax(layer, softmax, format_):
    x = images(3)
    logits = layer(paddle.to_tensor(x)).numpy().astype("float64")
    powers = np.exp(logits)
    found = infer(softmax.folder, x, format_)
    assert compare((powers / powers.sum(axis=1, keepdims=True)).astype("float32"), found).agrees
    assert softmax.manifest.softmax is True


def test_files(combined):
    assert {path.name for path in combined.files} == COMBINED
    assert {path.name for path in combined.folder.iterdir()} == COMBINED
    assert combined.files[-1].name == "SHA256SUMS"
    assert sha256sum_check(combined.folder) == 0
    assert manifest.read_manifest(combined.folder) == combined.manifest
    assert all(path.stat().st_mode & 0o444 == 0o444 for path in combined.files)


def test_paddle_reads_the_names_of_the_layer(combined, layer):
    with paddle.pir_utils.DygraphOldIrGuard():
        state = paddle.load(str(combined.folder / "lenet"))
    assert state.keys() == layer.state_dict().keys()


def test_manifest(combined):
    written = combined.manifest
    assert (written.name, written.topology, written.softmax) == ("lenet", "lenet", False)
    assert set(written.models) == {"lenet.json", "lenet.pdmodel"}
    for signature in written.models.values():
        (x,), (y,) = signature.inputs, signature.outputs
        assert (x.name, x.shape, x.dtype) == ("x", (-1, 1, 28, 28), "float32")
        assert (y.shape, y.dtype) == ((-1, 10), "float32")
    assert written.classes == tuple("0123456789")
    assert written.paddle_version == paddle.__version__
    assert (written.training, written.data, written.accuracy) == (None, None, None)
    for name, entry in written.files.items():
        content = (combined.folder / name).read_bytes()
        assert (entry.size, entry.sha256) == (len(content), hashlib.sha256(content).hexdigest())


def test_training_record_is_copied(layer, tmp_path):
    from lenet_cpp.formats import checkpoint

    data = {"kind": "sample", "md5": {"train-labels-idx1-ubyte": "0" * 32}}
    checkpoint.save_checkpoint(
        tmp_path / "ck",
        "lenet",
        parameters=layer.state_dict(),
        optimizer={"step": np.zeros(1)},
        record={"recipe": "guide", "data": data, "test": {"correct": 979, "count": 1000}},
        save=paddle.save,
    )
    options = {"formats": ["json"], "name": "digits"}
    result = export.export_model(tmp_path / "ck" / "lenet", tmp_path / "out", **options)
    names = {"digits.json", "digits.pdiparams", "preprocess.json", "manifest.json", "SHA256SUMS"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == names
    assert result.manifest.training["recipe"] == "guide"
    assert result.manifest.data == data
    assert result.manifest.accuracy.top1 == 0.979
    assert result.manifest.accuracy.images == 1000


def test_parameters_that_differ_between_formats_are_refused(params, tmp_path, monkeypatch):
    save = inference_model._save

    def save_with_a_fault(source, prefix, format_):
        save(source, prefix, format_)
        if format_ == "pdmodel":
            path = prefix.with_name(f"{prefix.name}.pdiparams")
            path.write_bytes(path.read_bytes() + b"\0" * 4)

    monkeypatch.setattr(inference_model, "_save", save_with_a_fault)
    with pytest.raises(errors.BadModel, match="different"):
        export.export_model(params, tmp_path / "new" / "lenet")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("format_", inference_model.EXPORT_FORMATS)
def test_export_is_reproducible_and_free_of_local_paths(combined, params, tmp_path, format_):
    for _ in range(7):  # generated names go on counting: 10 would sort before 9
        models.build("lenet")
    again = export.export_model(params, tmp_path, formats=[format_])
    files = contents(tmp_path)
    for name in files.keys() & {"lenet.pdmodel", "lenet.pdiparams"}:
        assert files[name] == (combined.folder / name).read_bytes()
    for path in again.files:
        for hint in (b".py", b"site-packages", os.fsencode(Path.cwd())):
            assert hint not in path.read_bytes()


def test_callers_paddle_is_left_alone(params, tmp_path):
    def state():
        flags = ["FLAGS_enable_pir_api", "FLAGS_enable_pir_in_executor"]
        return (
            paddle.in_dynamic_mode(),
            paddle.get_flags(flags),
            paddle.static.Program,
            paddle.get_rng_state()[0].current_seed(),
            paddle.utils.unique_name.generate("probe").rpartition("_")[0],
        )

    paddle.seed(11)
    expected = paddle.rand([4]).numpy()
    before = state()
    paddle.seed(11)
    export.export_model(params, tmp_path / "a")
    separate_layout.write_separate(tmp_path / "a", tmp_path / "b")
    separate_layout.combine_separate(tmp_path / "b", tmp_path / "c")
    assert state() == before
    assert (paddle.rand([4]).numpy() == expected).all()


def test_static_mode_is_refused(params, tmp_path):
    paddle.enable_static()
    try:
        with pytest.raises(errors.Unsupported, match="disable_static"):
            export.export_model(params, tmp_path / "out")
    finally:
        paddle.disable_static()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_parameters_that_are_not_finite_are_refused(layer, tmp_path, value):
    bias = np.zeros(10, "float32")
    bias[4] = value
    path = write_params(tmp_path / "lenet.pdparams", layer, linear3__bias=bias)
    with pytest.raises(errors.BadModel, match=r"linear3\.bias is not finite"):
        export.export_model(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        *(({"name": name}, "plain file name") for name in ("a/b", "..", ".hidden", "a\nb")),
        *(({"formats": some}, "json, pdmodel") for some in ([], ["onnx"], ["json", "onnx"])),
    ],
)
def test_bad_names_and_formats(params, tmp_path, options, message):
    with pytest.raises(errors.BadInput, match=message):
        export.export_model(params, tmp_path / "out", **options)


def test_command_from_another_folder(combined, params, tmp_path):
    checkpoint = tmp_path / "checkpoints" / "lenet" / "lenet.pdparams"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.write_bytes(params.read_bytes())
    done = run_command(sys.executable, SCRIPT, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    folder = tmp_path / "inference_model" / "lenet"
    assert {path.name for path in folder.iterdir()} == COMBINED
    for name in ("lenet.pdmodel", "lenet.pdiparams"):
        assert (folder / name).read_bytes() == (combined.folder / name).read_bytes()
    assert "lenet.pdiparams" in done.stdout
    assert [path.name for path in tmp_path.rglob(".*")] == []


def test_command_flags(softmax, params, one_child, tmp_path, capsys):
    apart, back = tmp_path / "apart", tmp_path / "back"
    stem = str(params.with_suffix(""))
    arguments = ["--m", "lenet", "--p", stem, "--o", str(apart), "--softmax"]
    assert main([*arguments, "--format", "separate"]) == 0
    assert {path.name for path in apart.iterdir()} == SEPARATE
    (apart / "SHA256SUMS").unlink()
    (apart / "manifest.json").write_text(
        (apart / "manifest.json").read_text().replace("__model__", "model")
    )
    (apart / "__model__").rename(apart / "model")  # as in PaddleClas 1
    assert main(["--combine", str(apart), "-o", str(back)]) == 0
    for name in ("lenet.pdmodel", "lenet.pdiparams"):
        assert (back / name).read_bytes() == (softmax.folder / name).read_bytes()
    assert json.loads((back / "manifest.json").read_bytes())["softmax"] is True
    assert main(["-p", stem, "-o", str(tmp_path / "j"), "--no-softmax", "--format", "json"]) == 0
    written = {path.name for path in (tmp_path / "j").iterdir()}
    assert written == COMBINED - {"lenet.pdmodel", "lenet.pdiparams.info"}
    assert capsys.readouterr().err == ""


def test_command_errors(layer, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    bad = write_params(tmp_path / "bad.pdparams", layer, conv1__weight=None)
    (tmp_path / "file").write_text("")
    good = write_params(tmp_path / "good.pdparams", layer)
    for arguments, code, said in (
        ([], 3, "checkpoints/lenet/lenet.pdparams"),
        (["-p", "nowhere"], 3, "nowhere.pdparams"),
        (["-p", str(bad)], 4, "conv1.weight"),
        (["-p", str(good), "-o", "file"], 5, "file is a file"),
        (["--combine", "nowhere"], 3, "nowhere is not a model in format separate"),
    ):
        assert main(arguments) == code
        output = capsys.readouterr()
        assert said in output.err
        assert output.err.count("\n") == 1
        assert output.out == ""
    assert {path.name for path in tmp_path.iterdir()} == {"bad.pdparams", "file", "good.pdparams"}
