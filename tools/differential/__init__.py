"""Random networks through every engine, format and binding, against the framework's own answers."""
