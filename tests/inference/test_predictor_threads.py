"""Predictors in threads, in processes of their own, and beside each other and Paddle."""

import json
import shutil
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import paddle
import pytest

import lenet_cpp
from predictor_cases import ACCELERATORS, WAYS, digits, in_child, same


def test_a_json_runs_without_handing_work_to_another_thread(model_dir, tmp_path):
    """Paddle's new executor would have each intermediate result freed by a thread of its own."""
    code = f"""
import pathlib, re, sys
import numpy as np
import lenet_cpp

def switches_of_other_threads():
    status = [path.read_text() for path in pathlib.Path("/proc/self/task").glob("*/status")]
    main = pathlib.Path("/proc/self/status").read_text()
    count = lambda text: int(re.search(r"^voluntary_ctxt_switches:\\s+(\\d+)", text, re.M)[1])
    return sum(map(count, status)) - count(main)

model = {str(model_dir / "lenet.json")!r}
for memory_optim in (False, True):
    origin = lenet_cpp.Predictor(model, accelerator="plain", memory_optim=memory_optim)
    for predictor in (origin, origin.clone()):
        predictor.run(np.zeros((1, 28, 28), "float32"))
        before = switches_of_other_threads()
        for _ in range(1000):
            predictor.run(np.zeros((1, 28, 28), "float32"))
        print(switches_of_other_threads() - before)
"""
    counts = [int(count) for count in in_child(code, cwd=tmp_path).split()]
    # memory_optim does it, as it shares memory. Each time costs several switches, on a machine
    # that is busy a few in a hundred.
    assert max(counts[:2]) < 10 < min(counts[2:])


def test_openvino_predictors_of_equal_models_are_lent_again(model_dir, tmp_path):
    """Also when the files that the first was loaded from are gone."""
    x = digits(3)
    first = shutil.copytree(model_dir, tmp_path / "first")
    options = {"accelerator": "openvino"}
    with lenet_cpp.Predictor(model_dir=first, **options) as predictor:
        expected = predictor.run(x)
    shutil.rmtree(first)
    alive = [lenet_cpp.Predictor(model_dir=model_dir, **options) for _ in range(3)]
    alive += [predictor.clone() for predictor in alive]
    assert all(same(predictor.run(x), expected) for predictor in alive)


def test_openvino_predictors_do_not_pile_up(model_dir, tmp_path):
    """Paddle keeps 1.5 MB of each that it compiles."""
    code = f"""
import numpy as np
import lenet_cpp

def resident():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))

def once():
    with lenet_cpp.Predictor(model_dir={str(model_dir)!r}, accelerator="openvino") as predictor:
        predictor.run(np.zeros((1, 28, 28), "float32"))

once()
before = resident()
for _ in range(30):
    once()
print(resident() - before)
"""
    assert int(in_child(code, cwd=tmp_path)) < 10_000  # kB


def other_thread_ran_during(action):
    gate, ran = threading.Lock(), threading.Event()
    gate.acquire()
    thread = threading.Thread(target=lambda: (gate.acquire(), ran.set()))
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1000)  # the other gets the GIL only where this thread gives it away
    try:
        thread.start()
        gate.release()
        action()
        return ran.is_set()
    finally:
        sys.setswitchinterval(interval)
        thread.join()


def test_gil_is_released_while_running(model_dir):
    x = digits(1000)
    predictor = lenet_cpp.Predictor(model_dir=model_dir, accelerator="plain")
    pool = lenet_cpp.PredictorPool(model_dir=model_dir, accelerator="plain", size=1)
    layered = lenet_cpp.Predictor(model_dir=model_dir, accelerator="plain")
    # What holds the GIL never lets the other thread run: so the method can tell.
    assert not any(other_thread_ran_during(lambda: sum(range(300_000))) for _ in range(20))
    for run in (predictor.run, pool.run, layered.run_layers):
        action = partial(run, x)
        # One try may miss: the system is free to start the other thread late.
        assert any(other_thread_ran_during(action) for _ in range(50)), run


@pytest.mark.parametrize("accelerator", ACCELERATORS)
def test_predictors_can_be_made_in_parallel(model_dir, accelerator):
    x = digits(2)
    expected = lenet_cpp.Predictor(model_dir / "lenet.pdmodel", accelerator=accelerator).run(x)

    def make_and_run(_):
        with lenet_cpp.Predictor(model_dir / "lenet.pdmodel", accelerator=accelerator) as made:
            return made.clone().run(x)

    with ThreadPoolExecutor(4) as threads:
        assert all(same(found, expected) for found in threads.map(make_and_run, range(12)))


MANY_SHAPES = """
import random, sys
from concurrent.futures import ThreadPoolExecutor
import numpy, lenet_cpp

program = sys.argv[1]
images = numpy.random.default_rng(0).random((40, 1, 28, 28), "float32")
expected = lenet_cpp.Predictor(program, accelerator="plain").run(images)
wrong = []

def make_and_run(seed):
    sizes = random.Random(seed)
    for _ in range(60):
        with lenet_cpp.Predictor(program, accelerator="onednn") as predictor:
            clone = predictor.clone()
            for size in sizes.choices(range(1, 41), k=20):
                if not numpy.allclose(clone.run(images[:size]), expected[:size], atol=1e-4):
                    wrong.append(size)

with ThreadPoolExecutor(4) as threads:
    list(threads.map(make_and_run, range(4)))
print(wrong)
"""


@pytest.mark.nightly
@pytest.mark.parametrize("program", ["lenet.pdmodel", "lenet.json"])
def test_onednn_with_many_shapes_in_threads(model_dir, program, tmp_path):
    # With the limit on shapes that Paddle has, threads count its cache while others change it.
    assert in_child(MANY_SHAPES, model_dir / program, cwd=tmp_path) == "[]\n"


CREATED = """
import os, sys
import numpy, lenet_cpp

predictor = lenet_cpp.Predictor(sys.argv[1], accelerator="onednn")
for size in map(int, sys.argv[2].split(",")):
    predictor.run(numpy.zeros((size, 1, 28, 28), "float32"))
    os.write(1, b"run\\n")
"""


@pytest.mark.parametrize("program", ["lenet.pdmodel", "lenet.json"])
def test_onednn_keeps_the_primitives_of_16_shapes(model_dir, program, tmp_path, monkeypatch):
    monkeypatch.setenv("ONEDNN_VERBOSE", "2")
    sizes = [*range(1, 17), *range(1, 17), *range(17, 33), *range(1, 33)]
    arguments = (model_dir / program, ",".join(map(str, sizes)))
    parts = in_child(CREATED, *arguments, cwd=tmp_path).split("run\n")[:-1]
    created = [part.count(",create:") for part in parts]
    first, again, _, all_again = created[:16], created[16:32], created[32:48], created[48:]
    assert all(kept < made for kept, made in zip(again, first, strict=True))
    # What a run makes each time does not count; of 32 shapes at least half are made anew.
    assert sum(made > max(again) for made in all_again) >= 16


RUN_ALL = """
import sys, numpy
from pathlib import Path
{before}
import lenet_cpp
folder = lenet_cpp.bundled_model_dir()
x = numpy.random.default_rng(0).random((5, 1, 28, 28), dtype=numpy.float32)
def run(name, accelerator):
    return lenet_cpp.Predictor(folder / name, accelerator=accelerator).run(x)
def run_all():
    return [run(*way) for way in {ways}]
outputs = [run_all()]
{after}
outputs.append(run_all())
numpy.save(sys.argv[1], outputs)
"""
USE_PADDLE = """
import warnings; warnings.simplefilter("ignore")
import paddle; assert paddle.ones([2]).sum().item() == 2
"""


def test_paddle_imported_before_or_after_the_first_run_or_never(tmp_path):
    folder = tmp_path / "empty"
    folder.mkdir()
    found = []
    for before, after in ((USE_PADDLE, ""), ("", USE_PADDLE)):
        code = RUN_ALL.format(before=before, after=after, ways=WAYS)
        said = in_child(code, tmp_path / "outputs.npy", cwd=folder)
        assert said == ""  # no noise from Paddle on standard output
        found += [*np.load(tmp_path / "outputs.npy")]
    never = found[2]
    assert never.shape == (5, 5, 10)
    assert all(same(outputs, never) for outputs in found)
    assert list(folder.iterdir()) == []  # OpenVINO's cache, __cache__, is not left here


def test_no_paddle_is_imported_and_no_file_is_left(tmp_path):
    code = """
import os, pathlib, sys
folder = pathlib.Path("scratch")
folder.mkdir()
os.environ["TMPDIR"] = str(folder.absolute())
import numpy, lenet_cpp
def foreign():
    return [name for name in sys.modules if name.split(".")[0] in {"paddle", "setuptools"}]
assert not foreign(), foreign()
lenet_cpp.predict(numpy.zeros((1, 28, 28)))
lenet_cpp.classify(numpy.zeros((1, 28, 28)))
origin = lenet_cpp.Predictor(model_dir=lenet_cpp.bundled_model_dir(), accelerator="openvino")
clone = origin.clone()
origin.close()
for images in (1, 2, 70):
    clone.run(numpy.zeros((images, 28, 28)))
# Gone while they are in use: nothing is left by a process that is killed.
assert not list(folder.iterdir()), list(folder.iterdir())
print(lenet_cpp.paddle_version())
assert not foreign(), foreign()
"""
    assert in_child(code, cwd=tmp_path).split() == [paddle.__version__]
    assert list((tmp_path / "scratch").iterdir()) == []


MANY_PREDICTORS = """
import json, sys, threading, numpy, lenet_cpp
first, second, ways = sys.argv[1:]
x = numpy.random.default_rng(0).random((3, 1, 28, 28), dtype=numpy.float32)

def load(folder, name, accelerator):
    # Each in a new thread, whose memory then tends to lie where the thread's before it lay.
    made = []
    def make():
        made.append(lenet_cpp.Predictor(f"{folder}/{name}", accelerator=accelerator))
    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    return made[0]

expected = {folder: load(folder, "lenet.json", "plain").run(x) for folder in (first, second)}
assert abs(expected[first] - expected[second]).max() > 1
for way in json.loads(ways):
    folders = (first, second, first, second, second, first)
    predictors = [(folder, load(folder, *way)) for folder in folders]
    for again in range(2):
        for folder, predictor in predictors:
            difference = abs(predictor.run(x) - expected[folder])
            allowed = 1e-5 * numpy.maximum(1, abs(expected[folder]).max(axis=1, keepdims=True))
            assert (difference <= allowed).all(), (way, difference.max())
        predictors += [(folder, predictor.clone()) for folder, predictor in predictors[:3]]
        del predictors[0]
print("done")
"""


def test_predictors_of_several_models_do_not_mix(model_dir, tmp_path):
    """Paddle keeps OpenVINO's engines in a table of the process, by a key that may repeat."""
    other = tmp_path / "other"
    shutil.copytree(model_dir, other, ignore=shutil.ignore_patterns("SHA256SUMS"))
    params = other / "lenet.pdiparams"
    content = bytearray(params.read_bytes())
    last = np.frombuffer(content, "<f4", 84 * 10, len(content) - 84 * 10 * 4)  # linear3's weight
    content[-last.nbytes :] = (-last).tobytes()
    params.write_bytes(content)
    said = in_child(MANY_PREDICTORS, model_dir, other, json.dumps(WAYS), cwd=tmp_path)
    assert said == "done\n"
