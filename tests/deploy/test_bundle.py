"""``lenet-cpp bundle``: what it writes runs elsewhere, with nothing around it."""

import json
import re
import shutil
import signal
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image

import lenet_cpp
from lenet_cpp.cli import main
from lenet_cpp.deploy import bundle, bundle_check, write_bundle
from snippets import printed_by, run_command

ROOT = Path(__file__).parents[2]
BUILD = ROOT / "build"
BAD_MODEL, BAD_INPUT, UNSUPPORTED = 4, 5, 6


@pytest.fixture(scope="module", autouse=True)
def programs(built):
    """Skip these tests where a program that they copy is missing."""
    for name in ("lenet_infer_native", "lenet_infer_test", "lenet_classify"):
        built(name)


@pytest.fixture(scope="module")
def static(built, tmp_path_factory):
    """Two programs as the preset static makes them, of the objects of build/."""
    folder = tmp_path_factory.mktemp("static")
    libraries = [BUILD / "cpp/apps/liblenet_apps.a", BUILD / "cpp/apps/liblenet_native.a"]
    loaders = BUILD / "cpp/src/CMakeFiles/lenet_loaders.dir"
    rooms = [ROOT / "cpp/src" / room for room in ("images", "description", "io")]
    sources = {path.name for room in rooms for path in room.glob("*.cc")}
    photos = [path for path in loaders.glob("*/*.o") if path.stem in sources]
    found = {path.name for path in photos}
    known = {"jpeg": ["jpeg"], "png": ["png"], "webp": ["webpdemux", "webp"]}
    formats = [f"-l{each}" for name in known if f"{name}.cc.o" in found for each in known[name]]
    yaml = re.search("^LENET_YAML_LIBRARY:.*=(.*)", built("CMakeCache.txt").read_text(), re.M)[1]
    linked = [*photos, *libraries, *formats, *("-lz" for _ in formats), *filter(None, [yaml])]
    for name, source in (
        ("lenet_infer_native", "lenet_infer_test"),
        ("lenet_classify", "lenet_classify"),
    ):
        main_object = BUILD / f"cpp/apps/CMakeFiles/{name}.dir/{source}.cc.o"
        command = ("c++", "-static", "-s", "-pthread", "-o", folder / name, main_object, *linked)
        printed_by(*command)
    return folder


@pytest.fixture
def elsewhere(tmp_path, digits):
    folder = tmp_path / "else where"
    folder.mkdir()
    np.save(folder / "digits.npy", digits)
    return folder


def run_there(program, *arguments, code=0):
    """Run in an empty environment, where nothing of this package is found."""
    done = run_command("env", "-i", program, *arguments, cwd=program.parent, timeout=60)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stderr if code else done.stdout


def logits_there(program, folder):
    run_there(program, f"--input={folder / 'digits.npy'}", f"--output={folder / 'logits.npy'}")
    return np.load(folder / "logits.npy")


def call(*arguments):
    return main(["bundle", *map(str, arguments)])


def test_folder_runs_where_it_was_moved(model_dir, digits, elsewhere, tmp_path, capsys):
    assert call(model_dir, "-o", tmp_path / "made", "--program", BUILD / "lenet_infer_native") == 0
    printed = capsys.readouterr().out
    assert re.search(r"needs glibc 2\.\d+ or later; has libstdc\+\+", printed)
    assert "checked: it ran, with the same outputs" in printed
    names = {str(path.relative_to(tmp_path / "made")) for path in (tmp_path / "made").rglob("*.*")}
    assert not [name for name in names if re.search(r"libc\.|libm\.|ld-", name)]
    assert {name for name in names if name.startswith("model/")} == {
        *("model/lenet.pdmodel", "model/lenet.pdiparams"),
        *("model/preprocess.json", "model/manifest.json"),
    }
    moved = (tmp_path / "made").rename(elsewhere / "moved")
    expected = lenet_cpp.predict(digits)
    np.testing.assert_array_equal(logits_there(moved / "lenet_infer_native", elsewhere), expected)
    link = elsewhere / "link"
    link.symlink_to("moved/lenet_infer_native")
    np.testing.assert_array_equal(logits_there(link, elsewhere), expected)
    (moved / "model" / "lenet.pdiparams").write_bytes(b"damaged")
    assert "BadModel" in run_there(moved / "lenet_infer_native", code=BAD_MODEL)


def test_its_own_libraries_are_used(model_dir, digits, elsewhere, soname, tmp_path):
    """A program with liblenet, which the linker of this computer would find in build/."""
    program = shutil.copy(BUILD / "lenet_infer_test", tmp_path)
    environment = tmp_path / soname
    shutil.copy(BUILD / soname, environment)
    write_bundle(model_dir, elsewhere / "made", Path(program))
    environment.unlink()
    Path(program).unlink()
    assert soname in {path.name for path in (elsewhere / "made" / "lib").iterdir()}
    found = logits_there(elsewhere / "made" / "lenet_infer_test", elsewhere)
    np.testing.assert_array_equal(found, lenet_cpp.predict(digits))


def test_archive_is_the_same_each_time(digits, elsewhere):
    made = [elsewhere / name / "digits.tar.gz" for name in ("first", "second")]
    for file in made:
        file.parent.mkdir()
        assert call("-o", file, "--program", BUILD / "lenet_infer_native") == 0
    assert call("-o", made[1], "--program", BUILD / "lenet_infer_native") == 0  # over the first
    assert made[0].read_bytes() == made[1].read_bytes()
    printed_by("tar", "-xf", made[0], cwd=elsewhere)
    found = logits_there(elsewhere / "digits" / "lenet_infer_native", elsewhere)
    np.testing.assert_array_equal(found, lenet_cpp.predict(digits))


def test_single_file(static, model_dir, digits, elsewhere, capsys):
    file = elsewhere / "digits"
    make = (model_dir, "-o", file, "--single-file", "--program")
    assert call(*make, static / "lenet_infer_native") == 0
    assert "needs no library\n  checked" in capsys.readouterr().out
    expected = lenet_cpp.predict(digits)
    np.testing.assert_array_equal(logits_there(file, elsewhere), expected)
    # Another model that is named, and a program that has a model already.
    assert "nowhere" in run_there(file, "--model_dir=nowhere", code=3)
    shutil.copy(file, elsewhere / "lenet_infer_native")
    assert call(*make, elsewhere / "lenet_infer_native") == 0
    np.testing.assert_array_equal(logits_there(file, elsewhere), expected)
    assert file.stat().st_size == (elsewhere / "lenet_infer_native").stat().st_size


def test_single_file_of_a_classifier(static, model_dir, digits, elsewhere):
    file, digit = elsewhere / "classify", elsewhere / "digit.npy"
    np.save(digit, digits[0, 0])
    write_bundle(model_dir, file, static / "lenet_classify", single_file=True)
    expected = run_there(static / "lenet_classify", f"--model_dir={model_dir}", digit)
    assert run_there(file, digit) == expected
    (elsewhere / "no steps").mkdir()
    for name in ("lenet.pdmodel", "lenet.pdiparams"):
        shutil.copy(model_dir / name, elsewhere / "no steps")
    write_bundle(elsewhere / "no steps", file, static / "lenet_classify", single_file=True)
    without = f"--model_dir={elsewhere / 'no steps'}"
    assert run_there(file, digit) == run_there(static / "lenet_classify", without, digit)


def test_damaged_single_file(static, model_dir, elsewhere):
    """Whatever is changed in the model or cut off: one line, and never another answer."""
    file = elsewhere / "digits"
    write_bundle(model_dir, file, static / "lenet_infer_native", single_file=True)
    content = file.read_bytes()
    size = (static / "lenet_infer_native").stat().st_size
    mark = content.index(b"lenet attached model:")
    changes = [content[:-1], content[: size + 100], content[:size], content[: size - 1]]
    changes += [content + b"more"]
    for place in (size, size + 40, len(content) - 1, mark + 30, mark + 85, mark + 91, mark + 104):
        changes.append(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    for changed in changes:
        file.write_bytes(changed)
        said = run_there(file, code=BAD_MODEL)
        assert re.fullmatch(
            r"lenet_infer_native: BadModel: the model in this .* damaged: .*\n", said
        )


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        (lambda folder: (folder / "lenet.pdiparams").write_bytes(b"x"), BAD_MODEL, "lenet.pdip"),
        (lambda folder: shutil.rmtree(folder), 3, "there is no model"),
        (lambda folder: (folder.parent / "made").write_text("mine"), BAD_INPUT, "not a bundle"),
        (lambda folder: shutil.copytree(folder, folder.parent / "made"), BAD_INPUT, "not a bundle"),
    ],
)
def test_refusals_leave_nothing(change, code, said, model_dir, tmp_path, capsys):
    folder = Path(shutil.copytree(model_dir, tmp_path / "model"))
    change(folder)
    before = sorted(tmp_path.rglob("*"))
    program = BUILD / "lenet_infer_native"
    assert call(folder, "-o", tmp_path / "made", "--program", program) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("lenet-cpp: error: ")
    assert said in line
    assert sorted(tmp_path.rglob("*")) == before


def foreign(of):
    """Return a change that makes a bundle at the output, and puts a file of the user's into it."""

    def change(folder):
        made = folder.parent / "made"
        write_bundle(folder, made, BUILD / "lenet_infer_native")
        (made / of).parent.mkdir(exist_ok=True)
        (made / of).write_text("mine")

    return change


def project(folder):
    """Make a folder that looks like a bundle: many projects have a bin and a model."""
    for name in ("bin", "lib", "model", "src"):
        (folder.parent / "made" / name).mkdir(parents=True)
    (folder.parent / "made" / "model" / "weights").write_text("mine")


def linked(folder):
    write_bundle(folder, folder.parent / "other", BUILD / "lenet_infer_native")
    (folder.parent / "made").symlink_to(folder.parent / "other")


@pytest.mark.parametrize(
    "change",
    [
        project,
        linked,
        *map(foreign, ("mine", "bin/mine", "lib/mine", "model/mine", "src/mine")),
        foreign("lenet_infer_native"),
    ],
)
def test_a_folder_with_something_else_is_not_replaced(change, model_dir, tmp_path):
    folder = Path(shutil.copytree(model_dir, tmp_path / "model"))
    change(folder)
    before = {path: path.is_file() and path.read_bytes() for path in tmp_path.rglob("*")}
    with pytest.raises(lenet_cpp.BadInput, match="not a bundle"):
        write_bundle(folder, tmp_path / "made", BUILD / "lenet_infer_native")
    assert before == {path: path.is_file() and path.read_bytes() for path in tmp_path.rglob("*")}


COLOURS = ["red", "green", "blue"]
STEPS = """PreProcess:
  transform_ops:
    - NormalizeImage: {scale: 1.0/255.0, mean: [0, 0, 0], std: [1, 1, 1], order: ''}
    - ToCHWImage: null
"""
"""Values from 0 to 1 in the order of COLOURS, as PaddleClas describes it."""


def colour_model(folder, *, location="", size=20):
    """Write an .onnx whose scores are the means of red, green and blue; return its path.

    ``location`` is the file of its values, in the folder; "" for the .onnx itself. ``size`` is that
    of its images, or a name for an open one.
    """
    weights = np.eye(3, dtype=np.float32)
    tensor = onnx.numpy_helper.from_array(weights, "w")
    folder.mkdir()
    if location:
        tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[3, 3])
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=location)
        (folder / location).parent.mkdir(exist_ok=True)
        (folder / location).write_bytes(weights.tobytes())
    nodes = [
        helper.make_node("GlobalAveragePool", ["x"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["row"]),
        helper.make_node("MatMul", ["row", "w"], ["y"]),
    ]
    taken = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, size, size])
    given = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])
    graph = helper.make_graph(nodes, "g", [taken], [given], [tensor])
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8, producer_name="test"
    )
    (folder / "colours.onnx").write_bytes(model.SerializeToString())
    return folder / "colours.onnx"


def by_labels_file(file):
    (file.parent / "inference.yml").write_text(STEPS)
    (file.parent / "labels.txt").write_text("\n".join(COLOURS))


def by_list_in_yml(file):
    rule = f"PostProcess:\n  Topk: {{topk: 2, label_list: {COLOURS}}}\n"
    (file.parent / "inference.yml").write_text(STEPS + rule)


def by_file_of_yml(file):
    rule = "  MultiLabelThreshOutput: {threshold: 0.4, class_id_map_file: ../x/names.txt}\n"
    (file.parent / "inference.yml").write_text(STEPS + "PostProcess:\n" + rule)
    (file.parent / "names.txt").write_text("0 red\n1 green\n2 blue\n")


def by_metadata(file):
    model = onnx.load(file)
    steps = {"type": "Normalize", "scale": 1 / 255, "mean": [0] * 3, "std": [1] * 3}
    preprocess = {"format_version": 1, "mode": "RGB", "steps": [steps, {"type": "ToCHW"}]}
    entries = {"lenet_cpp.preprocess": preprocess, "lenet_cpp.classes": COLOURS}
    helper.set_model_props(model, {name: json.dumps(each) for name, each in entries.items()})
    onnx.save(model, file)


def by_manifest(file):
    (file.parent / "inference.yml").write_text(STEPS)
    said = {
        "format_version": 1,
        "models": {file.name: {}},
        "classes": COLOURS,
        "softmax": False,
    }
    (file.parent / "manifest.json").write_text(json.dumps(said))


KINDS = [by_labels_file, by_list_in_yml, by_file_of_yml, by_metadata, by_manifest]


@pytest.mark.parametrize("single_file", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_labels_and_rules_come_along(kind, single_file, static, elsewhere, tmp_path):
    """Whatever file of the model has them: a green picture is called green."""
    file = colour_model(tmp_path / "model")
    kind(file)
    Image.new("RGB", (20, 20), (10, 200, 120)).save(elsewhere / "green.bmp")
    program = static / "lenet_classify" if single_file else BUILD / "lenet_classify"
    said = write_bundle(file, elsewhere / "made", program, single_file=single_file)
    assert said[1].startswith("checked: it printed for a test picture")
    shutil.rmtree(tmp_path / "model")
    start = elsewhere / "made" if single_file else elsewhere / "made" / "lenet_classify"
    printed = run_there(start, "--format=json", elsewhere / "green.bmp")
    found = [each["label"] for each in json.loads(printed)[0]["predictions"]]
    expected = ["green", "blue", "red"]
    if kind is by_list_in_yml:
        expected = expected[:2]
    elif kind is by_file_of_yml:
        expected = ["green", "blue"]  # those above the threshold
    assert found == expected


def test_a_file_of_labels_that_is_missing_is_said(tmp_path):
    file = colour_model(tmp_path / "model")
    by_file_of_yml(file)
    (file.parent / "names.txt").unlink()
    _, finding, note = write_bundle(file, tmp_path / "made", BUILD / "lenet_classify")
    assert finding.startswith("checked: it printed")
    assert f"there is no '{file.parent}/names.txt'" in note


@pytest.mark.parametrize("name", ["lenet_classify", "lenet_serve"])
def test_a_bundle_that_loses_labels_is_not_written(name, built, monkeypatch, tmp_path):
    file = colour_model(tmp_path / "model")
    by_labels_file(file)
    program = built(name)
    made = tmp_path / "made"
    assert "checked: it printed" in write_bundle(file, made, program)[1]
    shutil.rmtree(made)

    def without_labels(*arguments):
        files = read_model_files(*arguments)
        del files["labels.txt"]
        return files

    read_model_files = bundle._core.read_model_files
    monkeypatch.setattr(bundle._core, "read_model_files", without_labels)
    with pytest.raises(lenet_cpp.BackendFailure) as caught:
        write_bundle(file, made, program)
    said = re.fullmatch(
        rf".*for a test picture {made}/{name} printed (.*), and {program} with {file} printed (.*)",
        str(caught.value),
        re.DOTALL,
    )
    assert '"red"' not in said[1]
    assert '"red"' in said[2]
    assert not made.exists()


@pytest.mark.parametrize("size", [20, "size"])
@pytest.mark.parametrize("location", ["colours.onnx.data", "values/w.bin"])
def test_external_data_comes_along(location, size, static, elsewhere, tmp_path):
    """As a folder, an archive and a single file; the images may have any size."""
    file = colour_model(tmp_path / "model", location=location, size=size)
    np.save(elsewhere / "digits.npy", np.random.default_rng(0).random((2, 3, 20, 20), np.float32))
    expected = np.load(elsewhere / "digits.npy").mean((2, 3))
    program = BUILD / "lenet_infer_native"
    ran = "checked: it ran, with the same outputs as lenet_cpp.Predictor"
    for _ in range(2):  # the second one replaces the first
        assert write_bundle(file, elsewhere / "made", program)[1] == ran
    assert write_bundle(file, elsewhere / "made.tar.gz", program)[1] == ran
    single = static / "lenet_infer_native"
    assert write_bundle(file, elsewhere / "one", single, single_file=True)[1] == ran
    shutil.rmtree(tmp_path / "model")
    (elsewhere / "archive").mkdir()
    printed_by("tar", "-xf", elsewhere / "made.tar.gz", cwd=elsewhere / "archive")
    for start in ("made/lenet_infer_native", "archive/made/lenet_infer_native", "one"):
        found = logits_there(elsewhere / start, elsewhere)
        np.testing.assert_allclose(found, expected, rtol=1e-5)
    values = elsewhere / "made" / "model" / location
    values.write_bytes(np.zeros(9, np.float32).tobytes())
    assert "SHA256SUMS" in run_there(elsewhere / "made/lenet_infer_native", code=BAD_MODEL)


def test_external_data_elsewhere_is_refused(tmp_path):
    file = colour_model(tmp_path / "model", location="../w.bin")
    with pytest.raises(lenet_cpp.BadModel, match=r"'\.\./w\.bin', which is no file of its folder"):
        write_bundle(file, tmp_path / "made", BUILD / "lenet_infer_native")


def test_errors_name_no_temporary_path(monkeypatch, tmp_path):
    """Here the program finds its model without the values."""
    file = colour_model(tmp_path / "model", location="w.bin")
    read = bundle._core.read_model_files
    monkeypatch.setattr(
        bundle._core, "read_model_files", lambda *given: dict([*read(*given).items()][:1])
    )
    made = tmp_path / "made"
    with pytest.raises(lenet_cpp.FileNotFound) as caught:
        write_bundle(file, made, BUILD / "lenet_infer_native")
    assert f"'{made}/model/colours.onnx'" in str(caught.value)
    assert "/.made." not in str(caught.value)
    assert not made.exists()


def test_errors_of_the_system_name_the_output(model_dir):
    """No folder can be made in /proc, by nobody."""
    with pytest.raises(OSError, match="'/proc/self/made'") as caught:
        write_bundle(model_dir, "/proc/self/made", BUILD / "lenet_infer_native")
    assert "/.made." not in str(caught.value)


@pytest.mark.parametrize("name", ["lenet_classify", "lenet_serve"])
def test_a_model_that_nothing_describes_is_said(name, built, tmp_path):
    """To the user of a program that prepares pictures; the other program takes arrays."""
    file = colour_model(tmp_path / "model")
    note = write_bundle(file, tmp_path / name, built(name))[2]
    assert note.startswith(f"note: nothing describes how images are prepared for '{file}'")
    assert len(write_bundle(file, tmp_path / "arrays", BUILD / "lenet_infer_native")) == 2


@pytest.mark.parametrize("name", ["lenet_classify", "lenet_serve"])
def test_a_wrong_number_of_labels_is_refused(name, built, tmp_path, capsys):
    file = colour_model(tmp_path / "model")
    by_labels_file(file)
    (file.parent / "labels.txt").write_text("\n".join("abcde"))
    assert call(file, "-o", tmp_path / "made", "--program", built(name)) == BAD_MODEL
    said = f"'{file.parent}/labels.txt' names 5 classes, the model has 3"
    assert said in capsys.readouterr().err
    assert not (tmp_path / "made").exists()


def test_a_program_is_found_by_its_name(model_dir, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(BUILD), prepend=":")
    assert call(model_dir, "-o", "made", "--program", "lenet_classify") == 0
    assert (tmp_path / "made" / "lenet_classify").is_file()
    capsys.readouterr()
    assert call(model_dir, "-o", "one", "--single-file", "--program", "nowhere") == 3
    said = capsys.readouterr().err
    assert "nowhere is not in build/static, build/, in this package or in PATH" in said
    assert call(model_dir, "-o", "one", "--single-file", "--program", "lenet_classify") == 6
    assert "the CMake preset 'static' builds in build/static" in capsys.readouterr().err


def test_a_program_that_cannot_take_a_picture_is_said(built, elsewhere, tmp_path):
    """Nothing describes the images of this model, which the user of the bundle can name."""
    file = colour_model(tmp_path / "model", size="size")
    for program in (BUILD / "lenet_classify", built("lenet_serve")):
        said = write_bundle(file, elsewhere / program.name, program)
        expected = f"not compared: {program.name} with {file} refuses a test picture: "
        assert said[1].startswith(expected)
        assert "describes how images are prepared" in said[1]
    other = Path(shutil.copy(BUILD / "lenet_infer_native", tmp_path / "mine"))
    assert write_bundle(file, elsewhere / "other", other)[1].startswith("not run: mine is no")


def test_a_bundle_is_replaced_by_another_program(model_dir, tmp_path):
    for name in ("lenet_infer_native", "lenet_classify"):
        write_bundle(model_dir, tmp_path / "made", BUILD / name)
        names = {path.name for path in (tmp_path / "made").iterdir()}
        assert names == {"bin", "lib", "model", name}


def test_refused_programs(soname, tmp_path, capsys):
    (tmp_path / "text").write_text("#!/bin/sh\n")
    head = (BUILD / "lenet_infer_native").read_bytes()
    (tmp_path / "cut").write_bytes(head[:70])
    other = tmp_path / "lenet_infer_native"
    other.write_bytes(head.replace(b"/lib64/ld-linux", b"/libXX/ld-linux"))
    lost = shutil.copy(BUILD / "lenet_classify", tmp_path)  # without liblenet
    for name, code, said in (
        ("nowhere", 3, "cannot read the program"),
        ("text", BAD_INPUT, "no complete 64-bit program of Linux"),
        ("cut", BAD_INPUT, "no complete 64-bit program of Linux"),
        (other.name, UNSUPPORTED, "is not here"),
        (Path(lost).name, 3, f"needs {soname}"),
    ):
        assert call("-o", tmp_path / "made", "--program", tmp_path / name) == code, name
        assert said in capsys.readouterr().err
    program = BUILD / "lenet_infer_native"
    assert call("-o", tmp_path / "made", "--single-file", "--program", program) == UNSUPPORTED
    assert "needs shared libraries" in capsys.readouterr().err
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("suffix", [".zip", ".tgz"])
def test_names_of_other_archives_are_refused(suffix, tmp_path, capsys):
    with pytest.raises(SystemExit) as caught:
        call("-o", tmp_path / f"digits{suffix}")
    assert caught.value.code == 2
    assert "archives are called NAME.tar.gz" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_other_outputs_are_noticed(monkeypatch, tmp_path):
    """A program that computes something else is not handed out."""
    monkeypatch.setattr(bundle_check.np, "array_equal", lambda *_: False)
    made = tmp_path / "made"
    said = (
        rf"{made}/lenet_infer_native gives other outputs than lenet_cpp.Predictor, \[.*\] instead"
    )
    with pytest.raises(lenet_cpp.BackendFailure, match=said):
        write_bundle(None, made, BUILD / "lenet_infer_native")
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_leaves_the_bundle_that_was_there(model_dir, tmp_path):
    write_bundle(model_dir, tmp_path / "made", BUILD / "lenet_infer_native")
    before = sorted(tmp_path.rglob("*"))
    code = (
        "import signal, sys; from lenet_cpp.deploy import bundle_check;"
        "from lenet_cpp.cli import main;"
        "bundle_check.call_program = lambda *_: signal.raise_signal(signal.SIGINT);"
        "sys.exit(main(sys.argv[1:]))"
    )
    arguments = ("bundle", "-o", tmp_path / "made", "--program", BUILD / "lenet_infer_native")
    done = run_command(sys.executable, "-c", code, *arguments)
    assert done.returncode == 128 + signal.SIGINT, done.stderr
    assert "interrupted" in done.stderr
    assert sorted(tmp_path.rglob("*")) == before
