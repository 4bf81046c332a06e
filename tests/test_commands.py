"""Every command of lenet_cpp.cli: that it runs as a module, and what its messages say of flags."""

from __future__ import annotations

import argparse
import ast
import importlib
import re
import runpy
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "python" / "lenet_cpp"
COMMANDS = sorted(path.stem for path in (PACKAGE / "cli").glob("[a-z]*.py"))
# What several commands have in common, and whose messages therefore may name only what all have.
# The other modules of cli/ are commands.
SHARED = {
    "cli/_across.py": ["verify"],
    "cli/_classify.py": ["predict"],  # it asks for flags that the others do not have
    "cli/_verify_text.py": ["verify"],
    "classification.py": ["predict", "py_infer", "infer", "verify"],
    "data.py": ["train", "verify", "quantize", "torch_train"],
    "formats/*.py": ["convert_model"],
    "interchange/caffe2_*.py": ["caffe2_roundtrip"],
    "interchange/onnx_tidy.py": ["import_model"],
    "quantization/*.py": ["quantize"],
    "verify/*.py": ["verify"],
}
ANY_FLAG = "--name"  # that help speaks of
FLAG = re.compile(r"(?:(?:scripts/)?(\w+)\.py )?(?<![\w-])(--[a-z][\w-]*\w)")


def flags_of(command: str) -> set[str]:
    """The names of a command's options, as its parser has them."""

    class Caught(Exception):  # noqa: N818
        pass

    def catch(parser: argparse.ArgumentParser, *_: object) -> None:
        raise Caught(parser)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, "parse_args", catch)
        try:
            importlib.import_module(f"lenet_cpp.cli.{command}").main([])
        except Caught as caught:
            (parser,) = caught.args
    return {name.replace("_", "-") for name in parser._option_string_actions}


FLAGS = {command: flags_of(command) for command in COMMANDS}


def texts_of(path: Path) -> list[str]:
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
    return [text for text in texts if " " in text]


def modules() -> dict[str, list[str]]:
    found = {f"cli/{command}.py": [command] for command in COMMANDS}
    for pattern, commands in SHARED.items():
        for path in PACKAGE.glob(pattern):
            found[path.relative_to(PACKAGE).as_posix()] = commands
    return found


@pytest.mark.parametrize(("name", "commands"), modules().items())
def test_messages_name_flags_that_there_are(name: str, commands: list[str]) -> None:
    for text in texts_of(PACKAGE / name):
        # Of examples the part after a command that is another one, to the end of the line.
        for line in text.splitlines():
            script = ""
            for match in FLAG.finditer(line):
                script = match[1] or script
                flag = match[2].replace("_", "-")
                for command in [script] if script else commands:
                    said = f"{name}: {command} has no {match[2]}: {line!r}"
                    assert flag in {*FLAGS[command], ANY_FLAG}, said


def test_other_modules_name_no_flags() -> None:
    """A message of theirs may be any command's."""
    known = modules()
    for path in PACKAGE.rglob("*.py"):
        name = path.relative_to(PACKAGE).as_posix()
        if name in known or name.startswith("benchmark/"):
            continue
        for text in texts_of(path):
            for script, flag in FLAG.findall(text):
                assert script, f"{name} names a flag of an unknown command: {text!r}"
                assert flag.replace("_", "-") in FLAGS[script], f"{name}: {text!r}"


@pytest.mark.parametrize("command", COMMANDS)
def test_command_is_a_module_that_runs(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = PACKAGE / "cli" / f"{command}.py"
    monkeypatch.setattr(sys, "argv", [str(path), "--help"])
    with pytest.raises(SystemExit) as caught:
        runpy.run_path(str(path), run_name="__main__")
    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: {command}.py ")


@pytest.mark.parametrize("spelling", ["--model-dir=x", "--model_dir=x"])
def test_hyphens_and_underscores(spelling: str, capsys: pytest.CaptureFixture[str]) -> None:
    from lenet_cpp.cli import verify

    with pytest.raises(SystemExit) as caught:
        verify.main([spelling, "--no_such_flag"])
    assert caught.value.code == 2
    assert capsys.readouterr().err.endswith("unrecognized arguments: --no_such_flag\n")
