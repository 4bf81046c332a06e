"""Predictors in many threads, at the end of the interpreter and in child processes.

What may hang or crash runs in a process of its own, with a limit on its time.
"""

import gc
import itertools
import queue
import random
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import lenet_cpp
from predictor_cases import WAYS, digits, in_child, same
from shared_models import both_formats

SIZES = (1, 2, 3, 7, 16, 33, 64, 0)
SECONDS = 60

PREAMBLE = """
import gc, os, signal, sys, threading, time
import numpy as np
import lenet_cpp
folder = lenet_cpp.bundled_model_dir()
x = np.random.default_rng(0).random((40, 1, 28, 28), dtype=np.float32)

def load(name="lenet.pdmodel", accelerator="plain", **options):
    return lenet_cpp.Predictor(folder / name, accelerator=accelerator, **options)

def in_fork(action, seconds=20):
    '''What the child gave: its exit code, or less than 0 for a signal.'''
    pid = os.fork()
    if pid == 0:
        code = 99
        try:
            signal.alarm(seconds)
            code = int(action())
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
"""


def test_pools_and_shared_predictors_of_several_models_sizes_and_accelerators(model_dir):
    """Each call gives, to the bit, what one thread alone gets."""
    ways = [*WAYS, ("lenet.pdmodel", "auto"), ("lenet.json", "auto")]
    single = {way: lenet_cpp.Predictor(model_dir / way[0], accelerator=way[1]) for way in ways}
    batches = {(size, seed): digits(size, seed) for size in SIZES for seed in range(2)}
    jobs = list(itertools.product(ways, batches)) * 2
    expected = {(way, key): single[way].run(batches[key]) for way, key in jobs}
    assert len({found.tobytes() for found in expected.values()}) > len(batches)
    random.Random(0).shuffle(jobs)
    pools = {
        way: lenet_cpp.PredictorPool(model_dir / way[0], size=2, accelerator=way[1]) for way in ways
    }
    with ThreadPoolExecutor(6) as threads:
        for loaded in (pools, single):
            runs = [threads.submit(loaded[way].run, batches[key]) for way, key in jobs]
            for job, found in zip(jobs, runs, strict=True):
                assert same(found.result(), expected[job]), job


def test_clones_made_run_and_dropped_by_threads_at_once(model_dir):
    """A clone may come from any thread, run in another and be dropped in a third."""
    x = digits(5)
    origins = {way: lenet_cpp.Predictor(model_dir / way[0], accelerator=way[1]) for way in WAYS}
    expected = {way: origin.run(x) for way, origin in origins.items()}
    made, used, wrong, count = queue.Queue(8), queue.Queue(8), [], 40

    def make():
        for i in range(count):
            way = WAYS[i % len(WAYS)]
            made.put((way, origins[way].clone()))

    def use():
        for _ in range(count):
            way, clone = made.get(timeout=SECONDS)
            if not same(clone.run(x), expected[way]):
                wrong.append(way)
            used.put(clone)

    def drop():
        for _ in range(count):
            used.get(timeout=SECONDS).close()

    threads = [threading.Thread(target=target) for target in (make, use, drop)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
        assert not thread.is_alive()
    assert wrong == []
    assert all(same(origins[way].run(x), expected[way]) for way in WAYS)


def test_closing_while_another_thread_runs(model_dir):
    """The run that has begun ends well; the next says that the predictor is closed."""
    x = digits(200)
    for _ in range(5):
        predictor = lenet_cpp.Predictor(model_dir / "lenet.pdmodel", accelerator="plain")
        expected = predictor.run(x)
        runs = []
        started = threading.Event()

        def work(predictor=predictor, expected=expected, runs=runs, started=started):
            try:
                while True:
                    started.set()
                    runs.append(same(predictor.run(x), expected))
            except lenet_cpp.BadInput as error:
                return str(error)

        with ThreadPoolExecutor(1) as threads:
            said = threads.submit(work)
            assert started.wait(SECONDS)
            while not runs:
                pass
            predictor.close()
            assert said.result(SECONDS) == "the predictor is closed"
        assert all(runs)


def test_exceptions_cross_threads(model_dir):
    """Raised in C++ without the GIL, many at once, each in the thread that called."""
    pool = lenet_cpp.PredictorPool(model_dir=model_dir, size=2)
    good, bad = digits(2), np.full((1, 28, 28), np.nan, np.float32)
    expected = pool.run(good)
    missing = model_dir / "nothing.pdmodel"
    calls = [
        (lambda: pool.run(bad), lenet_cpp.BadInput),
        (lambda: pool.run(good[:, :, 1:]), lenet_cpp.BadInput),
        (lambda: lenet_cpp.Predictor(missing), lenet_cpp.FileNotFound),
        (lambda: lenet_cpp.Predictor(model_dir=model_dir, engine="x"), lenet_cpp.BadInput),
    ]

    def call(i):
        action, error = calls[i % len(calls)]
        with pytest.raises(error) as caught:
            action()
        assert type(caught.value) is error
        assert same(pool.run(good), expected)

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(call, range(60)))


def test_dropped_in_any_order(model_dir):
    """Origins, clones, pools and results, in every order that Python may choose."""
    x = digits(4)
    loaded = {way: lenet_cpp.Predictor(model_dir / way[0], accelerator=way[1]) for way in WAYS}
    expected = {way: predictor.run(x) for way, predictor in loaded.items()}
    del loaded
    for way, order in itertools.product(WAYS[:3], itertools.permutations(range(4))):
        origin = lenet_cpp.Predictor(model_dir / way[0], accelerator=way[1])
        clone = origin.clone()
        held = [origin, clone, clone.clone(), clone.run(x)]
        del origin, clone
        for number, i in enumerate(order):
            held[i] = None
            for left in held:
                if isinstance(left, lenet_cpp.Predictor) and number == 2:
                    assert same(left.run(x), expected[way])
        assert held == [None] * 4


def test_in_cycles(model_dir):
    class Node:
        def __init__(self, predictor):
            self.predictor = predictor

    origin = lenet_cpp.Predictor(model_dir=model_dir)
    expected = origin.run(digits(2))
    for _ in range(2):
        a, b = Node(origin.clone()), Node(origin.clone())
        a.other, b.other = b, a
        a.predictor.friend = b
        seen = weakref.ref(a)
        del a, b
        gc.collect()
        assert seen() is None
        assert same(origin.run(digits(2)), expected)


MADE_AND_DROPPED = """
from lenet_cpp import _core
sys.setswitchinterval(1e-4)
loading = True

def make_and_drop():
    while loading:
        [_core.Config() for _ in range(20)]

other = threading.Thread(target=make_and_drop, daemon=True)
other.start()
try:
    for _ in range(100):
        load("lenet.pdmodel", "auto", engine="native")
        lenet_cpp.PredictorPool(model_dir=folder, size=1, engine="native")
finally:
    loading = False
    other.join()
"""


@pytest.mark.nightly
def test_loaded_while_another_thread_makes_and_drops_objects(tmp_path):
    """pybind11 keeps all its objects in one table, which only the GIL protects."""
    assert in_child(PREAMBLE + MADE_AND_DROPPED, cwd=tmp_path) == ""


LOADED_BESIDE_ONEDNN = """
p = load(accelerator="onednn")
expected, wrong, loading = p.run(x[:1]), 0, True

def run():
    global wrong
    while loading:
        wrong += not (p.run(x[:1]) == expected).all()

other = threading.Thread(target=run, daemon=True)
other.start()
for _ in range(150):
    load()
loading = False
other.join()
print(wrong)
"""


def test_loaded_while_another_thread_runs_onednn(tmp_path):
    """Loading empties oneDNN's cache, whatever the accelerator of the model that is loaded."""
    assert in_child(PREAMBLE + LOADED_BESIDE_ONEDNN, cwd=tmp_path) == "0\n"


# The end of the interpreter

ENDS = {
    "in globals, a module, a class, a cycle and functions": """
import atexit
p = load(); c = p.clone(); pool = lenet_cpp.PredictorPool(model_dir=folder, size=2)
early.p = p; expected = p.run(x)
class A: p = load()
sys.modules["extra"] = type(sys)("extra"); sys.modules["extra"].p = A.p.clone()
a = []; a.append(a); a.append(A.p.clone())
atexit.register(lambda: print("in the end", (p.run(x) == expected).all()))
sys.exit(0)
""",
    "in a running thread that is waited for": """
def work(p=load()):
    time.sleep(0.3)
    for _ in range(20): p.run(x)
threading.Thread(target=work).start()
""",
    "in daemon threads that run, clone and load": """
def work(action):
    while True: action()
p, pool = load(), lenet_cpp.PredictorPool(model_dir=folder, size=1, accelerator="plain")
actions = [lambda: p.run_layers(x), p.clone, lambda: pool.run(x), lambda: pool.run(x), load]
for name in ("plain", "onednn", "openvino"):
    actions.append(lambda made=load(accelerator=name): made.run(x[:8]))
for action in [*actions, lambda: lenet_cpp.predict(x)]:
    threading.Thread(target=work, args=(action,), daemon=True).start()
time.sleep(0.5)
""",
}
REGISTERED = """
import atexit
class early: p = None
atexit.register(lambda: print("after the end", early.p.run([[0.0] * 28] * 28).shape == (1, 10)))
"""


@pytest.mark.parametrize("where", ENDS)
def test_predictors_alive_at_the_end(tmp_path, where):
    """Also in a function that was registered before the import."""
    if "early" in ENDS[where]:
        code, said = REGISTERED + PREAMBLE + ENDS[where], "in the end True\nafter the end True\n"
    else:
        code, said = PREAMBLE + ENDS[where], ""
    assert in_child(code, cwd=tmp_path) == said


BESIDE_TORCH = """
os.environ.pop("OMP_NUM_THREADS", None)  # which Paddle sets where it is imported
x = np.random.default_rng(0).random((2, 20_000), dtype=np.float32)

def run(file, threads):
    p = lenet_cpp.Predictor(file, engine="paddle", accelerator="onednn", threads=threads)
    return p.run(x).tobytes().hex()

how, *files = sys.argv[1:]
if how == "last":
    run(files[0], 1)
if how != "alone":
    import torch
    most = torch.get_num_threads()
for file in files:
    print(run(file, 1), run(file, 2))
assert how == "alone" or torch.get_num_threads() == most
"""


def test_onednn_takes_the_threads_it_is_told_to_beside_torch(tmp_path):
    """PyTorch brings an OpenMP of its own, which oneDNN takes where it is there first. The sums of
    one thread have other last bits than those that two share.
    """
    pytest.importorskip("torch", reason="an extra: pip install torch")
    paddle = pytest.importorskip("paddle", reason="it exports the network")
    files = both_formats(paddle.nn.Linear(20_000, 64), (20_000,), tmp_path)
    code, order = PREAMBLE + BESIDE_TORCH, ("alone", "first", "last")
    alone, first, last = (in_child(code, how, *files, cwd=tmp_path) for how in order)
    assert first == last == alone


ONEDNN_ASKED_FOR = """
if sys.argv[1:]:
    os.environ[sys.argv[1]] = "1"
p = load("lenet.json")
print([one.run(x).tobytes().hex() for one in (p, p.clone())])
"""


@pytest.mark.parametrize("flag", ["FLAGS_use_mkldnn", "FLAGS_use_onednn"])
def test_plain_kernels_where_paddles_flag_asks_for_onednn(tmp_path, flag):
    code = PREAMBLE + ONEDNN_ASKED_FOR
    assert in_child(code, flag, cwd=tmp_path) == in_child(code, cwd=tmp_path)


REFUSED = """
os.environ["TMPDIR"] = "/dev/null"
os.mkdir("gone")
os.chdir("gone")
os.rmdir("../gone")
for _ in range(2):
    try:
        load("lenet.json")
    except lenet_cpp.Error as error:
        print(f"{type(error).__name__}: {error}")
    os.chdir("/")
"""


def test_paddle_without_a_current_or_a_temporary_folder(tmp_path):
    """Without the former, its MKL would end the process."""
    gone, temporary = in_child(PREAMBLE + REFUSED, cwd=tmp_path).splitlines()
    assert gone.startswith("FileNotFound: the current folder is missing")
    assert temporary.endswith(
        "cannot make a temporary folder (Not a directory): set TMPDIR to another one"
    )


FORK = """
name, accelerator = sys.argv[1:]
for threads in (1, 2):
    p = load(name, accelerator, threads=threads)
    pool = lenet_cpp.PredictorPool(folder / name, size=2, accelerator=accelerator, threads=threads)
    expected = p.run(x)
    pool.run(x)

    def use():
        assert (p.run(x) == expected).all()
        assert (pool.run(x) == expected).all()
        assert (p.clone().run(x) == expected).all()
        assert (load(name, accelerator, threads=threads).run(x) == expected).all()
        def nested(): return 0 if (p.run(x) == expected).all() else 1
        return in_fork(nested)

    def use_in_thread():
        thread = threading.Thread(target=use)
        thread.start()
        thread.join(15)
        return thread.is_alive()

    def drop():
        global p, pool
        del p, pool
        gc.collect()
        return 0

    if (accelerator, threads) == ("openvino", 2):
        # Its worker threads are not in the child, which at times would wait for them for ever.
        def use():
            try:
                p.run(x)
            except lenet_cpp.Unsupported as error:
                return 0 if "spawn" in str(error) else 1
            return 1

    for action in (use, use_in_thread, drop):
        code = in_fork(action)
        assert code == 0, (threads, action.__name__, code)
    assert (p.run(x) == expected).all()
    assert (pool.run(x) == expected).all()
"""


@pytest.mark.parametrize(("name", "accelerator"), WAYS[1:4])
def test_fork_while_nothing_runs_works(tmp_path, name, accelerator):
    assert in_child(PREAMBLE + FORK, name, accelerator, cwd=tmp_path) == ""


POOL_FORK = """
import multiprocessing
x = np.random.default_rng(0).random((1000, 1, 28, 28), dtype=np.float32)
p, dropped = load(engine="native", threads=2), load(engine="native", threads=2)
expected = load("lenet.pdmodel", "auto", engine="native").run(x)

def use(_=None):
    return 0 if (p.run(x) == expected).all() and (p.clone().run(x) == expected).all() else 1

def drop():
    global dropped
    del dropped
    gc.collect()
    return use()

pool = lenet_cpp.PredictorPool(folder / "lenet.pdmodel", size=2, engine="native")

def submit():
    return 0 if (pool.submit(x).result(20) == expected).all() else 1

assert submit() == in_fork(submit) == submit() == 0
assert (dropped.run(x) == expected).all()
for pause in (0, 0.02):  # its threads spin, or sleep
    for action in (use, drop, lambda: in_fork(use) or use()):
        assert use() == 0
        time.sleep(pause)
        assert in_fork(action) == 0
with multiprocessing.get_context("fork").Pool(2) as pool:
    assert pool.map_async(use, range(4)).get(20) == [0] * 4
assert use() == 0
"""


def test_fork_of_a_predictor_that_keeps_threads(tmp_path):
    """The child has none of the native engine's waiting threads, and starts others."""
    assert in_child(PREAMBLE + POOL_FORK, cwd=tmp_path) == ""


BUSY_FORK = """
p, busy = load(), load()
pool = lenet_cpp.PredictorPool(model_dir=folder, accelerator="plain", size=1)
many = np.tile(x, (50, 1, 1, 1))  # a run takes much longer than a fork
running = threading.Barrier(3)
def work(action):
    running.wait()
    while True: action()
for action in (lambda: busy.run(many), lambda: pool.run(many)):
    threading.Thread(target=work, args=(action,), daemon=True).start()

def refused():
    actions = (
        lambda: p.run(x), lambda: busy.run(x), lambda: pool.run(x), lambda: load().run(x),
        p.clone, lambda: p.run_layers(x), lambda: lenet_cpp.predict(x),
    )
    for action in actions:
        try:
            action()
        except lenet_cpp.Unsupported as error:
            assert "forked" in str(error) and "spawn" in str(error), error
        else:
            return 1
    global pool
    del pool
    gc.collect()
    return 0

running.wait()
found = []
# A fork may fall between two runs: then all works in the child.
while found.count(0) < 3 and len(found) < 40:
    found.append(in_fork(refused))
assert set(found) <= {0, 1} and found.count(0) == 3, found
"""


def test_fork_while_another_thread_runs_is_refused(tmp_path):
    """That thread's locks, in Paddle and in ours, are held for ever in the child."""
    in_child(PREAMBLE + BUSY_FORK, cwd=tmp_path)


def test_fork_while_predict_loads(tmp_path):
    """The bundled model's own lock does not stay held in the child."""
    code = """
from lenet_cpp.inference import bundled
bundled._predictors._lock.acquire()
def use(): return 0 if lenet_cpp.predict(x).shape == (40, 10) else 1
assert in_fork(use) == 0
"""
    in_child(PREAMBLE + code, cwd=tmp_path)
