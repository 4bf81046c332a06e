"""Text for messages."""


def printable(text: object) -> str:
    """Escape what would break a line, or what a terminal would act upon."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(text))
