"""Makes of float32 models of Paddle what ``Layer.to(dtype)`` and an export on a GPU give.

Without a GPU Paddle exports few networks in 16 bits: in a .json none that convolves float16, in
either format none that pools bfloat16. So the types of a float32 export are changed here.
"""

import struct

import numpy as np

NUMBERS = {"float16": 4, "bfloat16": 22}
"""By type: its number in framework.proto."""

FLOAT32 = 5
PIR = {"float16": "t_f16", "bfloat16": "t_bf16"}
TYPE_ATTRIBUTES = ("dtype", "in_dtype", "out_dtype")


def in_bits(values, dtype):
    """Return float32 values as a type of 16 bits, rounded to the nearest; bfloat16 as uint16."""
    if dtype == "float16":
        return values.astype(np.float16)
    bits = values.astype(np.float32).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)


def rounded(values, dtype):
    """Return the same numbers as float32 again."""
    bits = in_bits(values, dtype)
    if dtype == "float16":
        return bits.astype(np.float32)
    return (bits.astype(np.uint32) << 16).view(np.float32)


def to_half(program, target, dtype):
    """Write a float32 program and its parameters with another type in place of float32.

    Args:
        program: A .json or .pdmodel with its .pdiparams beside it.
        target: The same of the new one, whose folder exists.
        dtype: ``float16`` or ``bfloat16``.
    """
    change = _program_desc if program.suffix == ".pdmodel" else _pir
    target.write_bytes(change(program.read_bytes(), dtype))
    params = program.with_suffix(".pdiparams").read_bytes()
    target.with_suffix(".pdiparams").write_bytes(b"".join(_records(params, dtype)))


def _pir(program, dtype):
    text = program.decode().replace('"0.t_f32"', f'"0.{PIR[dtype]}"')
    return text.replace('"float32"', f'"{dtype}"').encode()


def _program_desc(program, dtype):
    from paddle.base.proto import framework_pb2

    description = framework_pb2.ProgramDesc.FromString(program)
    for block in description.blocks:
        for variable in block.vars:
            tensor = variable.type.dense_tensor.tensor
            if variable.type.HasField("dense_tensor") and tensor.data_type == FLOAT32:
                tensor.data_type = NUMBERS[dtype]
        for operator in block.ops:
            for attribute in operator.attrs:
                if attribute.name in TYPE_ATTRIBUTES and attribute.i == FLOAT32:
                    attribute.i = NUMBERS[dtype]
    return description.SerializeToString()


def _records(params, dtype):
    """Give the records of the parameters; those of float32 have the type as the first field."""
    at = 0
    while at < len(params):
        (length,) = struct.unpack_from("<i", params, at + 16)
        head, description = params[at : at + 20], params[at + 20 : at + 20 + length]
        assert description[:2] == bytes([8, FLOAT32])
        at += 20 + length
        count = int(np.prod(_sizes(description[2:])))
        values = np.frombuffer(params, "<f4", count, at)
        at += values.nbytes
        yield head + bytes([8, NUMBERS[dtype]]) + description[2:]
        yield in_bits(values, dtype).tobytes()


def _sizes(fields):
    """Return the dimensions of a TensorDesc, which are varints behind a tag each."""
    sizes, size, shift, is_tag = [], 0, 0, True
    for byte in fields:
        if is_tag:
            is_tag = False
            continue
        size |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            sizes.append(size)
            size, shift, is_tag = 0, 0, True
    return sizes
