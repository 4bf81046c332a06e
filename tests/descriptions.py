"""Descriptions of images as toolkits write them beside a model, for tests."""

import json

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
NORMALIZE = "NormalizeImage: {scale: 1.0/255.0, mean: [0, 0, 0], std: [1, 1, 1], order: ''}"
X2_NORMALIZE = {
    "mean": [0.5, 0.5, 0.5],
    "std": [0.25, 0.25, 0.25],
    "is_scale": True,
    "min_val": [0, 0, 0],
    "max_val": [255.0, 255.0, 255.0],
}
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
PP_LCNET = {
    **VIT,
    "image_processor_type": "PPLCNetImageProcessor",
    "resize_short": 24,
    "size_divisor": 1,
    "do_center_crop": True,
    "crop_size": {"height": 16, "width": 16},
}


def yml(tmp_path, text):
    """Write an inference.yml, as PaddleClas and PaddleX 3 do, and return its path."""
    (tmp_path / "inference.yml").write_text(text)
    return tmp_path / "inference.yml"


def with_ops(*ops):
    """Return the text of an inference.yml with these steps."""
    return "PreProcess:\n  transform_ops:\n" + "".join(f"    - {op}\n" for op in ops)


def hub(tmp_path, document, config=None):
    """Write a preprocessor_config.json beside a config.json, and return its path."""
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(document))
    (tmp_path / "config.json").write_text(json.dumps(config or {"model_type": "vit"}))
    return tmp_path / "preprocessor_config.json"
