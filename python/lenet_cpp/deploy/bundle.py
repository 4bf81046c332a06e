"""Write a C++ program and a model as one thing to move: a folder, an archive, or a single file."""

import hashlib
import re
import struct
import tarfile
import warnings
from contextlib import suppress
from dataclasses import dataclass
from gzip import GzipFile
from pathlib import Path

from lenet_cpp import _core
from lenet_cpp._base.files import folder_beside, reading
from lenet_cpp._base.worker import run_program
from lenet_cpp.deploy.bundle_check import CLASSIFY, INFER, Source, compare
from lenet_cpp.errors import BadInput, BadModel, FileNotFound, Unsupported
from lenet_cpp.formats.installation import checked_name
from lenet_cpp.formats.manifest import CHECKSUMS_NAME
from lenet_cpp.inference.model import Model
from lenet_cpp.inference.options import BUNDLED_DIR
from lenet_cpp.inference.predictor import Predictor

_LAUNCHER = """\
#!/bin/sh
# Runs the program with the model of this folder, wherever the folder is.
case $0 in */*) here=${0%/*} ;; *) here=. ;; esac
[ ! -h "$0" ] || here=$(dirname -- "$(readlink -f -- "$0")")
LD_LIBRARY_PATH=$here/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
export LD_LIBRARY_PATH
"""
# These programs can hold a model, and have the option --model_dir. Other programs take the model as
# their first argument.
_HOLDERS = (*INFER, CLASSIFY)
# cpp/apps/attached.cc: a SHA-256, and where in the file the model begins.
_PLACE = re.compile(rb"(lenet attached model:)[0-9a-f]{64}(\d{20})")
# These libraries belong to the system's own loader and do not work with another one.
_OF_THE_SYSTEM = re.compile(r"ld-|linux-vdso|lib(c|m|dl|rt|pthread)\.so|libc\.musl")
_GLIBC_VERSION = re.compile(rb"\0GLIBC_2\.(\d+)\b")
_LIBRARY = re.compile(r"^\s*(\S+) => (/.*?)(?: \(0x\w+\))?$", re.MULTILINE)


def write_bundle(
    model: str | Path | None, output: str | Path, program: Path, *, single_file: bool = False
) -> list[str]:
    """Write a program, a model and the libraries that the program needs, to be moved as one.

    The output is complete, or is not written at all. An older bundle in its place is replaced.

    Args:
        model: The folder of an exported model, or its program; the bundled LeNet when None.
        output: The folder to write, or an archive when the name ends in ``.tar.gz``.
        program: The C++ program.
        single_file: Whether the output is one file: the C++ program, which must be static, with
            the model at its end.

    Returns:
        Sentences about what was written: what it needs, whether it was run, and what is missing.

    Raises:
        BadInput: The program is not a 64-bit program of Linux, or the output exists and is not a
            bundle.
        FileNotFound: The program, the model or a library cannot be read.
        Unsupported: The model has one file for each variable, the program's loader is missing, or
            the program cannot hold a model.
        BackendFailure: The bundle gives other outputs than :class:`lenet_cpp.Predictor`, or prints
            something else for a picture than the program prints with the model in its folder.
        lenet_cpp.Error: The model cannot be loaded, as for :class:`lenet_cpp.Predictor`.
        OSError: The output cannot be written.
    """
    output = Path(output)
    if output.exists() and not _is_bundle(output):
        raise BadInput(f"{output} is not a bundle that was written before: choose another name")
    bundled = _read_program(program)
    takes_pictures = program.name not in INFER
    opened = _open_model(Path(BUNDLED_DIR if model is None else model), takes_pictures)
    with folder_beside(output) as folder:
        made = folder / "made"
        if single_file:
            _write(made, {program.name: _with_model(bundled, opened.files)})
        else:
            _write_folder(made, bundled, opened.files)

        def shown(text: str) -> str:
            return text.replace(str(made), str(output)).replace(f"{folder}/", "")

        start = made / program.name
        finding = compare(start, program, opened.source, folder, shown)
        if single_file:
            made = made / program.name
        elif output.name.endswith(".tar.gz"):
            made = _archive(made, folder / "archive", output.name[:-7])
        elif output.is_dir():
            output.rename(folder / "previous")
        made.rename(output)
    return [_needs(bundled), finding, *opened.notes]


@dataclass(frozen=True)
class _Program:
    """A C++ program to bundle.

    Attributes:
        path: The file of the program.
        content: The content of that file.
        loader: The path of what loads its libraries; empty for a static program.
        libraries: The libraries to bundle: those that do not belong to the loader.
    """

    path: Path
    content: bytes
    loader: str
    libraries: list[Path]


@dataclass(frozen=True)
class _Model:
    """A model to bundle.

    Attributes:
        source: What the bundle is compared with.
        files: The content of each file, by its path in the model's folder. The program comes first,
            and then the parameters, if they have a file.
        notes: That nothing describes how pictures are prepared, and what the description of the
            model names, but is not there.
    """

    source: Source
    files: dict[str, bytes]
    notes: list[str]


def _read_program(path: Path) -> _Program:
    with reading(f"the program {path}"):
        content = path.read_bytes()
    loader = _loader_of(path, content)
    return _Program(path, content, loader, _libraries_of(path, loader) if loader else [])


def _write_folder(folder: Path, program: _Program, model_files: dict[str, bytes]) -> None:
    """Write the folder of a bundle: the launcher, ``bin/``, ``lib/`` and ``model/``."""
    name = program.path.name
    _write(folder / "bin", {name: program.content})
    _write(folder / "lib", {library.name: library.read_bytes() for library in program.libraries})
    sums: dict[str, bytes] = {}  # one list in each folder
    for file, content in model_files.items():
        path = Path(file)
        line = f"{_sha256(content)}  {path.name}\n".encode()
        listed = str(path.with_name(CHECKSUMS_NAME))
        sums[listed] = sums.get(listed, b"") + line
    _write(folder / "model", {**model_files, **sums})
    option = "--model_dir=" if name in _HOLDERS else ""
    start = f'exec "$here/bin/{name}" {option}"$here/model" "$@"\n'
    _write(folder, {name: (_LAUNCHER + start).encode()})


def _needs(program: _Program) -> str:
    """Return a sentence about what a machine must have to run the bundle."""
    if not program.loader:
        return "needs no library"
    parts = [program.content, *(path.read_bytes() for path in program.libraries)]
    versions = [int(minor) for part in parts for minor in _GLIBC_VERSION.findall(part)]
    needs = f"needs glibc 2.{max(versions)} or later" if versions else "needs the system's libc"
    return f"{needs}; has {', '.join(path.name for path in program.libraries) or 'no library'}"


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
    program, libraries = map(_names_in, parts[:2])
    launcher = folder / starts.pop()
    if not launcher.is_file() or not (parts[2] / CHECKSUMS_NAME).is_file():
        return False
    model = {path for path in parts[2].rglob("*") if path.is_symlink() or not path.is_dir()}
    return (
        launcher.read_bytes().startswith(_LAUNCHER.encode())
        and program == {launcher.name}
        and all(".so" in name for name in libraries)
        and model == _listed_in(parts[2])
    )


def _listed_in(folder: Path) -> set[Path]:
    """Return the lists of checksums in a folder and below, and the files that they name."""
    found = set()
    for sums in folder.rglob(CHECKSUMS_NAME):
        lines = sums.read_text("utf-8", "replace").splitlines()
        found |= {sums, *(sums.parent / line.split(maxsplit=1)[-1] for line in lines if line)}
    return found


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


def _open_model(path: Path, takes_pictures: bool) -> _Model:
    if path.is_dir():
        predictor = Predictor(model_dir=path, engine="native")
    else:
        predictor = Predictor(path, engine="native")
    with predictor:
        program, params = predictor.model_file, predictor.params_file
        if params is None and program.suffix != ".onnx":
            raise Unsupported(f"{path} has many files: convert it, lenet-cpp convert --to pdmodel")
        source = Source.of(predictor)
        notes = _notes_of(Model.of(predictor), takes_pictures)
    files = _core.read_model_files(program, params or "")
    for name in files:
        for part in name.split("/"):
            checked_name(part)
    return _Model(source, files, notes)


def _notes_of(model: Model, takes_pictures: bool) -> list[str]:
    """Return what a user of the bundle should know of the model's description.

    Args:
        model: The model.
        takes_pictures: Whether the program prepares pictures.

    Raises:
        lenet_cpp.Error: The file of the description is damaged or not supported.
    """
    description = _core.find_description(model.program)
    if description is not None:
        note = _core.read_description(description, True)[1]
        return [f"note: {note}"] if note else []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if takes_pictures:
            # What the program refuses is said where it is run with a picture.
            with suppress(BadModel, FileNotFound, Unsupported):
                model.load_pipeline()
    return [f"note: {each.message}" for each in caught]


def _with_model(program: _Program, files: dict[str, bytes]) -> bytes:
    """Return the content of the program's file with a model at its end."""
    place = _PLACE.search(program.content)
    if program.loader or place is None or program.path.name not in _HOLDERS:
        problem = "needs shared libraries" if program.loader else "cannot hold a model"
        raise Unsupported(
            f"a single file cannot be made of {program.path}, which {problem}; name a static"
            f" {' or '.join(_HOLDERS)}, which the CMake preset 'static' builds in build/static of a"
            " clone (both commands are in docs/without-paddle.md); a bare name is looked for there"
        )
    # The program may end with a model that an earlier bundle added; the new one replaces it.
    content = program.content[: int(place[2]) or None]
    added = "".join(f"{len(each)} {name}\n" for name, each in files.items()).encode() + b"\n"
    added += b"".join(files.values())
    mark = b"%b%b%020d" % (place[1], _sha256(added).encode(), len(content))
    return content[: place.start()] + mark + content[place.end() :] + added


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _write(folder: Path, files: dict[str, bytes]) -> None:
    folder.mkdir(exist_ok=True, parents=True)
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_bytes(content)
        path.chmod(0o644 if folder.name in {"lib", "model"} else 0o755)


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
