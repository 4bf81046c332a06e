"""Write a C++ program and a model as one thing to move: a folder, an archive, or a single file."""

import hashlib
import re
import struct
import tarfile
import tempfile
from gzip import GzipFile
from pathlib import Path
from typing import Any

import numpy as np

from lenet_cpp import _core
from lenet_cpp._base.files import PREPROCESS_NAME, naming, reading
from lenet_cpp._base.worker import run_program
from lenet_cpp.errors import BackendFailure, BadInput, FileNotFound, Unsupported
from lenet_cpp.formats.installation import checked_name
from lenet_cpp.formats.manifest import CHECKSUMS_NAME, MANIFEST_NAME
from lenet_cpp.inference.options import BUNDLED_DIR
from lenet_cpp.inference.predictor import Predictor
from lenet_cpp.inference.program import call_program

_LAUNCHER = """\
#!/bin/sh
# Runs the program with the model of this folder, wherever the folder is.
case $0 in */*) here=${0%/*} ;; *) here=. ;; esac
[ ! -h "$0" ] || here=$(dirname -- "$(readlink -f -- "$0")")
LD_LIBRARY_PATH=$here/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
export LD_LIBRARY_PATH
"""
_INFER = ("lenet_infer_native", "lenet_infer_test")
_HOLDERS = (*_INFER, "lenet_classify")  # another program takes the model as its first argument
# cpp/apps/attached.cc: a SHA-256, and where in the file the model begins.
_PLACE = re.compile(rb"(lenet attached model:)[0-9a-f]{64}(\d{20})")
# They fit the system's own loader, and no other.
_OF_THE_SYSTEM = re.compile(r"ld-|linux-vdso|lib(c|m|dl|rt|pthread)\.so|libc\.musl")
_LIBRARY = re.compile(r"^\s*(\S+) => (/.*?)(?: \(0x\w+\))?$", re.MULTILINE)


def write_bundle(
    model: str | Path | None, output: str | Path, program: Path, *, single_file: bool = False
) -> list[str]:
    """Write a program, a model and the libraries that the program needs, to be moved as one.

    It appears complete, or not at all. A bundle that was written there before is replaced.

    The model is the folder of an exported one, or its program; the bundled LeNet when None. The
    output is a folder, or an archive when it ends in ``.tar.gz``, or a ``single_file``: the C++
    program, which then has to be static, with the model at its end. Returns sentences about what
    was written: what it needs, and whether it was run.

    Raises:
        lenet_cpp.Error: The model, the program or the output is not of the kind that is needed.
    """
    output = Path(output)
    if output.exists() and not _is_bundle(output):
        raise BadInput(f"{output} is not a bundle that was written before: choose another name")
    with reading(f"the program {program}"):
        content = program.read_bytes()
    loader = _loader_of(program, content)
    libraries = _libraries_of(program, loader) if loader else []
    files, images, expected = _open_model(Path(BUNDLED_DIR if model is None else model))
    output.parent.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}.") as folder,
        naming(output, Path(folder)),
    ):
        made = Path(folder, "made")
        runs = made / program.name
        if single_file:
            _write(made, {runs.name: _with_model(program, content, loader, files)})
        else:
            _write(made / "bin", {program.name: content})
            _write(made / "lib", {library.name: library.read_bytes() for library in libraries})
            sums = "".join(f"{_sha256(files[name])}  {name}\n" for name in files)
            _write(made / "model", {**files, CHECKSUMS_NAME: sums.encode()})
            option = "--model_dir=" if program.name in _HOLDERS else ""
            start = f'exec "$here/bin/{program.name}" {option}"$here/model" "$@"\n'
            _write(made, {runs.name: (_LAUNCHER + start).encode()})
        said = f"not run: only {' and '.join(_INFER)} are, with a model of fixed size"
        if program.name in _INFER and images is not None:
            np.save(Path(folder, "x.npy"), images)
            call_program(runs, f"--input={folder}/x.npy", f"--output={folder}/y.npy")
            if not np.array_equal(np.load(Path(folder, "y.npy")), expected):
                raise BackendFailure(f"{program} gives other outputs than lenet_cpp.Predictor")
            said = "checked: it ran, with the same outputs as lenet_cpp.Predictor"
        if single_file:
            made = runs
        elif output.name.endswith(".tar.gz"):
            made = _archive(made, Path(folder, "archive"), output.name[:-7])
        elif output.is_dir():
            output.rename(Path(folder, "previous"))
        made.rename(output)
    if not loader:
        return ["needs no library", said]
    parts = [content, *(path.read_bytes() for path in libraries)]
    versions = [int(v) for part in parts for v in re.findall(rb"\0GLIBC_2\.(\d+)\b", part)]
    needs = f"needs glibc 2.{max(versions)} or later" if versions else "needs the system's libc"
    return [f"{needs}; has {', '.join(path.name for path in libraries) or 'no library'}", said]


def _is_bundle(path: Path) -> bool:
    """Return whether there is nothing that a bundle in its place would remove besides a bundle."""
    if path.is_symlink() and path.is_dir():
        return False
    if path.is_dir():
        return not any(path.iterdir()) or _is_bundle_folder(path)
    content = path.read_bytes() if path.is_file() else b""
    return content[:2] == b"\x1f\x8b" or _PLACE.search(content) is not None


def _names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def _is_bundle_folder(folder: Path) -> bool:
    """Return whether a folder holds the files of a bundle, and no others."""
    names = _names_in(folder)
    starts = names - {"bin", "lib", "model"}
    parts = [folder / part for part in ("bin", "lib", "model")]
    if len(starts) != 1 or not all(part.is_dir() and not part.is_symlink() for part in parts):
        return False
    program, libraries, model = map(_names_in, parts)
    launcher, sums = folder / starts.pop(), folder / "model" / CHECKSUMS_NAME
    if not launcher.is_file() or not sums.is_file():
        return False
    listed = {
        line.split(maxsplit=1)[-1] for line in sums.read_text("utf-8", "replace").splitlines()
    }
    return (
        launcher.read_bytes().startswith(_LAUNCHER.encode())
        and program == {launcher.name}
        and all(".so" in name for name in libraries)
        and model == {*listed, CHECKSUMS_NAME}
    )


def _loader_of(program: Path, content: bytes) -> str:
    """Return the path of what loads the libraries of a program; nothing for a static one."""
    try:
        magic, table = struct.unpack_from("<6s26xQ", content)
        size, count = struct.unpack_from("<HH", content, 54)
        rows = [struct.unpack_from("<IIQQQQ", content, table + i * size) for i in range(count)]
    except struct.error:
        magic = b""
    if magic != b"\x7fELF\x02\x01":
        raise BadInput(f"{program} is no complete 64-bit program of Linux")
    found = [content[row[2] : row[2] + row[5]] for row in rows if row[0] == 3]  # PT_INTERP
    return found[0].rstrip(b"\0").decode(errors="replace") if found else ""


def _libraries_of(program: Path, loader: str) -> list[Path]:
    """Return the libraries that a program needs, beyond those that belong to its loader."""
    try:
        listed = run_program([loader, "--list", program.absolute()])
    except (OSError, ValueError) as error:
        raise Unsupported(
            f"{loader}, which loads the libraries of {program}, is not here"
        ) from error
    if listed.returncode:
        raise FileNotFound(f"{program} needs {listed.stderr.rpartition('libraries: ')[2].strip()}")
    found = _LIBRARY.findall(listed.stdout)
    return [Path(path) for name, path in found if not _OF_THE_SYSTEM.match(name)]


def _open_model(path: Path) -> tuple[dict[str, bytes], Any, Any]:
    """Return the files of a model, and images with its outputs for them where sizes are fixed."""
    named: dict[str, Any] = {"model_dir" if path.is_dir() else "model_file": path}
    with Predictor(engine="native", **named) as predictor:
        program, params = predictor.model_file, predictor.params_file
        if params is None and program.suffix != ".onnx":
            raise Unsupported(f"{path} has many files: convert it, lenet-cpp convert --to pdmodel")
        first, *shape = predictor.input_spec.shape
        images = expected = None
        if min(shape) > 0:
            images = np.random.default_rng(0).random(
                (first if first > 0 else 3, *shape), np.float32
            )
            expected = predictor.run(images)
    files = [
        program,
        *filter(None, [params]),
        *filter(Path.is_file, [program.with_name(MANIFEST_NAME)]),
    ]
    contents = {checked_name(file.name): file.read_bytes() for file in files}
    description = _core.find_description(program)
    if description is not None:  # of a toolkit: the program reads its own form alone
        contents[PREPROCESS_NAME] = _core.read_description(description, False)[0].encode()
    return contents, images, expected


def _with_model(program: Path, content: bytes, loader: str, files: dict[str, bytes]) -> bytes:
    """Return the program's file with a model at its end."""
    place = _PLACE.search(content)
    if loader or place is None or program.name not in _HOLDERS:
        problem = "needs libraries" if loader else "cannot hold a model"
        raise Unsupported(
            f"{program} {problem}: take a static {' or '.join(_HOLDERS)}, which the CMake preset"
            " 'static' builds"
        )
    content = content[: int(place[2]) or None]  # without the model that it may have
    added = "".join(f"{len(each)} {name}\n" for name, each in files.items()).encode() + b"\n"
    added += b"".join(files.values())
    mark = b"%b%b%020d" % (place[1], _sha256(added).encode(), len(content))
    return content[: place.start()] + mark + content[place.end() :] + added


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _write(folder: Path, files: dict[str, bytes]) -> None:
    folder.mkdir(exist_ok=True, parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
        (folder / name).chmod(0o644 if folder.name in {"lib", "model"} else 0o755)


def _archive(folder: Path, target: Path, name: str) -> Path:
    """Write a folder as an archive, the same bytes whenever it is written; return its path."""

    def plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.mtime = member.uid = member.gid = 0
        member.uname = member.gname = ""
        return member

    with (
        target.open("wb") as raw,
        GzipFile("", "wb", fileobj=raw, mtime=0) as file,
        tarfile.open(fileobj=file, mode="w") as archive,
    ):
        archive.add(folder, name, filter=plain)
    return target
