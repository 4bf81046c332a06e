"""The comparison of two builds: its arithmetic, its rows, its refusals, and a build beside itself.
No test asserts on how long anything takes.
"""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from lenet_cpp.errors import BackendFailure, BadInput, FileNotFound
from tools.benchmark import cli, compare
from tools.benchmark.compare import COMPARED, compare_builds, compare_rows, find_build, verdict
from tools.benchmark.contenders import choose
from tools.benchmark.subject import Settings
from tools.benchmark.summary import Block, median_interval
from tools.benchmark.tables import render
from tools.benchmark.turns import Turn, take_turn

ANSWER = {
    "version": "1.2.3",
    "engine": "native",
    "accelerator": "plain",
    "outputs": [1.0, 2.0],
    "output_shape": [1, 2],
    "load_ms": 1.0,
    "first_run_ms": 1.0,
    "peak_bytes": 5_000_000,
}
NATIVE = choose(["native"], COMPARED, precisions=["fp32"])


def fake(folder, median_ms, commands="", **answer):
    """A build whose program says that a run takes this long, and notes when it was called."""
    latency = {"median_ms": median_ms, "p90_ms": median_ms, "p99_ms": 2 * median_ms}
    said = json.dumps(ANSWER | {"latency": latency} | answer)
    program = folder / "lenet_infer_test"
    folder.mkdir()
    note = f"echo {folder.name} $* >>{folder.parent}/calls"
    program.write_text(f"#!/bin/sh\n{note}\n{commands}\necho '{said}'\n")
    program.chmod(0o755)
    return folder


def settings(model_dir, **options):
    few = {"batch_sizes": (1,), "seconds": 60.0}
    return Settings(model_dir, Path("none"), **{**few, **options})


@pytest.mark.parametrize(
    ("count", "ranks"),
    [
        # Of the sign test at 5 %, as tables of order statistics have them.
        *((0, None), (5, None), (6, (1, 6)), (8, (1, 8)), (9, (2, 8)), (12, (3, 10))),
        *((20, (6, 15)), (25, (8, 18)), (50, (18, 33)), (100, (40, 61))),
    ],
)
def test_interval_has_the_ranks_of_the_sign_test(count, ranks):
    values = np.random.default_rng(count).permutation(np.arange(1, count + 1)).tolist()
    assert median_interval(values) == ranks


def test_interval_of_thousands_of_rounds():
    low, high = median_interval(range(1, 5001))
    assert low + high == 5001
    assert low == pytest.approx(2500 - 1.96 * np.sqrt(5000) / 2, abs=1)  # the normal distribution


@pytest.mark.parametrize(
    ("ratio", "interval", "expected"),
    [
        (1.0, None, "unclear: more rounds needed"),
        (1.0, (0.99, 1.01), "same within 2 %"),
        (1.01, (1.005, 1.015), "same within 2 %"),
        (1.0, (0.97, 1.01), "unclear: more rounds needed"),
        (1.05, (1.03, 1.07), "slower"),
        (1.025, (1.005, 1.04), "slower"),
        (0.95, (0.93, 0.96), "faster"),
        (0.985, (0.97, 0.999), "unclear: more rounds needed"),
    ],
)
def test_verdicts(ratio, interval, expected):
    assert verdict(ratio, interval, 0.02) == expected


def test_a_row_is_done_when_its_interval_is_narrow(model_dir):
    def turn(ms):
        return Turn(1, None, 1, 1, 1, {}, Block(3, 1e3 * ms, 1e3 * ms, 1e3 * ms))

    (_, row) = compare_rows("x", settings(model_dir), NATIVE)
    pairs = [(turn(1.0), turn(ms)) for ms in (1.0, 1.002, 1.004) * 4]
    assert compare.is_done(row, pairs, settings(model_dir))
    assert not compare.is_done(row, pairs[:11], settings(model_dir))
    assert not compare.is_done(row, pairs, settings(model_dir, half_width=0.001))
    wide = [(turn(1.0), turn(ms)) for ms in (0.8, 1.0, 1.2) * 4]
    assert not compare.is_done(row, wide, settings(model_dir))
    assert compare.is_done(row, wide, settings(model_dir, same_within=0.5))


def test_rows_are_loading_and_then_the_batches(tmp_path):
    chosen = choose(["native", "pdmodel/auto", "native/int8"], COMPARED)
    rows = compare_rows("LeNet", settings(tmp_path, batch_sizes=(8, 1), threads=(1, 2)), chosen)
    assert [row.name for row in rows] == [
        f"LeNet {name}, {work}"
        for name in ("pdmodel/auto", "native", "native/bf16", "native/int8")
        for work in ("loading", *("batch 1", "batch 8"), *(f"batch {n}, 2 threads" for n in (1, 8)))
    ]
    with pytest.raises(BadInput, match="no contender is called 'paddel'"):
        choose(["paddel"], COMPARED)


def test_builds_are_found_or_refused(root, program, model_dir, tmp_path):
    found = find_build("A", root)
    assert (found.program, found.python) == (program.resolve(), False)
    assert find_build("B", program.parent).program == program.resolve()
    here = Path(sys.prefix)
    environment = find_build("B", here)
    assert (environment.program, environment.python) == (here / "bin" / "python", True)
    build, same = fake(tmp_path / "a", 1), tmp_path / "same"
    (same / "bin").mkdir(parents=True)  # this environment by another name
    (same / "bin" / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    (same / "bin" / "python").chmod(0o755)
    for a, b, error, said in (
        (build, tmp_path / "absent", FileNotFound, r"B \(.*absent\) is no build: there is no"),
        (build, here, BadInput, "one is a C\\+\\+ build and one a Python environment"),
        (here, same, BadInput, "import the same lenet_cpp"),
    ):
        with pytest.raises(error, match=said):
            compare_builds(a, b, settings(model_dir), NATIVE)
    with pytest.raises(BadInput, match="threads are from 1 to"):
        compare_builds(build, build, settings(model_dir, threads=(10_000,)), NATIVE)


def test_a_slower_build_is_seen_round_by_round(model_dir, tmp_path):
    a, b = fake(tmp_path / "a", 1.0), fake(tmp_path / "b", 1.05)
    result = compare_builds(a, b, settings(model_dir), NATIVE)
    loading, run = result["rows"]
    assert run["ratio"] == pytest.approx(1.05)
    assert run["interval"] == pytest.approx((1.05, 1.05))
    assert (run["ms"], run["p99_ms"]) == ([1, 1.05], [2, 2.1])
    assert (run["rounds"], run["verdict"]) == (12, "slower")
    assert (loading["ratio"], loading["peak_bytes"]) == (1, [5_000_000, 5_000_000])
    assert loading["verdict"] == "same within 10 %"
    calls = (tmp_path / "calls").read_text().splitlines()
    # After each found out how many runs fill its turn: A B, A B, B A, ...
    turns = "".join(one[0] for one in calls if "--repeats" in one and "--repeats=3" not in one)
    assert turns == "ab" + "abba" * 6
    assert {one.partition("--repeats=")[2] for one in calls if one[0] == "a"} == {"", "3", "100"}
    assert all("--engine=native --accelerator=auto" in one for one in calls)


@pytest.mark.parametrize(
    ("commands", "answer", "status", "message"),
    [
        ("kill -SEGV $$", {}, "failed", "was ended by signal 11: it printed nothing"),
        ("echo x.cc: BadModel >&2; exit 4", {}, "failed", ": x.cc: BadModel"),
        ("echo Unsupported: x >&2; exit 6", {}, "unavailable", ": Unsupported: x"),
        ("echo hello", {}, "failed", "its answer is no JSON"),
        ("", {"outputs": [1.0], "output_shape": [1, 1]}, "measured", "A and B differ by - times"),
        ("", {"outputs": [1.0, 2.001]}, "measured", "A and B differ by 50.0 times the tolerance"),
        ("", {"engine": "onnxruntime"}, "measured", "A runs on native; B runs on onnxruntime"),
    ],
)
def test_what_one_build_does_otherwise_is_said_in_a_line(
    model_dir, tmp_path, commands, answer, status, message
):
    a, b = fake(tmp_path / "a", 1.0), fake(tmp_path / "b", 1.0, commands, **answer)
    result = compare_builds(a, b, settings(model_dir, seconds=0.01), NATIVE)
    assert {row["status"] for row in result["rows"]} == {status}
    lines = [line for line in render(result).splitlines() if message in line]
    assert len(lines) == 2
    assert all(line.startswith("LeNet native, ") for line in lines)
    if status != "measured":
        assert all(f"{status}: B ({b}): " in line for line in lines)


def test_interrupted_it_keeps_what_was_measured(model_dir, tmp_path, monkeypatch, capsys):
    a, b = fake(tmp_path / "a", 1.0), fake(tmp_path / "b", 1.05)
    turns = []

    def turn(*arguments, **options):
        turns.append(arguments)
        if len(turns) == 2 + 2 * 12 + 2 + 2 * 7 + 1:  # in the eighth round of the second row
            raise KeyboardInterrupt
        return take_turn(*arguments, **options)

    monkeypatch.setattr(compare, "take_turn", turn)
    file = tmp_path / "report.json"
    arguments = ["--compare", str(a), str(b), "--contenders", "native", "--precision", "fp32"]
    arguments += ["--model-dir", str(model_dir), "--half-width", "99", "--json", str(file)]
    assert cli.main([*arguments, "--plots", str(tmp_path)]) == 130
    said = capsys.readouterr()
    assert "interrupted: these are the rows measured until then" in said.out
    assert said.err.strip().endswith("interrupted")
    result = json.loads(file.read_text())
    assert result["interrupted"] is True
    assert [row["rounds"] for row in result["rows"]] == [12, 7]
    assert result["rows"][1]["ratio"] == pytest.approx(1.05)


def test_command_ends_by_the_verdicts(model_dir, tmp_path, capsys):
    a, b = fake(tmp_path / "a", 1.0), fake(tmp_path / "b", 1.05)
    broken = fake(tmp_path / "broken", 1.0, "exit 8")
    file = tmp_path / "report.json"
    arguments = ["--contenders", "native", "--precision", "fp32", "--batch-sizes", "1"]
    arguments += ["--model-dir", str(model_dir), "--plots", str(tmp_path)]
    assert cli.main(["--compare", str(a), str(b), *arguments, "--json", str(file)]) == 1
    text = capsys.readouterr().out
    for word in ("LeNet native, batch 1", "1.050-1.050", "slower"):
        assert word in text
    result = json.loads(file.read_text())
    assert {"kind", "date", "machine", "versions", "settings", "builds"} < result.keys()
    assert result["builds"]["A"]["version"] == "1.2.3"
    assert result["builds"]["A"]["sha256"] != result["builds"]["B"]["sha256"]
    assert cli.main(["--show", str(file)]) == 0
    assert capsys.readouterr().out == text
    assert cli.main(["--compare", str(a), str(b), *arguments, "--same-within", "10"]) == 0
    assert cli.main(["--compare", str(a), str(broken), *arguments]) == BackendFailure.exit_code
    assert cli.main(["--compare", str(a), str(tmp_path), *arguments]) == FileNotFound.exit_code
    assert "is no build" in capsys.readouterr().err


@pytest.mark.parametrize(
    "kind", ["program", pytest.param("environment", marks=pytest.mark.nightly)]
)
def test_a_build_beside_itself(model_dir, program, kind, tmp_path, monkeypatch):
    # It would be the package of both.
    (tmp_path / "lenet_cpp.py").write_text("raise SystemExit(1)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    build = program.parent if kind == "program" else Path(sys.prefix)
    result = compare_builds(build, build, settings(model_dir, seconds=0.01), NATIVE)
    assert [row["status"] for row in result["rows"]] == ["measured"] * 2
    for row in result["rows"]:
        assert row["rounds"] >= 1  # more where the machine is busy
        assert row["answers_differ_by"] == 0
        assert row["used"] == ["native"] * 2
        assert min(row["ms"]) > 0
        assert min(row["peak_bytes"]) > 1e6
    assert result["builds"]["A"] == result["builds"]["B"]
    assert "A and B are the same files" in render(result)
