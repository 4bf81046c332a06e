"""Hostile input: damaged models, files that grow, and random networks; see ``__main__.py``."""
