"""What this processor has, for tests of the native engine's instruction sets, and for those that
compare with libraries whose answers depend on it.
"""

import pytest

from tools.survey.machine import processor_flags

BF16 = {"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_bf16"}
INSTRUCTION_SETS = ("scalar", "sse42", "avx2", "avx512", "avx512vnni", "amx")
_AVX512 = "avx512f avx512bw avx512cd avx512dq avx512vl"
_AMX = "avx512_bf16 amx_tile amx_int8 amx_bf16"
# In float32, avx512vnni and amx use the kernels of avx512.
_FLAGS = (
    "",
    "sse4_2",
    "avx2 fma",
    _AVX512,
    f"{_AVX512} avx512_vnni",
    f"{_AVX512} avx512_vnni {_AMX}",
)
HAS_VNNI = bool({"avx512_vnni", "avx_vnni"} & processor_flags())


def processor_has(name):
    """Whether it has one of INSTRUCTION_SETS."""
    return set(_FLAGS[INSTRUCTION_SETS.index(name)].split()) <= processor_flags()


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
