"""tools/zoo: what counts as right, what a refusal names, and the table that pages have of it."""

import json

import numpy as np
import pytest

from lenet_cpp._base.worker import Answer, WorkerCrashed
from lenet_cpp.errors import BadInput
from tools.survey.verdict import judge, operator, worst
from tools.zoo import keeping, tables
from tools.zoo.__main__ import Results, main, parse, show, summarise
from tools.zoo.drawing import draw, order
from tools.zoo.keeping import Case, Keep

EXPECTED = np.array([[1.0, 50.0, 3.0]], "float32")  # so that 5e-4 is the tolerance


def off_by(difference):
    return EXPECTED + np.array([[difference, 0, 0]], "float32")


def judged(found, truth=None, own=False):
    """The verdict on an answer; the truth is of float64."""
    exact = [np.float64(truth)] if truth is not None else None
    return judge([EXPECTED], [found], lambda: exact, lambda: own)


def test_an_answer_within_the_tolerance_is_right():
    def not_asked():
        raise AssertionError

    found = judge([EXPECTED], [off_by(4e-4)], not_asked, not_asked)
    assert found == {"outcome": "right", "share": pytest.approx(0.8, rel=1e-3)}


@pytest.mark.parametrize(
    ("difference", "truth", "outcome"),
    [
        (1e-3, EXPECTED, "wrong"),  # the framework is right
        (1e-3, off_by(9e-4), "right"),  # the framework is farther from it
        (1e-3, off_by(-6e-4), "wrong"),  # the framework is off by 1.2, this one by 3.2
        (6e-4, off_by(-6.1e-4), "right"),  # 1.22 and 2.42, less than twice
        (1e-3, off_by(4e-4), "wrong"),  # the framework is within the tolerance, this one is not
        (1e-3, None, "wrong"),
    ],
)
def test_float64_decides_where_two_differ(difference, truth, outcome):
    truth = truth if truth is None else truth.astype("float64") + 1e-9
    assert judged(off_by(difference), truth)["outcome"] == outcome


def test_what_the_library_itself_answers_is_its_own_fault():
    assert judged(off_by(1e-3), EXPECTED, own=True)["outcome"] == "own"
    assert judged(off_by(1e-4), EXPECTED, own=True)["outcome"] == "right"


def test_other_shapes_and_values_that_are_no_numbers_are_wrong():
    assert judged(EXPECTED[:, :2])["outcome"] == "wrong"
    assert judged(np.full_like(EXPECTED, np.nan))["outcome"] == "wrong"
    assert worst([judged(EXPECTED), judged(off_by(1)), judged(off_by(1e-4))])["share"] > 1000


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("'m.json' has an operator '1.unfold', which lenet cannot check", "unfold"),
        ("'m.json': not proved that images stay apart (reshape, which gives 'value 4')", "reshape"),
        ("'m.onnx' fails (Mod, which gives 'y') (engine native: (Cast, which gives 'z'))", "Mod"),
        ("'m.onnx' operator 4 (Gather) has a value that the program does not fix", "Gather"),
        ("'m.onnx' has 2 inputs", ""),
    ],
)
def test_the_operator_that_a_message_names(said, name):
    assert operator(said) == name


def row(network, suffix, native, **more):
    right = {"outcome": "right", "share": 0.25}
    other = {"onnx": "onnxruntime"}.get(suffix, "paddle")
    of = {"source": "timm" if suffix == "onnx" else "PaddleClas", "family": "f"}
    return of | {"network": network, "format": suffix, "native": native, other: right} | more


def test_tables():
    refused = {"outcome": "Unsupported", "operator": "roll", "said": ""}
    wrong = {"outcome": "wrong", "share": 14.0, "float64": [14.0, 0.5]}
    own = {"outcome": "own", "share": 1.5}
    rows = [
        row("Swin", "json", refused, auto=own),
        row("Swin", "pdmodel", refused, paddle=own, auto=refused),
        row("DPN", "json", wrong, auto={"outcome": "BadModel", "said": ""}),
        {**row("DPN", "pdmodel", {}), "not_written": "why"},
    ]
    for key in ("native", "paddle"):
        del rows[3][key]
    old = {"networks": [row("DPN", "json", own), row("dpn48b", "onnx", own, auto=own)]}
    result = summarise(rows, old)
    names = [(one["network"], one["format"]) for one in result["networks"]]
    both = ("DPN", "json"), ("DPN", "pdmodel"), ("Swin", "json"), ("Swin", "pdmodel")
    assert names == [*both, ("dpn48b", "onnx")]
    result["networks"].pop()
    first, second = tables.networks(result, "PaddleClas").splitlines()[2:]
    text = "**wrong**, 1,400 % (from float64 1,400 %, the framework 50 %)"
    assert first == f"| f | DPN | `.json` | {text} | 25 % | **BadModel** |"
    cells = "`.json` 25 %, `.pdmodel` Paddle's own, 150 %"
    assert second.startswith(f"| f | Swin | `.json`, `.pdmodel` | `roll` | {cells} | ")
    counts = tables.totals(result).splitlines()[2:]
    own, refused = "its library's own", "1 refused"
    cells = f"0, 1 wrong, {refused} | 2 | 0, 1 BadModel, 1 {own}"
    assert counts[0] == f"| PaddleClas | `.json` | 2 of 2 | {cells} |"
    cells = f"0, {refused} | 0, 1 {own} | 0, {refused}"
    assert counts[1] == f"| PaddleClas | `.pdmodel` | 1 of 2 | {cells} |"
    lines = ["| `.json` | `roll` 1 |", "| `.pdmodel` | `roll` 1 |"]
    assert tables.operators(result).splitlines()[2:] == lines
    assert tables.not_exported(result) == "PaddleClas `.pdmodel`: DPN"


CASE = Case("timm", "deit", "deit_tiny_patch16_224", "onnx")
VERSIONS = {"torch": "2.13.0", "timm": "1.0.31", "numpy": "2.4.6", "onnxruntime": "1.32.0"}


def test_what_is_kept_is_not_made_again(tmp_path):
    made = []

    def make(folder):
        made.append(folder)
        folder.mkdir()
        (folder / "model.onnx").write_bytes(b"model")
        return {"shape": [3, 8, 8], "file": "model.onnx"}

    for _ in range(2):
        keep = Keep(tmp_path / "zoo", VERSIONS, makes=True)
        with keep.made(CASE, make) as (folder, row):
            assert (folder / row["file"]).read_bytes() == b"model"
            assert folder == tmp_path / "zoo" / "timm" / "onnx" / CASE.name
    assert len(made) == 1
    assert keep.has(CASE)
    assert not keep.has(CASE._replace(suffix="dynamo"))


def test_what_fails_or_is_too_large_leaves_nothing(tmp_path):
    keep = Keep(tmp_path, VERSIONS, makes=True)

    def interrupted(folder):
        folder.mkdir()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), keep.made(CASE, interrupted):
        raise AssertionError
    with keep.made(CASE, lambda _: {"too_large": 10**9}) as (_, row):
        assert row == {"too_large": 10**9}
    with keep.made(CASE, lambda _: {"not_built": "SIGBUS", "ended": True}) as (_, row):
        assert row == {"not_built": "SIGBUS"}
    assert not keep.has(CASE)
    assert not [*(tmp_path / "timm" / "onnx").iterdir()]


@pytest.mark.parametrize("named", ["torch", "timm", "numpy"])
def test_a_folder_of_other_versions_is_refused(tmp_path, named):
    Keep(tmp_path, VERSIONS, makes=True)
    Keep(tmp_path, VERSIONS | {"onnxruntime": "2.0"}, makes=True)  # makes none of the files
    with pytest.raises(BadInput, match=f"made with {named} .*, and here is {named} 9.9; remove"):
        Keep(tmp_path, VERSIONS | {named: "9.9"}, makes=False)
    less = {name: version for name, version in VERSIONS.items() if name != named}
    Keep(tmp_path, less, makes=False)  # the files run without it
    with pytest.raises(BadInput, match=f"here is {named} none"):
        Keep(tmp_path, less, makes=True)


def test_a_folder_of_somebody_else_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("unsaved", encoding="utf-8")
    with pytest.raises(BadInput, match=r"was not made by tools.zoo"):
        Keep(tmp_path, VERSIONS, makes=True)


def test_a_step_that_ends_the_process_is_left_out_the_next_time(monkeypatch, tmp_path):
    """The framework may crash while it exports, and an engine while it runs."""
    calls = []

    def call(function, given, report, **_):
        calls.append((function, [*given["ended"]]))
        report("build", 0, 1)
        report("export", 0, 1)
        if "export" not in given["ended"]:
            raise WorkerCrashed("the child", "SIGSEGV", "")
        return Answer({"not_written": given["ended"]["export"]}, "")

    monkeypatch.setattr(keeping, "call", call)
    row = keeping.make(CASE, "", tmp_path / "new", None)
    assert row == {"not_written": "SIGSEGV", "ended": True}
    assert calls == [("tools.zoo.worker:make", []), ("tools.zoo.worker:make", ["export"])]


def test_results_of_other_engines_stay():
    right, wrong = {"outcome": "right", "share": 0.5}, {"outcome": "wrong", "share": 2.0}
    old = {"networks": [row("a", "onnx", wrong), row("b", "onnx", wrong)]}
    new = {**CASE.row, "network": "a", "family": "f", "native": right}
    first, second = summarise([new], old)["networks"]
    assert (first["native"], first["onnxruntime"]) == (right, {"outcome": "right", "share": 0.25})
    assert second["native"] == wrong
    unbuilt = {key: value for key, value in new.items() if key != "native"} | {"not_built": "why"}
    first, _ = summarise([unbuilt], old)["networks"]
    assert "onnxruntime" not in first


def test_failures_are_printed_from_a_file(tmp_path, capsys):
    refused = {"outcome": "Unsupported", "operator": "Roll", "said": ""}
    rows = [row("a", "onnx", refused), row("b", "onnx", {"outcome": "wrong", "share": 3.0})]
    path = tmp_path / "zoo.json"
    Results(path, {"date": "today"}).add(rows[0])
    Results(path, {"date": "today"}).add(rows[1])
    assert main(["--show", "--output", str(path)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "timm b.onnx native {'outcome': 'wrong', 'share': 3.0}"
    assert lines[1:] == ["native: 1 Unsupported, 1 wrong (Roll 1)", "onnxruntime: 2 right"]
    assert show([rows[0]]) == 0


def test_a_draw_is_the_same_everywhere_and_goes_on_past_large_networks():
    names = {"f": [f"f{i}" for i in range(20)], "g": [f"g{i}" for i in range(20)]}
    drawn = order("timm", names, 1)
    assert drawn == order("timm", dict(reversed(names.items())), 1)
    assert drawn != order("timm", names, 2)
    assert sorted(name for _, name in drawn) == sorted([*names["f"], *names["g"]])
    judged = []

    def judge(chosen):
        judged.extend(case.name for case in chosen)
        large = {case: int(case.name[1:]) % 2 for case in chosen}
        return [case.row | ({"too_large": 10**9} if large[case] else {}) for case in chosen]

    chosen = [[Case("timm", family, name, "onnx")] for family, name in drawn]
    draw(7, chosen, judge)
    small = [name for name in judged if not int(name[1:]) % 2]
    assert len(small) == 7
    assert judged == [name for _, name in drawn][: len(judged)]
    draw(1000, chosen, judge)  # more than there are


def test_what_a_draw_has_is_not_done_again(tmp_path):
    path = tmp_path / "drawn.json"
    Results(path, {}).add(CASE.row | {"native": {"outcome": "right", "share": 0.1}})
    large = CASE._replace(name="vit_giant")
    Results(path, {}).add(large.row | {"too_large": 10**9})
    results = Results(path, {})
    assert results.finished(CASE, 1e8)["native"]["outcome"] == "right"
    assert results.finished(large, 1e8)["too_large"] == 10**9
    assert results.finished(large, 1e10) is None
    assert results.finished(CASE._replace(suffix="dynamo"), 1e8) is None


@pytest.mark.parametrize(
    "options",
    ["--only run", "--draw 0", "--draw 3 --all", "--keep f --only run --draw 3", "--parallel 0"],
)
def test_options_that_do_not_go_together(options):
    with pytest.raises(SystemExit):
        parse(options.split())


def test_tables_of_a_draw():
    right = {"outcome": "right", "share": 0.25}
    refused = {"outcome": "Unsupported", "operator": "Roll", "said": ""}
    large = {**CASE.row, "network": "d", "too_large": 10**9}
    failed = {**CASE.row, "network": "e", "not_written": "why"}
    rows = [row("a", "onnx", right, auto=right), row("b", "onnx", refused, auto=right)]
    rows += [row("c", "dynamo", {"outcome": "crashed", "said": ""}, auto=right), large, failed]
    result = {"draw": {"seed": 1, "max_parameters": 1e8}, **summarise(rows, {})}
    result = json.loads(json.dumps(result))
    assert tables.draw(result) == "seed 1, at most 100 million parameters"
    lines = tables.drawn(result).splitlines()[2:]
    assert sorted(lines) == [
        "| PaddleClas | `.onnx` by dynamo | 1 of 1 | 0 % | 0, 1 crashed | 1 |",
        "| timm | `.onnx` | 2 of 3 | 50 % | 1, 1 refused | 2 |",
    ]
    assert tables.faults(result) == "PaddleClas c `.onnx` by dynamo: native"
    assert tables.not_exported(result) == "timm `.onnx`: e"
    assert tables.operators(result).splitlines()[2:] == ["| `.onnx` | `Roll` 1 |"]


@pytest.mark.parametrize(("most", "built"), [(None, True), (1e8, False), (1e10, True)])
def test_parameters_are_counted_in_a_process_of_their_own(most, built, monkeypatch, tmp_path):
    """Some of Paddle's networks can be built once only in a process."""
    called = []

    def call(function, given, **_):
        called.append(function.partition(":")[2])
        if called[-1] == "count_parameters":
            return Answer(10**9, "")
        return Answer({"not_written": given["name"]}, "")

    monkeypatch.setattr(keeping, "call", call)
    row = keeping.make(CASE, "", tmp_path / "new", most)
    assert row == ({"not_written": CASE.name} if built else {"too_large": 10**9})
    assert called == ["count_parameters"] * (most is not None) + ["make"] * built
