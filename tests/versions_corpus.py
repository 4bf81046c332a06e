"""Small networks as several versions of Paddle wrote them, from tests/data/versions."""

import functools
import json
import lzma
import tarfile
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np

ARCHIVES = sorted((Path(__file__).parent / "data" / "versions").glob("*.tar.xz"))
_PROGRAMS = ("__model__", "model", "model.json", "model.pdmodel")


class Network(NamedTuple):
    """A network in one layout: ``separate``, ``traced``, ``combined``, ``jit_json``, ..."""

    version: str
    name: str
    layout: str
    shape: tuple[int, ...]
    seed: int
    files: tuple[str, ...]  # the program first, and then the parameters

    def __str__(self) -> str:
        return f"{self.version}-{self.name}-{self.layout}"


@functools.cache
def read_archive(version: str) -> dict[str, bytes]:
    """Return what a version's archive holds, by path."""
    (path,) = (path for path in ARCHIVES if path.name == f"{version}.tar.xz")
    with tarfile.open(fileobj=BytesIO(lzma.decompress(path.read_bytes()))) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}


@functools.cache
def networks() -> list[Network]:
    """Return all networks of all versions."""
    found = []
    for path in ARCHIVES:
        index = json.loads(read_archive(path.name.removesuffix(".tar.xz"))["index.json"])
        for one in index["networks"]:
            files = tuple(sorted(one["files"], key=lambda file: file not in _PROGRAMS))
            place = (index["paddle"], one["name"], one["layout"])
            found.append(Network(*place, tuple(one["shape"]), one["seed"], files))
    return found


def contents(network: Network) -> tuple[dict[str, bytes], np.ndarray, np.ndarray]:
    """Return a network's files by name, the input, and the writer's answer."""
    members = read_archive(network.version)
    prefix = f"{network.name}/{network.layout}/"
    random = np.random.RandomState(network.seed)
    x = random.uniform(-1, 1, network.shape).astype("float32")
    expected = np.load(BytesIO(members[prefix + "expected.npy"]), allow_pickle=False)
    return {file: members[prefix + file] for file in network.files}, x, expected


def unpack(network: Network, folder: Path) -> tuple[list[Path], np.ndarray, np.ndarray]:
    """Write a network's files; return their paths, the input, and the writer's answer."""
    files, x, expected = contents(network)
    for file, data in files.items():
        (folder / file).write_bytes(data)
    return [folder / file for file in files], x, expected
