"""Damaged manifests end in BadModel or in a manifest that can be written and read again."""

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lenet_cpp.errors import BadModel
from lenet_cpp.formats.manifest import (
    CHECKSUMS_NAME,
    MANIFEST_NAME,
    read_checksums,
    read_manifest,
    write_manifest,
)

BUNDLED = Path(__file__).parents[2] / "python" / "lenet_cpp" / "bundled" / "lenet"
# Every run draws the same files, so that a failure can be repeated.
MANY = settings(
    max_examples=500,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
# Names and numbers that a manifest has, and values that JSON, numbers and text break on.
NAMES = st.sampled_from(["files", "format_version", "../x", "a\0b", "", "\ud800", "lenet.json"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | NAMES,
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | NAMES, inner),
    max_leaves=5,
)


def places(document, place=()):
    """Yield the place of each value of a JSON document, as a tuple of keys and indices."""
    yield place
    if isinstance(document, dict):
        inner = document.items()
    elif isinstance(document, list):
        inner = enumerate(document)
    else:
        return
    for key, value in inner:
        yield from places(value, (*place, key))


def replaced(document, place, value):
    """Return a copy of a JSON document with another value at a place."""
    if not place:
        return value
    copy = document.copy()
    copy[place[0]] = replaced(document[place[0]], place[1:], value)
    return copy


@st.composite
def documents(draw):
    """Draw the bundled manifest with other values at one to three places."""
    document = json.loads((BUNDLED / MANIFEST_NAME).read_bytes())
    document["quantization"] = {"method": "static-ptq", "bits": 8}  # which is optional
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.sampled_from(list(places(document))))
        document = replaced(document, place, draw(VALUES))
    return json.dumps(document).encode()


@st.composite
def damaged_bytes(draw, name):
    """Draw the bytes of a bundled file with a part replaced by others."""
    content = (BUNDLED / name).read_bytes()
    start = draw(st.integers(0, len(content)))
    end = draw(st.integers(start, min(len(content), start + 80)))
    part = draw(st.binary(max_size=40) | st.sampled_from([b"9" * 5000, b"[" * 5000, b"1e999"]))
    return content[:start] + part + content[end:]


def read_or_refused(folder, name, content, read):
    """Return what is read of a file, or None when it is refused with a printable message."""
    (folder / name).write_bytes(content)
    message = ""
    result = None
    try:
        result = read(folder)
    except BadModel as error:
        message = str(error)
    assert message.isprintable()
    return result


@given(content=documents() | damaged_bytes(MANIFEST_NAME))
@MANY
def test_a_manifest_is_refused_or_can_be_written_again(tmp_path, content):
    manifest = read_or_refused(tmp_path, MANIFEST_NAME, content, read_manifest)
    if manifest is not None:
        write_manifest(tmp_path, manifest)
        assert read_manifest(tmp_path) == manifest


@given(content=damaged_bytes(CHECKSUMS_NAME))
@MANY
def test_checksums_are_refused_or_read(tmp_path, content):
    sums = read_or_refused(tmp_path, CHECKSUMS_NAME, content, read_checksums)
    assert sums is None or all(len(digest) == 64 for digest in sums.values())


@pytest.mark.parametrize("name", [MANIFEST_NAME, CHECKSUMS_NAME])
def test_some_files_are_refused_and_some_are_read(tmp_path, name):
    """Mutants that are all refused, or all read, would test nothing."""
    read = read_manifest if name == MANIFEST_NAME else read_checksums
    outcomes = set()

    @given(content=damaged_bytes(name))
    @settings(MANY, max_examples=100)
    def collect(content):
        outcomes.add(read_or_refused(tmp_path, name, content, read) is None)

    collect()
    assert outcomes == {True, False}
