"""Damaged manifests: read_manifest and read_checksums end in a typed error or a valid result."""

import random
from pathlib import Path

import pytest

from lenet_cpp.errors import BadModel
from lenet_cpp.formats.manifest import CHECKSUMS_NAME, MANIFEST_NAME, read_checksums, read_manifest
from tools.hostile.mutants import BYTES

BUNDLED = Path(__file__).parents[2] / "python" / "lenet_cpp" / "bundled" / "lenet"
MUTANTS = 2000
# What JSON, numbers and text break on.
TOKENS = (
    b"null",
    b"true",
    b"-1",
    b"0",
    b"1e999",
    b"NaN",
    b"9" * 5000,
    b"{}",
    b"[]",
    b'""',
    b'"\\ud800"',
    b"[" * 5000,
    b"../",
    b"\x00",
    b"\xff\xfe",
    b"\n",
    b'"files"',
    b'"format_version"',
    b"0" * 64,
)


def mutate(content, chance):
    """Change the bytes in one to three ways, of which one is to put a token in."""
    for _ in range(chance.randint(1, 3)):
        if chance.random() < 0.2:
            start = chance.randrange(len(content) + 1)
            end = start + chance.randint(0, 40)
            content = content[:start] + chance.choice(TOKENS) + content[end:]
        else:
            content = chance.choice([*BYTES.values()])(content or b"{}", content or b"[]", chance)
    return content


@pytest.mark.parametrize(
    ("name", "read"), [(MANIFEST_NAME, read_manifest), (CHECKSUMS_NAME, read_checksums)]
)
def test_mutants_are_read_or_refused(tmp_path, name, read):
    original = (BUNDLED / name).read_bytes()
    chance = random.Random(f"{name} 1")
    refused = 0
    for number in range(MUTANTS):
        mutant = mutate(original, chance)
        (tmp_path / name).write_bytes(mutant)
        message = ""
        try:
            read(tmp_path)
        except BadModel as error:
            refused += 1
            message = str(error)
        except Exception as error:  # noqa: BLE001  # what must not happen, with what shows it
            pytest.fail(f"mutant {number}: {error!r}: {mutant!r}")
        assert message.isprintable(), f"mutant {number}: {message!r}"
    # Mutations that nobody refuses, or that all are, would test nothing.
    assert MUTANTS / 4 < refused < MUTANTS
