"""What PaddleClas, PaddleX, PaddleOCR and PaddleDetection write beside a model."""

import math
import shutil

import numpy as np
import pytest
from PIL import Image

import lenet_cpp
from descriptions import MEAN, NORMALIZE, STD, X2_NORMALIZE, with_ops, yml
from lenet_cpp import BadModel, Unsupported
from lenet_cpp.data import images
from lenet_cpp.data.images import CenterCrop, Normalize, Pipeline, Resize, ToCHW
from pictures import random_pixels, refused
from predictor_cases import in_child
from snippets import run_command


def test_the_default_inference_yml(tmp_path):
    ops = with_ops(
        *("ResizeImage: {resize_short: 256}", "CropImage: {size: 224}"),
        f"NormalizeImage: {{scale: 0.00392157, mean: {[*MEAN]}, std: {[*STD]}, order: ''}}",
        "ToCHWImage:",
    )
    text = f"Global: {{infer_imgs: ./images}}\n{ops}PostProcess: {{name: Topk, topk: 5}}\n"
    resize, crop, *_ = images.imagenet(library="opencv").steps
    steps = resize, crop, Normalize(0.00392157, MEAN, STD), ToCHW()
    rule = {"type": "Topk", "topk": 5}
    assert Pipeline.load(yml(tmp_path, text)) == Pipeline("RGB", steps, (), rule)


SCALES = {"0.5": 0.5, "'1e-2'": 0.01, "2": 2.0} | dict.fromkeys(
    ("1.0/255.0", "1./255.", "'1/255'", "' 1.0 / 255 '", "null"), 1 / 255
)


@pytest.mark.parametrize(("scale", "value"), SCALES.items())
def test_scales(tmp_path, scale, value):
    text = with_ops(f"NormalizeImage: {{scale: {scale}, order: hwc}}", "ToCHWImage: null")
    # Left out, mean and std are ImageNet's.
    steps = Normalize(value, MEAN, STD), ToCHW()
    assert Pipeline.load(yml(tmp_path, text)).steps == steps


def test_a_number_too_small_for_a_double_is_0(tmp_path):
    normalize = (
        f"NormalizeImage: {{scale: 1.0, mean: [1.0e-400, 0.5, 0.5], std: {[*STD]}, order: ''}}"
    )
    normalize_step, _ = Pipeline.load(yml(tmp_path, with_ops(normalize, "ToCHWImage:"))).steps
    assert normalize_step.mean == (0, 0.5, 0.5)


WITH_A_COMMA = """
import locale, sys
from lenet_cpp.data.images import Pipeline
locale.setlocale(locale.LC_ALL, "de_DE.UTF-8")
print(Pipeline.load(sys.argv[1]))
"""


def test_in_a_locale_with_a_decimal_comma(tmp_path, monkeypatch):
    make = ("localedef", "-i", "de_DE", "-f", "UTF-8", tmp_path / "de_DE.UTF-8")
    if shutil.which(make[0]) is None or run_command(*make).returncode != 0:
        pytest.skip(
            "this system has no locale that writes a comma, and without Debian's package locales "
            "nothing that makes one; C and POSIX, which every system has, write a point"
        )
    monkeypatch.setenv("LOCPATH", str(tmp_path))
    normalize = f"NormalizeImage: {{scale: 1.5/2.5, mean: {[*MEAN]}, std: {[*STD]}, order: ''}}"
    path = yml(tmp_path, with_ops(normalize, "ToCHWImage:"))
    assert in_child(WITH_A_COMMA, path, cwd=tmp_path) == f"{Pipeline.load(path)}\n"


def test_sizes_are_width_and_height_there(tmp_path):
    text = with_ops(
        "DecodeImage: {to_rgb: False, channel_first: False}",
        "ResizeImage: {size: [320, 240], interpolation: BICUBIC, backend: pil}",
        "CropImage: {size: [300, 200]}",
        "ToCHWImage:",
        "NormalizeImage: {scale: 1, mean: [1, 2, 3], std: [4, 5, 6], order: chw}",
    )
    resize = Resize(size=(240, 320), interpolation="bicubic", library="pillow")
    steps = resize, CenterCrop((200, 300), "down"), Normalize(1, (1, 2, 3), (4, 5, 6)), ToCHW()
    assert Pipeline.load(yml(tmp_path, text)) == Pipeline("BGR", steps)


@pytest.mark.parametrize(
    ("op", "library", "interpolation"),
    [
        ("backend: cv2, interpolation: area", "opencv", "area"),
        ("interpolation: nearest", "opencv", "nearest"),
        ("backend: PIL", "pillow", "bilinear"),
        ("backend: pil, interpolation: bicubic", "pillow", "bicubic"),
    ],
)
def test_the_library_that_resizes(tmp_path, op, library, interpolation):
    text = with_ops(f"ResizeImage: {{resize_short: 7, {op}}}", NORMALIZE, "ToCHWImage:")
    resize = Resize(7, interpolation=interpolation, library=library, rounding="half_even")
    assert Pipeline.load(yml(tmp_path, text)).steps[0] == resize


def normalize(old, new):
    return with_ops(NORMALIZE.replace(old, new), "ToCHWImage:")


def before(op):
    return with_ops(op, NORMALIZE, "ToCHWImage:")


@pytest.mark.parametrize(
    ("text", "error", "problem"),
    [
        ("a: [", BadModel, "line 2: did not find expected node content"),
        ("!!python/object/apply:os.system ['exit 1']", Unsupported, "line 1: a tag"),
        ("", BadModel, "expected values by name, found null"),
        ("Global: {}", Unsupported, "no description that is known"),
        ("PreProcess: {transform_ops: []}", BadModel, "expected a list"),
        (with_ops("3"), BadModel, "expected the name of one op, found 3"),
        (with_ops("RandFlipImage: {}"), Unsupported, "'RandFlipImage' is not known"),
        (with_ops("{ToCHWImage: 3}"), BadModel, "ToCHWImage: expected values by name"),
        (with_ops("CropImage: {size: 4, sise: 3}"), Unsupported, "CropImage.sise is not known"),
        (with_ops(NORMALIZE), Unsupported, "no op ToCHWImage"),
        (with_ops("ToCHWImage:"), Unsupported, "no op NormalizeImage"),
        (with_ops(NORMALIZE, NORMALIZE), Unsupported, "NormalizeImage a second time"),
        (
            normalize("''}", "''}\n    - CropImage: {size: 3}"),
            Unsupported,
            "CropImage after others",
        ),
        (normalize("''", "chw"), BadModel, "order 'chw' does not fit its place before ToCHWImage"),
        (normalize("1.0/255.0", "'().__class__'"), BadModel, r"scale: .*\(\)\.__class__"),
        (normalize("1.0/255.0", "'0x10'"), BadModel, "scale: expected a number or a ratio of two"),
        (normalize("255.0", "0"), BadModel, "divides by zero"),
        (normalize("[1, 1, 1]", "[1, 1]"), BadModel, r"steps\[0\]\.std: expected as many as mean"),
        (normalize("[1, 1, 1]", "7"), BadModel, "NormalizeImage.std: expected a list"),
        (before("ResizeImage: {interpolation: lanczos}"), Unsupported, '"lanczos" of opencv'),
        (before("DecodeImage: {img_mode: HSV}"), Unsupported, 'DecodeImage.img_mode "HSV"'),
        (before("ClsResizeImg: {image_shape: [3, 8, 9]}"), Unsupported, "NormalizeImage a second"),
        (with_ops("ClsResizeImg: {image_shape: [1, 8, 9]}"), BadModel, "has 1 channels"),
        (with_ops("ClsResizeImg: {image_shape: [8, 9]}"), BadModel, "channels, height, width"),
        (with_ops("ClsResizeImg: {image_shape: [3, 8, 9], pad: 1}"), Unsupported, "pad is not"),
        (before("ResizeImage: {interpolation: area, backend: pil}"), Unsupported, "of pillow"),
        (before("ResizeImage: {size: 3, backend: gpu}"), Unsupported, 'ResizeImage.backend "gpu"'),
        (before("ResizeImage: {}"), BadModel, "ResizeImage: size missing"),
        (before("DecodeImage: {channel_first: true}"), Unsupported, "DecodeImage.channel_first"),
        (normalize("order: ''", "order: '', channel_num: 4"), Unsupported, "channel_num 4"),
        (normalize("order: ''", "order: '', output_fp16: yes"), Unsupported, "output_fp16 true"),
    ],
)
def test_bad_inference_yml(tmp_path, text, error, problem):
    with refused(error, problem, tmp_path / "inference.yml"):
        Pipeline.load(yml(tmp_path, text))
    with pytest.raises(lenet_cpp.FileNotFound, match=r"missing\.yml"):
        Pipeline.load(tmp_path / "missing.yml")


LABELS = "PostProcess:\n  Topk: {topk: 2, label_list: [tench, 'no', 90]}\n"


def test_paddlex_3_has_its_labels_and_names_opencvs_filter_linear(tmp_path):
    ops = with_ops(
        "ResizeImage: {resize_short: 9, interpolation: LINEAR}", NORMALIZE, "ToCHWImage:"
    )
    other = (
        "Global: {model_name: PP-LCNet_x1_0}\nHpi: {backend_configs: {paddle_infer: {a: [[1]]}}}\n"
    )
    found = Pipeline.load(yml(tmp_path, other + ops + LABELS))
    assert found.labels == ("tench", "no", "90")
    assert found.postprocess == {"type": "Topk", "topk": 2}
    assert found.steps[0] == Resize(9, library="opencv", rounding="half_even")
    assert Pipeline.from_dict(found.to_dict()) == found
    found.save(tmp_path / "preprocess.json")
    assert Pipeline.load(tmp_path / "preprocess.json") == found


def model_yml(tmp_path, transforms, **others):
    """As PaddleX 2.1 writes it: yaml.dump of the attributes of its transforms."""
    import yaml

    attributes = {"model_type": "classifier", "num_classes": 2, "labels": ["cat", "dog"]}
    document = {"_Attributes": attributes, "Transforms": transforms, "Model": "ResNet50", **others}
    (tmp_path / "model.yml").write_text(yaml.dump(document))
    return tmp_path / "model.yml"


def test_paddlex_2_has_height_before_width(tmp_path):
    steps = [
        {"ResizeByShort": {"short_size": 20, "max_size": -1, "interp": "CUBIC"}},
        {"CenterCrop": {"crop_size": 16}},
        {"Normalize": X2_NORMALIZE},
    ]
    found = Pipeline.load(model_yml(tmp_path, steps))
    resize = Resize(20, interpolation="bicubic", library="opencv", rounding="half_even")
    assert found.steps[:2] == (resize, CenterCrop((16, 16), "down"))
    assert found.labels == ("cat", "dog")
    # A number becomes a tuple there, which yaml.dump gives a tag.
    resize = {"Resize": {"target_size": (12, 20), "interp": "NEAREST", "keep_ratio": False}}
    path = model_yml(tmp_path, [resize, {"Normalize": X2_NORMALIZE}], TransformsMode="BGR")
    assert "!!python/tuple" in path.read_text()
    found = Pipeline.load(path)
    pixels = random_pixels(12, 20, 3)  # of that size already
    expected = (pixels[:, :, ::-1].astype(np.float32) / 255 - 0.5) / 0.25
    assert np.abs(found(pixels) - expected.transpose(2, 0, 1)).max() < 1e-6


@pytest.mark.parametrize(
    ("transforms", "error", "problem"),
    [
        ([{"Padding": {}}], Unsupported, "'Padding' is not known"),
        ([{"ResizeByShort": {"short_size": 9, "max_size": 20}}], Unsupported, "max_size 20"),
        ([{"Resize": {"target_size": 9, "keep_ratio": True}}], Unsupported, "keep_ratio true"),
        ([{"Resize": {"target_size": 9, "interp": "LANCZOS4"}}], Unsupported, "LANCZOS4"),
        ([{"Normalize": {**X2_NORMALIZE, "min_val": [1, 0, 0]}}], Unsupported, "min_val"),
        ([{"Normalize": {**X2_NORMALIZE, "max_val": [1, 2, 3]}}], Unsupported, "max_val"),
        ([{"CenterCrop": {"crop_size": 9}}], BadModel, "expected Resize, CenterCrop"),
    ],
)
def test_bad_model_yml(tmp_path, transforms, error, problem):
    with refused(error, problem, tmp_path / "model.yml"):
        Pipeline.load(model_yml(tmp_path, transforms))


def test_a_detector_of_paddlex_2_is_no_classifier(tmp_path):
    path = model_yml(tmp_path, [], _Attributes={"model_type": "detector"})
    with refused(Unsupported, 'model_type "detector"', path):
        Pipeline.load(path)


def text_line(pixels, height, width):
    """What PaddleOCR's angle classifier takes of an image in the order of its channels."""
    import cv2

    columns = min(math.ceil(height * (pixels.shape[1] / pixels.shape[0])), width)
    small = cv2.resize(pixels, (columns, height)).reshape(height, columns, -1)
    expected = np.zeros((small.shape[2], height, width), np.float32)
    expected[:, :, :columns] = (small.transpose(2, 0, 1).astype(np.float32) / 255 - 0.5) / 0.5
    return expected


@pytest.mark.parametrize("size", [(40, 50), (20, 300), (31, 33), (48, 96)])
def test_paddleocrs_angle_classifier(tmp_path, size):
    decode = "DecodeImage: {img_mode: MODE, channel_first: false}"
    shape = "ClsResizeImg: {image_shape: [3, 24, 48]}"
    post = "PostProcess: {name: ClsPostProcess, label_list: ['0', '180']}\n"
    pixels = random_pixels(*size, 3)
    for mode, order in (("RGB", 1), ("BGR", -1)):
        ops = with_ops(decode.replace("MODE", mode), "ClsLabelEncode:", shape)
        found = Pipeline.load(yml(tmp_path, ops + post))
        assert found.labels == ("0", "180")
        assert found.postprocess == {"type": "Topk", "topk": 1}
        expected = text_line(np.ascontiguousarray(pixels[:, :, ::order]), 24, 48)
        assert np.abs(found(pixels) - expected).max() < 1e-6
    ops = with_ops(decode.replace("MODE", "GRAY"), shape.replace("3,", "1,"), "KeepKeys: {a: b}")
    found = Pipeline.load(yml(tmp_path, ops + "PostProcess: {name: ClsPostProcess}\n"))
    grey = np.asarray(Image.fromarray(pixels).convert("L"))
    assert found.labels == ()
    assert np.abs(found(pixels) - text_line(grey, 24, 48)).max() < 1e-6


def infer_cfg(tmp_path, **changed):
    """As PaddleDetection exports an attribute network of PP-Human or PP-Vehicle."""
    import yaml

    document = {
        "mode": "paddle",
        "draw_threshold": 0.5,
        "metric": "ATTR",
        "use_dynamic_shape": False,
        "arch": "PPLCNet",
        "min_subgraph_size": 5,
        "Preprocess": [
            {"type": "Resize", "target_size": [24, 32], "keep_ratio": False, "interp": 2},
            {"type": "NormalizeImage", "is_scale": True, "mean": [*MEAN], "std": [*STD]},
            {"type": "Permute"},
        ],
        "label_list": ["a", "b", "c"],
        **changed,
    }
    (tmp_path / "infer_cfg.yml").write_text(yaml.safe_dump(document))
    return tmp_path / "infer_cfg.yml"


def test_paddledetections_attribute_networks(tmp_path):
    import cv2

    pixels = random_pixels(40, 50, 3)
    path = infer_cfg(tmp_path)
    found = Pipeline.load(path)
    small = cv2.resize(pixels, (32, 24), interpolation=cv2.INTER_CUBIC).astype(np.float32)
    expected = (small * np.float32(1 / 255) - np.float32(MEAN)) / np.float32(STD)
    # OpenCV's own builds differ by one level in this interpolation.
    assert np.abs(found(pixels) - expected.transpose(2, 0, 1)).max() < 1 / 255 / min(STD) + 1e-5
    assert found.labels == ("a", "b", "c")
    assert found.postprocess == {"type": "MultiLabelThreshOutput"}
    for labels, kind in (
        (["Hat", *map(str, range(25))], "PersonAttribute"),
        (["yellow", *map(str, range(18))], "VehicleAttribute"),
    ):
        found = Pipeline.load(infer_cfg(tmp_path, label_list=labels))
        assert found.postprocess == {"type": kind}
    found = Pipeline.load(infer_cfg(tmp_path, arch="PPHGNet", metric="COCO"))
    assert found.postprocess == {"type": "Topk", "topk": 1}


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"arch": "YOLO"}, 'arch "YOLO" is no classifier'),
        ({"Preprocess": [{"type": "PadStride", "stride": 32}]}, "PadStride is not known"),
        ({"Preprocess": [{"type": "Resize", "target_size": [2, 2]}]}, "keep_ratio is missing"),
        ({"Preprocess": []}, "no Permute at the end"),
    ],
)
def test_bad_infer_cfg(tmp_path, changed, problem):
    path = infer_cfg(tmp_path, **changed)
    with refused(Unsupported, problem, path):
        Pipeline.load(path)


def test_features_of_pp_shitu(tmp_path):
    text = with_ops(NORMALIZE, "ToCHWImage:") + "PostProcess:\n  NormalizeFeatures: null\n"
    found = Pipeline.load(yml(tmp_path, text))
    assert found.postprocess == {"type": "NormalizeFeatures"}
