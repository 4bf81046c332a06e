"""Hostile input: damaged models, files that grow, and random networks through every engine.

python -m tools.hostile COMMAND --help
"""
