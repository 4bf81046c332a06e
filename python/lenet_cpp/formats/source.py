"""Find the files of a model, and recognise their format."""

import os
from dataclasses import dataclass
from pathlib import Path

from lenet_cpp._base.files import other_content
from lenet_cpp.errors import BadInput, BadModel, FileNotFound
from lenet_cpp.formats.manifest import CHECKSUMS_NAME, MANIFEST_NAME

FORMATS = {
    "pdparams": "NAME.pdparams: a layer's state dict, without structure",
    "persistables": "a folder with one file for each variable, without structure",
    "pdmodel": "NAME.pdmodel and NAME.pdiparams",
    "model-params": "the same two files, called model (or __model__) and params (or __params__)",
    "separate": "__model__ (or model) and one file for each variable",
    "json": "NAME.json (PIR) and NAME.pdiparams",
}
LEGACY_PROGRAM = "__model__"
"""The name of the program in the separate layout."""
# The names that fluid.io.save_inference_model gave to a program and its combined parameters.
OLD_PROGRAMS = (LEGACY_PROGRAM, "model")
OLD_PARAMS = ("params", "__params__")


@dataclass(frozen=True)
class Source:
    """A model on disk, in a format that is a key of :data:`FORMATS`.

    Attributes:
        path: The program; the file itself for ``pdparams``, the folder for ``persistables``.
        params: The combined parameters of a program; None when each variable has a file of its own
            or the source has no program.
    """

    format: str
    path: Path
    params: Path | None = None

    @property
    def program(self) -> Path:
        """The program; another name of ``path``."""
        return self.path

    @property
    def combined_params(self) -> Path:
        """The parameters, for callers that need them in one file.

        Raises:
            BadModel: Each variable has a file of its own.
        """
        if self.params is None:
            raise BadModel(
                f"{self.folder} has one file for each variable: convert it with"
                " lenet-cpp convert --to pdmodel"
            )
        return self.params

    @property
    def label(self) -> str:
        """The format as :func:`format_label` writes it."""
        return format_label(self.format)

    @property
    def has_program(self) -> bool:
        """Whether the source has the structure of the network."""
        return self.format not in {"pdparams", "persistables"}

    @property
    def folder(self) -> Path:
        """The folder of the files."""
        return self.path if self.format == "persistables" else self.path.parent


def format_label(format_: str) -> str:
    """Return the usual name of a format: the suffix, where it has one."""
    return f".{format_}" if format_ in {"pdmodel", "json"} else format_


def find_source(path: str | Path, format_: str | None = None) -> Source:
    """Find the model that a path names.

    Args:
        path: A program, a ``.pdparams``, their path without suffix, or a folder. In a folder with
            ``.pdmodel`` and ``.json`` the first is used.
        format_: The required format; any when None.

    Raises:
        FileNotFound: There is no such model, or not in that format.
        BadModel: The file is empty.
        BadInput: The format is unknown, or the folder contains several models.
    """
    path = Path(path)
    if format_ is not None and format_ not in FORMATS:
        raise BadInput(f"unknown format {format_!r}; choose among {', '.join(FORMATS)}")
    candidates = find_sources(path)
    found = [each for each in candidates if format_ in {None, each.format}]
    if not found:
        if path.is_file() and path.stat().st_size == 0:
            raise BadModel(f"{path} is empty (0 bytes); copy it again, or export it anew")
        there = ", ".join(each.format for each in candidates)
        wanted = "a model" if format_ is None else f"a model in format {format_}"
        because = f" (found: {there})" if there else f": {_why_no_model(path)}"
        raise FileNotFound(f"{path} is not {wanted}{because}")
    same = [each for each in found if each.format == found[0].format]
    if len(same) > 1:
        names = ", ".join(str(each.path) for each in same)
        raise BadInput(f"{path} holds several models: name one of {names}")
    return found[0]


def _why_no_model(path: Path) -> str:
    """Say in a clause why a path stands for no model, and what to do."""
    if path.is_dir():
        return "the folder has no model files; name the folder of an exported model"
    if not path.is_file():
        return "no such files; check the path"
    params = path.with_suffix(".pdiparams")
    if path.suffix in {".pdmodel", ".json"} and not params.is_file():
        return f"its parameters {params.name} are missing; copy them into the same folder"
    return other_content(path, "model") or "its content is of no known format"


def find_sources(path: Path) -> list[Source]:
    """Return every model that a path may stand for, in any format."""
    return _in_folder(path) if path.is_dir() else _of_file(path)


def find_parameters(path: str | os.PathLike[str]) -> Source:
    """Find trained parameters, of which a program is no part.

    Args:
        path: A ``.pdparams``, with or without its suffix, which then may be missing; a folder with
            one of them; or a folder with a file for each variable, in which a program is ignored.
            ``fluid.save`` of Paddle 1 wrote the first, ``fluid.io.save_persistables`` and
            ``save_inference_model`` the others.

    Raises:
        FileNotFound: The path is a folder without parameters of these formats.
        BadInput: The folder contains several ``.pdparams``.
    """
    path = Path(path)
    if path.suffix == ".pdparams" or path.is_file():
        return Source("pdparams", path)
    with_suffix = path.with_name(path.name + ".pdparams")
    if with_suffix.is_file() or not path.is_dir():
        return Source("pdparams", with_suffix)
    there = {each.format for each in find_sources(path)}
    if "pdparams" in there:
        return find_source(path, "pdparams")
    if not there & {"persistables", "separate"}:
        found = f" (found: {', '.join(sorted(there))})" if there else ""
        raise FileNotFound(
            f"{path} has neither a .pdparams nor a file for each variable{found}: check the path,"
            " or make a .pdparams of the model with lenet-cpp convert --to pdparams"
        )
    return Source("persistables", path)


def _of_file(path: Path) -> list[Source]:
    """Return the model of a file, or those that a path without suffix stands for."""
    names = [path, *(path.with_name(path.name + end) for end in (".pdmodel", ".json", ".pdparams"))]
    found = []
    for name in filter(Path.is_file, names):
        params = name.with_suffix(".pdiparams")
        if name.suffix == ".pdparams":
            found.append(Source("pdparams", name))
        elif name.suffix in {".pdmodel", ".json"} and params.is_file():
            found.append(Source(name.suffix[1:], name, params))
        elif name.name in OLD_PROGRAMS:
            combined = next(filter(Path.is_file, map(name.with_name, OLD_PARAMS)), None)
            found.append(Source("model-params" if combined else "separate", name, combined))
    return found


def _in_folder(folder: Path) -> list[Source]:
    names = sorted(path for path in folder.iterdir() if path.is_file())
    found = []
    for wanted in (*OLD_PROGRAMS, ".pdmodel", ".json", ".pdparams"):
        for path in names:
            if wanted in {path.name, path.suffix}:
                found += _of_file(path)
    found = list(dict.fromkeys(found))  # "model" stands for model.pdmodel too
    if not found and [name for name in names if name.name not in {CHECKSUMS_NAME, MANIFEST_NAME}]:
        return [Source("persistables", folder)]
    return found


def link_as_legacy(program: Path, folder: Path) -> Path:
    """Link a program, as ``__model__``, and the files beside it into a new folder; return it."""
    folder.mkdir()
    for path in program.parent.iterdir():
        if path.is_file():
            name = LEGACY_PROGRAM if path.name == program.name else path.name
            (folder / name).symlink_to(path.resolve())
    return folder
