"""What every other part of the package may use: files, optional packages, environments."""
