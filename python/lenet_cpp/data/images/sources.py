"""Find the image files that a user names on a command line."""

import glob
import os
from collections.abc import Sequence
from pathlib import Path

from lenet_cpp._base.files import hint_of_missing, read_text, reading
from lenet_cpp.errors import BadInput, FileNotFound

IMAGE_SUFFIXES = frozenset(
    {
        *(".avif", ".bmp", ".gif", ".heic", ".heif", ".jfif", ".jpe", ".jpeg", ".jpg"),
        *(".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"),
    }
)
"""The suffixes, in lower case, of the image files that are found in folders."""


def find_images(
    sources: str | os.PathLike[str] | Sequence[str | os.PathLike[str]], *, missing: bool = False
) -> list[Path]:
    """Return the image files that the sources name, in the order of the sources.

    Args:
        sources: One or more of these: an image file, whatever its ending; a folder, for the files
            in it with one of :data:`IMAGE_SUFFIXES`, sorted by name, without hidden ones and
            without folders below; a glob, ``**`` included, for the same kind of files, sorted; a
            ``.txt`` file with one path in each line, relative to it, and perhaps a label after
            the path as in PaddleClas's lists.
        missing: Return the paths of lists that do not exist too.

    Returns:
        At least one path, of a file that is checked to be an image only when it is read.

    Raises:
        FileNotFound: A source, or a path in a list, does not exist, cannot be read, or contains no
            image.
        BadInput: A list is not UTF-8 text, or there is no source.
    """
    if isinstance(sources, (str, os.PathLike)):
        sources = [sources]
    if not sources:
        raise BadInput("expected at least one image file, folder, glob or list, got none")
    return [path for source in sources for path in _find(Path(source), missing)]


def _find(source: Path, missing: bool) -> list[Path]:
    with reading(source):
        if source.is_dir():
            found = sorted(path for path in source.iterdir() if _is_image(path))
            what = "in this folder"
        elif source.exists():
            return _listed(source, missing) if source.suffix.lower() == ".txt" else [source]
        elif glob.has_magic(str(source)):
            matches = glob.glob(str(source), recursive=True)  # noqa: PTH207 - Path.glob does not accept absolute patterns
            found = sorted(path for path in map(Path, matches) if _is_image(path))
            what = "that matches"
        else:
            remedy = hint_of_missing(source) or "check the path"
            raise FileNotFound(f"{source} does not exist: {remedy}")
    if not found:
        suffixes = " ".join(sorted(IMAGE_SUFFIXES))
        raise FileNotFound(f"{source}: no image {what}; looked for {suffixes}")
    return found


def _is_image(path: Path) -> bool:
    return (
        path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and path.is_file()
    )


def _listed(source: Path, missing: bool) -> list[Path]:
    try:
        text = read_text(source)
    except ValueError as error:
        raise BadInput(f"{source} is not a list of images: {error}") from error
    lines = enumerate(map(str.strip, text.split("\n")), start=1)
    found = [_listed_path(source, number, line, missing) for number, line in lines if line]
    if not found:
        raise FileNotFound(f"{source} lists no image: write one path in each line")
    return found


def _listed_path(source: Path, number: int, text: str, missing: bool) -> Path:
    for name in (text, text.rsplit(maxsplit=1)[0]):  # perhaps with a label
        path = source.parent / name
        if path.is_file():
            return path
    if missing:
        return source.parent / text
    raise FileNotFound(
        f"{source} is read as a list of images, one path in each line; line {number}: {path} does"
        " not exist: check the path, or give names of classes as labels"
    )
