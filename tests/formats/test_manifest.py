"""manifest.json and SHA256SUMS: what is written, what is read back, what is refused."""

import hashlib
import json
import subprocess
from dataclasses import replace

import pytest

from lenet_cpp.errors import BadInput, BadModel, FileNotFound
from lenet_cpp.formats import manifest as m

CONTENTS = {"toy.pdmodel": b"a program", "toy.pdiparams": b"\0\1\2 parameters"}


def toy(folder):
    for name, content in CONTENTS.items():
        (folder / name).write_bytes(content)
    return m.Manifest(
        name="toy",
        topology="lenet",
        softmax=False,
        files=m.describe_files(folder, CONTENTS),
        models={
            "toy.pdmodel": m.ModelSignature(
                (m.TensorSpec("x", (-1, 1, 28, 28), "float32"),),
                (m.TensorSpec("y", (-1, 10), "float32"),),
            )
        },
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


def test_document(folder):
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


def test_missing_file_is_noticed(folder):
    (folder / "toy.pdiparams").unlink()
    with pytest.raises(BadModel, match=r"toy\.pdiparams is listed in SHA256SUMS"):
        m.verify_checksums(folder)


def test_files_that_are_not_there(tmp_path):
    with pytest.raises(FileNotFound, match=r"manifest\.json"):
        m.read_manifest(tmp_path)
    with pytest.raises(FileNotFound, match="SHA256SUMS"):
        m.verify_checksums(tmp_path)
    with pytest.raises(FileNotFound, match="toy"):
        m.describe_files(tmp_path, ["toy"])


def test_forms_that_sha256sum_writes(folder):
    digest = hashlib.sha256(CONTENTS["toy.pdmodel"]).hexdigest()
    (folder / "SHA256SUMS").write_text(f"{digest.upper()} *toy.pdmodel\n")
    assert sha256sum(folder).returncode == 0
    assert m.verify_checksums(folder) == ("toy.pdmodel",)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n\n",
        "0" * 63 + "  toy.pdmodel\n",
        "g" * 64 + "  toy.pdmodel\n",
        "0" * 64 + " toy.pdmodel\n",
        "0" * 64 + "  \n",
        "0" * 64 + "  ../toy.pdmodel\n",
        "0" * 64 + "  /etc/passwd\n",
        "0" * 64 + "  ..\n",
        "\\" + "0" * 64 + "  toy\\npdmodel\n",
        ("0" * 64 + "  toy.pdmodel\n") * 2,
        "\xff\xfe" * 40,  # not UTF-8
    ],
)
def test_damaged_checksum_lists(folder, text):
    (folder / "SHA256SUMS").write_text(text, encoding="latin1")
    with pytest.raises(BadModel, match="SHA256SUMS"):
        m.verify_checksums(folder)


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (["format_version"], 2, "format_version"),
        (["format_version"], True, "format_version"),
        (["format_version"], "1", "format_version"),
        (["name"], None, "name"),
        (["name"], "", "name"),
        (["name"], "a/b", "name"),
        (["topology"], 1, "topology"),
        (["softmax"], 0, "softmax"),
        (["softmax"], "false", "softmax"),
        (["files"], [], "files"),
        (["files", "toy.pdmodel", "size"], 1.0, r"files\['toy.pdmodel'\].size"),
        (["files", "toy.pdmodel", "size"], True, "size"),
        (["files", "toy.pdmodel", "size"], -1, "size"),
        (["files", "toy.pdmodel", "sha256"], "A" * 64, "sha256"),
        (["files", "toy.pdmodel", "sha256"], "a" * 63, "sha256"),
        (["files", "toy.pdmodel", "more"], 1, "unknown more"),
        (["files", "../x"], {"sha256": "a" * 64, "size": 1}, "files"),
        (["files", "manifest.json"], {"sha256": "a" * 64, "size": 1}, r"manifest\.json"),
        (["models"], {}, "models"),
        (["models", "other.json"], {"inputs": [], "outputs": []}, r"other\.json"),
        (["models", "toy.pdmodel", "inputs"], {}, "inputs"),
        (["models", "toy.pdmodel", "inputs", 0, "shape"], "1,28", "shape"),
        (["models", "toy.pdmodel", "inputs", 0, "shape", 0], None, r"shape\[0\]"),
        (["models", "toy.pdmodel", "inputs", 0, "shape", 1], 0, r"shape\[1\]"),
        (["models", "toy.pdmodel", "inputs", 0, "shape", 1], -2, r"shape\[1\]"),
        (["models", "toy.pdmodel", "inputs", 0, "dtype"], "float", "dtype"),
        (["models", "toy.pdmodel", "inputs", 0, "dtype"], [], "dtype"),
        (["classes"], "0123456789", "classes"),
        (["classes", 3], 3, r"classes\[3\]"),
        (["paddle_version"], 3.3, "paddle_version"),
        (["lenet_cpp_version"], 1, "lenet_cpp_version"),
        (["training"], [], "training"),
        (["data"], "MNIST", "data"),
        (["accuracy"], 0.99, "accuracy"),
        (["accuracy"], {"top1": 99.1, "images": 10000, "dataset": "d"}, r"accuracy\.top1"),
        (["accuracy"], {"top1": True, "images": 10000, "dataset": "d"}, r"accuracy\.top1"),
        (["accuracy"], {"top1": 0.9, "images": 0, "dataset": "d"}, r"accuracy\.images"),
        (["accuracy"], {"top1": 0.9, "images": 1}, "dataset missing"),
        (["surprise"], 1, "unknown surprise"),
    ],
)
def test_reading_validates(folder, path, value, said):
    document = json.loads((folder / "manifest.json").read_bytes())
    place = document
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    (folder / "manifest.json").write_text(json.dumps(document))
    with pytest.raises(BadModel, match=said) as caught:
        m.read_manifest(folder)
    assert str(folder / "manifest.json") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_field_is_required(folder):
    whole = json.loads((folder / "manifest.json").read_bytes())
    for key in whole:
        document = {name: value for name, value in whole.items() if name != key}
        (folder / "manifest.json").write_text(json.dumps(document))
        with pytest.raises(BadModel, match=key):
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
