"""tools/mutation.py: which tests it runs after a change, and in which order."""

from coverage import CoverageData

from tools.mutation import ROOT, changes_of, cpp_tests, running_tests


def test_only_tests_that_ran_the_statement_are_run(tmp_path):
    text = (
        "def f(a,\n      b=1):\n    if a > 1:\n        return [\n            2]\n    return 3 + b\n"
    )
    data = CoverageData(str(tmp_path / "data"))
    ran = {"": {1}, "t.py::one|run": {3, 4}, "t.py::two[x|y]|run": {3, 6}, "t.py::one|setup": {6}}
    for context, lines in ran.items():
        data.set_context(context)
        data.add_lines({str(ROOT / "m.py"): lines})
    found = {change.line: running_tests(change, text, data) for change in changes_of("m.py", text)}
    both = ["t.py::one", "t.py::two[x|y]"]
    # Defaults are computed while the module is imported.
    assert found == {2: [""], 3: both, 5: ["t.py::one"], 6: both}


def test_cpp_tests_that_cannot_run_the_changed_file_are_left_out():
    every = [path.stem.removeprefix("test_") for path in ROOT.glob("cpp/tests/test_*.cc")]
    assert sorted(name for name, _ in cpp_tests(None)) == sorted(every)
    (*short, last) = (name for name, _ in cpp_tests("cpp/serve/json_reader.cc"))
    assert "json_reader" in short
    assert "native" not in short
    assert last == "predictor"
    (*_, last) = (name for name, _ in cpp_tests("cpp/src/engines/native/kernels/tiles.h"))
    assert last == "native_bf16"
