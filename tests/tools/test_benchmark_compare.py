"""The comparison of two builds: its arithmetic, its rows, its refusals, and a build beside itself.
No test asserts on how long anything takes.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from lenet_cpp.errors import BackendFailure, BadInput, FileNotFound, Unsupported
from tools.benchmark import CompareSettings, builds, cli, compare, compare_builds, compare_rows
from tools.benchmark.compare import compare_text, verdict
from tools.benchmark.summary import median_interval

ANSWER = {
    "version": "1.2.3",
    "engine": "native",
    "accelerator": "plain",
    "outputs": [1.0, 2.0],
    "output_shape": [1, 2],
    "load_ms": 1.0,
    "peak_bytes": 5_000_000,
}


def fake(folder: Path, median_ms: float, commands: str = "", **answer) -> Path:
    """A build whose program says that a run takes this long, and notes when it was called."""
    latency = {"median_ms": median_ms, "p99_ms": 2 * median_ms}
    said = json.dumps(ANSWER | {"latency": latency} | answer)
    program = folder / "lenet_infer_test"
    folder.mkdir()
    program.write_text(
        "#!/bin/sh\n"
        f"echo {folder.name} $* >>{folder.parent}/calls\n"
        '[ "$1" = --help ] && exit\n'
        f"{commands}\necho '{said}'\n"
    )
    program.chmod(0o755)
    return folder


def settings(model_dir: Path, **options) -> CompareSettings:
    few = {"engines": ("native",), "batch_sizes": (1,), "seconds": 60.0}
    return CompareSettings(model_dir, **{**few, **options})


# Statistics


@pytest.mark.parametrize(
    ("count", "ranks"),
    [
        # Of the sign test at 5 %, as tables of order statistics have them.
        (5, None),
        (6, (1, 6)),
        (8, (1, 8)),
        (9, (2, 8)),
        (12, (3, 10)),
        (20, (6, 15)),
        (25, (8, 18)),
        (50, (18, 33)),
        (100, (40, 61)),
    ],
)
def test_interval_has_the_ranks_of_the_sign_test(count, ranks):
    values = np.random.default_rng(count).permutation(np.arange(1, count + 1)).tolist()
    assert median_interval(values) == ranks


def test_interval_of_thousands_of_rounds():
    low, high = median_interval(range(1, 5001))
    assert low + high == 5001
    assert low == pytest.approx(2500 - 1.96 * np.sqrt(5000) / 2, abs=1)  # the normal distribution


def test_interval_of_nothing():
    assert median_interval([]) is None


def test_interval_holds_the_median_as_often_as_it_says():
    # One round in ten is disturbed, and far off.
    random = np.random.default_rng(1)
    rounds = random.lognormal(sigma=0.02, size=(2000, 25))
    rounds *= np.where(random.random(rounds.shape) < 0.1, random.choice([0.3, 3], rounds.shape), 1)
    ends = np.array([median_interval(one) for one in rounds.tolist()])
    held = np.mean((ends[:, 0] <= 1) & (ends[:, 1] >= 1))
    assert 0.95 <= held <= 0.97  # 0.957 by the binomial distribution
    assert np.median(ends[:, 1] - ends[:, 0]) < 0.04


@pytest.mark.parametrize(
    ("ratio", "interval", "expected"),
    [
        (1.0, None, "unclear: more rounds needed"),
        (1.0, (0.99, 1.01), "same within 2 %"),
        (1.01, (1.005, 1.015), "same within 2 %"),
        (1.0, (1 / 1.02, 1.02), "same within 2 %"),
        (1.0, (0.97, 1.01), "unclear: more rounds needed"),
        (1.05, (1.03, 1.07), "slower"),
        (1.025, (1.005, 1.04), "slower"),
        (1.015, (1.001, 1.03), "unclear: more rounds needed"),
        (0.95, (0.93, 0.96), "faster"),
        (0.985, (0.97, 0.999), "unclear: more rounds needed"),
    ],
)
def test_verdicts(ratio, interval, expected):
    assert verdict(ratio, interval, 0.02) == expected


# Rows


def test_rows_are_loading_and_then_the_batches(tmp_path):
    rows = compare_rows("LeNet", CompareSettings(tmp_path, precisions=("fp32", "int8")))
    assert [row.name for row in rows] == [
        f"LeNet pdmodel {engine}{precision}, {work}"
        for precision in ("", "/int8")
        for engine in ("native", "paddle/auto")
        for work in ("loading", "batch 1", "batch 8")
    ]
    assert rows[4].options == {
        "engine": "paddle",
        "accelerator": "auto",
        "precision": "fp32",
        "threads": 1,
    }


def test_rows_that_no_build_has_are_left_out(tmp_path):
    chosen = {"engines": ("*",), "formats": ("json", "onnx"), "precisions": ("fp32", "int8")}
    rows = compare_rows("x", CompareSettings(tmp_path, batch_sizes=(1,), threads=(1, 2), **chosen))
    assert {(row.format, row.engine, row.precision) for row in rows} == {
        *(("json", f"paddle/{one}", "fp32") for one in ("auto", "plain", "onednn", "openvino")),
        *(("json", one, "fp32") for one in ("native", "auto")),
        *(("onnx", one, "fp32") for one in ("native", "auto", "onnxruntime")),
    }
    loading = [row for row in rows if row.batch_size is None]
    assert {row.threads for row in loading} == {1}
    assert len(rows) == 3 * len(loading)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engines": ("paddel",)}, "no contender 'paddel'; choose among native, paddle/auto"),
        ({"formats": ("pt",)}, "unknown format 'pt'; choose among pdmodel, json, onnx"),
        ({"precisions": ("int4",)}, "unknown precision 'int4'; choose among fp32"),
        (
            {"engines": ("paddle/plain",), "precisions": ("int8",)},
            "none of paddle/plain runs pdmodel in int8",
        ),
    ],
)
def test_rows_that_are_not_known(tmp_path, options, message):
    with pytest.raises(BadInput, match=message):
        compare_rows("x", CompareSettings(tmp_path, **options))


# Builds


def test_builds_are_found(root, program, tmp_path):
    assert builds.find_build("A", root) == builds.Build("A", root, program.resolve(), python=False)
    assert builds.find_build("B", program.parent).program == program.resolve()
    environment = builds.find_build("B", Path(sys.prefix))
    assert (environment.program, environment.python) == (Path(sys.prefix) / "bin" / "python", True)


def test_builds_that_cannot_be_compared(model_dir, tmp_path):
    build = fake(tmp_path / "a", 1)
    options = settings(model_dir)
    with pytest.raises(FileNotFound, match=r"B \(.*absent\) is no build: there is no lenet_infer"):
        compare_builds(build, tmp_path / "absent", options)
    with pytest.raises(BadInput, match="one is a C\\+\\+ build and one a Python environment"):
        compare_builds(build, Path(sys.prefix), options)
    with pytest.raises(BadInput, match="threads are from 1 to"):
        compare_builds(build, build, settings(model_dir, threads=(10_000,)))
    other = fake(tmp_path / "b", 1)
    (other / "lenet_infer_test").chmod(0o644)
    with pytest.raises(BackendFailure, match=r"B \(.*/b\): .*lenet_infer_test: Permission denied"):
        compare_builds(build, other, options)
    (tmp_path / "bin").mkdir()
    python = tmp_path / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S "$@"\n')
    python.chmod(0o755)
    with pytest.raises(BackendFailure, match="ModuleNotFoundError: No module named 'lenet_cpp'"):
        compare_builds(tmp_path, tmp_path, options)


def test_environments_that_import_the_same_package_are_no_two(model_dir, tmp_path):
    (tmp_path / "bin").mkdir()
    python = tmp_path / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    with pytest.raises(BadInput, match="import the same lenet_cpp"):
        compare_builds(Path(sys.prefix), tmp_path, settings(model_dir))


# Runs of programs that say what they are told to


def test_a_slower_build_is_seen_round_by_round(model_dir, tmp_path):
    a, b = fake(tmp_path / "a", 1.0), fake(tmp_path / "b", 1.05)
    result = compare_builds(a, b, settings(model_dir))
    loading, run = result["rows"]
    assert run["wall"]["ratio"] == pytest.approx(1.05)
    assert run["wall"]["interval"] == pytest.approx((1.05, 1.05))
    assert (run["wall"]["a_ms"], run["p99_ms"]) == (1, [2, 2.1])
    assert (run["clock"], run["rounds"], run["verdict"]) == ("wall", 12, "slower")
    assert (loading["wall"]["ratio"], loading["peak_bytes"]) == (1, [5_000_000, 5_000_000])
    assert loading["verdict"] == "same within 10 %"
    # A round has each build twice in a row: what is subtracted, and the runs.
    calls = (tmp_path / "calls").read_text().splitlines()
    turns = "".join(one[0] for one in calls if "--repeats=100 --warmup=20" in one)
    assert turns == "abba" * 6
    assert all("--engine=native --accelerator=auto" in one for one in calls if "--help" not in one)


@pytest.mark.parametrize(
    ("clock", "wall", "share", "threads", "expected"),
    [
        ("auto", 30.0, 1.0, 1, "wall"),
        ("auto", 30.0, 0.5, 1, "cpu"),
        ("auto", 0.3, 0.5, 1, "wall"),
        ("auto", 30.0, 0.5, 2, "wall"),
        ("wall", 30.0, 0.5, 1, "wall"),
        ("cpu", 0.3, 1.0, 1, "cpu"),
    ],
)
def test_interrupted_runs_go_by_processor_time(model_dir, clock, wall, share, threads, expected):
    row = builds.Row("x", "pdmodel", "native", "fp32", threads, 1)
    pairs = [
        # B takes twice the processor time in the same time.
        (builds.Turn(wall, 1, 1, 1, share), builds.Turn(wall, 2, 1, 1, share))
        for _ in range(12)
    ]
    options = settings(model_dir, clock=clock)
    found = compare._row_result(row, pairs, options, {})
    assert found["clock"] == expected
    assert found["verdict"] == ("slower" if expected == "cpu" else "same within 2 %")
    assert compare._is_done(pairs, options, row)
    assert not compare._is_done(pairs[:11], options, row)


@pytest.mark.parametrize(("size", "expected"), [(1, 0.25), (None, 390.0)])
def test_processor_time_of_the_program_is_that_of_the_work(tmp_path, monkeypatch, size, expected):
    # 10 ms to start it, 390 ms to load the model and run it once, 0.25 ms a run.
    def start(build, command, work, **_):
        if "--help" in command:
            return {}, 10.0, 10.0
        counts = [int(one.partition("=")[2]) for one in command if one.startswith(("--re", "--wa"))]
        latency = {"median_ms": 0.2, "p99_ms": 0.3}
        return ANSWER | {"latency": latency}, 400.0 + 0.25 * sum(counts), 800.0

    monkeypatch.setattr(builds, "_start", start)
    row = builds.Row("x", "pdmodel", "native", "fp32", 1, size)
    work = builds.Work(row, tmp_path, tmp_path, tmp_path, [0], tmp_path)
    turn, _ = builds.take_turn(builds.Build("A", tmp_path, tmp_path, python=False), work, 100, 20)
    assert turn.cpu == pytest.approx(expected)
    assert (turn.wall, turn.p99) == ((1.0, None) if size is None else (0.2, 0.3))
    assert turn.share == pytest.approx(0.5 if size is None else 430 / 800)


@pytest.mark.parametrize(
    ("commands", "answer", "status", "message"),
    [
        ("kill -SEGV $$", {}, "failed", "ended by signal 11: it said nothing"),
        ("echo x.cc: BadModel >&2; exit 4", {}, "failed", "exit code 4: x.cc: BadModel"),
        ("echo Unsupported: x >&2; exit 6", {}, "unavailable", "exit code 6: Unsupported: x"),
        ("echo hello", {}, "failed", "its answer is no JSON"),
        ("", {"outputs": [1.0, 2.001]}, "measured", "give different answers, by 50.0 times"),
        ("", {"outputs": [1.0], "output_shape": [1, 1]}, "measured", "give different answers"),
        (
            "",
            {"accelerator": "onednn"},
            "measured",
            "A runs on native, plain; B runs on native, on",
        ),
    ],
)
def test_what_one_build_does_otherwise_is_said_in_a_line(
    model_dir, tmp_path, commands, answer, status, message
):
    a, b = fake(tmp_path / "a", 1.0), fake(tmp_path / "b", 1.0, commands, **answer)
    result = compare_builds(a, b, settings(model_dir, seconds=0.01))
    assert {row["status"] for row in result["rows"]} == {status}
    lines = [line for line in compare_text(result).splitlines() if message in line]
    assert len(lines) == 2
    assert all(line.startswith("LeNet pdmodel native, ") for line in lines)
    if status != "measured":
        assert all(f"{status}: B ({b}): " in line for line in lines)


def test_interrupted_it_keeps_what_was_measured(model_dir, tmp_path, monkeypatch, capsys):
    a, b = fake(tmp_path / "a", 1.0), fake(tmp_path / "b", 1.05)
    turns = []

    def take_turn(*arguments):
        turns.append(arguments)
        if len(turns) == 2 + 2 * 12 + 2 + 2 * 7 + 1:  # in the eighth round of the second row
            raise KeyboardInterrupt
        return builds.take_turn(*arguments)

    monkeypatch.setattr(compare, "take_turn", take_turn)
    report = tmp_path / "report.json"
    arguments = ["--compare", str(a), str(b), "--contenders", "native", "--precision", "fp32"]
    arguments += ["--model-dir", str(model_dir), "--half-width", "99", "--report", str(report)]
    assert cli.main(arguments) == 130
    said = capsys.readouterr()
    assert "interrupted: these are the rows measured until then" in said.out
    assert said.err.strip().endswith("interrupted")
    result = json.loads(report.read_text())
    assert result["interrupted"] is True
    assert [row["rounds"] for row in result["rows"]] == [12, 7]
    assert result["rows"][1]["wall"]["ratio"] == pytest.approx(1.05)


def test_command_ends_by_the_verdicts(model_dir, tmp_path, capsys):
    a, b = fake(tmp_path / "a", 1.0), fake(tmp_path / "b", 1.05)
    broken = fake(tmp_path / "broken", 1.0, "exit 8")
    report = tmp_path / "report.json"
    arguments = ["--contenders", "native", "--precision", "fp32", "--batch-sizes", "1"]
    arguments += ["--model-dir", str(model_dir)]
    assert cli.main(["--compare", str(a), str(b), *arguments, "--json", str(report)]) == 1
    text = capsys.readouterr().out
    assert "LeNet pdmodel native, batch 1" in text
    assert "1.050-1.050" in text
    assert "slower" in text
    result = json.loads(report.read_text())
    assert {"date", "machine", "settings", "compare", "rows"} <= result.keys()
    assert result["compare"]["A"]["version"] == "1.2.3"
    assert result["compare"]["A"]["sha256"] != result["compare"]["B"]["sha256"]
    assert cli.main(["--show", str(report)]) == 0
    assert capsys.readouterr().out.strip() in text
    wide = [*arguments, "--same-within", "10", "--clock", "wall"]
    assert cli.main(["--compare", str(a), str(b), *wide]) == 0
    assert cli.main(["--compare", str(a), str(broken), *arguments]) == BackendFailure.exit_code
    assert cli.main(["--compare", str(a), str(tmp_path), *arguments]) == FileNotFound.exit_code
    assert "is no build" in capsys.readouterr().err


def test_a_model_without_known_images_is_refused(model_dir, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    for file in ("lenet.pdmodel", "lenet.pdiparams"):
        (folder / file).write_bytes((model_dir / file).read_bytes())
    manifest = json.loads((model_dir / "manifest.json").read_text())
    for model in manifest["models"].values():
        model["inputs"][0]["shape"] = [-1, 1, -1, -1]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    build = fake(tmp_path / "a", 1)
    with pytest.raises(Unsupported, match="no manifest that says what images it takes"):
        compare_builds(build, build, settings(folder))
    (folder / "manifest.json").unlink()
    with pytest.raises(FileNotFound, match=r"has no \.json; use another --formats"):
        compare_builds(build, build, settings(folder, formats=("json",)))


@pytest.mark.parametrize(
    "arguments",
    [
        ["--clock", "cpu"],
        ["--half-width", "1"],
        ["--formats", "json"],
        ["--compare", "a"],
        ["--compare", "a", "b", "--memory"],
        ["--compare", "a", "b", "--same-within", "0"],
        ["--compare", "a", "b", "--clock", "sun"],
    ],
)
def test_wrong_usage(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 2
    assert "usage:" in capsys.readouterr().err


# Real builds


@pytest.mark.parametrize("kind", ["program", "environment"])
def test_a_build_beside_itself(model_dir, program, kind, tmp_path, monkeypatch):
    # It would be the package of both.
    (tmp_path / "lenet_cpp.py").write_text("raise SystemExit(1)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    build = program.parent if kind == "program" else Path(sys.prefix)
    options = settings(model_dir, seconds=0.01)
    result = compare_builds(build, build, options)
    assert [row["status"] for row in result["rows"]] == ["measured"] * 2
    for row in result["rows"]:
        assert row["rounds"] == 1
        assert row["answers_differ_by"] == 0
        assert row["used"] == ["native, plain"] * 2
        for clock in ("wall", "cpu"):
            assert min(row[clock]["a_ms"], row[clock]["b_ms"]) > 0
        assert min(row["peak_bytes"]) > 1e6
    assert result["compare"]["A"] == result["compare"]["B"]
    assert "A and B are the same files" in compare_text(result)
