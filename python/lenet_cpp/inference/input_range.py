"""Detect inputs far beyond the training range, such as float pixels from 0 to 255."""

import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lenet_cpp._base.files import PREPROCESS_NAME
from lenet_cpp.errors import Error

# cpp/apps/batches.cc has the same numbers.
_FAR = 8  # times the largest magnitude that the preprocessing gives
_LEAST = 4.0  # nothing is looked up for smaller values
_IMAGES = 64  # of a batch, and runs of a model: a run of LeNet takes 4 us
_RUNS = 16


class InputRangeWarning(UserWarning):
    """The values of an input are far larger than those of the model's preprocessing.

    ``warnings.filterwarnings("ignore", category=lenet_cpp.InputRangeWarning)`` turns it off.
    """


class InputRange:
    """Compare the first batches of a model with ``preprocess.json`` beside it.

    Thread-safety: may be shared, as the clones of a predictor do.
    """

    def __init__(self, model_file: str) -> None:
        """Remember the model's program; nothing is read yet."""
        self._model_file = model_file
        self._runs = 0

    def check(self, batch: NDArray[np.float32] | NDArray[np.uint8]) -> bool:
        """Warn at most once; return whether no further batch has to be checked."""
        if batch.dtype == np.uint8:  # which C++ divides by 255, or the model itself
            return False
        if self._runs >= _RUNS:
            return True
        self._runs += 1
        largest = float(np.abs(batch[:_IMAGES]).max(initial=0))
        if not _LEAST < largest < np.inf:  # NaN and infinity are refused later
            return False
        self._runs = _RUNS
        file = Path(self._model_file).with_name(PREPROCESS_NAME)
        from lenet_cpp.data.images import Pipeline  # takes longer to import than the predictor

        try:
            expected = Pipeline.load(file).value_range
        except Error:
            return True
        if expected and largest > _FAR * max(map(abs, expected)):
            low, high = expected
            warnings.warn(
                f"the input holds values up to {largest:.4g}, the preprocessing of the model"
                f" ({file}) gives {low:.4g} to {high:.4g}: scale the input in the same way; for"
                " a range of 0 to 1, pass uint8 pixels or divide by 255",
                InputRangeWarning,
                stacklevel=4,
            )
        return True
