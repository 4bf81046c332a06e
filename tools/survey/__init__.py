"""Functions that all surveys and the benchmark use."""
