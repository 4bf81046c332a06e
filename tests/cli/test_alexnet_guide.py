"""The steps of AlexNet's guide, from exporting to the log, by our commands.

The guide's own program with AutoLogger is in docs/guides/check-and-log.md, which is run.
"""

import re

import pytest
from classifiers import MAINS, run

from lenet_cpp.cli import load
from lenet_cpp.paddle_engines.records import read_record


@pytest.mark.nightly
@pytest.mark.parametrize("case", ["resnet", "alexnet"], indirect=True)
def test_steps(case, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    photo, size = case.photos / "0.jpg", case.sizes["image_size"]
    flags = [f"--pretrained={case.params}", f"--model={case.name.lower()}", "--softmax"]
    flags += [f"--num-classes={case.sizes['num_classes']}", f"--img-size={size}"]
    assert load("export")([*flags, "--save-inference-dir=inference"]) == 0
    suffixes = {path.name for path in (tmp_path / "inference").glob("inference.*")}
    assert suffixes - {"inference.json"} == {
        f"inference.{suffix}" for suffix in ("pdmodel", "pdiparams", "pdiparams.info")
    }
    assert MAINS["infer"]([*case.infer_flags(), f"--i={photo}", "--reprod-dir=output"]) == 0
    flags = "--model-dir inference --use-gpu False --use-mkldnn True --cpu-threads 1 --warmup 1 "
    flags += f"--batch-size 1 --benchmark True --resize-size {round(size * 256 / 224)} "
    flags += f"--crop-size {size} --max-batch-size 16 --min-subgraph-size 3 --reprod-dir output"
    done = run("predict", *flags.split(), "--img-path", photo)
    assert done.returncode == 0, done.stderr
    assert re.search(r" inference_time\(ms\)|preprocess_time\(ms\)", done.stdout)
    trained, deployed = (
        read_record(tmp_path / "output" / f"output_{name}_engine.npy")
        for name in ("training", "inference")
    )
    assert trained["class_id"] == deployed["class_id"]
    assert trained["prob"] == pytest.approx(deployed["prob"], abs=1e-5)
