"""Each field of a toolkit's description changes the result, or is refused."""

import json
import re
from contextlib import suppress

import pytest

import lenet_cpp
from descriptions import MEAN, PP_LCNET, STD, VIT, X2_NORMALIZE
from lenet_cpp.data.images import Pipeline
from pictures import random_pixels

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
"""What a text is changed to, by its field; other values are changed by their type."""
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
