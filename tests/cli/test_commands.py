"""Every command of lenet_cpp.cli: that it runs as a module, and what its messages say of flags."""

import ast
import errno
import os
import pickle
import re
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from classifiers import PARSED
from PIL import Image

from lenet_cpp.cli import load, run_cli

PACKAGE = Path(__file__).parents[2] / "python" / "lenet_cpp"
FLAG = re.compile(r"(?<![\w-])--[a-z][\w-]*\w")


def test_texts_name_flags_that_there_are():
    """Which command a flag in a message is for, only a reader sees."""
    params = [param for command in PARSED.values() for param in command.params]
    names = {name for one in params for name in (*one.opts, *one.secondary_opts, *one.also)}
    known = {name.replace("_", "-") for name in names} | {"--help", "--version"}
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and " " in str(node.value):
                found = {flag.replace("_", "-") for flag in FLAG.findall(str(node.value))}
                assert found <= known, f"{path}: {node.value}"


@pytest.fixture(scope="module")
def others(tmp_path_factory, model_dir):
    """A folder with a file of each kind, each as its framework begins it."""
    folder = tmp_path_factory.mktemp("others")
    shutil.copytree(model_dir, folder, dirs_exist_ok=True)
    Image.new("L", (28, 28)).save(folder / "digit.png")
    for name in ("net.pt", "named.pdparams"):
        with zipfile.ZipFile(folder / name, "w") as archive:
            archive.writestr("archive/data.pkl", b"\x80\x02}q\x00.")
    magic = pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2)
    (folder / "old.pth").write_bytes(magic + pickle.dumps(1001, 2))
    for name in ("lenet.pdparams", "paddle.pt"):
        (folder / name).write_bytes(pickle.dumps({"fc.weight": np.zeros(3, np.float32)}, 2))
    (folder / "net.onnx").write_bytes(b"\x08\x08\x12\x07unknown")
    return folder


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("infer -i digit.png -m lenet -p net.pt", "PyTorch's parameters; lenet-cpp import"),
        ("infer -i digit.png -m lenet -p named.pdparams", "lenet-cpp import"),
        ("infer -i digit.png -m lenet -p old.pth", "lenet-cpp import"),
        ("infer -i digit.png -m lenet -p lenet.pdiparams", "lenet-cpp convert --to pdparams"),
        ("infer -i digit.png -m lenet -p lenet.pdmodel", "(.pdmodel)"),
        ("convert digit.png -o out --to json", "its content is of no known format"),
        ("convert net.onnx -o out --to json --model lenet", "an ONNX model"),
        ("predict -i digit.png -m lenet.pdparams", "lenet-cpp export"),
        ("predict -i digit.png -m lenet.pdiparams", "name the program, lenet.pdmodel or .json"),
        ("predict -i digit.png -d lenet.pdmodel", "model_file"),
        ("import lenet.pdparams -o out", "a Paddle state dict"),
        ("quantize --method static-ptq --model-dir lenet.pdparams", "a Paddle state dict"),
        ("import paddle.pt --model lenet -o out", "a Paddle state dict"),
    ],
)
def test_a_file_of_another_kind_is_named(arguments, said, others, monkeypatch, capsys):
    if "paddle.pt" in arguments:
        pytest.importorskip("torch", reason="it reads the file")
    monkeypatch.chdir(others)
    command, *rest = arguments.split()
    assert load(command)(rest) in {3, 4, 5}
    (error,) = capsys.readouterr().err.splitlines()
    assert said in error
    assert re.search(r"[\w.]*(\.p\w+|\.json|\.onnx)", error)
    assert not (others / "out").exists()


def test_a_full_disk_is_named_with_its_file(model_dir, others, capsys):
    target = others / "full.json"
    target.symlink_to("/dev/full")
    arguments = ["-i", str(others / "digit.png"), "-d", str(model_dir), f"--output={target}"]
    assert load("predict")(arguments) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{os.strerror(errno.ENOSPC)}: {target}; free some" in line


def test_a_full_disk_is_named_with_the_folder_of_an_export(tmp_path):
    from lenet_cpp.formats.installation import staging_folder

    folder = tmp_path / "exported"
    with pytest.raises(OSError, match="full") as caught, staging_folder(folder, "lenet"):
        raise OSError(errno.ENOSPC, "full")  # as a write does, which names no file
    assert caught.value.filename == str(folder)
    assert not folder.exists()


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES, errno.ENOENT])
def test_what_cannot_be_written_is_named(code, tmp_path, monkeypatch, capsys):
    from lenet_cpp._base.files import write_text

    def refuse(self, text, **_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(Path, "write_text", refuse)
    target = tmp_path / "out.json"
    assert run_cli(lambda: write_text(target, "x") or 0) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{os.strerror(code)}: {target}; " in line
    assert line.endswith("name another place to write to (see --help)")
    assert list(tmp_path.iterdir()) == []
