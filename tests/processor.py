"""What this processor has, for tests that compare with libraries whose answers depend on it."""

import pytest

from tools.benchmark.contenders import processor_flags

BF16 = {"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_bf16"}
HAS_VNNI = bool({"avx512_vnni", "avx_vnni"} & processor_flags())


def needs_vnni():
    """Skip what compares with the int8 of Paddle, onnxruntime or OpenVINO.

    Without VNNI their sums of two products overflow 16 bits. The native engine gives the same
    answers on all processors, and is compared with NumPy everywhere.
    """
    if not HAS_VNNI:
        pytest.skip("this processor has no VNNI, without which other engines' int8 overflows")


def needs_bf16():
    if not processor_flags() >= BF16:
        pytest.skip("this processor has no bf16: avx512_bf16 is not among its flags")
