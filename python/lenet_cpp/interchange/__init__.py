"""From other frameworks' files of models to exported models, and out to ONNX.

Each module imports its framework inside functions.
"""
