"""Writes the seeds of the fuzzers: cpp/fuzz/corpus/<target>/.

Whole files come from those who define the formats (NumPy, Paddle, onnx, the MNIST files,
sha256sum's form) or write them (Pillow); the others are broken in the ways that readers break on.
Needs paddlepaddle, onnx, numpy and Pillow; run it again after a format changed, and commit what it
wrote.

    python cpp/fuzz/make_corpus.py
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import struct
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
CORPUS = HERE / "corpus"

# Exports a net of one layer and one of what the native engine runs, in the format that
# FLAGS_enable_pir_api chooses; in the older one they are quantized too.
EXPORT = """
import sys
from pathlib import Path

import numpy as np
import paddle
from paddle import nn


class Network(nn.Layer):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv2D(1, 4, 3, padding=1)
        self.norm = nn.BatchNorm2D(4)
        self.second = nn.Conv2D(4, 4, 2, padding="SAME", groups=2, bias_attr=False)
        self.last = nn.Linear(72, 2)

    def forward(self, x):
        x = nn.functional.relu(self.norm(self.first(x)))
        x = self.second(x) + x
        x = paddle.concat([nn.functional.max_pool2d(x, 2), nn.functional.avg_pool2d(x, 2)], axis=1)
        return nn.functional.softmax(self.last(nn.functional.dropout(x, 0.5).flatten(1)))


def without_call_stacks(path):
    program = paddle.static.Program.parse_from_string(path.read_bytes())
    for op in program.global_block().ops:
        # Where in which file the operator was made: paths of the machine.
        if op.has_attr("op_callstack"):
            op.desc.remove_attr("op_callstack")
    path.write_bytes(program.desc.serialize_to_string())


def quantize(path, shape):
    quantization = paddle.static.quantization.PostTrainingQuantization(
        executor=paddle.static.Executor(paddle.CPUPlace()),
        model_dir=str(path.parent),
        model_filename=path.name,
        params_filename=path.stem + ".pdiparams",
        data_loader=lambda: iter([{"x": np.ones((1, *shape), np.float32)}]),
        batch_nums=1,
        algo="abs_max",
        onnx_format=True,
    )
    quantization.quantize()
    target = path.parent / "quantized"
    quantization.save_quantized_model(str(target), path.name, path.stem + ".pdiparams")
    without_call_stacks(path)
    without_call_stacks(target / path.name)


folder = Path(sys.argv[1])
paddle.seed(0)
nets = {
    "linear": (nn.Sequential(nn.Linear(2, 3), nn.ReLU()), (2,)),
    "network": (Network(), (1, 6, 6)),
    # Quantized, the other one is longer than what fuzz.sh gives.
    "chain": (
        nn.Sequential(
            nn.Conv2D(1, 3, 3), nn.ReLU(), nn.MaxPool2D(2), nn.Flatten(), nn.Linear(12, 2)
        ),
        (1, 6, 6),
    ),
}
for name, (net, shape) in nets.items():
    net.eval()
    spec = [paddle.static.InputSpec([None, *shape], "float32", "x")]
    paddle.jit.save(net, str(folder / name), input_spec=spec)
if (folder / "linear.pdmodel").exists():
    paddle.enable_static()
    for name, (_, shape) in nets.items():
        quantize(folder / f"{name}.pdmodel", shape)
"""


def main() -> int:
    """Write every seed."""
    _npy()
    _idx()
    _pgm()
    _onnx_files()
    _model_files()
    _sha256sums()
    _photo()
    _preprocess()
    return 0


def _write(target: str, name: str, content: bytes) -> None:
    folder = CORPUS / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)


def _saved(array: np.ndarray, version: tuple[int, int] = (1, 0)) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, array, version=version)
    return file.getvalue()


def _header(text: bytes) -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def _npy() -> None:
    pixels = np.arange(12, dtype=np.uint8)
    _write("npy", "images_uint8", _saved(pixels.reshape(1, 3, 4)))
    _write("npy", "images_float32", _saved(pixels.astype("<f4").reshape(2, 1, 2, 3)))
    _write("npy", "image_version_2", _saved(pixels.reshape(3, 4), (2, 0)))
    _write("npy", "image_version_3", _saved(pixels.reshape(3, 4), (3, 0)))
    for dtype in ("|u1", "<i4", "<i8"):
        _write("npy", f"labels_{dtype[1:]}", _saved(pixels[:4].astype(dtype)))
    _write("npy", "fortran", _saved(np.asfortranarray(pixels.reshape(3, 4))))
    _write("npy", "big_endian", _saved(pixels.astype(">f4").reshape(3, 4)))
    _write("npy", "no_images", _saved(np.zeros((0, 1, 28, 28), np.float32)))
    _write("npy", "scalar", _saved(np.array(1.5, np.float32)))
    text = b"{'descr': '|u1', 'fortran_order': False, 'shape': (%s), }\n"
    huge = str(2**62).encode()
    _write("npy", "huge_shape", _header(text % (huge + b", " + huge)))
    _write("npy", "zero_and_huge", _header(text % (b"0, " + huge + b", " + huge)))
    _write("npy", "long_number", _header(text % (b"9" * 40 + b",")))
    _write("npy", "header_too_long", b"\x93NUMPY\x02\x00\xff\xff\xff\xff{'descr': '|u1'")
    _write("npy", "no_shape", _header(b"{'descr': '|u1', 'fortran_order': False, }\n"))


def _idx() -> None:
    sample = ROOT / "data" / "mnist_sample"
    pixels = gzip.decompress((sample / "t10k-images-idx3-ubyte.gz").read_bytes())
    labels = gzip.decompress((sample / "t10k-labels-idx1-ubyte.gz").read_bytes())
    _write("idx", "mnist_images", struct.pack(">IIII", 0x803, 1, 28, 28) + pixels[16 : 16 + 784])
    _write("idx", "mnist_labels", struct.pack(">II", 0x801, 10) + labels[8:18])
    _write("idx", "one_image", struct.pack(">III", 0x802, 2, 2) + bytes(4))
    _write("idx", "four_dimensions", struct.pack(">IIIII", 0x804, 1, 1, 2, 2) + bytes(4))
    _write("idx", "none", struct.pack(">IIII", 0x803, 0, 28, 28))
    _write("idx", "huge", struct.pack(">IIII", 0x803, *[0xFFFFFFFF] * 3))
    _write("idx", "cut_in_header", struct.pack(">II", 0x803, 1))
    _write("idx", "cut_in_values", struct.pack(">II", 0x801, 10) + bytes(9))
    _write("idx", "float", struct.pack(">II", 0xD01, 1) + bytes(4))


def _pgm() -> None:
    _write("pgm", "image", b"P5\n4 3\n255\n" + bytes(range(12)))
    _write("pgm", "comments", b"P5 # a\n# b\n4 # c\n3\n255\n" + bytes(range(12)))
    _write("pgm", "sixteen_bits", b"P5\n2 1\n65535\n" + bytes(4))
    _write("pgm", "huge", b"P5\n4294967296 4294967296\n255\n")
    _write("pgm", "long_number", b"P5\n" + b"9" * 40 + b" 1\n255\n")
    _write("pgm", "negative", b"P5\n-2 -2\n255\n" + bytes(4))
    _write("pgm", "comment_to_the_end", b"P5\n4 3 # 255")
    _write("pgm", "no_pixels", b"P5\n1 1\n255")


def _onnx_files() -> None:
    from onnx import TensorProto, helper, numpy_helper

    weight = numpy_helper.from_array(np.ones((2, 2), np.float32), "w")
    linear = helper.make_node("MatMul", ["x", "w"], ["y"])

    def model(nodes: list[Any], tensors: list[Any]) -> bytes:
        x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 2]) for name in "xy")
        graph = helper.make_graph(nodes, "graph", [x], [y], tensors)
        return bytes(helper.make_model(graph, ir_version=8).SerializeToString())

    external = TensorProto(name="w", data_type=1, dims=[2, 2], data_location=1)
    for key, value in (("location", "w.bin"), ("offset", "8"), ("length", "16")):
        external.external_data.add(key=key, value=value)
    outside = TensorProto()
    outside.CopyFrom(external)
    outside.external_data[0].value = "../w.bin"
    inner = helper.make_graph(
        [helper.make_node("Constant", [], ["y"], value=external)], "g", [], []
    )
    branch = helper.make_node("If", ["x"], ["y"], then_branch=inner, else_branch=inner)
    whole = model([linear], [weight])
    _write("onnx", "linear", whole)
    _write("onnx", "cut", whole[: len(whole) // 2])
    _write("onnx", "softmax", model([helper.make_node("Softmax", ["x"], ["y"])], []))
    _write("onnx", "external", model([linear], [external]))
    _write("onnx", "outside", model([linear], [outside]))
    _write("onnx", "subgraphs", model([branch], []))
    _write("onnx", "no_graph", b"\x08\x08")
    _write("onnx", "network", _network(13))
    _write("onnx", "winograd", _winograd())
    _write("onnx", "old_network", _network(9))


def _winograd() -> bytes:
    """A convolution of 5 x 5 of several channels, pooled."""
    from onnx import TensorProto, helper, numpy_helper

    weight = numpy_helper.from_array(np.ones((4, 4, 5, 5), np.float32), "w")
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], pads=[2, 2, 2, 2]),
        helper.make_node("MaxPool", ["c"], ["y"], kernel_shape=[2, 2], strides=[2, 2]),
    ]
    x, y = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 4, size, size])
        for name, size in (("x", 8), ("y", 4))
    )
    graph = helper.make_graph(nodes, "graph", [x], [y], [weight])
    opsets = [helper.make_opsetid("", 13)]
    return bytes(helper.make_model(graph, ir_version=8, opset_imports=opsets).SerializeToString())


def _network(opset: int) -> bytes:
    """Every operator of the native engine, as the operator set has them."""
    from onnx import TensorProto, helper, numpy_helper

    node, old = helper.make_node, opset < 10
    tensors = {
        "w1": np.ones((2, 1, 3, 2), np.float32),
        "b": np.ones(2, np.float32),
        "w2": np.ones((2, 1, 1, 1), np.float32),
        "k": np.ones((2, 1, 1), np.float32),
        "f": np.ones((4, 3), np.float32),
        "last": np.array([-1], np.int64),
        "zero": np.array([0], np.int64),
        "one": np.array([1], np.int64),
        "low": np.array(0, np.float32),
    }
    window = {"kernel_shape": [2, 2], "strides": [2, 2], "pads": [1, 0, 0, 1]}
    ceil = {} if old else {"ceil_mode": 1}
    axes = {"axes": [2, 3]}
    nodes = [
        node("Conv", ["x", "w1", "b"], ["a"], strides=[1, 2], dilations=[1, 2], pads=[1, 0, 1, 3]),
        node("BatchNormalization", ["a", "b", "b", "b", "b"], ["c"], epsilon=0.1),
        node("Relu", ["c"], ["d"]),
        node("Conv", ["d", "w2"], ["e"], group=2, auto_pad="SAME_LOWER", kernel_shape=[1, 1]),
        node("Add", ["e", "d"], ["h"]),
        node("Add", ["h", "k"], ["i"]),
        node("Mul", ["k", "i"], ["j"]),
        node("MaxPool", ["j"], ["l"], storage_order=1, **ceil, **window),
        node("AveragePool", ["j"], ["m"], count_include_pad=1, **window),
        node("Concat", ["l", "m"], ["n"], axis=1),
        node("Clip", ["n"], ["o"], min=0.0) if old else node("Clip", ["n", "low"], ["o"]),
        node("Dropout", ["o"], ["p", "mask"]),
        node("GlobalMaxPool", ["p"], ["q"]),
        node("ReduceMean", ["p"], ["r"], keepdims=1, **axes),
        node("Add", ["q", "r"], ["s"]),
        node("Squeeze", ["s"], ["t"], axes=[2, 3])
        if old
        else node("Reshape", ["s", "rows"], ["t"]),
        node("Shape", ["t"], ["u"]),
        node("Slice", ["u"], ["v"], axes=[0], starts=[0], ends=[1])
        if old
        else node("Slice", ["u", "zero", "one"], ["v"]),
        node("Concat", ["v", "last"], ["z"], axis=0),
        node("Reshape", ["t", "z"], ["aa"]),
        node("Gemm", ["aa", "f", "low"], ["bb"], alpha=0.5, beta=2.0),
        node("Cast", ["bb"], ["cc"], to=TensorProto.FLOAT),
        node("Identity", ["cc"], ["dd"]),
        node("Flatten", ["dd"], ["ee"], axis=1),
        node("Softmax", ["ee"], ["y"], axis=1),
    ]
    if not old:
        rows = numpy_helper.from_array(np.array([0, -1], np.int64))
        nodes.insert(0, node("Constant", [], ["rows"], value=rows))
    listed = [
        helper.make_tensor(name, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape, v.ravel())
        if old
        else numpy_helper.from_array(v, name)
        for name, v in tensors.items()
    ]
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 1, 7, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 3])],
        listed,
    )
    opsets = [helper.make_opsetid("", opset)]
    return bytes(helper.make_model(graph, ir_version=8, opset_imports=opsets).SerializeToString())


def _model_files() -> None:
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder, "export.py")
        script.write_text(EXPORT)  # Paddle reads the source of a layer
        for pir in "01":
            Path(folder, pir).mkdir()
            subprocess.run(  # noqa: S603
                [sys.executable, "-W", "ignore", script, Path(folder, pir)],
                env={**os.environ, "FLAGS_enable_pir_api": pir, "GLOG_v": "-1"},
                check=True,
            )
        quantized = Path(folder, "0", "quantized")
        for name in ("linear", "network"):
            _write("pdmodel", name, Path(folder, "0", f"{name}.pdmodel").read_bytes())
            _write("json", name, Path(folder, "1", f"{name}.json").read_bytes())
        _write("pdmodel", "quantized", (quantized / "linear.pdmodel").read_bytes())
        _write("pdmodel", "quantized_chain", (quantized / "chain.pdmodel").read_bytes())
        program = Path(folder, "0", "linear.pdmodel").read_bytes()
        document = Path(folder, "1", "linear.json").read_bytes()
        params = Path(folder, "1", "linear.pdiparams").read_bytes()
        quantized_params = (quantized / "linear.pdiparams").read_bytes()
    _write("pdmodel", "cut", program[: len(program) // 2])
    _write("pdmodel", "length_too_long", b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x08\x00")
    _write("pdmodel", "varint_without_end", b"\x08" + b"\xff" * 12)
    _write("pdmodel", "field_zero", b"\x00\x00")
    _write("pdmodel", "group", b"\x0b\x0c")
    _write("json", "cut", document[: len(document) // 2])
    _write("json", "deep", b"[" * 2000)
    _write("json", "not_pir", b'{"base_code": {"magic": "elf"}}')
    _write("json", "no_program", b'{"base_code": {"magic": "pir"}}')
    _write("pdiparams", "linear", params)
    _write("pdiparams", "quantized", quantized_params)
    _write("pdiparams", "cut_in_header", params[:10])
    _write("pdiparams", "cut_in_values", params[:-1])
    _write("pdiparams", "many_levels", struct.pack("<IQ", 0, 2**64 - 1) + bytes(64))
    _write("pdiparams", "negative_length", struct.pack("<IQIi", 0, 0, 0, -1))
    huge = b"\x08\x05" + b"\x10\xff\xff\xff\xff\xff\xff\xff\xff\x7f" * 2
    _write("pdiparams", "huge_shape", struct.pack("<IQIi", 0, 0, 0, len(huge)) + huge)
    zero = b"\x08\x05\x10\x00" + b"\x10\xff\xff\xff\xff\xff\xff\xff\xff\x7f" * 2
    _write("pdiparams", "zero_and_huge", struct.pack("<IQIi", 0, 0, 0, len(zero)) + zero)


def _sha256sums() -> None:
    line = hashlib.sha256(b"p").hexdigest() + "  __model__\n"
    _write("sha256sums", "matches", line.encode())
    upper = line[:64].upper() + " *__model__\n"
    _write("sha256sums", "binary_upper_case", upper.encode())
    _write("sha256sums", "another", ("0" * 64 + "  __model__\n").encode())
    _write("sha256sums", "twice", (line + "0" * 64 + "  __model__\n").encode())
    _write("sha256sums", "no_line_feed", line.rstrip().encode())
    _write("sha256sums", "no_name", line[:66].encode())
    _write("sha256sums", "no_digits", ("g" * 64 + "  __model__\n").encode())
    _write("sha256sums", "carriage_returns", line.replace("\n", "\r\n").encode())
    _write("sha256sums", "control_characters", b"\x1b[2J" + b"0" * 60 + b"  __model__\n")
    _write("sha256sums", "other_bytes", line.encode() + b"\x00\xff\n")
    _write("sha256sums", "empty", b"")


def _saved_image(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def _chunk(kind: bytes, content: bytes) -> bytes:
    return (
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
    )


def _png(header: bytes, *chunks: bytes) -> bytes:
    return b"".join((b"\x89PNG\r\n\x1a\n", _chunk(b"IHDR", header), *chunks, _chunk(b"IEND", b"")))


def _photo() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (11, 13, 4), np.uint8)
    rgba = Image.fromarray(pixels)
    rgb = rgba.convert("RGB")
    turned = Image.Exif()
    turned[0x0112] = 6
    for name, image, options in (
        ("plain", rgb, {}),
        ("progressive", rgb, {"progressive": True}),
        ("subsampled", rgb, {"subsampling": 2, "restart_marker_blocks": 1}),
        ("grey", rgb.convert("L"), {}),
        ("cmyk", rgb.convert("CMYK"), {}),
        ("turned", rgb, {"exif": turned}),
    ):
        _write("photo", f"jpeg_{name}", _saved_image(image, "JPEG", **options))
    plain = _saved_image(rgb, "JPEG")
    tables = plain.index(b"\xff\xc4")
    _write(
        "photo", "jpeg_too_many_codes", plain[: tables + 5] + b"\xff" * 16 + plain[tables + 21 :]
    )
    _write("photo", "jpeg_no_tables", plain.replace(b"\xff\xc4", b"\xff\xfe"))
    _write("photo", "jpeg_no_end", plain[:-2])
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA"):
        _write("photo", f"png_{mode}", _saved_image(rgba.convert(mode), "PNG"))
    _write("photo", "png_palette_alpha", _saved_image(rgba.quantize(16), "PNG"))
    _write("photo", "png_turned", _saved_image(rgb, "PNG", exif=turned))
    deep = struct.pack(">IIBBBBB", 2, 2, 16, 0, 0, 0, 0)
    rows = _chunk(b"IDAT", zlib.compress(bytes(range(10))))
    _write("photo", "png_16_bits", _png(deep, _chunk(b"tRNS", b"\x02\x03"), rows))
    interlaced = struct.pack(">IIBBBBB", 2, 2, 8, 0, 0, 0, 1)
    _write("photo", "png_interlaced", _png(interlaced, _chunk(b"IDAT", zlib.compress(bytes(7)))))
    # 2 x 2 pixels that unpack to 4 MiB.
    small = struct.pack(">IIBBBBB", 2, 2, 8, 2, 0, 0, 0)
    _write("photo", "png_bomb", _png(small, _chunk(b"IDAT", zlib.compress(bytes(2**22), 9))))
    huge = struct.pack(">IIBBBBB", 20000, 20000, 8, 2, 0, 0, 0)
    _write("photo", "png_huge", _png(huge, _chunk(b"IDAT", zlib.compress(bytes(64)))))
    for mode in ("1", "L", "P", "RGB", "RGBA"):
        _write("photo", f"bmp_{mode}", _saved_image(rgba.convert(mode), "BMP"))
    _write("photo", "bmp_cut", _saved_image(rgb, "BMP")[:-1])
    _write("photo", "ppm", _saved_image(rgb, "PPM"))
    _write("photo", "gif", _saved_image(rgb, "GIF"))
    _write("photo", "npy", _saved(pixels[:, :, :3].copy()))
    _write("photo", "empty", b"")


def _preprocess() -> None:
    normalize = {"type": "Normalize", "scale": 1 / 255, "mean": [0.5] * 3, "std": [0.25] * 3}
    last = [normalize, {"type": "ToCHW"}]
    resize = {"type": "Resize", "short_side": 8, "interpolation": "bicubic"}
    crop = {"type": "CenterCrop", "size": [6, 5]}
    grey = [
        {"type": "Digit", "size": 28, "box": 20},
        {"type": "Normalize", "scale": 1.0, "mean": [0.0], "std": [255.0]},
        {"type": "ToCHW"},
    ]
    stretch = {"type": "Resize", "size": [9, 4], "interpolation": "nearest"}
    for name, mode, steps in (
        ("imagenet", "RGB", [resize, crop, *last]),
        ("digit", "L", grey),
        ("stretch", "BGR", [stretch, *last]),
        ("digit_in_colour", "RGB", [grey[0], *last]),
        ("wrong_order", "RGB", [normalize, crop, {"type": "ToCHW"}]),
        ("wrong_channels", "L", last),
        ("huge", "RGB", [{**resize, "short_side": 2**40}, *last]),
        ("no_step", "RGB", []),
    ):
        document = {"format_version": 1, "mode": mode, "steps": steps}
        _write("preprocess", name, json.dumps(document).encode())
    _write("preprocess", "twice", b'{"format_version": 1, "format_version": 1}')
    _write("preprocess", "number_too_large", b'{"format_version": 1e999}')
    _write("preprocess", "deep", b"[" * 2000)
    _write("preprocess", "cut", b'{"format_version": 1, "mode": "RG')


if __name__ == "__main__":
    sys.exit(main())
