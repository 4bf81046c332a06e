"""How a program ends, seen from outside: for one test, as a file may have its own run_program."""

from pathlib import Path

import pytest


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
