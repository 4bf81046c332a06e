"""Helpers for every other part of the package: files, optional packages, child processes."""
