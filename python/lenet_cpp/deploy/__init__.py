"""Bring a model to where it is used: a page that runs it in the browser."""

from lenet_cpp.deploy.web import write_page

__all__ = ["write_page"]
