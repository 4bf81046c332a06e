"""tools/mutation.py: which places of the code it changes."""

from tools.mutation import changes_of


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
