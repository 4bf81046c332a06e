"""Write folders as PaddleClas, PaddleX and PaddleOCR export them, but for the network."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from tools.toolkits.packages import paddlex2

TOP_LEVEL = ("attr", "cls", "cls_based_action", "cls_ch4", "cls_multilabel")
WATERMARK = "practical_models/watermark_exists/inference_watermark_exists.yaml"
# Names that show a shift, an order by line, and a cut at a comma, a colon or a space. yaml.dump
# writes the long ones in several lines, in plain, single-quoted and double-quoted style.
NAMES = (
    "zero",
    "one, or first",
    "two: a pair",
    'three "III"',
    "four  4",
    "五 five",
    "6 six",
    "seven",
    "eight - 8",
    "nine; IX",
    "ten: " + "one more " * 9 + "or 5 + 5",
    "eleven " + "is one more than ten and " * 4 + "prime",
    "twelve " + "is twice six, 十二, " * 6,
)


def paddleclas_package() -> Path:
    spec = find_spec("paddleclas")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("this step needs paddleclas; see nox -s paddleclas")
    return Path(spec.origin).parent


def write_paddleclas(folder: Path) -> None:
    """Write each configuration of PaddleClas as inference.yml, with its list of labels beside."""
    import yaml

    deploy = paddleclas_package() / "deploy"
    configs = [
        *sorted(deploy.glob("configs/PULC/*/inference_*.yaml")),
        *(deploy / f"configs/inference_{name}.yaml" for name in TOP_LEVEL),
        deploy / "configs" / WATERMARK,
    ]
    for config in configs:
        target = folder / config.stem.removeprefix("inference_")
        target.mkdir(exist_ok=True)
        (target / "inference.yml").write_bytes(config.read_bytes())
        for values in yaml.safe_load(config.read_text())["PostProcess"].values():
            if isinstance(values, dict) and "class_id_map_file" in values:
                labels = deploy / values["class_id_map_file"]
                # The package lacks the file of inference_cls_based_action.
                content = labels.read_bytes() if labels.is_file() else b"0 no phone\n1 phone\n"
                (target / labels.name).write_bytes(content)
    write_variants(folder, yaml.safe_load((deploy / "configs" / "inference_cls.yaml").read_text()))


def write_variants(folder: Path, base: dict[str, Any]) -> None:
    """Write what no configuration of PaddleClas has: other lists of labels, and thresholds."""
    import yaml

    order = np.random.default_rng(1).permutation(len(NAMES))
    spaces, commas = (
        "".join(f"{i}{delimiter}{NAMES[i]}{end}" for i in order)
        for delimiter, end in ((" ", "\n"), (",", "\r\n"))
    )
    file = {"class_id_map_file": "../somewhere/names.txt"}
    half = {"label_0": "below", "label_1": "at least"}
    table = {f"{name}_threshold": 0.3 for name in ("source", "color", "obstruction", "angle")}
    table |= {"number_threshold": 0.7, "clarity_threshold": 0.7}
    for name, kind, values, lines in (
        ("known_names", "Topk", {"topk": 13, **file}, spaces),
        ("known_names_comma", "Topk", {"topk": 3, "delimiter": ",", **file}, commas),
        (
            "many_classes",
            "ThreshOutput",
            {"threshold": 0.5, "default_label_index": 7, **file},
            spaces,
        ),
        ("exactly_half", "ThreshOutput", {"threshold": 0.5, **half}, ""),
        # With one threshold it does not show which is compared with what.
        ("table_thresholds", "TableAttribute", table, ""),
        ("vehicle_thresholds", "VehicleAttribute", {"color_threshold": 0.4}, ""),
        ("person_thresholds", "PersonAttribute", {"threshold": 0.4, "glasses_threshold": 0.6}, ""),
    ):
        target = folder / name
        target.mkdir(exist_ok=True)
        post = {"PostProcess": {"main_indicator": kind, kind: values}}
        (target / "inference.yml").write_text(yaml.safe_dump({**base, **post}))
        if lines:
            (target / "names.txt").write_bytes(lines.encode())


def write_paddlex3(folder: Path) -> None:
    """Write inference.yml as PaddleClas and PaddleOCR do for PaddleX 3."""
    import yaml

    normalize = {"channel_num": 3, "mean": [0.485, 0.456, 0.406], "order": ""}
    normalize |= {"scale": 0.00392156862745098, "std": [0.229, 0.224, 0.225]}
    short: list[Any] = [{"ResizeImage": {"interpolation": "LINEAR", "resize_short": 256}}]
    short.append({"CropImage": {"size": 224}})
    names = list(NAMES)
    labels = paddleclas_package() / "ppcls/utils/imagenet1k_label_list.txt"
    imagenet = [line.partition(" ")[2] for line in labels.read_text("utf-8").splitlines()]
    angles = ["0", "90", "180", "270"]
    for name, model, resize, post in (
        ("paddlex3_topk", "PP-LCNet_x1_0", short, {"Topk": {"topk": 5, "label_list": imagenet}}),
        ("paddlex3_names", "PP-LCNet_x1_0", short, {"Topk": {"topk": 13, "label_list": names}}),
        (
            "paddlex3_orientation",
            "PP-LCNet_x1_0_doc_ori",
            short,
            {"Topk": {"topk": 1, "label_list": angles}},
        ),
        (
            "paddlex3_textline",
            "PP-LCNet_x0_25_textline_ori",
            [{"ResizeImage": {"size": [160, 80]}}],
            {"Topk": {"topk": 1, "label_list": ["0_degree", "180_degree"]}},
        ),
        (
            "paddlex3_multilabel",
            "PP-LCNet_x1_0_ML",
            [{"ResizeImage": {"size": 448}}],
            {"MultiLabelThreshOutput": {"threshold": 0.5, "label_list": names}},
        ),
    ):
        shapes = {"x": [[count, 3, 224, 224] for count in (1, 1, 8)]}
        backends = {"paddle_infer": {"trt_dynamic_shapes": shapes}}
        backends["tensorrt"] = {"dynamic_shapes": shapes}  # yaml.dump writes an alias
        content = {"Global": {"model_name": model}, "Hpi": {"backend_configs": backends}}
        ops = [*resize, {"NormalizeImage": normalize}, {"ToCHWImage": None}]
        content |= {"PreProcess": {"transform_ops": ops}, "PostProcess": post}
        (folder / name).mkdir(exist_ok=True)
        (folder / name / "inference.yml").write_text(yaml.dump(content, sort_keys=False))


def write_paddlex2(folder: Path, packages: Path) -> None:
    """Write model.yml as BaseModel.get_model_info and _export_inference_model of PaddleX 2 do."""
    import yaml

    made = paddlex2(packages)
    for name, transforms in (
        ("paddlex2_crop", [made.ResizeByShort(256), made.CenterCrop(224), made.Normalize()]),
        ("paddlex2_resize", [made.Resize(224), made.Normalize(mean=[0.5] * 3, std=[0.5] * 3)]),
        # PaddleX divides by 255 even so. CUBIC differs by 1 between builds of OpenCV.
        ("paddlex2_tall", [made.Resize([256, 192], "AREA"), made.Normalize(is_scale=False)]),
    ):
        info: dict[str, Any] = {"version": "2.1.0", "Model": "PPLCNet", "_init_params": {}}
        info["_Attributes"] = {
            "model_type": "classifier",
            "num_classes": len(NAMES),
            "labels": list(NAMES),
            "fixed_input_shape": None,
            "eval_metrics": {"acc1": 0.9375},
        }
        info["Transforms"] = [{type(op).__name__: op.__dict__} for op in transforms]
        info |= {"completed_epochs": 10, "status": "Infer"}
        (folder / name).mkdir(exist_ok=True)
        (folder / name / "model.yml").write_text(yaml.dump(info), "utf-8")
