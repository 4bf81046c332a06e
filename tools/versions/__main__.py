"""Make tests/data/versions: small networks as six versions of Paddle write them.

    python -m tools.versions                          all versions; some ten minutes
    python -m tools.versions --paddle 1.8.5 2.6.2     these two
    python -m tools.versions --raw-dir DIR            leave the files in DIR/VERSION too
    python -m tools.versions check                    run them on every engine: --help says more
    python -m tools.versions published                run networks inside published packages

Each version runs in an environment of its own in the user's cache folder, 0.9 GB each, which is
made first unless it is there. 1.8.5 needs Python 3.7, the others Python 3.11: these are looked for
on PATH and in pyenv. A version's archive holds ``index.json``, NAME/LAYOUT/FILES and beside them
``expected.npy``, the answer of the version that wrote them. tests/versions_corpus.py reads it.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from contextlib import nullcontext
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lenet_cpp._base.worker import PROGRAM_DESC, call
from lenet_cpp.errors import Error
from lenet_cpp.quantize.environments import Environment
from tools.corpora import report, write_archive
from tools.interpreters import find_interpreter

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).resolve().parents[2]
CORPUS = ROOT / "tests" / "data" / "versions"
INPUT = "numpy.random.RandomState(seed).uniform(-1, 1, shape).astype('float32')"
_WORKERS = Path(__file__).parent
_SECONDS = 3600.0
_KINDS = ("jit", "static", "twice")
_PDMODEL = tuple(f"{kind}_pdmodel" for kind in _KINDS)
_JSON = tuple(f"{kind}_json" for kind in _KINDS)


@dataclass(frozen=True)
class Version:
    """How a version of Paddle is installed, and the layouts that it writes, each in a process.

    1.8.5 writes all of its own in one.
    """

    python: tuple[int, int]
    packages: tuple[str, ...]
    layouts: tuple[str, ...] = ()


_NEW = ("numpy==1.26.4", "setuptools<81")
VERSIONS = {
    # Its messages do not load with protobuf 4.
    "1.8.5": Version((3, 7), ("numpy==1.21.6", "protobuf==3.20.1")),
    "2.6.2": Version((3, 11), (*_NEW, "protobuf==3.20.2"), _PDMODEL),
    **dict.fromkeys(
        ("3.0.0", "3.1.1", "3.2.2", "3.3.1"), Version((3, 11), _NEW, (*_JSON, *_PDMODEL))
    ),
}


def environment(name: str) -> Environment:
    """Return the environment of a version of Paddle."""
    return Environment(
        name=f"paddle-{name}",
        title=f"Paddle {name}",
        requirements=(f"paddlepaddle=={name}", *VERSIONS[name].packages),
        trial="import paddle" + (".fluid" if name < "2" else ".static"),
        remedy="it needs the network, 0.9 GB of space, and Linux on x86-64",
    )


def make(name: str, raw: Path, program: str | None) -> dict[str, Any]:
    """Write the networks of a version to a folder; return their index."""
    version = VERSIONS[name]
    python = environment(name).find()
    if python is None:
        interpreter = find_interpreter(version.python, f"Paddle {name}", program)
        python = environment(name).make(interpreter, report=report)
    networks: list[dict[str, Any]] = []
    not_built: dict[str, dict[str, str]] = {}
    for layout in version.layouts or ("fluid",):
        given = {"folder": str(raw)} | ({"layout": layout} if version.layouts else {})
        worker = _WORKERS / f"{'paddle' if version.layouts else 'fluid'}_worker.py"
        variables = {"FLAGS_enable_pir_api": "1"} if layout.endswith("json") else PROGRAM_DESC
        variables = {**variables, "PYTHONHASHSEED": "0"}  # of sets
        how: dict[str, Any] = {"python": python, "variables": variables, "seconds": _SECONDS}
        doing = f"Paddle {name}, {layout}"
        found = call(f"{worker}:build", given, doing=doing, report=report, **how).result
        networks += found["entries"]
        if found["failed"]:
            not_built[layout] = found["failed"]
    networks.sort(key=lambda network: (network["name"], network["layout"]))
    return {"paddle": name, "input": INPUT, "not_built": not_built, "networks": networks}


def pack(index: dict[str, Any], raw: Path, archive: Path) -> None:
    """Write an archive. Files of a kind are next to each other, which makes it smaller."""
    names = (
        f"{network['name']}/{network['layout']}/{file}"
        for network in index["networks"]
        for file in [*network["files"], "expected.npy"]
    )
    contents: dict[str, bytes | Path] = {"index.json": json.dumps(index, indent=1).encode() + b"\n"}

    def by_kind(name: str) -> tuple[str, str]:
        return Path(name).suffix, name

    contents |= {name: (raw / name).read_bytes() for name in sorted(names, key=by_kind)}
    write_archive(archive, contents)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tools.versions",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--paddle", nargs="+", choices=VERSIONS, default=list(VERSIONS))
    parser.add_argument("--python", help="makes the environments, in place of the one found")
    parser.add_argument("--output-dir", type=Path, default=CORPUS, help="of the archives")
    parser.add_argument("--raw-dir", type=Path, help="of the unpacked files, by version")
    options = parser.parse_args(arguments)
    for name in options.paddle:
        where = nullcontext(options.raw_dir) if options.raw_dir else tempfile.TemporaryDirectory()
        with where as folder:
            raw = Path(folder, name)
            shutil.rmtree(raw, ignore_errors=True)
            raw.mkdir(parents=True)
            archive = options.output_dir / f"{name}.tar.xz"
            try:
                index = make(name, raw, options.python)
            except Error as error:
                print(f"versions: {error}", file=sys.stderr)
                return error.exit_code
            pack(index, raw, archive)
        count = len(index["networks"])
        print(f"{archive}: {count} networks, {archive.stat().st_size / 1e3:.0f} kB")
        for layout, failed in index["not_built"].items():
            print(f"  {layout} without {', '.join(failed)}: index.json says why")
    return 0


if __name__ == "__main__":
    others = {"check", "published"}.intersection(sys.argv[1:2])
    here = f"tools.versions.{others.pop()}" if others else ""
    sys.exit(import_module(here).main(sys.argv[2:]) if here else main())
