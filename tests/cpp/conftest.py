"""How a program ends, seen from outside, and the native engine's instruction sets: for one test, as
a file may have its own run_program.
"""

from pathlib import Path

import pytest

from processor import INSTRUCTION_SETS, processor_has


@pytest.fixture
def run_ok(run_program):
    """Run the program; it succeeds and says nothing beside its report."""

    def run(*arguments, **options):
        result = run_program(*arguments, **options)
        assert (result.returncode, result.stderr) == (0, "")
        return result.stdout

    return run


@pytest.fixture
def fails(run_program):
    """Run the program; it fails with that exit code and one line, returned, with these words."""

    def run(code, words, *arguments, **options):
        result = run_program(*arguments, **options)
        assert (result.returncode, result.stdout) == (code, ""), result.stderr
        (line,) = result.stderr.splitlines()
        assert line.startswith(f"{Path(result.args[0]).name}: ")
        assert words in line
        return line

    return run


@pytest.fixture(params=INSTRUCTION_SETS)
def instruction_set(request, monkeypatch):
    """Have the native engine compute by each instruction set, and return its name."""
    if not processor_has(request.param):
        # The kernels are machine code: without the instructions the process would end. An emulator
        # has them (docs/native-engine.md), and takes longer than a test may.
        pytest.skip(f"this processor has no {request.param}, and cannot run its kernels")
    monkeypatch.setenv("LENET_NATIVE_ISA", request.param)
    return request.param
