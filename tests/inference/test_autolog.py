"""The benchmark report: what AutoLog's parsers find in it, and whether it is true."""

import io
import logging
import os
import re
import time
from datetime import datetime
from pathlib import Path

import pytest
from PIL import Image

import lenet_cpp
from lenet_cpp import InferenceEngine, models
from lenet_cpp.data.mnist import read_idx
from lenet_cpp.paddle_engines import autolog
from lenet_cpp.paddle_engines.autolog import AutoLog
from lenet_cpp.paddle_engines.engine import RunSettings
from scripts.predict import infer, predict, py_infer

MAINS = {"predict": predict, "infer": infer, "py_infer": py_infer}
SAMPLE = Path(__file__).parents[2] / "data" / "mnist_sample" / "t10k-images-idx3-ubyte.gz"

LINE = re.compile(r"\[(\d{4}/\d\d/\d\d \d\d:\d\d:\d\d)\] root INFO: (.*)")

# AutoLog 1.0: each section, and the keys of each of its lines, in order.
AUTOLOG = {
    "---------------------- Env info ----------------------": [
        "OS_version",
        "CUDA_version",
        "CUDNN_version",
        "drivier_version",
    ],
    "---------------------- Paddle info ----------------------": [
        "paddle_version",
        "paddle_commit",
        "log_api_version",
    ],
    "----------------------- Conf info -----------------------": [
        "runtime_device",
        "ir_optim",
        "enable_memory_optim",
        "enable_tensorrt",
        "enable_mkldnn",
        "cpu_math_library_num_threads",
    ],
    "----------------------- Model info ----------------------": ["model_name", "precision"],
    "----------------------- Data info -----------------------": [
        "batch_size",
        "input_shape",
        "data_num",
    ],
    "----------------------- Perf info -----------------------": [
        "cpu_rss(MB), gpu_rss(MB), gpu_util",
        "total time spent(s)",
        "preprocess_time(ms), inference_time(ms), postprocess_time(ms)",
    ],
}
# The keys that collecting scripts look for, as single words with a colon.
COLLECTED = [
    "runtime_device",
    "ir_optim",
    "enable_memory_optim",
    "enable_tensorrt",
    "precision",
    "enable_mkldnn",
    "cpu_math_library_num_threads",
    "model_name",
    "batch_size",
    "input_shape",
    "data_num",
    "cpu_rss(MB)",
    "gpu_rss(MB)",
    "gpu_util",
    "preprocess_time(ms)",
    "inference_time(ms)",
    "postprocess_time(ms)",
]


def collected(log):
    """Read a log as the collecting scripts do: the word after 'KEY:', up to a comma.

    They skip the first line, take any line with the word, and let a later one win.
    """
    found = {}
    for line in log.splitlines()[1:]:
        words = line.split(" ")
        for key in COLLECTED:
            if f"{key}:" in words:
                value = words[words.index(f"{key}:") + 1].strip()
                found[key] = value if key == "input_shape" else value.split(",")[0]
    return found


def report_of(output):
    """The report in what a command printed: it begins at the first line of the log."""
    return output[LINE.search(output).start() :]


def messages_of(report):
    """The messages of a report whose every line is one of the log, but AutoLog's empty second."""
    lines = report.splitlines()
    assert lines[1] == ""
    matches = [LINE.fullmatch(line) for line in [lines[0], *lines[2:]]]
    for match in matches:
        datetime.strptime(match[1], "%Y/%m/%d %H:%M:%S")  # noqa: DTZ007 - AutoLog's is local time
    assert matches[0][2] == ""
    return [match[2] for match in matches[1:]]


def total_of(report):
    return float(re.search(r"total time spent\(s\): ([\d.]+)$", report, re.MULTILINE)[1])


SETTINGS = RunSettings(
    engine="paddle",
    paddle_version="3.3.1",
    paddle_commit="0123abc",
    cuda_version=None,
    cudnn_version=None,
    accelerator="plain",
    ir_optim=True,
    memory_optim=False,
    threads=3,
)


def timed(monkeypatch, rounds, images=1):
    """A log of batches whose stages took these seconds, by a clock of our own."""
    now = 100.0
    monkeypatch.setattr(time, "perf_counter", lambda: now)
    log = AutoLog("a name with spaces")
    for stages in rounds:
        log.start()
        for seconds in stages:
            now += seconds
            log.stamp()
        log.end((images, 3, 4, 5))
        now += 7  # what is done between batches is nobody's time
    return log


def text_of(log, settings=SETTINGS):
    stream = io.StringIO()
    log.report(settings, file=stream)
    return stream.getvalue()


def test_sections_keys_and_order(monkeypatch):
    """What is missing is None, as AutoLog has it."""
    monkeypatch.setenv("PATH", "")
    text = text_of(timed(monkeypatch, [[1, 2, 3]]))
    for value in ("CUDA_version: None", "CUDNN_version: None", "drivier_version: None"):
        assert f"INFO:  {value}\n" in text
    assert re.search(r" cpu_rss\(MB\): [\d.]+, gpu_rss\(MB\): None, gpu_util: None%\n", text)
    messages = messages_of(text)
    for section, lines in AUTOLOG.items():
        assert messages.pop(0) == section
        for keys in lines:
            message = messages.pop(0)
            assert message.startswith(" ")
            parts = [part.partition(": ") for part in message[1:].split(", ")]
            assert ", ".join(key for key, _, _ in parts) == keys
            assert all(value for _, _, value in parts)
    assert messages  # our own


def test_arithmetic(monkeypatch):
    """Compared with values computed by hand."""
    stages = [[0.010 * n, 0.020, 0.001] for n in range(1, 12)]  # preprocess 10 to 110 ms
    text = text_of(timed(monkeypatch, stages, images=4))
    found = collected(text)
    assert found.keys() == set(COLLECTED)
    assert float(found["preprocess_time(ms)"]) == pytest.approx(60)
    assert float(found["inference_time(ms)"]) == pytest.approx(20)
    assert float(found["postprocess_time(ms)"]) == pytest.approx(1)
    assert total_of(text) == pytest.approx(0.66 + 0.22 + 0.011)
    assert found["data_num"] == "11"
    assert found["batch_size"] == "4"
    assert found["input_shape"] == "4,3,4,5"
    assert found["model_name"] == "a_name_with_spaces"
    assert "preprocess of a batch in ms, median: 60.0000, p90: 100.0000, p99: 109.0000" in text
    assert "inference of a batch in ms, median: 20.0000, p90: 20.0000, p99: 20.0000" in text
    assert "images: 44, images/s: 49.38" in text  # 44 / 0.891


def test_driver_version_is_asked_for(tmp_path, monkeypatch):
    program = tmp_path / "nvidia-smi"
    program.write_text('#!/bin/sh\n[ "$1" = --query-gpu=driver_version ] && echo 535.54.03\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert autolog._driver_version() == "535.54.03"
    program.write_text("#!/bin/sh\necho no driver\nexit 9\n")
    assert autolog._driver_version() is None


def test_a_batch_has_three_stages():
    log = AutoLog("x")
    log.start()
    log.stamp()
    with pytest.raises(lenet_cpp.BadInput, match="stages"):
        log.end((1, 1, 1, 1))
    with pytest.raises(lenet_cpp.BadInput, match="nothing to report"):
        log.messages(SETTINGS)


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits")
    for number, image in enumerate(read_idx(SAMPLE)[:7]):
        Image.fromarray(image).save(folder / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def params(tmp_path_factory):
    import paddle

    path = tmp_path_factory.mktemp("params") / "lenet.pdparams"
    paddle.save(models.build("lenet", seed=1).state_dict(), str(path))
    return path


@pytest.fixture
def command(model_dir, digits, params, capsys):
    """Run a command on the digits, in this process; return its report."""

    def run(name, *flags):
        model = ["-m=lenet", f"-p={params}"] if name == "infer" else [f"--model_dir={model_dir}"]
        assert MAINS[name]([f"-i={digits}", *model, *flags]) == 0
        return report_of(capsys.readouterr().out)

    return run


WAYS = {
    "auto": ["predict", "--benchmark"],
    "paddle": ["predict", "--benchmark", "--engine=paddle"],
    "python": ["predict", "--engine=python", "--enable_benchmark=True"],
    "infer": ["infer", "--benchmark=1"],
    "py_infer": ["py_infer", "--benchmark"],
}


@pytest.mark.parametrize("way", WAYS)
def test_report_of_each_command(way, command):
    import paddle

    begin = time.perf_counter()
    report = command(*WAYS[way], "-b=3")
    elapsed = time.perf_counter() - begin
    messages_of(report)
    found = collected(report)
    assert found.keys() == set(COLLECTED)
    assert (found["batch_size"], found["data_num"]) == ("3", "3")  # 7 images: 3, 3 and 1
    assert found["input_shape"] == "3,1,28,28"
    assert found["model_name"] == "lenet"
    assert (found["runtime_device"], found["enable_tensorrt"]) == ("cpu", "False")
    assert found["precision"] == "fp32"
    runs_paddle = way != "auto"  # which is native for LeNet
    version = paddle.__version__ if runs_paddle else "none"
    assert f" paddle_version: {version}\n" in report
    commit = paddle.__git_commit__ if runs_paddle else None
    assert f" paddle_commit: {commit}\n" in report
    stages = [
        float(found[f"{stage}_time(ms)"]) for stage in ("preprocess", "inference", "postprocess")
    ]
    assert all(value > 0 for value in stages)
    total = total_of(report)
    assert total == pytest.approx(3 * sum(stages) / 1000, abs=2e-4)  # rounded to 0.1 ms
    assert total < elapsed
    rate = float(re.search(r" images: 7, images/s: ([\d.]+)$", report, re.MULTILINE)[1])
    assert rate == pytest.approx(7 / total, rel=0.05)
    status = Path("/proc/self/status").read_text()
    peak = int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024
    # The kernel counts for each thread, and adds up in its own time.
    assert 50 < float(found["cpu_rss(MB)"]) <= peak + 1


@pytest.fixture
def count_runs(monkeypatch):
    """List how many images each run of the engine has; the first runs may be slow."""

    def start(slow=0):
        runs, original = [], InferenceEngine.run

        def run(self, x):
            runs.append(len(x))
            time.sleep(0.3 if len(runs) <= slow else 0)
            return original(self, x)

        monkeypatch.setattr(InferenceEngine, "run", run)
        return runs

    return start


@pytest.mark.parametrize(("warmup", "before"), [([], 1), (["--warmup=0"], 0), (["--warmup=3"], 3)])
def test_warm_up_is_stated_and_not_counted(warmup, before, command, count_runs):
    runs = count_runs(slow=before)
    report = command("predict", "--benchmark", "-b=4", *warmup)
    assert runs == [4] * before + [4, 3]
    assert collected(report)["data_num"] == "2"
    assert f" warm-up: {before} batches before, not in the figures\n" in report
    assert float(collected(report)["inference_time(ms)"]) < 150


def test_without_benchmark_nothing_is_run_twice(count_runs, model_dir, digits, capsys):
    runs = count_runs()
    assert MAINS["predict"]([f"-i={digits}", f"-d={model_dir}", "--benchmark=False"]) == 0
    assert runs == [1] * 7
    assert LINE.search(capsys.readouterr().out) is None


@pytest.mark.parametrize("engine", ["paddle", "python"])
@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("ir_optim=False memory_optim=True use_onednn=False cpu_threads=1", "False True False 1"),
        ("ir_optim=True memory_optim=False use_mkldnn cpu_threads=2", "True False True 2"),
    ],
)
def test_settings_are_those_in_use(engine, flags, expected, command):
    given = [f"--{flag}" for flag in flags.split()]
    found = collected(command("predict", "--benchmark", f"--engine={engine}", *given))
    keys = ("ir_optim", "enable_memory_optim", "enable_mkldnn", "cpu_math_library_num_threads")
    assert [found[key] for key in keys] == expected.split()


def test_accelerator_that_auto_chose_and_the_name_that_was_given(command, model_dir):
    with lenet_cpp.Predictor(model_dir=model_dir, engine="paddle") as predictor:
        chosen = predictor.accelerator(7)
    flags = ("--engine=paddle", "-b=100", "--model_name=classification")
    report = command("predict", "--benchmark", *flags)
    assert " engine: paddle\n" in report
    assert f" accelerator: {chosen}\n" in report
    found = collected(report)
    assert found["enable_mkldnn"] == str(chosen == "onednn")
    assert found["model_name"] == "classification"
    # No more images were run at once than there are.
    assert (found["batch_size"], found["input_shape"]) == ("7", "7,1,28,28")


def test_times_are_those_of_the_stages(command, monkeypatch):
    """Each stage made slow in turn: its own time grows, and no other's."""
    names = {"preprocess": "preprocess", "run": "inference", "interpret": "postprocess"}
    for method, stage in names.items():
        original = getattr(InferenceEngine, method)

        def slow(*args, original=original):
            time.sleep(0.2)
            return original(*args)

        with monkeypatch.context() as patch:
            patch.setattr(InferenceEngine, method, slow)
            found = collected(command("predict", "--benchmark", "-b=7"))
        times = {key: float(found[f"{key}_time(ms)"]) for key in names.values()}
        assert times.pop(stage) >= 200
        assert max(times.values()) < 200, times


@pytest.mark.parametrize("kind", ["engine", "paddle"])
def test_the_calls_of_the_guide(model_dir, digits, kind):
    """AutoLogger's constructor and its timer, as the guide to deployment has them."""
    with InferenceEngine().load_predictor(model_dir=model_dir) as engine:
        config = engine.config
        if kind == "paddle":
            config = pytest.importorskip("paddle").inference.Config()
            config.set_cpu_math_library_num_threads(3)
            config.enable_memory_optim()
        log = AutoLog(
            model_name="classification", batch_size=2, inference_config=config, gpu_ids="auto"
        )
        images = sorted(digits.iterdir())[:2]
        for stamps in (3, 2):  # the guide stamps the last stage, and then ends with a stamp
            log.times.start()
            x = engine.preprocess(images)
            log.times.stamp()
            output = engine.run(x)
            log.times.stamp()
            engine.topk(output)
            if stamps == 3:
                log.times.stamp()
            log.times.end(stamp=True)
    found = collected(text_of(log, None))
    assert (found["batch_size"], found["input_shape"], found["data_num"]) == ("2", "dynamic", "2")
    assert found["cpu_math_library_num_threads"] == ("3" if kind == "paddle" else "1")
    assert found["enable_memory_optim"] == str(kind == "paddle")
    with pytest.raises(lenet_cpp.BadInput, match="settings"):
        AutoLog("x", batch_size=2).messages()


@pytest.mark.parametrize("logged", [False, True])
def test_every_argument_of_autologger(logged, monkeypatch, tmp_path, capsys, caplog):
    """By their places, which are AutoLogger's; the first batch is warm-up."""
    monkeypatch.setattr(time, "perf_counter", iter([0, 9, 18, 27, 30, 31, 33, 36]).__next__)
    logger = logging.getLogger("own") if logged else None
    path = tmp_path / "logs" / "benchmark.log"
    pids, keys = [os.getpid(), os.getppid()], [f"{stage}_time" for stage in autolog.STAGES]
    log = AutoLog("a", "int8", 2, "3,4,5", path, SETTINGS, pids, "process", 0, keys, 1, logger)
    for _ in range(2):
        log.times.start()
        for _ in autolog.STAGES:
            log.times.stamp()
        log.times.end()
    with caplog.at_level(logging.INFO, "own"):
        log.report()
    written, printed = path.read_text(), capsys.readouterr().out
    if logged:
        assert (printed, caplog.messages) == ("", log.messages())
    else:
        assert printed == written
    found = collected(written)
    assert (found["precision"], found["batch_size"]) == ("int8", "2")
    assert (found["input_shape"], found["data_num"]) == ("3,4,5", "1")
    assert [float(found[f"{key}(ms)"]) for key in keys] == [1000, 2000, 3000]
    one = AutoLog("a", pids=os.getppid(), data_shape=(3, 4, 5))
    assert float(found["cpu_rss(MB)"]) > one._processes[0].memory_info().rss / 2**20
    log.report()
    assert path.read_text().count("model_name") == 1
    for wrong in (0.5, [2**30], "all"):
        with pytest.raises(lenet_cpp.BadInput, match="pids"):
            AutoLog("a", pids=wrong)
