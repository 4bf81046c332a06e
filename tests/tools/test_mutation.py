"""tools/mutation.py: which places of the code it changes."""

import pytest
from coverage import CoverageData

from tools.mutation import ROOT, changes_of, running_tests


@pytest.mark.parametrize(
    ("file", "text", "changes"),
    [
        (
            "f.py",
            "def f(*a):  # not 1\n    return not a and a[0] < 'b > 2'\n",
            [("return not", "return "), (" and ", " or "), ("0", "1"), (" < ", " <= ")],
        ),
        (
            "f.cc",  # no pointers, references or templates
            "#include <a>  // b < 1\nstd::vector<int>& f(int* a) { return !a || *a == x1 * 7; }",
            [("!a", "a"), ("||", "&&"), ("==", "!="), (" * ", " / "), ("7", "8")],
        ),
    ],
)
def test_operators_words_and_numbers_are_changed(file, text, changes):
    found = changes_of(file, text)
    texts = [text[: one.at] + one.new + text[one.at + len(one.old) :] for one in found]
    assert texts == [text.replace(*change) for change in changes]
    assert [one.line for one in found] == [text.count("\n", 0, one.at) + 1 for one in found]


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
    assert found == {2: None, 3: both, 5: ["t.py::one"], 6: both}
