"""What is alike in all descriptions: byte order marks, labels, and hostile YAML."""

import shutil

import pytest

import lenet_cpp
from descriptions import NORMALIZE, VIT, hub, with_ops, yml
from lenet_cpp import BadModel, Unsupported
from lenet_cpp.data import images
from lenet_cpp.data.images import Pipeline
from lenet_cpp.data.mnist import read_mnist_dir, sample_dir
from lenet_cpp.formats.manifest import read_manifest, verify_checksums
from pictures import refused

DIGIT = read_mnist_dir(sample_dir()).test.images[0]

MARK = b"\xef\xbb\xbf"  # UTF-8's byte order mark


def test_a_byte_order_mark_is_accepted_by_every_reader(model_dir, tmp_path):
    """Editors of Windows put it at the beginning of what they save."""
    folder = shutil.copytree(model_dir, tmp_path / "lenet")
    images.digit().save(folder / "preprocess.json")
    expected = lenet_cpp.Classifier(folder)(DIGIT).predictions
    for name in ("preprocess.json", "manifest.json", "SHA256SUMS"):
        path = folder / name
        path.write_bytes(MARK + path.read_bytes())
        if name != "SHA256SUMS":
            listed = (folder / "SHA256SUMS").read_text().splitlines()
            kept = [line for line in listed if not line.endswith(name)]
            (folder / "SHA256SUMS").write_text("\n".join(kept) + "\n")
    assert lenet_cpp.Classifier(folder)(DIGIT).predictions == expected
    assert Pipeline.load(folder / "preprocess.json") == images.digit()
    assert read_manifest(folder).classes == tuple("0123456789")
    assert verify_checksums(folder)
    # What toolkits write: more than one line, of which the second would stand further left.
    text = with_ops("ResizeImage: {size: 9}", NORMALIZE, "ToCHWImage:") + (
        "PostProcess:\n  Topk: {topk: 1, class_id_map_file: names.txt}\n"
    )
    (tmp_path / "names.txt").write_bytes(MARK + b"0 cat\n1 dog\n")
    plain = Pipeline.load(yml(tmp_path, text))
    assert plain.labels == ("cat", "dog")
    (tmp_path / "inference.yml").write_bytes(MARK + text.encode())
    assert Pipeline.load(tmp_path / "inference.yml") == plain
    path = hub(tmp_path, VIT, {"id2label": {"0": "cat", "1": "dog"}})
    for each in (path, tmp_path / "config.json"):
        each.write_bytes(MARK + each.read_bytes())
    assert Pipeline.load(path).labels == ("cat", "dog")


@pytest.mark.parametrize(
    ("names", "problem"),
    [(b"0 a\n1 b\0\n", "line 2 has a NUL"), (b"0 a\n1 \xff\n", "it is not UTF-8")],
)
def test_bad_files_of_labels_that_a_description_names(tmp_path, names, problem):
    text = with_ops(NORMALIZE, "ToCHWImage:") + (
        "PostProcess:\n  Topk: {topk: 1, class_id_map_file: names.txt}\n"
    )
    (tmp_path / "names.txt").write_bytes(names)
    with refused(lenet_cpp.BadInput, problem, tmp_path / "names.txt"):
        Pipeline.load(yml(tmp_path, text))


def test_a_nul_in_a_label_is_refused(tmp_path):
    path = hub(tmp_path, VIT, {"id2label": {"0": "a\0b"}})
    with refused(BadModel, "labels.0.: a NUL character", path):
        Pipeline.load(path)
    with pytest.raises(lenet_cpp.BadInput, match="a name has a NUL character"):
        lenet_cpp.Classifier(labels=["a\0", *"bcdefghij"])


def test_a_normalize_whose_values_float32_does_not_hold(tmp_path):
    path = hub(tmp_path, {**VIT, "image_mean": [3e38, 0, 0], "image_std": [0.1, 1, 1]})
    with refused(BadModel, r"steps.1.: some of its values are infinite or NaN in float32", path):
        Pipeline.load(path)


def test_labels_of_a_config_must_be_whole(tmp_path):
    path = hub(tmp_path, VIT, {"id2label": {"0": "cat", "2": "dog"}})
    with refused(BadModel, "expected the numbers 0 to 1, found 2", path):
        Pipeline.load(path)


BOMB = "a: &a [x, x, x, x]\n" + "".join(
    f"{new}: &{new} [*{old}, *{old}, *{old}, *{old}]\n"
    for old, new in zip("abcdefg", "bcdefgh", strict=True)
)
BOMB_INSIDE = ", ".join(BOMB.splitlines())


@pytest.mark.parametrize(
    ("text", "error", "problem"),
    [
        (BOMB, Unsupported, "no description"),
        (f"PreProcess: {{{BOMB_INSIDE}}}", Unsupported, "line 1: an alias"),
        ("PreProcess: &x [*x]", Unsupported, "line 1: an alias"),
        ("[" * 300_000, BadModel, "nested too deeply"),
        ("{a: " * 300_000, BadModel, "nested too deeply"),
        ("- " * 300_000, BadModel, "nested too deeply"),
        ("".join(f"k{number}: 1\n" for number in range(1_000_000)), Unsupported, "at most 4194304"),
        ("".join(f"k{number}: 1\n" for number in range(380_000)), Unsupported, "no description"),
        (f"Global: {'x' * 4_000_000}", Unsupported, "no description"),
    ],
    ids=[
        "bomb",
        "bomb inside",
        "cycle",
        "lists",
        "mappings",
        "block lists",
        "million keys",
        "keys",
        "text",
    ],
)
def test_hostile_yaml(tmp_path, text, error, problem):
    with refused(error, problem, tmp_path / "inference.yml"):
        Pipeline.load(yml(tmp_path, text))
