"""The folder made from the installed paddlepaddle: links into the package, or copies of it."""

from __future__ import annotations

import filecmp
import importlib.metadata
import importlib.util
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from paddle_library import ROOT
from paddle_library.failures import NOT_FOUND, VERSION_MISMATCH, Failure
from paddle_library.folder import (
    HEADER,
    LIBRARY,
    check_replaceable,
    inspect,
    report,
    staging,
    swap_in,
)
from paddle_library.versions import (
    is_supported,
    package_facts,
    range_text,
    read_small,
    release,
    supported_range,
)


@dataclass
class Wheel:
    """The installed paddlepaddle: where it is and what it says of itself."""

    site: Path
    version: str
    facts: dict[str, str]


def find(site_packages: Path | None) -> Wheel:
    """Find paddlepaddle in ``site_packages`` or this interpreter, without importing it."""
    low, high = supported_range()
    target = f" --target {site_packages}" if site_packages else ""
    install = f"run {sys.executable} -m pip install{target} 'paddlepaddle>={low},<{high}'"
    if site_packages is None:
        spec = importlib.util.find_spec("paddle")
        if spec is None or spec.origin is None:
            raise Failure(NOT_FOUND, f"paddlepaddle is not installed for this Python: {install}")
        site_packages = Path(spec.origin).parent.parent
    site = site_packages.resolve()
    found = list(importlib.metadata.distributions(name="paddlepaddle", path=[str(site)]))
    if not found:
        raise Failure(NOT_FOUND, f"{site} holds no paddlepaddle wheel: {install}")
    version = str(found[0].version)
    if not is_supported(version):
        raise Failure(VERSION_MISMATCH, f"paddlepaddle {version} is not {range_text()}: {install}")
    for name in ("paddle/base/libpaddle.so", "paddle/libs/libphi.so"):
        if not (site / name).is_file():
            raise Failure(NOT_FOUND, f"{site / name} is missing from paddlepaddle: {install}")
    facts = package_facts(site / "paddle")
    if release(facts.get("full_version", version)) != release(version):
        raise Failure(
            VERSION_MISMATCH,
            f"{site}: the package says Paddle {facts['full_version']}, its metadata {version}:"
            f" {install} --force-reinstall",
        )
    return Wheel(site, version, facts)


def _version_text(wheel: Wheel, *, copy: bool) -> str:
    libs = wheel.site / "paddle/libs"
    switches = {
        "WITH_MKL": wheel.facts.get("with_mkl") == "ON",
        "WITH_ONEDNN": any(libs.glob("libdnnl.so*")),
        "WITH_OPENVINO": any(libs.glob("libopenvino.so*")),
        "WITH_GPU": wheel.facts.get("cuda_version", "False") != "False",
    }
    lines = [f"Paddle version: {wheel.version}"]
    lines.append(f"GIT COMMIT ID: {wheel.facts.get('commit', 'unknown')}")
    lines += [f"{key}: {'ON' if on else 'OFF'}" for key, on in switches.items()]
    lines += ["Source: wheel", f"Layout: {'copy' if copy else 'links'}"]
    return "\n".join(lines) + "\n"


def _plan(wheel: Wheel, *, copy: bool) -> dict[str, Path]:
    """Return what each entry of the folder is a link to, or a copy of."""
    compat, libs = ROOT / "cpp/compat", wheel.site / "paddle/libs"
    headers = {f"paddle/include/{p.relative_to(compat)}": p for p in sorted(compat.rglob("*.h"))}
    if HEADER not in headers:
        raise Failure(NOT_FOUND, f"{compat / Path(HEADER).name} not found: the clone is incomplete")
    plan = {"paddle/lib/libpaddle.so": wheel.site / "paddle/base/libpaddle.so"} | headers
    if copy:
        return plan | {f"paddle/libs/{p.name}": p for p in libs.iterdir() if ".so" in p.name}
    # libpaddle.so looks for ../libs beside the folder it was opened from, which is ours.
    return plan | {"paddle/libs": libs}


def _link_text(entry: Path, target: Path) -> str:
    """Return a relative link inside the repository, so that a clone may move; else absolute."""
    if entry.is_relative_to(ROOT) and target.is_relative_to(ROOT):
        return os.path.relpath(target, entry.parent)
    return str(target)


def _is_current(output: Path, plan: dict[str, Path], text: str, *, copy: bool) -> bool:
    """Say whether ``output`` is just what assembling it again would make."""
    try:
        inspect(output)
        if read_small(output / "version.txt") != text:
            return False
        headers = {str(p.relative_to(output)) for p in (output / "paddle/include").rglob("*.h")}
        if headers != {name for name in plan if name.endswith(".h")}:
            return False
        if copy:
            return all(
                not (output / name).is_symlink() and filecmp.cmp(output / name, target)
                for name, target in plan.items()
            )
        return all(
            str((output / name).readlink()) == _link_text(output / name, target)
            for name, target in plan.items()
        )
    except (Failure, OSError):
        return False


def assemble(output: Path, *, site_packages: Path | None, copy: bool, force: bool) -> None:
    """Make ``output`` from paddlepaddle, unless it is just that already and not ``force``."""
    wheel = find(site_packages)
    plan, text = _plan(wheel, copy=copy), _version_text(wheel, copy=copy)
    if not force and _is_current(output, plan, text, copy=copy):
        report(output, "already in place: ")
        return
    check_replaceable(output)
    with staging(output) as tree:
        for name, target in plan.items():
            entry = tree / name
            entry.parent.mkdir(parents=True, exist_ok=True)
            if copy:
                shutil.copy2(target, entry)
            else:
                entry.symlink_to(_link_text(output / name, target))
        (tree / LIBRARY).symlink_to("libpaddle.so")
        (tree / "version.txt").write_text(text, encoding="utf-8")
        swap_in(tree, output)
    report(output)
