"""Export: both formats, the softmax, the separate layout, and what must not happen to old files."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import paddle
import pytest

import shared_models
from lenet_cpp import errors, export, models
from lenet_cpp.agreement import compare
from lenet_cpp.cli.export_model import main
from lenet_cpp.export import checks, inference_model, separate_layout
from lenet_cpp.formats import manifest

SCRIPT = Path(__file__).parents[2] / "scripts" / "export_model.py"
COMBINED = {
    *("lenet.json", "lenet.pdmodel", "lenet.pdiparams"),
    *("preprocess.json", "manifest.json", "SHA256SUMS"),
}
VARIABLES = [
    f"{layer}.{part}"
    for layer in ("conv2d_0", "conv2d_1", "linear_0", "linear_1", "linear_2")
    for part in ("w_0", "b_0")
]
SEPARATE = {"__model__", *VARIABLES, "preprocess.json", "manifest.json", "SHA256SUMS"}


def images(batch):
    return np.random.default_rng(batch).random((batch, 1, 28, 28), dtype=np.float32)


def infer(folder, x, format_="pdmodel"):
    if format_ == "__model__":
        return shared_models.infer(folder, None, x)
    return shared_models.infer(folder / f"lenet.{format_}", folder / "lenet.pdiparams", x)


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def sha256sum_check(folder):
    command = ["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"]
    return subprocess.run(command, cwd=folder, check=False, capture_output=True).returncode


@pytest.fixture(scope="session")
def combined(params, tmp_path_factory):
    return export.export_model(params, tmp_path_factory.mktemp("combined") / "lenet")


@pytest.fixture(scope="session")
def softmax(params, tmp_path_factory):
    return export.export_model(params, tmp_path_factory.mktemp("softmax"), softmax=True)


@pytest.fixture(scope="session")
def separate(combined, tmp_path_factory):
    return separate_layout.write_separate(combined.folder, tmp_path_factory.mktemp("separate"))


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("format_", ["json", "pdmodel"])
def test_exported_model_is_the_layer(layer, combined, format_, batch):
    x = images(batch)
    found = infer(combined.folder, x, format_)
    assert found.shape == (batch, 10)
    assert compare(layer(paddle.to_tensor(x)).numpy(), found).agrees


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


def test_separate_layout(combined, separate, layer):
    assert {path.name for path in separate.folder.iterdir()} == SEPARATE
    assert {path.name for path in separate.files} == SEPARATE
    assert sha256sum_check(separate.folder) == 0
    x = images(3)
    found = infer(separate.folder, x, "__model__")
    assert np.array_equal(found, infer(combined.folder, x))
    assert compare(layer(paddle.to_tensor(x)).numpy(), found).agrees
    assert separate.manifest.topology == "lenet"
    assert set(separate.manifest.models) == {"__model__"}


def test_separate_files_hold_the_parameters(separate, layer):
    values = [value.numpy() for value in layer.state_dict().values()]
    for name, value in zip(VARIABLES, values, strict=True):
        stored = (separate.folder / name).read_bytes()
        assert stored.endswith(value.tobytes())
        assert 0 < len(stored) - value.nbytes < 64


def test_combining_restores_every_byte(combined, separate, tmp_path):
    result = separate_layout.combine_separate(separate.folder, tmp_path)
    names = COMBINED - {"lenet.json"}
    assert {path.name for path in tmp_path.iterdir()} == names
    for name in ("lenet.pdmodel", "lenet.pdiparams"):
        assert (tmp_path / name).read_bytes() == (combined.folder / name).read_bytes()
    assert result.manifest.classes == combined.manifest.classes
    assert sha256sum_check(tmp_path) == 0


def test_a_guides_model_without_manifest(layer, tmp_path):
    """What the guide's own commands write is converted and back, with its call stacks and all."""
    code = (
        "import paddle, sys; from lenet_cpp import models; net = models.build('lenet');"
        "s = paddle.static.InputSpec([None, 1, 28, 28], name='x');"
        "paddle.jit.save(paddle.jit.to_static(net, input_spec=[s]), sys.argv[1])"
    )
    source = tmp_path / "inference_model" / "lenet"
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, str(source)],
        env=os.environ | {"FLAGS_enable_pir_api": "0"},
        check=True,
        capture_output=True,
    )
    apart = separate_layout.write_separate(source, tmp_path / "apart")
    written = apart.manifest
    assert (written.name, written.topology, written.softmax) == ("lenet", None, None)
    assert written.classes == ()
    separate_layout.combine_separate(tmp_path / "apart", tmp_path / "back")
    for suffix in (".pdmodel", ".pdiparams"):
        written = (tmp_path / "back" / f"lenet{suffix}").read_bytes()
        assert written == source.with_suffix(suffix).read_bytes()


@pytest.mark.parametrize(
    ("name", "damage", "said"),
    [
        ("linear_1.b_0", None, r"lacks files of variables: linear_1\.b_0"),
        ("linear_1.b_0", lambda old, _: old[:-4], "damaged"),
        ("linear_1.b_0", lambda old, _: old + b"\0" * 4, "damaged"),
        (
            "linear_1.b_0",
            lambda _, files: files["linear_2.w_0"],
            r"linear_1\.b_0 is \[84, 10\], expected \[84\]",
        ),
        ("linear_1.b_0", lambda *_: np.random.default_rng(0).bytes(300), "damaged"),
        ("__model__", lambda *_: np.random.default_rng(0).bytes(300), "damaged"),
    ],
)
def test_damaged_separate_layouts(separate, tmp_path, name, damage, said):
    source = tmp_path / "source"
    source.mkdir()
    files = contents(separate.folder)
    files[name] = damage and damage(files[name], files)
    for file, content in files.items():
        if content is not None:
            (source / file).write_bytes(content)
    with pytest.raises(errors.BadModel, match=rf"{name}"):  # the checksums say it first
        separate_layout.combine_separate(source, tmp_path / "out")
    for file in ("SHA256SUMS", "manifest.json"):
        (source / file).unlink()
    with pytest.raises(errors.BadModel, match=said):
        separate_layout.combine_separate(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_truncated_combined_parameters(combined, tmp_path):
    """Paddle itself loads them without a word."""
    for name, end in (("lenet.pdmodel", None), ("lenet.pdiparams", -4)):
        (tmp_path / name).write_bytes((combined.folder / name).read_bytes()[:end])
    with pytest.raises(errors.BadModel, match=r"lenet\.pdiparams"):
        separate_layout.write_separate(tmp_path / "lenet.pdmodel", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_crash_of_paddle_is_an_error(separate, tmp_path, monkeypatch):
    crash = tmp_path / "path"
    crash.mkdir()
    (crash / "paddle.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n")
    monkeypatch.setattr(sys, "path", [str(crash), *sys.path])
    with pytest.raises(errors.BadModel, match="SIGSEGV"):
        separate_layout.combine_separate(separate.folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def write_params(path, layer, **changes):
    state = {key: value.numpy() for key, value in layer.state_dict().items()}
    for key, value in changes.items():
        state[key.replace("__", ".")] = value
    paddle.save({key: value for key, value in state.items() if value is not None}, str(path))
    return path


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_parameters_that_are_not_finite_are_refused(layer, tmp_path, value):
    bias = np.zeros(10, "float32")
    bias[4] = value
    path = write_params(tmp_path / "lenet.pdparams", layer, linear3__bias=bias)
    with pytest.raises(errors.BadModel, match=r"linear3\.bias is not finite"):
        export.export_model(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.fixture
def older(params, tmp_path):
    """An export of other parameters, and a file of the user's."""
    folder = tmp_path / "older"
    state = paddle.load(str(params))
    state["linear3.bias"] = state["linear3.bias"] + 1
    paddle.save(state, str(tmp_path / "older.pdparams"))
    export.export_model(tmp_path / "older.pdparams", folder)
    (folder / "notes.txt").write_text("mine")
    return folder


def test_export_with_other_outputs_is_not_installed(params, older, monkeypatch):
    before = contents(older)
    run = checks.run_model

    def run_with_a_fault(*arguments):
        runs = run(*arguments)
        runs.outputs[1][0][2, 3] += 3e-5 * max(1, np.abs(runs.outputs[1][0][2]).max())
        return runs

    monkeypatch.setattr(checks, "run_model", run_with_a_fault)
    with pytest.raises(errors.BadModel, match="does not compute what the layer computes"):
        export.export_model(params, older)
    assert contents(older) == before
    with pytest.raises(errors.BadModel):
        export.export_model(params, older.parent / "new" / "folder")
    assert not (older.parent / "new").exists()


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("moves", [0, 2, 4])
def test_interrupted_installation_is_undone(params, older, monkeypatch, failure, moves):
    # Of one format only, so that the new export has a file that the older has not.
    export.export_model(older.parent / "older", older, name="lenet", formats=["pdmodel"])
    before = contents(older)
    replace = Path.replace
    left = [moves]

    def failing_replace(self, target):
        if self.parent.name.startswith(".export-") and target.parent == older:
            left[0] -= 1
            if left[0] == -1:
                raise failure
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", failing_replace)
    with pytest.raises(type(failure)):
        export.export_model(params, older)
    monkeypatch.undo()
    assert left[0] == -1
    assert contents(older) == before
    assert sha256sum_check(older) == 0


def test_half_of_an_installation_is_noticed(params, older, monkeypatch):
    """What a process killed at any moment leaves does not fit the checksums beside it."""
    replace = Path.replace
    moved = []

    def watched_replace(self, target):
        result = replace(self, target)
        if target.parent == older:
            moved.append(target.name)
            if target.name != "SHA256SUMS":
                with pytest.raises(errors.BadModel):
                    manifest.verify_checksums(older)
        return result

    monkeypatch.setattr(Path, "replace", watched_replace)
    export.export_model(params, older)
    assert set(moved) == COMBINED
    assert moved[-2:] == ["manifest.json", "SHA256SUMS"]


def test_replacement_leaves_nothing_stale(params, older, layer):
    (older / "lenet.pdiparams.info").write_bytes(b"from jit.save")
    export.export_model(params, older, formats=["pdmodel"])
    assert {path.name for path in older.iterdir()} == COMBINED - {"lenet.json"} | {"notes.txt"}
    assert sha256sum_check(older) == 0
    x = images(3)
    found = infer(older, x)
    assert compare(layer(paddle.to_tensor(x)).numpy(), found).agrees


def test_damaged_export_is_replaced(params, older):
    (older / "manifest.json").write_text("{")
    export.export_model(params, older)
    assert sha256sum_check(older) == 0


def test_folders_of_others_are_refused(params, older, tmp_path):
    before = contents(older)
    with pytest.raises(errors.BadInput, match="'lenet'"):
        export.export_model(params, older, name="digits")
    assert contents(older) == before
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "manifest.json").write_text('{"name": "an app"}')
    with pytest.raises(errors.BadInput, match="not ours"):
        export.export_model(params, foreign)
    assert list(contents(foreign)) == ["manifest.json"]
    with pytest.raises(errors.BadInput, match="is a file"):
        export.export_model(params, older / "notes.txt")
    with pytest.raises(errors.BadInput, match="another output folder"):
        separate_layout.write_separate(older, older)


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
    done = subprocess.run(
        [sys.executable, SCRIPT], cwd=tmp_path, capture_output=True, check=False, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    folder = tmp_path / "inference_model" / "lenet"
    assert {path.name for path in folder.iterdir()} == COMBINED
    for name in ("lenet.pdmodel", "lenet.pdiparams"):
        assert (folder / name).read_bytes() == (combined.folder / name).read_bytes()
    assert "lenet.pdiparams" in done.stdout
    assert [path.name for path in tmp_path.rglob(".*")] == []


def test_command_flags(softmax, params, tmp_path, capsys):
    apart, back = tmp_path / "apart", tmp_path / "back"
    stem = str(params.with_suffix(""))
    arguments = ["--m", "lenet", "--p", stem, "--o", str(apart), "--softmax"]
    assert main([*arguments, "--format", "separate"]) == 0
    assert {path.name for path in apart.iterdir()} == SEPARATE
    assert main(["--combine", str(apart), "-o", str(back)]) == 0
    for name in ("lenet.pdmodel", "lenet.pdiparams"):
        assert (back / name).read_bytes() == (softmax.folder / name).read_bytes()
    assert json.loads((back / "manifest.json").read_bytes())["softmax"] is True
    assert main(["-p", stem, "-o", str(tmp_path / "j"), "--no-softmax", "--format", "json"]) == 0
    assert {path.name for path in (tmp_path / "j").iterdir()} == COMBINED - {"lenet.pdmodel"}
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
        (["--combine", "nowhere"], 3, "nowhere/__model__"),
    ):
        assert main(arguments) == code
        output = capsys.readouterr()
        assert said in output.err
        assert output.err.count("\n") == 1
        assert output.out == ""
    assert {path.name for path in tmp_path.iterdir()} == {"bad.pdparams", "file", "good.pdparams"}


@pytest.mark.parametrize(
    "arguments",
    [
        ["--format", "onnx"],
        ["--soft"],
        ["--combine", "x", "--softmax"],
        ["--combine", "x", "--format", "json"],
        ["--combine", "x", "-p", "y"],
        ["one", "extra"],
    ],
)
def test_command_usage(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert " error: " in line
