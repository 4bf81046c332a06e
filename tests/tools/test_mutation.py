"""tools/mutation.py: which places of the code it changes."""

from coverage import CoverageData

from tools.mutation import ROOT, changes_of, running_tests


def changed(file, text):
    found = changes_of(file, text)
    assert [one.line for one in found] == [text.count("\n", 0, one.at) + 1 for one in found]
    return [text[: one.at] + one.new + text[one.at + len(one.old) :] for one in found]


def test_operators_words_and_numbers_of_python():
    text = "def f(*a):  # not 1\n    return not a and a[0] < 'b > 2'\n"
    assert changed("f.py", text) == [
        text.replace("return not", "return "),
        text.replace(" and ", " or "),
        text.replace("0", "1"),
        text.replace(" < ", " <= "),
    ]


def test_operators_of_cpp_but_no_pointers_references_or_templates():
    text = (
        "#include <a>  // b < 1\nconst std::vector<int>& f(int* a) { return !a || *a == x1 * 7; }\n"
    )
    assert changed("f.cc", text) == [
        text.replace("!a", "a"),
        text.replace("||", "&&"),
        text.replace("==", "!="),
        text.replace(" * ", " / "),
        text.replace("7", "8"),
    ]


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
