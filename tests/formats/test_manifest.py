"""manifest.json and SHA256SUMS: what is written, what is read back, what is refused."""

import hashlib
import inspect
import json
import re
import subprocess
from dataclasses import fields, replace
from pathlib import Path

import pytest

from lenet_cpp.errors import BadInput, BadModel, FileNotFound
from lenet_cpp.formats import manifest as m
from lenet_cpp.formats.training_record import measured_accuracy

DOCUMENT = Path(__file__).parents[2] / "docs" / "formats.md"
CONTENTS = {"toy.pdmodel": b"a program", "toy.pdiparams": b"\0\1\2 parameters"}


def toy(folder):
    for name, content in CONTENTS.items():
        (folder / name).write_bytes(content)
    inputs = (m.TensorSpec("x", (-1, 1, 28, 28), "float32"),)
    outputs = (m.TensorSpec("y", (-1, 10), "float32"),)
    return m.Manifest(
        name="toy",
        topology="lenet",
        softmax=False,
        files=m.describe_files(folder, CONTENTS),
        models={"toy.pdmodel": m.ModelSignature(inputs, outputs)},
        classes=tuple("0123456789"),
        paddle_version="3.3.1",
        lenet_cpp_version=None,
        training={"recipe": "guide", "epochs": 2, "lr": 1e-3},
        data={"kind": "sample", "md5": {"train-images-idx3-ubyte": "0" * 32}},
    )


@pytest.fixture
def folder(tmp_path):
    m.write_manifest(tmp_path, toy(tmp_path))
    return tmp_path


def sha256sum(folder, *arguments):
    command = ["sha256sum", *(arguments or ("--check", "--strict", "SHA256SUMS"))]
    return subprocess.run(command, cwd=folder, capture_output=True, check=False, text=True)


def test_round_trip(folder):
    assert m.read_manifest(folder) == toy(folder)
    assert m.has_manifest(folder)
    assert not m.has_manifest(folder / "elsewhere")
    document = json.loads((folder / "manifest.json").read_bytes())
    assert document["format_version"] == 1
    assert document["files"]["toy.pdiparams"] == {
        "sha256": hashlib.sha256(CONTENTS["toy.pdiparams"]).hexdigest(),
        "size": len(CONTENTS["toy.pdiparams"]),
    }
    signature = document["models"]["toy.pdmodel"]
    assert signature["inputs"] == [{"name": "x", "shape": [-1, 1, 28, 28], "dtype": "float32"}]
    assert document["accuracy"] is None


def test_checksums_are_those_of_coreutils(folder):
    names = sorted([*CONTENTS, "manifest.json"])
    assert (folder / "SHA256SUMS").read_text() == sha256sum(folder, *names).stdout
    assert sha256sum(folder).returncode == 0
    assert sorted(m.verify_checksums(folder)) == names


@pytest.mark.parametrize("name", ["toy.pdmodel", "toy.pdiparams", "manifest.json"])
def test_changed_byte_is_noticed(folder, name):
    path = folder / name
    content = bytearray(path.read_bytes())
    expected = hashlib.sha256(content).hexdigest()
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    found = hashlib.sha256(content).hexdigest()
    with pytest.raises(BadModel) as caught:
        m.verify_checksums(folder)
    assert all(part in str(caught.value) for part in (str(path), expected, found))
    assert "\n" not in str(caught.value)
    assert sha256sum(folder).returncode == 1


def test_files_that_are_not_there(folder):
    (folder / "toy.pdiparams").unlink()
    with pytest.raises(BadModel, match=r"toy\.pdiparams is listed in SHA256SUMS"):
        m.verify_checksums(folder)
    with pytest.raises(FileNotFound, match=r"manifest\.json"):
        m.read_manifest(folder / "no")
    with pytest.raises(FileNotFound, match="SHA256SUMS"):
        m.verify_checksums(folder / "no")
    with pytest.raises(FileNotFound, match=r"toy\.pdiparams"):
        m.describe_files(folder, ["toy.pdiparams"])


def test_forms_that_sha256sum_writes(folder):
    digest = hashlib.sha256(CONTENTS["toy.pdmodel"]).hexdigest()
    (folder / "SHA256SUMS").write_text(f"{digest.upper()} *toy.pdmodel\n")
    assert sha256sum(folder).returncode == 0
    assert m.verify_checksums(folder) == ("toy.pdmodel",)


ZEROS = "0" * 64
LISTS = [f"{ZEROS}  {name}\n" for name in ("", "../toy.pdmodel", "/etc/passwd", "..")]
LISTS += [f"{start}  toy.pdmodel\n" for start in (ZEROS[1:], "g" * 64)]
LISTS += ["", "\n\n", f"{ZEROS} toy.pdmodel\n", f"{ZEROS}  toy.pdmodel\n" * 2]
LISTS += [f"\\{ZEROS}  toy\\npdmodel\n", "\xff\xfe" * 40]  # the last is not UTF-8


@pytest.mark.parametrize("text", LISTS)
def test_damaged_checksum_lists(folder, text):
    (folder / "SHA256SUMS").write_text(text, encoding="latin1")
    with pytest.raises(BadModel, match="SHA256SUMS"):
        m.verify_checksums(folder)


FILE, INPUTS = ["files", "toy.pdmodel"], ["models", "toy.pdmodel", "inputs"]
A_FILE, ACCURACY = {"sha256": "a" * 64, "size": 1}, {"top1": 0.9, "images": 1, "dataset": "d"}


@pytest.mark.parametrize(
    ("path", "values", "said"),
    [
        (["format_version"], [2, True, "1"], "format_version"),
        (["name"], [None, "", "a/b"], "name"),
        (["softmax"], [0, "false"], "softmax"),
        ([*FILE, "size"], [1.0, True, -1], r"files\['toy.pdmodel'\].size"),
        ([*FILE, "sha256"], ["A" * 64, "a" * 63], "sha256"),
        ([*FILE, "more"], [1], "unknown more"),
        (["files", "../x"], [A_FILE], "files"),
        (["files", "manifest.json"], [A_FILE], r"manifest\.json cannot"),
        (["models"], [{}], "models"),
        (["models", "other.json"], [{"inputs": [], "outputs": []}], r"other\.json"),
        (INPUTS, [{}], "inputs"),
        ([*INPUTS, 0, "shape"], ["1,28"], "shape"),
        ([*INPUTS, 0, "shape", 0], [None], r"shape\[0\]"),
        ([*INPUTS, 0, "shape", 1], [0, -2], r"shape\[1\]"),
        ([*INPUTS, 0, "dtype"], ["float", []], "dtype"),
        (["classes", 3], [3], r"classes\[3\]"),
        *(([name], [1, []], name) for name in ("topology", "paddle_version", "lenet_cpp_version")),
        *(([name], ["0123456789", 1], name) for name in ("classes", "training", "data", "files")),
        *(([name], [[]], name) for name in ("files", "training")),
        (["accuracy"], [0.99], "accuracy"),
        (["accuracy"], [{**ACCURACY, "top1": top1} for top1 in (99.1, True)], r"accuracy\.top1"),
        (["accuracy"], [{**ACCURACY, "images": 0}], r"accuracy\.images"),
        (["accuracy"], [{"top1": 0.9, "images": 1}], "dataset missing"),
        (["surprise"], [1], "unknown surprise"),
    ],
)
def test_reading_validates(folder, path, values, said):
    whole = (folder / "manifest.json").read_bytes()
    for value in values:
        place = document = json.loads(whole)
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value
        (folder / "manifest.json").write_text(json.dumps(document))
        with pytest.raises(BadModel, match=f"{folder}/manifest.json is .* manifest: .*{said}") as e:
            m.read_manifest(folder)
        assert "\n" not in str(e.value)


def test_every_field_is_required(folder):
    whole = json.loads((folder / "manifest.json").read_bytes())
    for key in whole:
        document = {name: value for name, value in whole.items() if name != key}
        (folder / "manifest.json").write_text(json.dumps(document))
        with pytest.raises(BadModel, match=key):
            m.read_manifest(folder)


def test_a_member_that_is_twice_there_is_named(folder):
    (folder / m.MANIFEST_NAME).write_text('{"a": 1, "b": 2, "b": 3}')
    with pytest.raises(BadModel, match="'b' comes a second time"):
        m.read_manifest(folder)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b"\xff\xff", b'{"format_version": NaN}', b"[" * 100_000],
    ids=["empty", "cut", "list", "null", "binary", "nan", "deep"],
)
def test_damaged_manifests(folder, content):
    (folder / "manifest.json").write_bytes(content)
    with pytest.raises(BadModel, match=r"manifest\.json"):
        m.read_manifest(folder)


@pytest.mark.parametrize(
    "change",
    [
        {"accuracy": m.MeasuredAccuracy(99.41, 10_000, "MNIST test")},
        {"accuracy": m.MeasuredAccuracy(float("nan"), 10_000, "MNIST test")},
        {"training": {"loss": float("inf")}},
        {"training": {"path": object()}},
        {"name": "../toy"},
        {"models": {}},
    ],
)
def test_what_cannot_be_read_is_not_written(folder, change):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(BadInput, match=r"manifest\.json"):
        m.write_manifest(folder, replace(toy(folder), **change))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize(
    "test", [{}, [1], {"correct": 1, "count": 0, "of": "x"}, {"correct": 1, "count": 2}]
)
def test_an_accuracy_that_a_record_says_in_part_is_damage(test):
    with pytest.raises(BadModel, match=r"the training record of net\.prm is damaged"):
        measured_accuracy({"test": test}, Path("net.prm"))


def test_the_table_of_fields_is_that_of_the_class():
    assert list(m.FIELDS) == [field.name for field in fields(m.Manifest)]
    with_default = {field.name for field in fields(m.Manifest) if field.default is None}
    assert with_default >= {name for name, field in m.FIELDS.items() if field.is_optional}


def test_every_conversion_keeps_the_facts_about_the_training(folder):
    for conversion in (m.KeptBy.REWRITE, m.KeptBy.EXPORT, m.KeptBy.ONNX):
        kept = toy(folder).kept_by(conversion)
        assert kept["training"] == {"recipe": "guide", "epochs": 2, "lr": 1e-3}
        assert kept.keys() >= {"classes", "data", "accuracy"}
        assert not kept.keys() & {"files", "models", "paddle_version"}


def meanings():
    """Return the meaning of each field in the docstring, as a document about JSON writes it."""
    attributes = inspect.getdoc(m.Manifest).partition("Attributes:\n")[2]
    found = {}
    for name, text in re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", attributes, re.MULTILINE):
        plain = re.sub(r":\w+:`", "`", " ".join(text.split())).replace("``", "`")
        found[name] = plain.replace("None", "absent" if m.FIELDS[name].is_optional else "null")
    return found


def table(heading):
    """Return the rows of the first table of a section of the document, as lists of cells."""
    section = DOCUMENT.read_text(encoding="utf-8").partition(f"\n{heading}\n")[2]
    lines = re.search(r"(?:^\|.*\n)+", section, re.MULTILINE)[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_document_lists_every_field():
    known = meanings()
    (version, *rows) = table("## Fields of `manifest.json`")
    assert version[:2] == ["`format_version`", "integer"]
    assert version[2].endswith(f": {m.FORMAT_VERSION}.")
    assert [row[:3] for row in rows] == [
        [f"`{name}`", field.json_type, known[name]] for name, field in m.FIELDS.items()
    ]
    assert all(row[3] for row in rows)


def test_the_document_says_what_conversions_keep():
    columns = (m.KeptBy.REWRITE, m.KeptBy.EXPORT, m.KeptBy.ONNX)
    assert table("### What a conversion keeps") == [
        [f"`{name}`", *("yes" if column in field.kept_by else "no" for column in columns)]
        for name, field in m.FIELDS.items()
    ]
