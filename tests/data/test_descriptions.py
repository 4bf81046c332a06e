"""What toolkits write beside a model: PaddleClas, PaddleX, Hugging Face and timm."""

import json
import math
import re
import shutil
from contextlib import suppress

import numpy as np
import pytest
from PIL import Image

import lenet_cpp
from lenet_cpp import BadModel, Unsupported
from lenet_cpp.data import images
from lenet_cpp.data.images import CenterCrop, Normalize, Pipeline, Resize, ToCHW
from lenet_cpp.data.mnist import read_mnist_dir, sample_dir
from lenet_cpp.formats.manifest import read_manifest, verify_checksums
from pictures import random_pixels, refused
from predictor_cases import in_child
from snippets import run_command

DIGIT = read_mnist_dir(sample_dir()).test.images[0]
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def yml(tmp_path, text):
    (tmp_path / "inference.yml").write_text(text)
    return tmp_path / "inference.yml"


def with_ops(*ops):
    return "PreProcess:\n  transform_ops:\n" + "".join(f"    - {op}\n" for op in ops)


NORMALIZE = "NormalizeImage: {scale: 1.0/255.0, mean: [0, 0, 0], std: [1, 1, 1], order: ''}"


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
        pytest.skip("the locale cannot be made: apt-get install locales")
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


X2_NORMALIZE = {
    "mean": [0.5, 0.5, 0.5],
    "std": [0.25, 0.25, 0.25],
    "is_scale": True,
    "min_val": [0, 0, 0],
    "max_val": [255.0, 255.0, 255.0],
}


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


VIT = {
    "image_processor_type": "ViTImageProcessor",
    "do_resize": True,
    "resample": 2,
    "size": {"height": 24, "width": 32},
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.5, 0.4, 0.3],
    "image_std": [0.5, 0.5, 0.25],
}


def hub(tmp_path, document, config=None):
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(document))
    (tmp_path / "config.json").write_text(json.dumps(config or {"model_type": "vit"}))
    return tmp_path / "preprocessor_config.json"


def by_pillow(image, size, box=None, resample=Image.Resampling.BILINEAR):
    """Pixels in [0, 1] after Pillow's resize to (width, height) and a crop."""
    resized = image.resize(size, resample)
    return np.asarray(resized.crop(box) if box else resized, np.float64) / 255


def test_hugging_faces_processor_with_the_labels_of_its_config(tmp_path):
    image = Image.fromarray(random_pixels(50, 70, 3))
    path = hub(tmp_path, VIT, {"id2label": {"1": "dog", "0": "cat"}})
    found = Pipeline.load(path)
    assert found.labels == ("cat", "dog")
    expected = (by_pillow(image, (32, 24)) - VIT["image_mean"]) / VIT["image_std"]
    assert np.abs(found(image) - expected.transpose(2, 0, 1)).max() < 1e-6
    # The short side to 24, the long one to int(24 * 70 / 50), and the middle of it, rounded down.
    clip = {**VIT, "size": {"shortest_edge": 24}, "do_center_crop": True, "crop_size": 22}
    clip |= {"image_processor_type": "CLIPImageProcessor", "resample": 3, "do_normalize": False}
    expected = by_pillow(image, (33, 24), (5, 1, 27, 23), Image.Resampling.BICUBIC)
    assert (
        np.abs(Pipeline.load(hub(tmp_path, clip))(image) - expected.transpose(2, 0, 1)).max() < 1e-6
    )


@pytest.mark.parametrize(("side", "size"), [(224, (358, 256)), (384, (384, 384))])
def test_hugging_faces_convnext_crops_small_sizes(tmp_path, side, size):
    config = {
        **VIT,
        "image_processor_type": "ConvNextImageProcessor",
        "crop_pct": 0.875,
        "size": {"shortest_edge": side},
    }
    image = Image.fromarray(random_pixels(50, 70, 3))
    left, top = ((each - side) // 2 for each in size)
    expected = by_pillow(image, size, (left, top, left + side, top + side))
    expected = (expected - VIT["image_mean"]) / VIT["image_std"]
    found = Pipeline.load(hub(tmp_path, config))(image)
    assert np.abs(found - expected.transpose(2, 0, 1)).max() < 1e-6


@pytest.mark.parametrize(
    ("kind", "changed", "size"),
    [
        ("PoolFormer", {"crop_pct": 0.9}, (48, 34)),  # int(31 / 0.9), and int(34 * 70 / 49)
        ("PoolFormer", {"crop_pct": None}, (44, 31)),
        ("PoolFormer", {}, (48, 34)),  # 0.9 where it is missing
        ("PoolFormer", {"crop_pct": 0.75, "size": {"height": 32, "width": 32}}, (60, 42)),
        ("PoolFormer", {"crop_pct": 0.75, "size": {"height": 32, "width": 40}}, (53, 42)),
        ("Levit", {"size": {"shortest_edge": 28}}, (45, 32)),  # int(256 / 224 * 28)
    ],
)
def test_hugging_faces_kinds_that_enlarge_before_the_crop(tmp_path, kind, changed, size):
    """By hand, as transformers' image_processing_poolformer.py and _levit.py compute it."""
    config = {
        **VIT,
        "image_processor_type": f"{kind}ImageProcessor",
        "resample": 3,
        "size": {"shortest_edge": 31},
        "do_center_crop": True,
        "crop_size": 28,
        **changed,
    }
    image = Image.fromarray(random_pixels(49, 70, 3))
    left, top = ((each - 28) // 2 for each in size)
    box = (left, top, left + 28, top + 28)
    expected = (by_pillow(image, size, box, Image.Resampling.BICUBIC) - VIT["image_mean"]) / VIT[
        "image_std"
    ]
    found = Pipeline.load(hub(tmp_path, config))(image)
    assert np.abs(found - expected.transpose(2, 0, 1)).max() < 1e-6


def test_timms_config(tmp_path):
    from paddle.vision import transforms  # which rounds as torchvision does

    config = {
        "input_size": [3, 20, 20],
        "interpolation": "bicubic",
        "crop_pct": 0.9,
        "crop_mode": "center",
        "mean": MEAN,
        "std": STD,
        "classifier": "fc",
    }
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"pretrained_cfg": config, "label_names": ["a", "b"]}))
    image = Image.fromarray(random_pixels(51, 70, 3))
    # As timm.data.transforms_factory makes them for evaluation: floor(20 / 0.9) is 22.
    steps = transforms.Resize(22, "bicubic"), transforms.CenterCrop(20), transforms.ToTensor()
    expected = transforms.Compose([*steps, transforms.Normalize(MEAN, STD)])(image).numpy()
    found = Pipeline.load(path)
    assert np.abs(found(image) - expected).max() < 2e-6
    assert found.labels == ("a", "b")
    path.write_text(json.dumps({**config, "crop_mode": "random"}))
    with refused(Unsupported, 'crop_mode "random"', path):
        Pipeline.load(path)


TIMMS_RESIZES = {"bicubic": Image.Resampling.BICUBIC, "lanczos": Image.Resampling.LANCZOS}


@pytest.mark.parametrize(
    ("changed", "resized"),
    [
        # By hand, as timm.data.transforms_factory: the longer side to floor(20 / 0.9).
        ({"crop_mode": "border"}, (22, 16)),
        ({"crop_mode": "border", "interpolation": "lanczos", "crop_pct": 1.0}, (20, 15)),
        # As volo: the size before the crop is floor(20 / 1.15).
        ({"crop_pct": 1.15}, (23, 17)),
        # The smaller of 51 / 20 and 70 / 17; round(70 / 2.55).
        ({"crop_pct": 1.0, "input_size": [3, 20, 17]}, (27, 20)),
        ({"crop_mode": "squash", "crop_pct": 2.0}, (10, 10)),
    ],
)
def test_timms_crops_with_a_border(tmp_path, changed, resized):
    config = {
        "input_size": [3, 20, 20],
        "interpolation": "bicubic",
        "crop_pct": 0.9,
        "mean": MEAN,
        "std": STD,
        **changed,
    }
    image = Image.fromarray(random_pixels(51, 70, 3))
    _, rows, columns = config["input_size"]
    if config.get("crop_mode") == "border":
        fill = [round(255 * mean) for mean in MEAN]
    else:
        fill = [0, 0, 0]
    small = np.asarray(image.resize(resized, TIMMS_RESIZES[config["interpolation"]]))
    # torchvision's pad and center_crop.
    less = [max(rows - small.shape[0], 0), max(columns - small.shape[1], 0)]
    canvas = np.empty((small.shape[0] + less[0], small.shape[1] + less[1], 3))
    canvas[:] = fill
    top, left = (each // 2 for each in less)
    canvas[top : top + small.shape[0], left : left + small.shape[1]] = small
    top, left = round((canvas.shape[0] - rows) / 2), round((canvas.shape[1] - columns) / 2)
    expected = (canvas[top : top + rows, left : left + columns] / 255 - MEAN) / STD
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config))
    found = Pipeline.load(path)(image)
    assert np.abs(found - expected.transpose(2, 0, 1)).max() < 2e-6


def values(image):
    return np.asarray(image, np.float64) / 255


def test_hugging_faces_efficientnet_divides_by_std_twice(tmp_path):
    image = Image.fromarray(random_pixels(50, 70, 3))
    config = {**VIT, "image_processor_type": "EfficientNetImageProcessor"}
    scaled = values(image.resize((32, 24), Image.Resampling.BILINEAR))
    once = (scaled - VIT["image_mean"]) / VIT["image_std"]
    off = (scaled - 1 - VIT["image_mean"]) / VIT["image_std"]
    for changed, expected in (
        ({"include_top": False}, once),
        ({"include_top": True}, once / VIT["image_std"]),
        ({}, once / VIT["image_std"]),  # its default
        ({"include_top": True, "do_normalize": False}, scaled / VIT["image_std"]),
        ({"include_top": False, "rescale_offset": True}, off),
    ):
        found = Pipeline.load(hub(tmp_path, {**config, **changed}))(image)
        assert np.abs(found - expected.transpose(2, 0, 1)).max() < 4e-6, changed


def test_hugging_faces_mobilevit_is_bgr_without_normalize(tmp_path):
    image = Image.fromarray(random_pixels(50, 70, 3))
    config = {
        **VIT,
        "image_processor_type": "MobileViTImageProcessor",
        "resample": 1,
        "size": {"shortest_edge": 24},
        "do_center_crop": True,
        "crop_size": {"height": 27, "width": 20},
        "do_flip_channel_order": True,
    }
    del config["do_normalize"], config["image_mean"], config["image_std"]
    small = image.resize((33, 24), Image.Resampling.LANCZOS).crop((6, 0, 26, 24))
    expected = np.zeros((27, 20, 3))
    expected[2:26] = values(small)  # ceil(3 / 2) rows of zeros before it
    found = Pipeline.load(hub(tmp_path, config))(image)
    assert np.abs(found - expected[..., ::-1].transpose(2, 0, 1)).max() < 1e-6
    # The processors on torchvision round down.
    config["image_processor_type"] += "Fast"
    config["do_flip_channel_order"] = False
    expected = np.roll(expected, -1, axis=0)
    found = Pipeline.load(hub(tmp_path, config))(image)
    assert np.abs(found - expected.transpose(2, 0, 1)).max() < 1e-6


def test_hugging_faces_pp_lcnet_is_bgr_behind_the_normalization(tmp_path):
    image = Image.fromarray(random_pixels(50, 70, 3))
    # round(70 * (24 / 50)) columns, of which the middle 16.
    small = image.resize((34, 24), Image.Resampling.BILINEAR).crop((9, 4, 25, 20))
    expected = ((values(small) - VIT["image_mean"]) / VIT["image_std"])[..., ::-1]
    found = Pipeline.load(hub(tmp_path, PP_LCNET))(image)
    assert np.abs(found - expected.transpose(2, 0, 1)).max() < 1e-6


def test_hugging_faces_perceiver_crops_before_it_resizes(tmp_path):
    image = Image.fromarray(random_pixels(50, 70, 3))
    config = {
        **VIT,
        "image_processor_type": "PerceiverImageProcessor",
        "resample": 3,
        "do_center_crop": True,
        "crop_size": {"height": 32, "width": 64},
    }
    # int(24 / 32 * 50) rows and int(32 / 64 * 50) columns of the middle.
    middle = image.crop((22, 6, 47, 43)).resize((32, 24), Image.Resampling.BICUBIC)
    expected = (values(middle) - VIT["image_mean"]) / VIT["image_std"]
    found = Pipeline.load(hub(tmp_path, config))(image)
    assert np.abs(found - expected.transpose(2, 0, 1)).max() < 2e-6


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


@pytest.mark.parametrize(
    ("changed", "error", "problem"),
    [
        ({"resample": 4}, Unsupported, "resample 4"),
        ({"do_pad": True}, Unsupported, "do_pad is not known"),
        ({"crop_pct": 0.9}, Unsupported, "crop_pct is not known"),
        ({"data_format": "channels_last"}, Unsupported, "data_format"),
        (
            {
                "image_processor_type": "PerceiverImageProcessor",
                "do_center_crop": True,
                "crop_size": 8,
            },
            Unsupported,
            "size above crop_size",
        ),
        ({"do_flip_channel_order": True}, Unsupported, "do_flip_channel_order with do_normalize"),
        ({"do_resize": None}, Unsupported, "do_resize is missing"),
        ({"size": {"longest_edge": 9}}, BadModel, "size: height missing"),
        ({"size": {"shortest_edge": 9, "longest_edge": 9}}, Unsupported, "longest_edge"),
        ({"image_mean": [0.5]}, BadModel, "std: expected as many as mean"),
    ],
)
def test_bad_preprocessor_config(tmp_path, changed, error, problem):
    path = hub(tmp_path, {**VIT, **changed})
    with refused(error, problem, path):
        Pipeline.load(path)


CLAS_OPS = [
    {"DecodeImage": {"to_rgb": True, "to_np": False, "channel_first": False}},
    {
        "ResizeImage": {
            "resize_short": 20,
            "interpolation": "bilinear",
            "backend": "cv2",
            "return_numpy": True,
        }
    },
    {"CropImage": {"size": 16}},
    {
        "NormalizeImage": {
            "scale": "1.0/255.0",
            "mean": [0.5, 0.5, 0.5],
            "std": [0.25, 0.25, 0.25],
            "order": "",
            "output_fp16": False,
            "channel_num": 3,
        }
    },
    {"ToCHWImage": None},
]
TWO_SIZES = [CLAS_OPS[0], {"ResizeImage": {"size": [20, 24], "resize_short": 20}}, *CLAS_OPS[2:]]
ONE_SIZE = [CLAS_OPS[0], {"ResizeImage": {"size": [20, 24]}}, *CLAS_OPS[2:]]
NAMED = {"class_id_map_file": "names.txt", "delimiter": " "}


def clas(post, ops=CLAS_OPS, **others):
    return {"PreProcess": {"transform_ops": ops}, "PostProcess": {**post, **others}}


X2 = {
    "_Attributes": {"model_type": "classifier", "labels": ["cat", "dog"], "num_classes": 2},
    "TransformsMode": "RGB",
    "Transforms": [
        {"ResizeByShort": {"short_size": 20, "max_size": -1, "interp": "LINEAR"}},
        {"CenterCrop": {"crop_size": 16}},
        {"Normalize": X2_NORMALIZE},
    ],
}
X2_RESIZE = {"Resize": {"target_size": [20, 24], "interp": "LINEAR", "keep_ratio": False}}
HUB = {
    **VIT,
    "do_center_crop": True,
    "crop_size": 16,
    "default_to_square": True,
    "size": 24,
    "data_format": "channels_first",
    "do_convert_rgb": True,
    "processor_class": "a",
    "input_data_format": "channels_last",
    "return_tensors": "pt",
    "device": "cpu",
    "disable_grouping": True,
    "_valid_processor_keys": ["a"],
    "auto_map": {"a": "b"},
    "do_reduce_labels": False,
    "do_flip_channel_order": None,
    "include_top": False,
    "rescale_offset": False,
}
POOLFORMER = {
    **VIT,
    "image_processor_type": "PoolFormerImageProcessor",
    "crop_pct": 0.9,
    "size": {"shortest_edge": 24},
    "do_center_crop": True,
    "crop_size": {"height": 16, "width": 16},
}
CONVNEXT = {**VIT, "image_processor_type": "ConvNextImageProcessor", "crop_pct": 0.8, "size": 24}
PP_LCNET = {
    **VIT,
    "image_processor_type": "PPLCNetImageProcessor",
    "resize_short": 24,
    "size_divisor": 1,
    "do_center_crop": True,
    "crop_size": {"height": 16, "width": 16},
}
OLD_HUB = {**{k: v for k, v in VIT.items() if k != "image_processor_type"}, "size": 24}
TIMM = {
    "input_size": [3, 20, 20],
    "interpolation": "bicubic",
    "crop_pct": 0.9,
    "crop_mode": "center",
    "mean": [*MEAN],
    "std": [*STD],
    "label_names": ["a", "b"],
    "classifier": "fc",
    "num_classes": 2,
    "test_input_size": [3, 32, 32],
    "test_crop_pct": 1.0,
    "pool_size": [7, 7],
}
TEXT_LINE = [{"DecodeImage": {"img_mode": "BGR"}}, {"ClsResizeImg": {"image_shape": [3, 20, 40]}}]
DETECTION = {
    "arch": "PPLCNet",
    "metric": "ATTR",
    "Preprocess": [
        {"type": "Resize", "target_size": [20, 24], "keep_ratio": False, "interp": 1},
        {"type": "NormalizeImage", "mean": [*MEAN], "std": [*STD], "norm_type": "mean_std"},
        {"type": "Permute"},
    ],
    "label_list": ["cat", "dog"],
}
WHOLE = {
    "clas": clas(
        {"Topk": {"topk": 2, **NAMED}, "SavePreLabel": {"save_dir": "a"}}, main_indicator="Topk"
    ),
    "clas, two sizes": clas({"Topk": {"topk": 2, "label_list": ["cat", "dog"]}}, TWO_SIZES),
    "clas, a size": clas({"Topk": {"topk": 2}}, ONE_SIZE),
    "clas, ThreshOutput": clas(
        {
            "ThreshOutput": {
                "threshold": 0.5,
                "default_label_index": 1,
                "label_0": "no",
                "label_1": "yes",
                **NAMED,
            }
        }
    ),
    "clas, MultiLabelThreshOutput": clas({"MultiLabelThreshOutput": {"threshold": 0.5, **NAMED}}),
    "clas, label_list": clas({"MultiLabelThreshOutput": {"label_list": ["cat", "dog"]}}),
    "clas, PersonAttribute": clas(
        {"PersonAttribute": {"threshold": 0.5, "glasses_threshold": 0.3, "hold_threshold": 0.6}}
    ),
    "clas, VehicleAttribute": clas(
        {"VehicleAttribute": {"color_threshold": 0.5, "type_threshold": 0.5}}
    ),
    "clas, TableAttribute": clas(
        {
            "TableAttribute": {
                f"{name}_threshold": 0.5
                for name in ("source", "number", "color", "clarity", "obstruction", "angle")
            }
        }
    ),
    "clas, as for training": clas({"name": "Topk", "topk": 2, **NAMED}),
    "clas, a line of text": clas({"name": "ClsPostProcess", "label_list": ["a", "b"]}, TEXT_LINE),
    "detection": DETECTION,
    "x2": X2,
    "x2, Resize": {**X2, "Transforms": [X2_RESIZE, *X2["Transforms"][1:]]},
    "hub": HUB,
    "hub, PoolFormer": POOLFORMER,
    "hub, ConvNext": CONVNEXT,
    "hub, PPLCNet": PP_LCNET,
    "hub, of old": {**OLD_HUB, "feature_extractor_type": "ViTFeatureExtractor"},
    "timm": {"pretrained_cfg": TIMM, "architecture": "resnet18"},
    "timm, alone": {**TIMM, "input_size": [3, 20, 24], "crop_mode": "squash"},
}
OTHER_TEXTS = {
    "interpolation": "nearest",
    "backend": "pil",
    "order": "chw",
    "scale": "1.0/128.0",
    "delimiter": ",",
    "class_id_map_file": "others.txt",
    "main_indicator": "SavePreLabel",
    "label_0": "never",
    "label_1": "always",
    "name": "ThreshOutput",
    "interp": "NEAREST",
    "TransformsMode": "BGR",
    "model_type": "detector",
    "crop_mode": "border",
    "image_processor_type": "PerceiverImageProcessor",
    "data_format": "channels_last",
    "feature_extractor_type": "CLIPFeatureExtractor",
}
"""Of texts; other values are turned by their type."""
WITHOUT_EFFECT = {
    "to_np": "DecodeImage gives an array anyhow",
    "return_numpy": "says how Pillow's result is handed on",
    "save_dir": "of SavePreLabel, which writes a file beside the result",
    "is_scale": "decides what PaddleX 2 checks, not what it computes",
    "num_classes": "the network says it",
    "do_convert_rgb": "pictures are RGB here before anything else",
    "processor_class": "names the processor of texts and images, of which this is a part",
    "input_data_format": "of arrays that are given in place of pictures",
    "return_tensors": "of which library the result is",
    "device": "where the result is",
    "disable_grouping": "how several pictures are computed together",
    "_valid_processor_keys": "names of arguments",
    "auto_map": "code that transformers runs only when the user trusts it",
    "architecture": "the network's name",
    "classifier": "the name of a layer",
    "pool_size": "of the network",
    "test_input_size": "timm uses it when it is asked for with use_test_size alone",
    "test_crop_pct": "likewise",
}
"""Fields that change neither tensor nor labels nor post-processing, and why."""
BESIDE = {
    ("clas, two sizes", "size"): "resize_short goes before it",
    ("hub, PPLCNet", "size"): "resize_short goes before it",
}


def places(value, before=()):
    """Yield the path of each value that is no object of fields, and no list of ops."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in items:
        path = (*before, key)
        listed = isinstance(inner, list) and bool(inner) and isinstance(inner[0], dict)
        named = isinstance(inner, dict) and key not in {"size", "crop_size", "auto_map"}
        if listed or named:
            yield from places(inner, path)
        elif inner is not None or key == "do_flip_channel_order":
            yield path


def turned_value(name, value):
    match value:
        case str():
            return OTHER_TEXTS.get(name, "other")
        case None | bool():
            return not value
        case int() | float():
            other = value + 1 if value == 0 or value > 1 else value / 2
            return {"resample": 3, "max_size": 30}.get(name, other)
        case dict():
            return {key: turned_value(key, inner) for key, inner in value.items()}
        case _:
            return [turned_value(name, value[0]), *value[1:]]


def with_turned(document, path):
    key, *rest = path
    made = dict(document) if isinstance(document, dict) else list(document)
    made[key] = with_turned(made[key], rest) if rest else turned_value(key, made[key])
    return made


@pytest.mark.parametrize("form", WHOLE)
def test_each_known_field_is_used_or_refused(tmp_path, form):
    import yaml

    names = {
        "clas": "inference.yml",
        "detection": "infer_cfg.yml",
        "x2": "model.yml",
        "hub": "preprocessor_config.json",
        "timm": "config.json",
    }
    path = tmp_path / names[form.partition(",")[0]]
    (tmp_path / "names.txt").write_text("0 cat,a\n1 dog,b\n")
    (tmp_path / "others.txt").write_text("0 sun\n1 moon\n")
    picture = random_pixels(40, 50, 3)

    def found(document):
        as_text = yaml.safe_dump if path.suffix == ".yml" else json.dumps
        path.write_text(as_text(document))
        pipeline = Pipeline.load(path)
        return pipeline(picture).tobytes(), pipeline.labels, pipeline.postprocess

    expected = found(WHOLE[form])
    silent = set()
    for place in places(WHOLE[form]):
        with suppress(lenet_cpp.Error):  # refused by its name
            if found(with_turned(WHOLE[form], place)) == expected:
                silent.add(place[-1])
    known = {name for name in WITHOUT_EFFECT if any(name in place for place in places(WHOLE[form]))}
    assert silent == known | {name for where, name in BESIDE if where == form}


def test_each_field_that_the_readers_know_is_turned(root):
    """Whoever adds a field to a reader adds it to WHOLE too."""
    source = (root / "cpp/src/description/toolkits.cc").read_text("utf-8")
    by_name = r'(?:gives|has)\("(\w+)"\)|\["(\w+)"\]|(?:require|is_on)\(\w+, "(\w+)"'
    asked = re.findall(by_name, source)
    listed = re.findall(r"const char\* name\s*:\s*\{([^}]+)\}", source)
    names = {name for found in asked for name in found if name}
    names |= {name for found in listed for name in re.findall(r'"(\w+)"', found)}
    turned = {key for form in WHOLE.values() for place in places(form) for key in place}
    not_of_files = {"preprocess", "id2label", "height", "width", "shortest_edge"}
    missing = names - turned - not_of_files
    assert not missing, missing


MARK = b"\xef\xbb\xbf"  # UTF-8's byte order mark


def test_a_byte_order_mark_is_accepted_by_every_reader(model_dir, tmp_path):
    """Editors of Windows put it at the beginning of what they save."""
    folder = shutil.copytree(model_dir, tmp_path / "lenet")
    images.digit().save(folder / "preprocess.json")
    expected = lenet_cpp.Classifier(folder)(DIGIT).predictions
    for name in ("preprocess.json", "manifest.json", "SHA256SUMS"):
        path = folder / name
        path.write_bytes(MARK + path.read_bytes())
        if name != "SHA256SUMS":
            listed = (folder / "SHA256SUMS").read_text().splitlines()
            kept = [line for line in listed if not line.endswith(name)]
            (folder / "SHA256SUMS").write_text("\n".join(kept) + "\n")
    assert lenet_cpp.Classifier(folder)(DIGIT).predictions == expected
    assert Pipeline.load(folder / "preprocess.json") == images.digit()
    assert read_manifest(folder).classes == tuple("0123456789")
    assert verify_checksums(folder)
    # What toolkits write: more than one line, of which the second would stand further left.
    text = with_ops("ResizeImage: {size: 9}", NORMALIZE, "ToCHWImage:") + (
        "PostProcess:\n  Topk: {topk: 1, class_id_map_file: names.txt}\n"
    )
    (tmp_path / "names.txt").write_bytes(MARK + b"0 cat\n1 dog\n")
    plain = Pipeline.load(yml(tmp_path, text))
    assert plain.labels == ("cat", "dog")
    (tmp_path / "inference.yml").write_bytes(MARK + text.encode())
    assert Pipeline.load(tmp_path / "inference.yml") == plain
    path = hub(tmp_path, VIT, {"id2label": {"0": "cat", "1": "dog"}})
    for each in (path, tmp_path / "config.json"):
        each.write_bytes(MARK + each.read_bytes())
    assert Pipeline.load(path).labels == ("cat", "dog")


@pytest.mark.parametrize(
    ("names", "problem"),
    [(b"0 a\n1 b\0\n", "line 2 has a NUL"), (b"0 a\n1 \xff\n", "it is not UTF-8")],
)
def test_bad_files_of_labels_that_a_description_names(tmp_path, names, problem):
    text = with_ops(NORMALIZE, "ToCHWImage:") + (
        "PostProcess:\n  Topk: {topk: 1, class_id_map_file: names.txt}\n"
    )
    (tmp_path / "names.txt").write_bytes(names)
    with refused(lenet_cpp.BadInput, problem, tmp_path / "names.txt"):
        Pipeline.load(yml(tmp_path, text))


def test_a_nul_in_a_label_is_refused(tmp_path):
    path = hub(tmp_path, VIT, {"id2label": {"0": "a\0b"}})
    with refused(BadModel, "labels.0.: a NUL character", path):
        Pipeline.load(path)
    with pytest.raises(lenet_cpp.BadInput, match="a name has a NUL character"):
        lenet_cpp.Classifier(labels=["a\0", *"bcdefghij"])


def test_a_normalize_whose_values_float32_does_not_hold(tmp_path):
    path = hub(tmp_path, {**VIT, "image_mean": [3e38, 0, 0], "image_std": [0.1, 1, 1]})
    with refused(BadModel, r"steps.1.: some of its values are infinite or NaN in float32", path):
        Pipeline.load(path)


def test_labels_of_a_config_must_be_whole(tmp_path):
    path = hub(tmp_path, VIT, {"id2label": {"0": "cat", "2": "dog"}})
    with refused(BadModel, "expected the numbers 0 to 1, found 2", path):
        Pipeline.load(path)


BOMB = "a: &a [x, x, x, x]\n" + "".join(
    f"{new}: &{new} [*{old}, *{old}, *{old}, *{old}]\n"
    for old, new in zip("abcdefg", "bcdefgh", strict=True)
)
BOMB_INSIDE = ", ".join(BOMB.splitlines())


@pytest.mark.parametrize(
    ("text", "error", "problem"),
    [
        (BOMB, Unsupported, "no description"),
        (f"PreProcess: {{{BOMB_INSIDE}}}", Unsupported, "line 1: an alias"),
        ("PreProcess: &x [*x]", Unsupported, "line 1: an alias"),
        ("[" * 300_000, BadModel, "nested too deeply"),
        ("{a: " * 300_000, BadModel, "nested too deeply"),
        ("- " * 300_000, BadModel, "nested too deeply"),
        ("".join(f"k{number}: 1\n" for number in range(1_000_000)), Unsupported, "at most 4194304"),
        ("".join(f"k{number}: 1\n" for number in range(380_000)), Unsupported, "no description"),
        (f"Global: {'x' * 4_000_000}", Unsupported, "no description"),
    ],
    ids=[
        "bomb",
        "bomb inside",
        "cycle",
        "lists",
        "mappings",
        "block lists",
        "million keys",
        "keys",
        "text",
    ],
)
def test_hostile_yaml(tmp_path, text, error, problem):
    with refused(error, problem, tmp_path / "inference.yml"):
        Pipeline.load(yml(tmp_path, text))
