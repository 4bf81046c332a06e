"""The steps of AlexNet's guide, from exporting to the log, as one program and our commands."""

import re
import subprocess
import sys

import numpy as np
import pytest
from classifiers import MAINS, run

from lenet_cpp.cli import load

INFER = """
import sys

import numpy as np
from lenet_cpp import AutoLog as AutoLogger
from paddle import inference
from PIL import Image
from reprod_log import ReprodLogger

from lenet_cpp.data.images import imagenet


class InferenceEngine:
    def __init__(self, img_size):
        files = [f"inference/inference.{suffix}" for suffix in ("pdmodel", "pdiparams")]
        self.predictor, self.config, self.input, self.output = self.load_predictor(*files)
        self.transforms = imagenet(img_size)

    def load_predictor(self, model_file_path, params_file_path):
        config = inference.Config(model_file_path, params_file_path)
        config.disable_gpu()
        config.enable_mkldnn()
        config.set_cpu_math_library_num_threads(1)
        config.enable_memory_optim()
        config.disable_glog_info()
        config.switch_use_feed_fetch_ops(False)
        config.switch_ir_optim(True)
        predictor = inference.create_predictor(config)
        input_tensor = predictor.get_input_handle(predictor.get_input_names()[0])
        output_tensor = predictor.get_output_handle(predictor.get_output_names()[0])
        return predictor, config, input_tensor, output_tensor

    def preprocess(self, img_path):
        with open(img_path, "rb") as f:
            return np.expand_dims(self.transforms(Image.open(f).convert("RGB")), axis=0)

    def run(self, x):
        self.input.copy_from_cpu(x)
        self.predictor.run()
        return self.output.copy_to_cpu()

    def postprocess(self, x):
        x = x.flatten()
        class_id = x.argmax()
        return class_id, x[class_id]


engine = InferenceEngine(int(sys.argv[2]))
autolog = AutoLogger(model_name="classification", model_precision="fp32", batch_size=1,
                     data_shape="dynamic", save_path="output/benchmark.log",
                     inference_config=engine.config, pids=None, process_name=None, gpu_ids=None,
                     time_keys=["preprocess_time", "inference_time", "postprocess_time"])
autolog.times.start()
x = engine.preprocess(sys.argv[1])
autolog.times.stamp()
output = engine.run(x)
autolog.times.stamp()
class_id, prob = engine.postprocess(output)
autolog.times.stamp()
autolog.times.end(stamp=True)
autolog.report()
record = ReprodLogger()
record.add("class_id", np.array([class_id]))
record.add("prob", np.array([prob]))
record.save("output/output_inference_engine.npy")
"""

CHECK = """
from reprod_log import ReprodDiffHelper

helper = ReprodDiffHelper()
records = [helper.load_info(f"output/output_{name}_engine.npy") for name in
           ("training", "inference")]
helper.compare_info(*({key: record[key] for key in ("class_id", "prob")} for record in records))
helper.report(path="output/diff.log", diff_threshold=1e-5)
"""


@pytest.mark.parametrize(
    "case", ["resnet", pytest.param("alexnet", marks=pytest.mark.nightly)], indirect=True
)
def test_steps(case, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "output").mkdir()
    photo, size = case.photos / "0.jpg", case.sizes["img_size"]
    flags = [f"--pretrained={case.params}", f"--model={case.name.lower()}", "--softmax"]
    flags += [f"--num-classes={case.sizes['class_dim']}", f"--img-size={size}"]
    assert load("export")([*flags, "--save-inference-dir=inference"]) == 0
    suffixes = {path.name for path in (tmp_path / "inference").glob("inference.*")}
    assert suffixes - {"inference.json"} == {
        f"inference.{suffix}" for suffix in ("pdmodel", "pdiparams", "pdiparams.info")
    }
    trained = [*case.infer_flags(), f"--i={photo}", "--reprod-dir=output"]
    assert MAINS["infer"](trained) == 0
    for code, *arguments in ((INFER, photo, size), (CHECK,)):
        command = [sys.executable, "-Wignore", "-c", code, *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert "diff check passed" in (tmp_path / "output" / "diff.log").read_text()
    log = (tmp_path / "output" / "benchmark.log").read_text()
    for said in ("enable_memory_optim: True", "enable_mkldnn: True", "model_name: classification"):
        assert f" {said}\n" in log
    flags = "--model-dir inference --use-gpu False --use-mkldnn True --cpu-threads 1 --warmup 1 "
    flags += f"--batch-size 1 --benchmark True --resize-size {round(size * 256 / 224)} "
    flags += f"--crop-size {size} --max-batch-size 16 --min-subgraph-size 3 --reprod-dir ours"
    done = run("predict", *flags.split(), "--img-path", photo)
    assert done.returncode == 0, done.stderr
    assert re.search(r" inference_time\(ms\)|preprocess_time\(ms\)", done.stdout)
    theirs, ours = (
        np.load(tmp_path / folder / "output_inference_engine.npy", allow_pickle=True).item()
        for folder in ("output", "ours")
    )
    assert theirs["class_id"] == ours["class_id"]
    assert theirs["prob"] == pytest.approx(ours["prob"], abs=1e-5)
