"""The site of the documents and of the API; ``nox -s docs`` builds it."""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx

HEADERS = Path(__file__).resolve().parents[1] / "cpp" / "include" / "lenet"

project = "lenet_cpp"
author = "the lenet_cpp authors"
release = version = metadata.version("lenet-cpp")
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "breathe"]
exclude_patterns = ["README.md", "results"]
suppress_warnings = ["duplicate_declaration.cpp"]  # typedef struct x {...} x, in C
myst_heading_anchors = 4
autodoc_default_options = {
    "members": True,
    "undoc-members": True,
    "imported-members": True,
    "inherited-members": "BaseException, dict, tuple",  # but not what these bring
}
autodoc_typehints = "description"
napoleon_use_ivar = True  # attributes of a dataclass are described once
breathe_default_project = "lenet"
breathe_projects_source = {"lenet": (HEADERS, sorted(path.name for path in HEADERS.glob("*.h")))}
breathe_doxygen_config_options = {
    "EXTRACT_ALL": "YES",  # also what its name explains
    "MACRO_EXPANSION": "YES",
    "PREDEFINED": "LENET_API=",
    "WARN_AS_ERROR": "FAIL_ON_WARNINGS",
    "WARN_IF_INCOMPLETE_DOC": "NO",
}
html_theme_options = {"description": "Image classifiers from C++", "fixed_sidebar": True}
html_show_copyright = False


def name_files(_app: Sphinx, docname: str, source: list[str]) -> None:
    """Turn links to files of the repository, which are not part of the site, into their names."""
    up = re.escape("../" * (docname.count("/") + 1))
    source[0] = re.sub(rf"\[([^\]]+)\]\({up}([^)]+)\)", r"\1 (`\2`)", source[0])


def setup(app: Sphinx) -> None:
    """Connect the function above."""
    app.connect("source-read", name_files)
