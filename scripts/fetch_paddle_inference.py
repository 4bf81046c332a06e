#!/usr/bin/env python3
"""Create third_party/paddle_inference, the library that the C++ build links to; see --help."""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn
from urllib.parse import unquote, urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parent))  # which python -I leaves out

from paddle_library import COMMAND, THIRD_PARTY, official, wheel
from paddle_library.failures import INTERRUPTED, NOT_FOUND, Failure, note
from paddle_library.folder import report

if TYPE_CHECKING:
    from collections.abc import Sequence

EPILOG = f"""\
examples:
  {COMMAND}                            use the paddlepaddle of this Python (links)
  {COMMAND} --copy --output-dir DIR    copy the files, about 700 MB, instead of linking
  {COMMAND} --source official --version 3.3.1 --sha256 HASH
  {COMMAND} --archive paddle_inference.tgz     an archive you already have
  {COMMAND} --check                    report what the folder has and whether it is valid

Both sources give the same folder: paddle/include/, paddle/lib/libpaddle_inference.so and
version.txt. With the wheel, include/ holds this project's own declarations (cpp/compat), because
the wheel has no headers, and version.txt has these keys, with one "Key: value" in each line:
  Paddle version, GIT COMMIT ID, WITH_MKL, WITH_ONEDNN, WITH_OPENVINO, WITH_GPU    as in the archive
  Source: wheel              (an official version.txt has no such line; a source.json is beside it)
  Layout: links | copy       (links break when the wheel is removed; a copy does not)

The library of the archive runs in your programs: give --sha256 to verify it, because otherwise you
have to trust the server. To resume downloads, use a downloader such as curl, and --archive.

exit codes: 0 success, 1 other failure, 2 wrong usage, 3 file not found, 4 bad archive or folder,
7 unsupported or unexpected version, 8 download failed, 130 interrupted
"""
URL = re.compile(r"(https?://[\w\[][^@/?#\s]*([/?#]|$)|file:///)[!-~]*", re.ASCII)


def size(text: str) -> int:
    match = re.fullmatch(r"(\d{1,15})([KMGT]?)", text.upper())
    if not match:
        raise ValueError(f"--max-size {text!r} is not a size such as 500M or 4G")
    return int(match[1]) << {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}[match[2]]


class Parser(argparse.ArgumentParser):
    """A parser that says what is wrong in one line, as the other commands do."""

    def error(self, message: str) -> NoReturn:
        """End the program with a message."""
        self.exit(2, f"{self.prog}: error: {message}; see {self.prog} --help\n")


def make_parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog=COMMAND,
        description="Create the folder paddle_inference that the C++ build links to.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "--source",
        choices=("wheel", "official"),
        help="default: wheel, unless the folder is official",
    )
    add("--output-dir", type=Path, default=THIRD_PARTY / "paddle_inference", metavar="DIR")
    add(
        "--check",
        action="store_true",
        help="only report what the folder has; exit 0 if valid",
    )
    add("--force", action="store_true", help="create the folder again even if it is valid")
    add = parser.add_argument_group("wheel").add_argument
    add("--site-packages", type=Path, metavar="DIR", help="take paddle from there")
    add("--copy", action="store_true", help="real files instead of links")
    add = parser.add_argument_group("official archive").add_argument
    add("--version", metavar="V", help="Paddle's version, 3.1 to 3.3, such as 3.3.1")
    add("--url", metavar="U", help="http, https or file; default: from the version")
    add("--archive", type=Path, metavar="FILE", help="a local archive instead of a download")
    add("--sha256", metavar="H", help="the hash that the archive must have")
    add(
        "--timeout",
        type=float,
        default=30.0,
        metavar="S",
        help="to wait for each response (default 30 s)",
    )
    add("--max-size", metavar="SIZE", help="maximum size of the unpacked files (default 4G)")
    return parser


def complete(args: argparse.Namespace) -> None:
    """Derive the remaining options; raise ValueError if options cannot be combined."""
    output = Path(os.path.abspath(args.output_dir))  # noqa: PTH100 - a link there stays a link
    args.output_dir = output.parent.resolve() / output.name
    if args.archive and args.url:
        raise ValueError("--archive cannot be combined with --url")
    if args.archive and args.source is None:
        args.source = "official"
    if args.source == "official":
        complete_official(args)
    elif args.version or args.url or args.archive or args.sha256:
        raise ValueError("--version, --url, --archive and --sha256 need --source official")
    if args.sha256:
        args.sha256 = args.sha256.lower()
        if not re.fullmatch(r"[0-9a-f]{64}", args.sha256):
            raise ValueError("--sha256 takes 64 hexadecimal digits")
    args.max_size = args.max_size and size(args.max_size)
    if not 0 < args.timeout < 1e6:
        raise ValueError("--timeout must be above 0 and below 1e6")


def complete_official(args: argparse.Namespace) -> None:
    """Check the options of ``--source official``, and fill in the address of the archive."""
    if args.copy or args.site_packages:
        raise ValueError("--copy and --site-packages need --source wheel")
    if not (args.version or args.url or args.archive):
        raise ValueError("--source official needs --version, --url or --archive")
    if args.version and not re.fullmatch(r"\d+\.\d+\.\d+[-.]?[a-z0-9]*", args.version):
        raise ValueError(f"--version {args.version!r} is not a version such as 3.3.1")
    if args.version and not args.url:
        args.url = official.published_url(args.version)
    if args.url and not URL.fullmatch(args.url):
        raise ValueError(f"--url {args.url!r} is not an http, https or file address")


def run(args: argparse.Namespace) -> None:
    """Create the folder, or report what it has."""
    output: Path = args.output_dir
    if args.check:
        report(output)
    elif args.source == "official":
        run_official(args)
    elif args.source is None and not args.force and official.is_recorded(output):
        report(output, "already in place: ", "; --source wheel replaces it")
    else:
        wheel.assemble(output, site_packages=args.site_packages, copy=args.copy, force=args.force)


def run_official(args: argparse.Namespace) -> None:
    request = official.Request(
        output=args.output_dir,
        version=args.version,
        sha256=args.sha256,
        max_size=args.max_size,
        force=args.force,
    )
    archive: Path | None = args.archive
    if archive is None and urlsplit(args.url).scheme == "file":
        archive = Path(unquote(urlsplit(args.url).path))
    if archive is not None:
        official.install_file(archive, request)
    else:
        official.fetch(args.url, request, timeout=args.timeout)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = make_parser()
    args = parser.parse_args(argv)
    try:
        complete(args)
    except ValueError as error:
        parser.error(str(error))
    return status_of(args)


def status_of(args: argparse.Namespace) -> int:
    """Create the folder, or report; print a line if that fails, and return the exit code."""
    try:
        run(args)
    except Failure as error:
        note(f"{COMMAND}: error: {error}")
        return error.code
    except KeyboardInterrupt:
        note(f"{COMMAND}: interrupted")
        return INTERRUPTED
    except OSError as error:
        note(f"{COMMAND}: error: {error.filename or args.output_dir}: {error.strerror or error}")
        return NOT_FOUND if isinstance(error, FileNotFoundError) else 1
    return 0


def _on_sigterm(_signal: int, _frame: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _on_sigterm)
    sys.exit(main())
