"""Observers and quanters for ``paddle.quantization``, which has only those of whole tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import paddle
from paddle.quantization import BaseObserver, BaseQuanter
from paddle.quantization.factory import QuanterFactory
from paddle.quantization.quanters.abs_max import FakeQuanterWithAbsMaxObserverLayer

if TYPE_CHECKING:
    import numpy.typing as npt

ALGORITHMS = ("hist", "KL", "avg", "abs_max")

_BITS = 8
_BINS = 2048
# As the static method has it by default.
_HIST_SHARE = 0.99999
_LARGEST = 127.0


class ActivationObserver(QuanterFactory):  # type: ignore[misc]
    """Finds the range of what goes into a layer."""

    def __init__(self, algo: str) -> None:
        """Choose one of :data:`ALGORITHMS`."""
        super().__init__(algo=algo)

    def _get_class(self) -> type:
        return _ActivationObserverLayer


class _ActivationObserverLayer(BaseObserver):  # type: ignore[misc]
    """Keeps a histogram of magnitudes whose range doubles when a value lies beyond it."""

    def __init__(self, layer: paddle.nn.Layer, algo: str) -> None:  # noqa: ARG002 - Paddle gives it
        super().__init__()
        self._algo = algo
        self._counts: npt.NDArray[np.int64] = np.zeros(_BINS, np.int64)
        self._end = 0.0
        self._peaks: list[float] = []

    def forward(self, values: paddle.Tensor) -> paddle.Tensor:
        magnitudes = np.abs(values.numpy()).ravel()
        peak = float(magnitudes.max(initial=0))
        self._peaks.append(peak)
        if self._end == 0:
            self._end = peak
        while 0 < self._end < peak:
            self._counts[: _BINS // 2] = self._counts.reshape(-1, 2).sum(axis=1)
            self._counts[_BINS // 2 :] = 0
            self._end *= 2
        if self._end > 0:
            self._counts += np.histogram(magnitudes, _BINS, (0, self._end))[0]
        return values

    def cal_thresholds(self) -> None:
        """Nothing is left to be done: :meth:`scales` computes."""

    def scales(self) -> paddle.Tensor:
        threshold = max(self._threshold(), 1e-8)
        return paddle.to_tensor(np.array([threshold], np.float32))

    def _threshold(self) -> float:
        peak = max(self._peaks, default=0.0)
        if self._algo == "abs_max" or peak == 0:
            return peak
        if self._algo == "avg":
            return float(np.mean(self._peaks))
        width = self._end / _BINS
        if self._algo == "hist":
            share = np.cumsum(self._counts) / self._counts.sum()
            return min(peak, float(np.searchsorted(share, _HIST_SHARE) + 1) * width)
        from paddle.static.quantization.cal_kl_threshold import cal_kl_threshold

        return float(cal_kl_threshold(self._counts, width, _BITS))

    def zero_points(self) -> paddle.Tensor:
        return paddle.zeros([1])

    def quant_axis(self) -> int:
        return -1

    def bit_length(self) -> int:
        return _BITS


class ActivationQuanter(QuanterFactory):  # type: ignore[misc]
    """Rounds activations in training, to the moving average of their largest magnitudes."""

    def _get_class(self) -> type:
        return _ActivationQuanterLayer


class _ActivationQuanterLayer(FakeQuanterWithAbsMaxObserverLayer):  # type: ignore[misc]
    def zero_points(self) -> paddle.Tensor:
        # Paddle's own answer is None, on which its convert() fails.
        return paddle.zeros([1])


class WeightQuanter(QuanterFactory):  # type: ignore[misc]
    """Rounds weights, each output channel to its largest magnitude; trains straight through."""

    def _get_class(self) -> type:
        return _WeightQuanterLayer


class _WeightQuanterLayer(BaseQuanter):  # type: ignore[misc]
    def __init__(self, layer: paddle.nn.Layer) -> None:
        super().__init__()
        # A linear layer's matrix is [inputs, outputs], a convolution's [outputs, inputs, ...].
        self._axis = 1 if len(layer.weight.shape) == 2 else 0
        self._latest: npt.NDArray[Any] | None = None

    def forward(self, weight: paddle.Tensor) -> paddle.Tensor:
        with paddle.no_grad():
            other = [axis for axis in range(len(weight.shape)) if axis != self._axis]
            scale = paddle.clip(paddle.amax(paddle.abs(weight), other, keepdim=True), min=1e-8)
            self._latest = scale.numpy().ravel()
            rounded = paddle.round(weight / scale * _LARGEST) * (scale / _LARGEST)
            difference = rounded - weight
        return weight + difference

    def scales(self) -> paddle.Tensor | None:
        return None if self._latest is None else paddle.to_tensor(self._latest)

    def zero_points(self) -> paddle.Tensor | None:
        return None if self._latest is None else paddle.zeros([len(self._latest)])

    def quant_axis(self) -> int:
        return self._axis

    def bit_length(self) -> int:
        return _BITS
