"""What toolkits write beside a model: PaddleClas, PaddleX, Hugging Face and timm."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

import lenet_cpp
from lenet_cpp import BadModel, Unsupported
from lenet_cpp.data import images
from lenet_cpp.data.images import CenterCrop, Normalize, Pipeline, Resize, ToCHW
from pictures import random_pixels, refused
from predictor_cases import in_child
from snippets import run_command

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
    "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25], "is_scale": True,
    "min_val": [0, 0, 0], "max_val": [255.0, 255.0, 255.0],
}  # fmt: skip


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
    "image_processor_type": "ViTImageProcessor", "do_resize": True, "resample": 2,
    "size": {"height": 24, "width": 32}, "do_rescale": True, "rescale_factor": 1 / 255,
    "do_normalize": True, "image_mean": [0.5, 0.4, 0.3], "image_std": [0.5, 0.5, 0.25],
}  # fmt: skip


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
        **VIT, "image_processor_type": "ConvNextImageProcessor", "crop_pct": 0.875,
        "size": {"shortest_edge": side},
    }  # fmt: skip
    image = Image.fromarray(random_pixels(50, 70, 3))
    left, top = ((each - side) // 2 for each in size)
    expected = by_pillow(image, size, (left, top, left + side, top + side))
    expected = (expected - VIT["image_mean"]) / VIT["image_std"]
    found = Pipeline.load(hub(tmp_path, config))(image)
    assert np.abs(found - expected.transpose(2, 0, 1)).max() < 1e-6


def test_timms_config(tmp_path):
    from paddle.vision import transforms  # which rounds as torchvision does

    config = {
        "input_size": [3, 20, 20], "interpolation": "bicubic", "crop_pct": 0.9,
        "crop_mode": "center", "mean": MEAN, "std": STD, "classifier": "fc",
    }  # fmt: skip
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"pretrained_cfg": config, "label_names": ["a", "b"]}))
    image = Image.fromarray(random_pixels(51, 70, 3))
    # As timm.data.transforms_factory makes them for evaluation: floor(20 / 0.9) is 22.
    steps = transforms.Resize(22, "bicubic"), transforms.CenterCrop(20), transforms.ToTensor()
    expected = transforms.Compose([*steps, transforms.Normalize(MEAN, STD)])(image).numpy()
    found = Pipeline.load(path)
    assert np.abs(found(image) - expected).max() < 2e-6
    assert found.labels == ("a", "b")
    path.write_text(json.dumps({**config, "crop_mode": "border"}))
    with refused(Unsupported, 'crop_mode "border"', path):
        Pipeline.load(path)


@pytest.mark.parametrize(
    ("changed", "error", "problem"),
    [
        ({"resample": 1}, Unsupported, "resample 1"),
        ({"do_pad": True}, Unsupported, "do_pad is not known"),
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
