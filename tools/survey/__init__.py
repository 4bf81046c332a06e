"""Functions that all surveys use: zoo, drawn, exporters, versions and toolkits."""
