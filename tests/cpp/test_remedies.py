"""What errors advise works: each remedy is followed, or the message does not give it."""

import io
import re
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import lenet_cpp
import versions_corpus
from lenet_cpp.data.images import read_image
from remedies import follow, is_understood, kind_of, options_of, refusal
from shared_models import FORMATS, run_export
from tools.exporters import corpus

TESTS = Path(__file__).parents[1]
OPTIONS = (
    {"engine": "native"},
    {"engine": "auto"},
    {"engine": "native", "precision": "int8"},
    {"engine": "auto", "precision": "bf16"},
)
OF_PADDLE = (
    *OPTIONS,
    {"engine": "paddle", "accelerator": "onednn"},
    {"engine": "paddle", "accelerator": "openvino"},
    {"engine": "paddle", "precision": "int8"},
)


@pytest.fixture
def all_of_them(request):
    """Whether each message is followed, not only the first of its kind."""
    return request.config.getoption("--nightly")


def follow_all(models, all_of_them, choices=OPTIONS):
    """Follow what is advised for models, which are paths of their files."""
    seen, failed = set(), []
    for paths in models:
        for options in choices:
            try:
                message = refusal(paths, **options)
            except lenet_cpp.Error:  # not Unsupported
                continue
            if message is None or (kind_of(message) in seen and not all_of_them):
                continue
            seen.add(kind_of(message))
            if not is_understood(message):
                failed.append((message, "the advice is not known to tests/remedies.py"))
            failed += [(message, *each) for each in follow(paths, message, **options)]
    assert not failed, "\n".join(" -> ".join(each) for each in failed)
    return seen


def test_remedies_of_onnx_files(tmp_path, all_of_them):
    corpus.unpack(tmp_path)
    models = [(tmp_path / file.tool / f"{file.name}.onnx",) for file in corpus.files()]
    found = follow_all(models, all_of_them)
    assert any(options_of(message) for message in found)


def test_remedies_of_paddles_versions(tmp_path, all_of_them):
    """Follow the networks of the oldest and the newest Paddle in each format; by night all."""
    networks = versions_corpus.networks()
    if not all_of_them:
        ends = {networks[0].version, networks[-1].version}
        chosen = {(n.name, n.version, "json" in n.layout): n for n in networks if n.version in ends}
        networks = list(chosen.values())
    models = []
    for network in networks:
        folder = tmp_path / str(network)
        folder.mkdir()
        files, _, _ = versions_corpus.unpack(network, folder)
        models.append(tuple(files[:1] if network.layout == "separate" else files[:2]))
    assert follow_all(models, all_of_them, OPTIONS if all_of_them else OPTIONS[:3])


@pytest.mark.nightly
@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("script", ["typed_models.py", "models/operator_models.py"])
def test_remedies_of_small_models(tmp_path, script, suffix):
    run_export(TESTS / script, tmp_path, suffix)
    models = [(path,) for path in sorted(tmp_path.glob(f"*.{suffix}"))]
    assert follow_all(models, True, OF_PADDLE)


def onnx_model(dtype="float", operator="Relu"):
    """A model whose input is of a type, with an operator that no engine need know."""
    onnx_files = pytest.importorskip("onnx_files", reason="the models are made with onnx")
    nodes = f"c = Cast<to=1>(x) y = {operator}(c)"
    made = onnx_files.model(nodes, f"{dtype}[N,3,4,4] x", "float[N,3,4,4] y")
    if "." not in operator:
        return made
    import onnx

    model = onnx.load_from_string(made)
    model.opset_import.append(onnx.helper.make_opsetid(operator.split(".")[0], 1))
    return model.SerializeToString()


@pytest.mark.parametrize(
    ("dtype", "operator", "named"),
    [
        ("float", "MeanVarianceNormalization", True),
        ("float16", "MeanVarianceNormalization", True),
        ("bfloat16", "MeanVarianceNormalization", True),
        ("int8", "Relu", False),
        ("bool", "Relu", False),
        ("float", "my.Own", False),
    ],
)
def test_onnxruntime_is_named_where_it_runs_the_model(tmp_path, dtype, operator, named):
    path = tmp_path / "m.onnx"
    path.write_bytes(onnx_model(dtype, operator))
    message = refusal((path,), engine="native")
    assert ("engine onnxruntime" in message) == named, message
    assert follow((path,), message, engine="native") == []
    if not named:
        with pytest.raises(lenet_cpp.Error):
            lenet_cpp.Predictor(path, engine="onnxruntime")
        with pytest.raises(lenet_cpp.Error) as caught:
            lenet_cpp.Predictor(path)
        assert options_of(str(caught.value)) == []


def test_precisions_are_named_that_run_the_model(tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(onnx_model())
    message = refusal((path,), engine="native", precision="int8")
    assert "use precision fp32" in message
    assert follow((path,), message, engine="native") == []
    path.write_bytes(onnx_model(operator="MeanVarianceNormalization"))
    message = refusal((path,), engine="native", precision="int8")
    assert "is not quantized" in message
    assert "use precision" not in message
    assert "use precision fp32" in refusal((path,), precision="int8")


def saved(kind, **options):
    file = io.BytesIO()
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(file, kind, **options)
    return file.getvalue()


def bmp(bits, compression, data, more=b""):
    """A BMP of 4 x 2 pixels of a kind that Windows has and Pillow does not write."""
    begin = 14 + 40 + len(more)
    sizes = (40, 4, 2, 1, bits, compression, len(data), 0, 0, 0, 0)
    head = struct.pack("<IiiHHIIiiII", *sizes)
    return b"BM" + struct.pack("<IHHI", begin + len(data), 0, 0, begin) + head + more + data


MASKS = struct.pack("<III", 0xF800, 0x7E0, 0x1F)
PALETTE = bytes(range(64))
PICTURES = {
    "gif": lambda: saved("GIF"),
    "tiff": lambda: saved("TIFF"),
    "pbm": lambda: b"P1\n3 2\n1 0 1 0 1 0\n",
    "plain_pgm": lambda: b"P2\n3 2\n255\n1 2 3 4 5 6\n",
    "plain_ppm": lambda: b"P3\n1 2\n255\n1 2 3 4 5 6\n",
    "raw_pbm": lambda: b"P4\n3 2\n\x01\x02",
    "pam": lambda: b"P7\nWIDTH 1\nHEIGHT 1\nDEPTH 1\nMAXVAL 255\nTUPLTYPE GRAYSCALE\nENDHDR\na",
    "pfm": lambda: b"PF\n1 1\n-1.0\n" + bytes(12),
    "grey_pfm": lambda: b"Pf\n1 1\n-1.0\n" + bytes(4),
    "jp2": lambda: saved("JPEG2000"),
    "bmp_16": lambda: bmp(16, 0, bytes(16)),
    "bmp_565": lambda: bmp(16, 3, bytes(16), MASKS),
    "bmp_rle4": lambda: bmp(4, 2, b"\4\x11\0\0\4\x22\0\1", PALETTE),
    "bmp_rle8": lambda: bmp(8, 1, b"\4\1\0\0\4\2\0\1", 16 * PALETTE),
    "bmp_jpeg": lambda: bmp(24, 4, saved("JPEG")),
    "bmp_2": lambda: bmp(2, 0, bytes(8), PALETTE[:16]),
    "bmp_os2": lambda: (
        b"BM" + struct.pack("<IHHIIHHHH", 74, 0, 0, 26, 12, 4, 4, 1, 24) + bytes(48)
    ),
    "avif": lambda: saved("AVIF"),
    "heic": lambda: struct.pack(">I", 28) + b"ftypheic\0\0\0\0mif1heicmiaf",
    "film": lambda: struct.pack(">I", 24) + b"ftypisom\0\0\2\0isommp41",
}


@pytest.mark.parametrize("kind", PICTURES)
def test_python_reads_what_cpp_says_that_it_reads(tmp_path, kind, root, run_program):
    path = tmp_path / kind
    try:
        path.write_bytes(PICTURES[kind]())
    except (OSError, KeyError) as error:
        pytest.skip(f"this Pillow writes no {kind}: {error}")
    model = lenet_cpp.bundled_model_dir()
    done = run_program(f"--model_dir={model}", str(path), program=root / "build" / "lenet_classify")
    assert done.returncode in {5, 6}, done.stderr
    in_python = "classify it in Python" in done.stderr
    try:
        read_image(path, "RGB")
    except lenet_cpp.BadInput:
        assert in_python == (kind == "heic"), done.stderr  # which is cut short here
    except lenet_cpp.Unsupported as error:
        package = re.search(r"pip install '?([\w-]+)", str(error))[1]
        assert package.lower() in done.stderr.lower()
    else:
        assert in_python, done.stderr
