"""What an error advises, and whether that works.

The remedies that a program can follow are options of the predictor. What only the owner of a model
can do, such as exporting it again, is known by its words: a message that advises anything else
fails the test.
"""

import re
from typing import NamedTuple

import lenet_cpp


def _each(name):
    """Return what makes a remedy of each word of a list, such as ``auto, onednn or plain``."""
    return lambda match: [{name: word} for word in re.findall(r"\w+", match[1]) if word != "or"]


_ENGINE = r"(native|paddle|onnxruntime)"
_FORMS = (  # in the order in which they are looked for; each is taken off what is left
    (
        rf"\bengine {_ENGINE} (?:with|and) precision (\w+)",
        lambda match: [{"engine": match[1], "precision": match[2]}],
    ),
    (rf"\bengine {_ENGINE}\b", lambda match: [{"engine": match[1]}]),
    (rf"\b(?:use|or) the {_ENGINE} engine", lambda match: [{"engine": match[1]}]),
    (
        r"\baccelerator plain with precision fp32",
        lambda _: [{"accelerator": "plain", "precision": "fp32"}],
    ),
    (r"\baccelerator ((?:auto|plain|onednn|, | or )+)", _each("accelerator")),
    (r"\bprecision ((?:fp32|bf16|int8| or )+)", _each("precision")),
    (
        r"\bcheck_program(?:=| to )false.*; also set precision to (\w+) and accelerator to (\w+)",
        lambda match: [{"check_program": False, "precision": match[1], "accelerator": match[2]}],
    ),
    (r"\bcheck_(\w+)(?:=| to )false", lambda match: [{f"check_{match[1]}": False}]),
)
_OF_THE_OWNER = (
    "export the model again",
    "export it anew",
    "export with all sizes but the images' known",
    "leave the squeeze out",
    "quantize it with onnx_format=True",
    "lenet-cpp quantize",
    "lenet-cpp convert",
    "use a larger image",
    "use the .pdmodel",
    "use the file that it was made from",
    "use the float model",
)
# What a message says of an engine in parentheses is what was tried already.
_TRIED = r"\((?:engine|accelerator) (\w+)(?: failed before)?: "
_ADVISES = r"\b(?:use|set|install|export|quantize|leave|make|run) \w|=false|lenet-cpp \w"


class Failed(NamedTuple):
    """A remedy that did not help."""

    advice: str
    error: str


def _read(message):
    """Return the options that a message advises, and the message without them."""
    left = re.sub(_TRIED, "(", message)
    found = []
    for pattern, make in _FORMS:
        for match in re.finditer(pattern, left):
            found += make(match)
        left = re.sub(pattern, "", left)
    return found, left


def options_of(message):
    """Return the options that a message advises: each dict is one remedy."""
    return _read(message)[0]


def is_understood(message):
    """Whether all that a message advises is known here."""
    found, left = _read(message)
    of_the_owner = any(words in left for words in _OF_THE_OWNER)
    return bool(found) or of_the_owner or not re.search(_ADVISES, left)


def kind_of(message):
    """Return a message without what differs from one model to the other."""
    message = re.sub(r"'[^']*'", "'…'", message)
    message = re.sub(r"\[[-\d, ]*\]", "[…]", message)
    return re.sub(r"\d+", "0", message)


def refusal(path, images=None, **options):
    """Load a model, and run it on images; return the Unsupported that comes of it, or None."""
    try:
        with lenet_cpp.Predictor(*path, **options) as predictor:
            if images is not None:
                predictor.run(images)
    except lenet_cpp.Unsupported as error:
        return str(error)
    return None


def follow(path, message, images=None, **options):
    """Return the remedies of a message that do not help.

    ``path`` are the files of the model, ``options`` those that caused the message.
    """
    failed = []
    for advised in options_of(message):
        changed = {**options, **advised}
        if "engine" in advised:  # its own accelerators
            changed.pop("accelerator", None)
        if "check_program" in advised:  # which runs in Paddle
            changed["engine"] = "auto"
        try:
            error = refusal(path, images, **changed)
        except lenet_cpp.Error as other:
            error = f"{type(other).__name__}: {other}"
        if error is not None:
            failed.append(Failed(str(advised), error))
    return failed
