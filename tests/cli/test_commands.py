"""Every command of lenet_cpp.cli: that it runs as a module, and what its messages say of flags."""

import ast
import errno
import inspect
import io
import os
import pickle
import re
import shlex
import shutil
import sys
import zipfile
from argparse import ArgumentParser
from importlib import import_module
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from classifiers import MAINS, PARSED, ROOT
from PIL import Image

from lenet_cpp.cli import COMMANDS, predict, run_cli
from snippets import run_command

PACKAGE = ROOT / "python" / "lenet_cpp"
STEMS = {name: place for name, (place, _) in COMMANDS.items()}
TOOLS = {
    "caffe2_roundtrip.py": "tools.caffe2.cli",
    "draw_mnist_sample.py": "scripts.draw_mnist_sample",
    "fetch_paddle_inference.py": "scripts.fetch_paddle_inference",
    "mutate_models.py": "tools.hostile.__main__",
}
# What several commands have in common, and whose messages therefore may name only what all have.
# The other modules of cli/ are commands.
SHARED = {
    "data/download.py": ["train"],
    "data/mnist.py": ["train", "verify", "quantize", "torch_train"],
    "export/*.py": ["convert_model", "export_model"],
    "formats/*.py": ["convert_model"],
    "inference/model.py": ["predict", "verify"],
    "interchange/caffe2/*.py": ["import_model"],
    "interchange/onnx/reduce.py": ["import_model"],
    "quantize/*.py": ["quantize"],
    "verify/*.py": ["verify"],
}
EVERYWHERE = {"--help", "--name"}  # the latter is any flag, in help
WORD = re.compile(r"(\w+)\.py\b|lenet-cpp ([a-z-]+)|(?<![\w-])(--[a-z][\w-]*\w)")


def option_names(command):
    """The names of a command's options, as its parser has them."""
    return {
        name.replace("_", "-")
        for param in command.params
        for name in (*param.opts, *param.secondary_opts, *getattr(param, "flags", ()))
    }


def argparse_names(main, arguments):
    if hasattr(main, "params"):
        return option_names(main)
    stop = {"autospec": True, "side_effect": SystemExit}
    with patch.object(ArgumentParser, "parse_args", **stop) as parse, pytest.raises(SystemExit):
        main(arguments)
    parser = parse.call_args.args[0]
    return {name.replace("_", "-") for name in parser._option_string_actions}


FLAGS = {
    **{STEMS[name]: option_names(command) for name, command in PARSED.items()},
    "benchmark.py": option_names(import_module("tools.benchmark.cli").main),
    **{f"{name}.py": option_names(command) for name, command in MAINS.items()},
    "fetch_paddle_inference.py": argparse_names(
        import_module("scripts.fetch_paddle_inference").main, []
    ),
    **{name: argparse_names(import_module(place).main, []) for name, place in TOOLS.items()},
}


def texts_of(path):
    """What a module says: its texts of several words, without docstrings and fields."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = list(ast.walk(tree))
    inner = {id(part) for node in nodes if isinstance(node, ast.JoinedStr) for part in node.values}
    docs = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    texts = []
    for node in nodes:
        if id(node) in inner | docs:
            continue
        if isinstance(node, ast.JoinedStr):
            parts = (part.value if isinstance(part, ast.Constant) else "X" for part in node.values)
            texts.append("".join(map(str, parts)))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            texts.append(node.value)
    # What begins with a hyphen declares an option.
    return [text for text in texts if " " in text and text[0] != "-"]


def flags_in(line, commands):
    """The flags of a line, each with every command that has to have it.

    These are those that the module is for, or the one that the line named last.
    """
    for script, name, flag in WORD.findall(line):
        if script == "FILE":  # of the user's
            continue
        if script or name:
            tool = f"{script}.py"
            commands = [tool if tool in FLAGS else script or STEMS[name]]
        else:
            yield from ((command, flag) for command in commands)


def modules():
    patterns = {f"cli/{place}.py": [place] for place in STEMS.values()} | SHARED
    return {
        path.relative_to(PACKAGE).as_posix(): commands
        for pattern, commands in patterns.items()
        for path in PACKAGE.glob(pattern)
    }


@pytest.mark.parametrize(("name", "commands"), modules().items())
def test_messages_name_flags_that_there_are(name, commands):
    for text in texts_of(PACKAGE / name):
        # Of examples the part after a command that is another one, to the end of the line.
        for line in text.splitlines():
            for command, flag in flags_in(line, commands):
                known = FLAGS[command] | EVERYWHERE
                assert flag.replace("_", "-") in known, f"{name}: {command} has no {flag}: {line!r}"


@pytest.mark.parametrize("name", PARSED)
def test_help_names_flags_that_there_are(name):
    command = PARSED[name]
    for text in [*(str(param.help) for param in command.params), *command.epilog.splitlines()]:
        for where, flag in flags_in(text, [STEMS[name]]):
            assert flag.replace("_", "-") in FLAGS[where] | EVERYWHERE, f"{flag} in {text!r}"


def test_predict_shows_its_arguments_without_the_flags_for_them(capsys):
    with pytest.raises(SystemExit):
        predict.main(["--help"])
    text = capsys.readouterr().out
    assert "(also -d, --model-dir, -m, --model-file)" in " ".join(text.split())
    shown = re.findall(r"^  (-.*?)(?:  |$)", text, re.MULTILINE)
    assert not [line for line in shown if re.match(r"-[dmi],", line)], shown


@pytest.mark.parametrize("name", [*PARSED, *MAINS])
def test_examples_of_the_help_are_understood(name):
    command = PARSED.get(name) or MAINS[name]
    examples = re.findall(r"^%prog(.*)", command.epilog, re.MULTILINE)
    assert examples
    for example in examples:
        command.make_context(name, shlex.split(example))


def test_other_modules_name_no_flags():
    """A message of theirs may be any command's."""
    known = {*modules(), "cli/_options.py", "cli/help_.py"}  # tested with each command
    names = {path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py")}
    for name in sorted(names - known):
        for text in texts_of(PACKAGE / name):
            for command, flag in flags_in(text, ["?"]):
                flags = FLAGS.get(command, set()) | EVERYWHERE
                assert flag.replace("_", "-") in flags, f"{name}, {command}: {text!r}"


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
        ("convert_model digit.png -o out --to json", "its content is of no known format"),
        ("convert_model net.onnx -o out --to json --model lenet", "an ONNX model"),
        ("predict -i digit.png -m net.pt", "lenet-cpp import"),
        ("predict -i digit.png -m lenet.pdparams", "lenet-cpp export"),
        ("predict -i digit.png -m lenet.pdiparams", "name the program, lenet.pdmodel or .json"),
        ("predict -i digit.png -m lenet.pdmodel -p lenet.pdparams", "lenet-cpp export"),
        ("import_model lenet.pdparams -o out", "a Paddle state dict"),
        ("quantize --method static-ptq --model-dir lenet.pdparams", "a Paddle state dict"),
        ("import_model paddle.pt --model lenet -o out", "a Paddle state dict"),
    ],
)
def test_a_file_of_another_kind_is_named(arguments, said, others, monkeypatch, capsys):
    if "paddle.pt" in arguments:
        pytest.importorskip("torch", reason="it reads the file")
    monkeypatch.chdir(others)
    command, *rest = arguments.split()
    called = {**MAINS, **{STEMS[name]: each for name, each in PARSED.items() if name != "predict"}}
    assert called[command](rest) in {3, 4, 5}
    (error,) = capsys.readouterr().err.splitlines()
    assert said in error
    assert re.search(r"[\w.]*(\.p\w+|\.json|\.onnx)", error)
    assert not (others / "out").exists()


def test_a_full_disk_is_named_with_its_file(model_dir, others, capsys):
    target = others / "full.json"
    target.symlink_to("/dev/full")
    arguments = ["-i", str(others / "digit.png"), "-d", str(model_dir), f"--output={target}"]
    assert MAINS["predict"](arguments) == 8
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{os.strerror(errno.ENOSPC)}: {target}; free some" in line


def test_a_full_disk_is_named_with_the_folder_of_an_export(tmp_path):
    from lenet_cpp.formats.installation import staging_folder

    folder = tmp_path / "exported"
    with pytest.raises(OSError, match="full") as caught, staging_folder(folder, "lenet"):
        raise OSError(errno.ENOSPC, "full")  # as a write does, which names no file
    assert caught.value.filename == str(folder)
    assert not folder.exists()


def test_a_closed_pipe_in_the_place_of_a_file(monkeypatch):
    class Closed(io.StringIO):
        def flush(self):
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stdout", Closed())
    assert run_cli(lambda: 0, "predict") == 141


def test_closed_streams(model_dir, others, monkeypatch, capsys):
    arguments = ["-i", str(others / "digit.png"), "-d", str(model_dir)]
    with monkeypatch.context() as closed:
        closed.setattr(sys, "stderr", None)
        assert MAINS["predict"](arguments) == 0
    with monkeypatch.context() as closed:
        closed.setattr(sys, "stdout", None)
        assert MAINS["predict"](arguments) == 1
    said = capsys.readouterr()
    assert "digit.png" in said.out
    assert said.err.endswith("error: standard output is closed; send it to a file\n")
    code = "print(os.readlink('/proc/self/fd/2')) or 0"
    code = f"import os; from lenet_cpp.cli._command import run_cli; run_cli(lambda: {code}, 'x')"
    closed = 'exec "$0" -c "$1" 2>&- <&-'
    done = run_command("sh", "-c", closed, sys.executable, code)
    assert done.stdout == "/dev/null\n"


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES, errno.ENOSPC, errno.ENOENT])
def test_what_cannot_be_written_is_named(code, tmp_path, monkeypatch, capsys):
    from lenet_cpp._base.files import write_text

    def refuse(self, text, **_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(Path, "write_text", refuse)
    target = tmp_path / "out.json"
    assert run_cli(lambda: write_text(target, "x") or 0) == (8 if code == errno.ENOSPC else 3)
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{os.strerror(code)}: {target}; " in line
    assert line.endswith("name another place to write to (see --help)")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", [*PARSED, *MAINS])
def test_a_function_takes_the_parameters_of_its_command(name):
    """Click passes them by name, which mypy cannot check."""
    command = PARSED.get(name) or MAINS[name]
    given = {param.name for param in command.params if param.expose_value}
    functions = [command.callback, getattr(command.callback, "__wrapped__", command.callback)]
    parameters = [inspect.signature(each, follow_wrapped=False).parameters for each in functions]
    taken = {*parameters[0], *parameters[1]} - {"files", "more", "change", "fallbacks"}
    if "computed" in taken:
        taken |= {*predict.Computed.__annotations__}
    rest = {"given", "computed"} & taken  # **given are handed on
    assert taken - rest == given if "given" not in rest else taken - rest <= given


def test_the_script_of_fetch_paddle_takes_the_same_options():
    assert FLAGS["fetch_paddle_inference.py"] - {"-h", "--help"} == FLAGS["fetch_paddle"] - {"-o"}
