"""Bring a model to where it is used: a bundle, or a page that runs it in the browser."""

from lenet_cpp.deploy.bundle import write_bundle
from lenet_cpp.deploy.web import write_page

__all__ = ["write_bundle", "write_page"]
