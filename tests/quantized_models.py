"""Quantized LeNets for tests, made by Paddle itself in a process of its own.

Run as a script: ``quantized_models.py MODEL_DIR TARGET_DIR``. In TARGET_DIR there are then

* ``onnx``: post-training quantization in Paddle's ONNX format, as it is deployed;
* ``floats``: the same with the weights as whole numbers in float32, which is how
  ``paddle.quantization`` leaves them;
* ``old``: the format before that (``onnx_format=False``).

Each is ``lenet.pdmodel`` and ``lenet.pdiparams``.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np

_FLOAT32, _INT8 = 5, 21
_CALIBRATION_IMAGES = 128


def make_quantized_models(model_dir: Path, target: Path) -> Path:
    """Make the three; return ``target``."""
    command = [sys.executable, "-W", "ignore", __file__, str(model_dir), str(target)]
    # The old representation of programs is chosen before paddle is imported.
    environment = {"FLAGS_enable_pir_api": "0", "OMP_NUM_THREADS": "1", "HOME": str(target)}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    folder = target / "floats"
    folder.mkdir()
    shutil.copy(target / "onnx" / "lenet.pdmodel", folder)
    records = (target / "onnx" / "lenet.pdiparams").read_bytes()
    (folder / "lenet.pdiparams").write_bytes(with_float_weights(records))
    return target


def with_float_weights(records: bytes) -> bytes:
    """Store every int8 tensor of a ``.pdiparams`` as float32, of the same values."""
    result = b""
    at = 0
    while at < len(records):
        # Version 0, no levels of detail, version 0, the length of a TensorDesc.
        header = records[at : at + 16]
        (length,) = struct.unpack_from("<i", records, at + 16)
        desc = records[at + 20 : at + 20 + length]
        dtype, shape = _read_desc(desc)
        kind = np.dtype({_FLOAT32: "<f4", _INT8: "i1", 2: "<i4"}[dtype])
        begin = at + 20 + length
        at = begin + kind.itemsize * int(np.prod(shape))
        values = np.frombuffer(records[begin:at], kind)
        if dtype == _INT8:
            desc = bytes([desc[0], _FLOAT32]) + desc[2:]
            values = values.astype("<f4")
        result += header + struct.pack("<i", len(desc)) + desc + values.tobytes()
    return result


def _read_desc(desc: bytes) -> tuple[int, list[int]]:
    """Read a TensorDesc: data_type = 1, dims = 2, each a varint."""
    fields = []
    at = 0
    while at < len(desc):
        number, at = desc[at] >> 3, at + 1
        value = shift = 0
        while True:
            byte, at = desc[at], at + 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        fields.append((number, value))
    assert fields[0][0] == 1
    return fields[0][1], [value for number, value in fields if number == 2]


def _quantize(model_dir: Path, target: Path) -> None:
    import paddle
    from paddle.static.quantization import PostTrainingQuantization

    from lenet_cpp.data.mnist import read_mnist_dir, sample_dir

    paddle.enable_static()
    pixels = read_mnist_dir(sample_dir()).train.images[:_CALIBRATION_IMAGES]
    images = pixels[:, np.newaxis].astype(np.float32) / 255
    for name, onnx_format in (("onnx", True), ("old", False)):
        quantization = PostTrainingQuantization(
            executor=paddle.static.Executor(paddle.CPUPlace()),
            model_dir=str(model_dir),
            model_filename="lenet.pdmodel",
            params_filename="lenet.pdiparams",
            data_loader=lambda: ({"x": images[i : i + 32]} for i in range(0, len(images), 32)),
            batch_nums=_CALIBRATION_IMAGES // 32,
            algo="hist",
            onnx_format=onnx_format,
        )
        quantization.quantize()
        quantization.save_quantized_model(
            str(target / name), model_filename="lenet.pdmodel", params_filename="lenet.pdiparams"
        )


if __name__ == "__main__":
    _quantize(Path(sys.argv[1]), Path(sys.argv[2]))
