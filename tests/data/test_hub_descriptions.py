"""What Hugging Face's processors and timm write beside a model."""

import json

import numpy as np
import pytest
from PIL import Image

from descriptions import MEAN, PP_LCNET, STD, VIT, hub
from lenet_cpp import BadModel, Unsupported
from lenet_cpp.data.images import Pipeline
from pictures import random_pixels, refused


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
