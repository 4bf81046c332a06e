"""The comparison of two builds: its arithmetic, its rows, its refusals, and a build beside itself.
No test asserts on how long anything takes.
"""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from lenet_cpp.errors import BackendFailure, BadInput
from tools.benchmark import cli, compare
from tools.benchmark.compare import COMPARED, compare_builds, compare_rows, verdict
from tools.benchmark.contenders import choose
from tools.benchmark.subject import Settings
from tools.benchmark.tables import render
from tools.benchmark.turns import Turn
from tools.survey.summary import Block, median_interval

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
        (0, None),
        (5, None),
        (6, (1, 6)),
        (9, (2, 8)),
        (12, (3, 10)),
        (25, (8, 18)),
        (100, (40, 61)),
        (5000, (2431, 2570)),  # 2500.5 -+ 1.96 * sqrt(5000) / 2, of the normal distribution
    ],
)
def test_interval_has_the_ranks_of_the_sign_test(count, ranks):
    values = np.random.default_rng(count).permutation(np.arange(1, count + 1)).tolist()
    assert median_interval(values) == ranks


@pytest.mark.parametrize(
    ("ratio", "interval", "expected"),
    [
        (1.0, None, "unclear: more rounds needed"),
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
    wide = [(turn(1.0), turn(ms)) for ms in (0.8, 1.0, 1.2) * 4]
    assert not compare.is_done(row, wide, settings(model_dir))
    assert compare.is_done(row, wide, settings(model_dir, same_within=0.5))


def test_one_build_by_two_names_is_refused(model_dir, tmp_path):
    """Its speed would be compared with itself."""
    here, same = Path(sys.prefix), tmp_path / "bin" / "python"
    same.parent.mkdir()
    same.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    same.chmod(0o755)
    with pytest.raises(BadInput, match="import the same lenet_cpp"):
        compare_builds(here, tmp_path, settings(model_dir), NATIVE)
    with pytest.raises(BadInput, match="one is a C\\+\\+ build and one a Python environment"):
        compare_builds(fake(tmp_path / "a", 1), here, settings(model_dir), NATIVE)


def test_a_slower_build_is_seen_round_by_round(model_dir, tmp_path):
    a, b = fake(tmp_path / "a", 1.0), fake(tmp_path / "b", 1.05)
    result = compare_builds(a, b, settings(model_dir), NATIVE)
    loading, run = result["rows"]
    assert run["ratio"] == pytest.approx(1.05)
    assert run["interval"] == pytest.approx((1.05, 1.05))
    assert (run["name"], run["ms"], run["p99_ms"]) == ("LeNet native, batch 1", [1, 1.05], [2, 2.1])
    assert (run["rounds"], run["verdict"]) == (12, "slower")
    assert (loading["ratio"], loading["peak_bytes"]) == (1, [5_000_000, 5_000_000])
    assert loading["verdict"] == "same within 10 %"
    calls = (tmp_path / "calls").read_text().splitlines()
    # After each found out how many runs fill its turn: A B, A B, B A, ...
    turns = "".join(one[0] for one in calls if "--repeats" in one and "--repeats=3" not in one)
    assert turns == "ab" + "abba" * 6
    assert all("--engine=native --accelerator=auto" in one for one in calls)


@pytest.mark.parametrize(
    ("commands", "answer", "status", "message"),
    [
        ("kill -SEGV $$", {}, "failed", "was ended by signal 11: it printed nothing"),
        ("echo x.cc: BadModel >&2; exit 4", {}, "failed", ": x.cc: BadModel"),
        ("echo Unsupported: x >&2; exit 6", {}, "unavailable", ": Unsupported: x"),
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
    assert status == "measured" or all(f"{status}: B ({b}): " in line for line in lines)


def test_command_ends_by_the_verdicts(model_dir, tmp_path, capsys):
    a, b = fake(tmp_path / "a", 1.0), fake(tmp_path / "b", 1.05)
    broken, file = fake(tmp_path / "broken", 1.0, "exit 8"), tmp_path / "report.json"
    few = ["--contenders", "native", "--precision", "fp32", "--batch-sizes", "1"]
    few += ["--model-dir", str(model_dir), "--plots", str(tmp_path)]

    def call(other, *arguments):
        return cli.main(["--compare", str(a), str(other), *few, *arguments])

    assert call(b, "--json", str(file)) == 1
    text = capsys.readouterr().out
    assert "1.050-1.050" in text
    builds = json.loads(file.read_text())["builds"]
    assert builds["A"]["version"] == "1.2.3"
    assert builds["A"]["sha256"] != builds["B"]["sha256"]
    assert cli.main(["--show", str(file)]) == 0
    assert capsys.readouterr().out == text
    assert call(b, "--same-within", "10") == 0
    assert call(broken) == BackendFailure.exit_code


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
        assert row["answers_differ_by"] == 0
        assert row["used"] == ["native"] * 2
        assert min(*row["ms"], row["peak_bytes"][0] / 1e6) > 0
    assert result["builds"]["A"] == result["builds"]["B"]
    assert "A and B are the same file" in render(result)
