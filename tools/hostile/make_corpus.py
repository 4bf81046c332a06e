"""Writes the seeds of the fuzzers: FOLDER/TARGET/NAME.

    python -m tools.hostile.make_corpus FOLDER

Whole files come from those who write the formats (NumPy, Pillow, Paddle: the bundled model) or are
written byte by byte by models.py; the others are broken in the ways that readers
break on. Needs NumPy and Pillow; where Paddle is installed it writes more programs. An input that
broke a reader once is kept here as a change of another one.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import io
import json
import os
import shutil
import struct
import subprocess
import sys
import tarfile
import tempfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from tools.hostile import models
from tools.hostile.models import field, fields

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).resolve().parents[2]
BUNDLED = ROOT / "python" / "lenet_cpp" / "bundled" / "lenet"
Files = dict[str, bytes]

# Exports networks of one layer and of what the native engine runs, in the format that
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


def npy(array: np.ndarray, version: tuple[int, int] = (1, 0)) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, array, version=version)
    return file.getvalue()


def npy_header(shape: str) -> bytes:
    text = f"{{'descr': '|u1', 'fortran_order': False, {shape}}}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def npy_files() -> Files:
    pixels = np.arange(12, dtype=np.uint8)
    image = pixels.reshape(3, 4)
    return {
        "images_uint8": npy(pixels.reshape(1, 3, 4)),
        "images_float32": npy(pixels.astype("<f4").reshape(2, 1, 2, 3)),
        "image_version_2": npy(image, (2, 0)),
        "image_version_3": npy(image, (3, 0)),
        **{f"labels_{kind[1:]}": npy(pixels[:4].astype(kind)) for kind in ("|u1", "<i4", "<i8")},
        "fortran": npy(np.asfortranarray(image)),
        "big_endian": npy(image.astype(">f4")),
        "no_images": npy(np.zeros((0, 1, 28, 28), np.float32)),
        "scalar": npy(np.array(1.5, np.float32)),
        "huge_shape": npy_header(f"'shape': ({2**62}, {2**62}), "),
        "zero_and_huge": npy_header(f"'shape': (0, {2**62}, {2**62}), "),
        "long_number": npy_header(f"'shape': ({'9' * 40},), "),
        "header_too_long": b"\x93NUMPY\x02\x00\xff\xff\xff\xff{'descr': '|u1'",
        "no_shape": npy_header(""),
    }


def idx(magic: int, *sizes: int, values: bytes = b"") -> bytes:
    return struct.pack(f">{1 + len(sizes)}I", magic, *sizes) + values


def idx_files() -> Files:
    sample = ROOT / "data" / "mnist_sample"
    pixels = gzip.decompress((sample / "t10k-images-idx3-ubyte.gz").read_bytes())
    labels = gzip.decompress((sample / "t10k-labels-idx1-ubyte.gz").read_bytes())
    return {
        "mnist_images": idx(0x803, 1, 28, 28, values=pixels[16 : 16 + 784]),
        "mnist_labels": idx(0x801, 10, values=labels[8:18]),
        "one_image": idx(0x802, 2, 2, values=bytes(4)),
        "four_dimensions": idx(0x804, 1, 1, 2, 2, values=bytes(4)),
        "none": idx(0x803, 0, 28, 28),
        "huge": idx(0x803, *[0xFFFFFFFF] * 3),
        "cut_in_header": idx(0x803, 1),
        "cut_in_values": idx(0x801, 10, values=bytes(9)),
        "float": idx(0xD01, 1, values=bytes(4)),
    }


def pgm_files() -> Files:
    return {
        "image": b"P5\n4 3\n255\n" + bytes(range(12)),
        "comments": b"P5 # a\n# b\n4 # c\n3\n255\n" + bytes(range(12)),
        "sixteen_bits": b"P5\n2 1\n65535\n" + bytes(4),
        "huge": b"P5\n4294967296 4294967296\n255\n",
        "long_number": b"P5\n" + b"9" * 40 + b" 1\n255\n",
        "negative": b"P5\n-2 -2\n255\n" + bytes(4),
        "comment_to_the_end": b"P5\n4 3 # 255",
        "no_pixels": b"P5\n1 1\n255",
    }


LINEAR = "w : 2 2\ny = MatMul x w"
WINOGRAD = """
    w : 4 4 5 5
    c = Conv x w pads=2,2,2,2
    y = MaxPool c kernel_shape=2,2 strides=2,2
"""
# Every operator of the native engine, as operator set 13 has them, and those that 9 has otherwise.
NETWORK = """
    w1 : 2 1 3 2
    b : 2
    w2 : 2 1 1 1
    k : 2 1 1
    f : 4 3
    rows : int64 0 -1
    last : int64 -1
    zero : int64 0
    one : int64 1
    a = Conv x w1 b strides=1,2 dilations=1,2 pads=1,0,1,3
    c = BatchNormalization a b b b b epsilon=0.1
    d = Relu c
    e = Conv d w2 group=2 auto_pad=SAME_LOWER kernel_shape=1,1
    h = Add e d
    i = Add h k
    j = Mul k i
    l = MaxPool j storage_order=1 ceil_mode=1 kernel_shape=2,2 strides=2,2 pads=1,0,0,1
    m = AveragePool j count_include_pad=1 kernel_shape=2,2 strides=2,2 pads=1,0,0,1
    n = Concat l m axis=1
    o = Clip n low
    p mask = Dropout o
    q = GlobalMaxPool p
    r = ReduceMean p keepdims=1 axes=2,3
    s = Add q r
    t = Reshape s rows
    u = Shape t
    v = Slice u zero one
    z = Concat v last axis=0
    aa = Reshape t z
    bb = Gemm aa f low alpha=0.5 beta=2.0
    cc = Cast bb to=1
    dd = Identity cc
    ee = Flatten dd axis=1
    y = Softmax ee axis=1
"""
OLDER = {
    " : 2 1 3 2": " : floats 2 1 3 2",
    " : int64": " : list",
    " ceil_mode=1": "",
    "o = Clip n low": "o = Clip n min=0.0",
    "t = Reshape s rows": "t = Squeeze s axes=2,3",
    "v = Slice u zero one": "v = Slice u axes=0, starts=0, ends=1,",
}


def constant_node(output: str, tensor: bytes) -> bytes:
    value = field(1, "value") + field(5, tensor) + field(20, 4)
    return field(1, field(2, output) + field(4, "Constant") + field(5, value))


def onnx_files() -> Files:
    def model(
        text: str, *x: int, opset: int = 17, first: bytes = b"", y: tuple[int, ...] = (2,)
    ) -> bytes:
        graph = first + models.onnx_graph(text)
        return models.onnx_model(graph, ["N", *(x or (2,))], opset, "x", y)

    older = NETWORK
    for new, old in OLDER.items():
        older = older.replace(new, old)
    rows = models.onnx_tensor("rows", [2], field(9, struct.pack("<qq", 0, -1)), 7)
    newer = NETWORK.replace("rows : int64 0 -1", "")
    low = field(5, models.onnx_tensor("low", [], field(9, bytes(4))))
    external = models.external_tensor("w", [2, 2], "w.bin", 8)
    outside = models.external_tensor("w", [2, 2], "../w.bin", 8)
    inner = field(6, constant_node("y", external) + field(2, "g")) + field(20, 5)
    branches = fields(5, (field(1, f"{which}_branch") + inner for which in ("then", "else")))
    branched = field(1, field(1, "x") + field(2, "y") + field(4, "If") + branches)
    whole = model(LINEAR)
    return {
        "linear": whole,
        "cut": whole[: len(whole) // 2],
        "softmax": model("y = Softmax x"),
        "external": model("y = MatMul x w", first=field(5, external)),
        "outside": model("y = MatMul x w", first=field(5, outside)),
        "subgraphs": model("", first=branched),
        "no_graph": b"\x08\x08",
        "sparse": model(LINEAR, first=field(15, b"")),
        "newest": model(LINEAR, opset=99),
        "network": model(newer, 1, 7, 8, opset=13, y=(3,), first=low + constant_node("rows", rows)),
        "winograd": model(WINOGRAD, 4, 8, 8, opset=13, y=(4, 4, 4)),
        "old_network": model(older, 1, 7, 8, opset=9, y=(3,), first=low),
    }


def older_files(version: str, networks: dict[str, str]) -> Files:
    """Return programs that an earlier Paddle wrote, by the file in its layout's folder."""
    archive = ROOT / "tests" / "data" / "versions" / f"{version}.tar.xz"
    found = {}
    with tarfile.open(archive) as tar:
        for name, file in networks.items():
            member = tar.extractfile(f"{name}/{file}")
            if member is None:
                raise FileNotFoundError(f"{archive}: {name}/{file}")
            found[f"paddle_{version}_{name}"] = member.read()
    return found


def pdmodel_files() -> Files:
    bundled = (BUNDLED / "lenet.pdmodel").read_bytes()
    fluid = ("lenet", "resnet_block", "squeeze_excite", "reshape_inplace", "prelu_all", "dropout")
    return {
        **older_files("1.8.5", dict.fromkeys(fluid, "combined/model")),
        **older_files("2.6.2", dict.fromkeys(("lenet", "matmul"), "twice_pdmodel/model.pdmodel")),
        "lenet": bundled,
        "cut": bundled[: len(bundled) // 2],
        "length_too_long": b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x08\x00",
        "varint_without_end": b"\x08" + b"\xff" * 12,
        "field_zero": b"\x00\x00",
        "group": b"\x0b\x0c",
    }


def json_files() -> Files:
    bundled = (BUNDLED / "lenet.json").read_bytes()
    return {
        **older_files("3.0.0", dict.fromkeys(("lenet", "pool_avg"), "jit_json/model.json")),
        "lenet": bundled,
        "cut": bundled[: len(bundled) // 2],
        "deep": b"[" * 2000,
        "not_pir": b'{"base_code": {"magic": "elf"}}',
        "no_program": b'{"base_code": {"magic": "pir"}}',
    }


def paddle_files() -> dict[str, Files]:
    """Return what Paddle writes of networks with every operator of the native engine."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        script = folder / "export.py"
        script.write_text(EXPORT)  # Paddle reads the source of a layer
        for pir in "01":
            (folder / pir).mkdir()
            subprocess.run(
                [sys.executable, "-W", "ignore", script, folder / pir],
                env={**os.environ, "FLAGS_enable_pir_api": pir, "GLOG_v": "-1"},
                check=True,
                capture_output=True,
            )
        paths = {
            "pdmodel": ["0/linear", "0/network", "0/quantized/linear", "0/quantized/chain"],
            "json": ["1/linear", "1/network"],
            "pdiparams": ["1/linear", "0/quantized/linear"],
        }
        return {
            target: {
                f"paddle_{path[2:].replace('/', '_')}": (folder / f"{path}.{target}").read_bytes()
                for path in names
            }
            for target, names in paths.items()
        }


def pdiparams_files() -> Files:
    params = models.record([2, 3]) + models.record([3])
    huge = b"\x10\xff\xff\xff\xff\xff\xff\xff\xff\x7f" * 2

    def described(description: bytes) -> bytes:
        return struct.pack("<IQIi", 0, 0, 0, len(description)) + description

    return {
        "linear": params,
        "quantized": models.record([2, 3], bytes(6), 21) + models.record([1]) + models.record([3]),
        "cut_in_header": params[:10],
        "cut_in_values": params[:-1],
        "many_levels": struct.pack("<IQ", 0, 2**64 - 1) + bytes(64),
        "negative_length": struct.pack("<IQIi", 0, 0, 0, -1),
        "huge_shape": described(b"\x08\x05" + huge),
        "zero_and_huge": described(b"\x08\x05\x10\x00" + huge),
    }


def sha256sums_files() -> Files:
    line = f"{hashlib.sha256(b'p').hexdigest()}  __model__\n"
    other = line.replace(line[:64], "0" * 64)
    files = {
        "matches": line,
        "binary_upper_case": line[:64].upper() + " *__model__\n",
        "another": other,
        "twice": line + other,
        "no_line_feed": line.rstrip(),
        "no_name": line[:66],
        "no_digits": other.replace("0", "g"),
        "carriage_returns": line.replace("\n", "\r\n"),
        "control_characters": "\x1b[2J" + other[4:],
        "empty": "",
    }
    return {name: text.encode() for name, text in files.items()} | {
        "other_bytes": line.encode() + b"\x00\xff\n"
    }


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    check = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + check


def png(side: int, bits: int, kind: int, pixels: bytes, *chunks: bytes, method: int = 0) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, bits, kind, 0, 0, method))
    data = chunk(b"IDAT", zlib.compress(pixels, 9))
    return b"".join((b"\x89PNG\r\n\x1a\n", header, *chunks, data, chunk(b"IEND", b"")))


def photo_files() -> Files:
    pixels = np.random.default_rng(0).integers(0, 256, (11, 13, 4), np.uint8)
    rgba = Image.fromarray(pixels)
    rgb = rgba.convert("RGB")
    # So many blocks that some of them lie beside the part that is decoded.
    large = Image.fromarray(np.random.default_rng(1).integers(0, 256, (128, 120, 3), np.uint8))
    turned = Image.Exif()
    turned[0x0112] = 6
    plain = saved(rgb, "JPEG")
    tables = plain.index(b"\xff\xc4")
    return {
        "jpeg_plain": plain,
        "jpeg_progressive": saved(rgb, "JPEG", progressive=True),
        "jpeg_subsampled": saved(rgb, "JPEG", subsampling=2, restart_marker_blocks=1),
        "jpeg_grey": saved(rgb.convert("L"), "JPEG"),
        "jpeg_cmyk": saved(rgb.convert("CMYK"), "JPEG"),
        "jpeg_turned": saved(rgb, "JPEG", exif=turned),
        **{f"jpeg_large_{i}": saved(large, "JPEG", subsampling=i) for i in range(3)},
        "jpeg_large_turned": saved(large, "JPEG", exif=turned),
        "jpeg_too_many_codes": plain[: tables + 5] + b"\xff" * 16 + plain[tables + 21 :],
        "jpeg_no_tables": plain.replace(b"\xff\xc4", b"\xff\xfe"),
        "jpeg_no_end": plain[:-2],
        **{
            f"png_{mode}": saved(rgba.convert(mode), "PNG")
            for mode in ("1", "L", "LA", "P", "RGB", "RGBA")
        },
        "png_palette_alpha": saved(rgba.quantize(16), "PNG"),
        "png_turned": saved(rgb, "PNG", exif=turned),
        "png_16_bits": png(2, 16, 0, bytes(range(10)), chunk(b"tRNS", b"\x02\x03")),
        "png_16_bits_colour": png(9, 16, 2, (b"\0" + bytes(range(54))) * 9),
        "png_2_bits": png(11, 2, 0, b"\0\x1b\xe4\x1b" * 11),
        "png_last_filter": png(10, 8, 0, bytes(11 * 9) + b"\5" + bytes(10)),
        "png_last_index": png(
            10, 8, 3, bytes(11 * 9) + bytes(10) + b"\1", chunk(b"PLTE", b"\1\2\3")
        ),
        "png_interlaced": png(2, 8, 0, bytes(7), method=1),
        "png_bomb": png(2, 8, 2, bytes(2**22)),  # 2 x 2 pixels that unpack to 4 MiB
        "png_huge": png(20_000, 8, 2, bytes(64)),
        **{
            f"bmp_{mode}": saved(rgba.convert(mode), "BMP")
            for mode in ("1", "L", "P", "RGB", "RGBA")
        },
        "bmp_cut": saved(rgb, "BMP")[:-1],
        "ppm": saved(rgb, "PPM"),
        "gif": saved(rgb, "GIF"),
        "webp_lossy": saved(rgba, "WEBP", quality=50, exif=turned, xmp=b"tiff:Orientation>5"),
        "webp_lossless": saved(rgba, "WEBP", lossless=True),
        "webp_animated": saved(rgb, "WEBP", save_all=True, append_images=[rgb.rotate(180)]),
        "npy": npy(pixels[:, :, :3].copy()),
        "empty": b"",
    }


def preprocess_files() -> Files:
    to_chw = {"type": "ToCHW"}
    normalize = {"type": "Normalize", "scale": 1 / 255, "mean": [0.5] * 3, "std": [0.25] * 3}
    last = [normalize, to_chw]
    resize = {"type": "Resize", "short_side": 8, "interpolation": "bicubic"}
    opencv = {"library": "opencv", "rounding": "half_even"}
    crop = {"type": "CenterCrop", "size": [6, 5]}
    digit = {"type": "Digit", "size": 28, "box": 20}
    grey = {"type": "Normalize", "scale": 1.0, "mean": [0.0], "std": [255.0]}
    stretch = {"type": "Resize", "size": [9, 4], "interpolation": "nearest"}
    described: Mapping[str, tuple[str, list[Any]]] = {
        "imagenet": ("RGB", [resize, crop, *last]),
        "digit": ("L", [digit, grey, to_chw]),
        "stretch": ("BGR", [stretch, *last]),
        "channels_last": ("BGR", [stretch, normalize]),
        "paddleclas": ("RGB", [{**resize, **opencv}, {**crop, "rounding": "down"}, *last]),
        "area": ("RGB", [{**stretch, **opencv, "interpolation": "area"}, *last]),
        "digit_in_colour": ("RGB", [digit, *last]),
        "wrong_order": ("RGB", [normalize, crop, to_chw]),
        "wrong_channels": ("L", last),
        "huge": ("RGB", [{**resize, "short_side": 2**40}, *last]),
        "no_step": ("RGB", []),
    }
    whole = {"format_version": 1, "mode": "RGB", "steps": last}
    rule = {"type": "ThreshOutput", "threshold": 0.5, "label_0": "no", "default_label_index": 1}
    return {
        name: json.dumps({"format_version": 1, "mode": mode, "steps": steps}).encode()
        for name, (mode, steps) in described.items()
    } | {
        "labels": json.dumps({**whole, "labels": ["a", "b"], "postprocess": rule}).encode(),
        "twice": b'{"format_version": 1, "format_version": 1}',
        "number_too_large": b'{"format_version": 1e999}',
        "deep": b"[" * 2000,
        "cut": b'{"format_version": 1, "mode": "RG',
    }


def serve_files() -> Files:
    """Requests to the server: a line of method, address and header length, then the body."""
    infer = b"POST /v2/models/lenet/infer "
    values = np.linspace(0, 1, 784, dtype=np.float32)
    shape = [1, 1, 28, 28]

    def request(body: object, binary: bytes = b"", length: bool = True) -> bytes:
        text = json.dumps(body).encode()
        return infer + (str(len(text)).encode() if length else b"-") + b"\n" + text + binary

    def inputs(datatype: str, size: int, **more: object) -> dict[str, Any]:
        tensor = {"name": "x", "datatype": datatype, "shape": size and shape, **more}
        return {"id": "1", "inputs": [tensor]}

    binary = {"parameters": {"binary_data_size": 3136}}
    photo = io.BytesIO()
    Image.fromarray(np.tri(40, 30, dtype=np.uint8) * 255).save(photo, "png")
    file = struct.pack("<I", len(photo.getvalue())) + photo.getvalue()
    files = {"shape": [1], "parameters": {"binary_data_size": len(file)}}
    top = {
        "outputs": [
            {"name": "linear_2.tmp_1", "parameters": {"classification": 3, "binary_data": True}}
        ]
    }
    addresses = (
        "/v2",
        "/v2/health/ready",
        "/v2/models/lenet",
        "/v2/models/lenet/versions/1/config",
    )
    return {
        "flat": request(inputs("FP32", 4, data=values.tolist()), length=False),
        "nested": request(inputs("FP32", 4, data=values.reshape(shape).tolist()), length=False),
        "binary": request(inputs("FP32", 4, **binary), values.tobytes()),
        "classes": request(inputs("FP32", 4, **binary) | top, values.tobytes()),
        "pixels": request(inputs("UINT8", 4, data=[7] * 784), length=False),
        "file": request(inputs("BYTES", 1, **files), file),
        "base64": request(inputs("BYTES", 1, shape=[1], data=["UDUgMSAxIDI1NQoA"]), length=False),
        "raw": infer + b"0\n" + values.tobytes(),
        "photo": infer + b"-\n" + photo.getvalue(),
        "photo_top": infer[:-1] + b"?classification=3 -\n" + photo.getvalue(),
        "photo_raw": b"PUT" + infer[4:-1] + b"?raw -\n" + photo.getvalue(),
        "form": infer + b"-\n--a\r\nContent-Disposition: form-data\r\n\r\nb\r\n--a--\r\n",
        "too_large": request(inputs("FP32", 4, shape=[2**32] * 4, data=[1]), length=False),
        "negative": request(inputs("FP32", 4, shape=[-1, 1, 28, 28], **binary), b"abc"),
        "overflow": infer + b'-\n{"inputs":[{"data":[1e39,-1e-400]}]}',
        "header_length": infer + b"18446744073709551616\n{}",
        "traversal": b"GET /v2/models/%2e%2e%2f%252e/ready -\n",
        "index": b'POST /v2/repository/index -\n{"ready":true}',
        "load": b"POST /v2/repository/models/lenet/load -\n",
        **{path.replace("/", "_"): f"GET {path} -\n".encode() for path in addresses},
    }


def http_files() -> Files:
    def post(*lines: str) -> bytes:
        return "\r\n".join(["POST /v2/models/a/infer HTTP/1.1", "Host: a", *lines, "", ""]).encode()

    body = b'{"inputs": []}'
    chunks = b"5;a=b\r\n%s\r\n9\r\n%s\r\n0\r\nX: y\r\n\r\n" % (body[:5], body[5:])
    length = f"Content-Length: {len(body)}"
    packed = {"gzip": gzip.compress(body), "deflate": zlib.compress(body)}
    bomb = zlib.compress(bytes(100_000))
    get = b"GET /v2?x=1 HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip;q=0.5, br\r\n\r\n"
    return {
        "get": get,
        "old": b"GET http://a/v2 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        "options": b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
        "length": post(length, "Expect: 100-continue", "Authorization: Bearer x") + body,
        "chunks": post("Transfer-Encoding: chunked") + chunks,
        "no_chunks": post("Transfer-Encoding: chunked") + b"0\r\n\r\n",
        "pipeline": post(length) + body + get + post("Transfer-Encoding: chunked") + chunks + get,
        **{
            name: post(f"Content-Length: {len(data)}", f"Content-Encoding: {name}") + data
            for name, data in packed.items()
        },
        "bomb": post(f"Content-Length: {len(bomb)}", "Content-Encoding: deflate") + bomb,
        "both": post(length, "Transfer-Encoding: chunked") + chunks,
        "signed": post("Content-Length: +5") + body,
        "unknown_coding": post("Transfer-Encoding: gzip, chunked") + chunks,
        "large_chunk": post("Transfer-Encoding: chunked") + b"ffffffffffffffff\r\n",
        "large_header": post(*["X: y"] * 100),
        "binary": post(length, "Inference-Header-Content-Length: 14") + body,
        "http2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    }


def grpc_files() -> Files:
    """Messages of the type ModelInferRequest."""

    def field(number: int, value: bytes | int) -> bytes:
        """Return a field of less than 16 KiB, or a small integer."""
        if isinstance(value, int):
            return bytes([number << 3, value])
        return bytes([number << 3 | 2, len(value) & 127 | 128, len(value) >> 7]) + value

    def request(datatype: bytes, shape: bytes, contents: bytes = b"", after: bytes = b"") -> bytes:
        tensor = field(1, b"x") + field(2, datatype) + field(3, shape)
        return field(1, b"lenet") + field(5, tensor + contents) + after

    shape = bytes([1, 1, 28, 28])
    values = np.linspace(0, 1, 784, dtype="<f4").tobytes()
    parameter = field(2, field(1, b"classification") + field(2, field(2, 3)))
    asked = field(6, field(1, b"linear_2.tmp_1") + parameter)
    raw = request(b"FP32", shape, b"", field(7, values))
    return {
        "raw": raw + field(3, b"id"),
        "version": raw + field(2, b"1"),
        "classes": raw + asked,
        "typed": request(b"FP32", shape, field(5, field(6, values)), asked),
        "pixels": request(b"UINT8", shape, field(5, field(4, bytes(784)))),
        "file": request(b"BYTES", b"\1", field(5, field(8, b"P5 1 1 255\n\0"))),
        "negative": request(b"FP32", b"\xff" * 9 + b"\1", b"", field(7, b"")),
        "parameters": field(4, parameter) + raw,
        "unknown": raw + field(15, b"abc") + b"\x7d1234\x7912345678",
        "cut": raw[:-1],
        "many": field(5, b"") * 2000,
    }


def yml_files() -> Files:
    ops = """PreProcess:
  transform_ops:
    - DecodeImage: {to_rgb: False}
    - ResizeImage: {resize_short: 9, interpolation: area, backend: cv2}
    - CropImage: {size: [8, 7]}
    - NormalizeImage: {scale: 1.0/255.0, mean: [0, 0, 0], std: [1, 1, 1], order: ''}
    - ToCHWImage:
PostProcess:
  main_indicator: Topk
"""
    rules = {
        "topk": "  Topk: {topk: 2, label_list: [a, 'b', 3, 1.5, yes, ~]}\n  SavePreLabel: {a: b}",
        "file": '  Topk:\n    class_id_map_file: "../a.txt"\n    delimiter: ","\n',
        "thresh": "  ThreshOutput: {threshold: 0.5, label_0: a, default_label_index: 3}",
        "multi": "  MultiLabelThreshOutput: {threshold: 0.25, label_list: [a, b]}",
        "person": "  PersonAttribute: {glasses_threshold: 0.1}",
        "vehicle": "  VehicleAttribute: {}",
        "table": "  TableAttribute:",
    }
    model = """Model: ResNet
Transforms:
- ResizeByShort: {interp: LINEAR, max_size: -1, short_size: 9}
- Resize:
    target_size: !!python/tuple
    - 8
    - 9
- CenterCrop: {crop_size: 7}
- Normalize: {is_scale: true, mean: [0, 0, 0], std: [1, 1, 1], min_val: [0, 0, 0]}
_Attributes: {model_type: classifier, labels: [a, b]}
"""
    lines = {name: ops.replace(": Topk", ": ''") + rule for name, rule in rules.items()}
    return {name: text.encode() for name, text in lines.items()} | {
        "main": (ops + rules["topk"]).encode(),
        "paddlex_2": model.encode(),
        "anchors": b"a: &a [1, 2]\nb: *a\nc: {<<: *a}",
        "numbers": b"[0x1F, 017, 1_0, 1:30, .inf, -.5, 1e3, 1.5e+3, 0b1, 2024-01-01]",
        "block": b"a: |\n  b\n  c\nd: >-\n  e\n? f\n: g\n--- # h\n",
        "deep": b"[" * 2000,
        "cut": b"a: {b: [",
    }


CORPUS = {
    "npy": npy_files,
    "idx": idx_files,
    "pgm": pgm_files,
    "onnx": onnx_files,
    "pdmodel": pdmodel_files,
    "json": json_files,
    "pdiparams": pdiparams_files,
    "sha256sums": sha256sums_files,
    "photo": photo_files,
    "preprocess": preprocess_files,
    "yml": yml_files,
    "serve": serve_files,
    "http": http_files,
    "grpc": grpc_files,
}


def main() -> int:
    """Write every seed."""
    by_paddle = paddle_files() if importlib.util.find_spec("paddle") else {}
    for target, files in CORPUS.items():
        folder = Path(sys.argv[1], target)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name, content in {**files(), **by_paddle.get(target, {})}.items():
            (folder / name).write_bytes(content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
