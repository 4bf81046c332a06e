"""PaddleClas and PaddleX without their networks, in the environment of PaddleClas.

Of PaddleX the modules that prepare images and process outputs are imported, not the package: it
needs what an environment of PaddleClas lacks.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from tools.toolkits.cases import Result

# What BaseClassifier.predict of PaddleX 2 takes by default.
PADDLEX2_TOPK = 1


def floats(*named: Mapping[str, Any]) -> tuple[float, ...]:
    return tuple(each for values in named for each in values.values() if isinstance(each, float))


class PaddleClas:
    """ClsPredictor of PaddleClas."""

    name = "PaddleClas 2.6.0"

    def __init__(self, config: Path, _packages: Path) -> None:
        """Read inference.yml; the file of class names is the one beside it."""
        import yaml

        content = yaml.safe_load(config.read_text("utf-8"))
        preprocess = import_module("paddleclas.deploy.python.preprocess")
        self.steps = preprocess.create_operators(content["PreProcess"]["transform_ops"])
        self.read = preprocess.cv2.imread
        post = content["PostProcess"]
        for values in post.values():
            if isinstance(values, dict) and "class_id_map_file" in values:
                name = Path(values["class_id_map_file"]).name
                values["class_id_map_file"] = str(config.with_name(name))
        postprocess = import_module("paddleclas.deploy.python.postprocess")
        self.postprocess = postprocess.build_postprocess(post)
        settings = [vars(function) for function in self.postprocess.func_list]
        self.thresholds = floats(*settings)

    def tensor(self, path: str) -> Any:
        """Return what the network takes for a picture, float32 [C, H, W]."""
        image = self.read(path)[:, :, ::-1]
        for step in self.steps:
            image = step(image)
        return image

    def result(self, _path: str, output: Any) -> Result:
        """Return what is made of an output, float32 [1, count]."""
        (result,) = self.postprocess(output)
        return dict(result)


class PaddleX3:
    """ClasRunnerPredictor of PaddleX 3, or its MLClasPredictor."""

    name = "PaddleX 3.7.2"

    def __init__(self, config: Path, packages: Path) -> None:
        """Read inference.yml."""
        import yaml

        single, multiple = paddlex3(packages)
        content = yaml.safe_load(config.read_text("utf-8"))
        made: Any = multiple if "MultiLabelThreshOutput" in content["PostProcess"] else single
        self.thresholds = floats(*content["PostProcess"].values())
        # Without its __init__, which opens the network.
        self.predictor = object.__new__(made)
        vars(self.predictor).update(config=content, topk=None, threshold=None)
        steps = self.predictor._build()  # noqa: SLF001  # nothing public makes the steps alone
        self.predictor.preprocessors, self.predictor.postprocessors = steps

    def _process(self, path: str, run: Callable[[Any], Any]) -> Result:
        self.predictor.runner = lambda x: [run(x[0])]
        batch = SimpleNamespace(instances=[path], input_paths=[path], page_indexes=[None])
        results = self.predictor.process(batch)
        return {key: list(results[key][0]) for key in ("class_ids", "scores", "label_names")}

    def tensor(self, path: str) -> Any:
        """Return what the network takes for a picture, float32 [C, H, W]."""
        taken: list[Any] = []

        def run(batch: Any) -> Any:
            taken.extend(batch)
            return np.zeros((1, 5), np.float32)

        self._process(path, run)
        return taken[0]

    def result(self, path: str, output: Any) -> Result:
        """Return what is made of an output, float32 [1, count]."""
        return self._process(path, lambda _batch: output)


class PaddleX2:
    """BaseClassifier of PaddleX 2: its transforms, and what its _postprocess is written to do."""

    name = "PaddleX 2.1.0"
    thresholds = ()

    def __init__(self, config: Path, packages: Path) -> None:
        """Read model.yml."""
        import yaml

        transforms = paddlex2(packages)
        content = yaml.load(config.read_text("utf-8"), yaml.Loader)  # as load_model does
        self.labels = content["_Attributes"]["labels"]
        self.transforms = transforms.build_transforms(content["Transforms"])
        transforms.arrange_transforms("classifier", self.transforms, "test")

    def tensor(self, path: str) -> Any:
        """Return what the network takes for a picture, float32 [C, H, W]."""
        return self.transforms({"image": path})

    def result(self, _path: str, output: Any) -> Result:
        """Return what is made of an output, float32 [1, count]."""
        best = np.argsort(output[0])[::-1][:PADDLEX2_TOPK]
        names = [self.labels[index] for index in best]
        return {"class_ids": list(best), "scores": list(output[0][best]), "label_names": names}


def toolkit_of(config: Path, packages: Path) -> PaddleClas | PaddleX2 | PaddleX3:
    """Return the toolkit that a folder's file is of.

    Args:
        config: The file; the folder of PaddleX 3's has that in its name.
        packages: The folder with those of PaddleX, paddlex2 and paddlex3.
    """
    if config.name == "model.yml":
        return PaddleX2(config, packages)
    made = PaddleX3 if config.parent.name.startswith("paddlex3") else PaddleClas
    return made(config, packages)


def import_parts(root: Path, bare: Iterable[str], stubs: dict[str, dict[str, Any]]) -> None:
    """Make ``paddlex`` importable in parts.

    Args:
        root: The folder of the package.
        bare: Packages whose __init__ is not run, because it imports what is not needed here.
        stubs: Modules with only these attributes.
    """
    for name in [each for each in sys.modules if each.partition(".")[0] == "paddlex"]:
        del sys.modules[name]
    for name in bare:
        sys.modules[name] = ModuleType(name)
        sys.modules[name].__path__ = [str(root.joinpath(*name.split(".")))]
    for name, attributes in stubs.items():
        module = sys.modules.setdefault(name, ModuleType(name))
        module.__dict__.update(attributes)


def paddlex2(packages: Path) -> Any:
    """Return paddlex.cv.transforms of PaddleX 2; it resizes by OpenCV, polygons are not needed."""
    collate = "paddle.fluid.dataloader.collate"  # Paddle 2.6 has it elsewhere
    shapes = dict.fromkeys(("Polygon", "MultiPolygon", "GeometryCollection"))
    stubs: dict[str, dict[str, Any]] = {
        "shapely": {},
        "shapely.ops": {},
        "shapely.geometry": shapes,
        "paddlex.utils.logging": {},
        "paddle.fluid": {},
        "paddle.fluid.dataloader": {},
        collate: {"default_collate_fn": None},
    }
    bare = ("paddlex", "paddlex.cv", "paddlex.utils")
    import_parts(packages / "paddlex2", bare, stubs)
    package = sys.modules["paddlex"]
    package.__dict__["transforms"] = import_module("paddlex.cv.transforms")
    return package.transforms


def paddlex3(packages: Path) -> tuple[type, type]:
    """Return the two predictors of PaddleX 3, without its engines, pipelines and timers."""

    def unchanged(*_: Any, **__: Any) -> Callable[[Any], Any]:
        return lambda made: made

    inference, models = "paddlex.inference", "paddlex.inference.models"
    common, modules = f"{models}.common", "paddlex.modules.image_classification"
    single, multiple = f"{models}.image_classification", f"{models}.image_multilabel_classification"
    utils, reader = f"{inference}.utils", f"{inference}.common.reader"
    bare = (
        "paddlex",
        "paddlex.utils",
        "paddlex.modules",
        modules,
        inference,
        models,
        common,
        single,
        multiple,
        utils,
        f"{utils}.io",
        f"{inference}.common",
        reader,
    )
    timer = SimpleNamespace(timeit=lambda made: made, timeit_with_options=unchanged)
    dependencies = {"is_dep_available": lambda name: name == "opencv-contrib-python"}
    dependencies |= dict.fromkeys(("class_requires_deps", "function_requires_deps"), unchanged)
    stubs: dict[str, dict[str, Any]] = {
        "paddlex.utils.deps": dependencies,
        "paddlex.utils.logging": {"debug": unchanged},
        f"{utils}.benchmark": {"benchmark": timer},
        f"{utils}.pdf_rendering": {"render_pdf_page_to_numpy": None},
        f"{inference}.common.batch_sampler": {"ImageBatchSampler": object},
        f"{models}.predictors": {"RunnerPredictor": object, "TransformersPredictor": object},
        f"{modules}.model_list": {"MODELS": []},
        f"{single}.result": {"TopkResult": object},
        f"{multiple}.result": {"MLClassResult": object},
    }
    import_parts(packages / "paddlex3", bare, stubs)
    for package, source in (
        (f"{utils}.io", ".readers"),
        (reader, ".image_reader"),
        (common, ".vision"),
        (single, ".predictor"),
        (multiple, ".predictor"),
    ):
        found = import_module(source, package)
        sys.modules[package].__dict__.update(
            {name: value for name, value in vars(found).items() if not name.startswith("__")}
        )
    return (
        sys.modules[single].__dict__["ClasRunnerPredictor"],
        sys.modules[multiple].__dict__["MLClasPredictor"],
    )
