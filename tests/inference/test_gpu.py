"""device="gpu": what is asked of Paddle and onnxruntime, what is refused, and parity on a GPU.

Where there is no GPU, the calls go to libraries that only say what they are asked for.
"""

import threading
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

import lenet_cpp
from lenet_cpp import _core
from lenet_cpp.data.mnist import read_mnist_dir, sample_dir
from predictor_cases import digits
from scripts.predict import infer, predict, py_infer
from snippets import printed_by

UNSUPPORTED = 6
NO_CUDA = "built without CUDA"


def gpus(library):
    """How many GPUs the installed package can compute on."""
    if library == "paddle":
        paddle = pytest.importorskip("paddle", reason="the engine needs its library")
        return paddle.device.cuda.device_count() if paddle.is_compiled_with_cuda() else 0
    onnxruntime = pytest.importorskip("onnxruntime", reason="the engine needs its library")
    return int("CUDAExecutionProvider" in onnxruntime.get_available_providers())


def without_gpu(library):
    reason = "the refusal without CUDA cannot be seen with a GPU; test_parity computes on it"
    return pytest.mark.skipif(gpus(library) > 0, reason=reason)


@pytest.fixture(scope="module")
def onnx_file(model_dir, tmp_path_factory):
    onnx = pytest.importorskip("onnx", reason="the model is made with it")
    weights = np.random.default_rng(0).standard_normal((784, 10)).astype(np.float32)
    graph = onnx.parser.parse_graph(
        "g (float[N,1,28,28] x) => (float[N,10] y) { f = Flatten(x) y = MatMul(f, w) }"
    )
    graph.initializer.append(onnx.numpy_helper.from_array(weights, "w"))
    opsets = [onnx.helper.make_opsetid("", 13)]
    target = tmp_path_factory.mktemp("onnx") / "m.onnx"
    onnx.save(onnx.helper.make_model(graph, ir_version=8, opset_imports=opsets), target)
    return target


@pytest.fixture(scope="module")
def fake(tmp_path_factory):
    library = tmp_path_factory.mktemp("fake") / "libfake.so"
    source = Path(__file__).with_name("fake_gpu.cc")
    printed_by("c++", "-shared", "-fPIC", "-o", library, source, "-ldl")
    return library


@pytest.fixture(scope="module")
def cuda(fake):
    """The variables with which onnxruntime seems to compute on a GPU."""
    onnxruntime = pytest.importorskip("onnxruntime", reason="the engine needs its library")
    (real,) = (Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so*")
    return {"LENET_ONNXRUNTIME_LIBRARY": str(fake), "FAKE_ONNXRUNTIME": str(real)}


@pytest.mark.parametrize(
    "device", ["", "GPU", "gpu:", "gpu:x", "gpu:-1", "gpu:1024", "cuda", "tpu"]
)
def test_names_that_are_none(model_dir, device):
    with pytest.raises(lenet_cpp.BadInput, match="device"):
        lenet_cpp.Predictor(model_dir=model_dir, device=device)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"engine": "native"}, "native engine computes on the processor; use engine onnxruntime"),
        ({"precision": "int8"}, "fp32 and tf32 only"),
        ({"engine": "paddle", "precision": "bf16"}, "fp32 and tf32 only"),
        ({"precision": "tf32"}, "on a GPU onnxruntime has it"),
        ({"accelerator": "tensorrt"}, "tensorrt, which belongs to the onnxruntime engine"),
        ({"accelerator": "onednn"}, "accelerator onednn computes on the processor"),
        ({"accelerator": "openvino"}, "accelerator openvino computes on the processor"),
        ({"time_limit_ms": 5, "engine": "paddle"}, "time_limit_ms"),
    ],
)
def test_what_no_gpu_computes(model_dir, options, words):
    with pytest.raises(lenet_cpp.Unsupported, match=words):
        lenet_cpp.Predictor(model_dir=model_dir, device="gpu", **options)


@without_gpu("paddle")
@pytest.mark.parametrize("engine", ["auto", "paddle"])
@pytest.mark.parametrize("file", ["lenet.pdmodel", "lenet.json"])
def test_a_paddle_without_cuda(model_dir, engine, file):
    with pytest.raises(lenet_cpp.Unsupported, match=f"{NO_CUDA}; install paddlepaddle-gpu"):
        lenet_cpp.Predictor(model_dir / file, engine=engine, device="gpu")


@without_gpu("onnxruntime")
@pytest.mark.parametrize("engine", ["auto", "onnxruntime"])
def test_an_onnxruntime_without_cuda(onnx_file, engine):
    with pytest.raises(lenet_cpp.Unsupported, match=r"CUDA.*; install onnxruntime-gpu"):
        lenet_cpp.Predictor(onnx_file, engine=engine, device="gpu")


@without_gpu("paddle")
@pytest.mark.parametrize(
    ("flags", "noted"),
    [
        ("--use_gpu=1", "--use_gpu"),
        ("--use_gpu=1 --gpu_id=2 --gpu_mem=8000", "--use_gpu"),
        ("--device=gpu:2", ""),
    ],
)
@pytest.mark.parametrize(
    ("command", "engine"),
    [(predict, ""), (predict, "--engine=python"), (infer, ""), (py_infer, "")],
)
def test_commands(model_dir, params, tmp_path, capsys, command, engine, flags, noted):
    """The flags of the guides' scripts run on the processor with a note; --device is an order."""
    image = tmp_path / "digit.png"
    Image.fromarray(read_mnist_dir(sample_dir()).test.images[0]).save(image)
    model = ["-m=lenet", f"-p={params}"] if command is infer else [f"-d={model_dir}"]
    given = [f"-i={image}", *model, *engine.split()]
    assert command(given) == 0
    answer = capsys.readouterr().out
    given += flags.split()
    assert command(given) == (0 if noted else UNSUPPORTED)
    said = capsys.readouterr()
    (line,) = said.err.splitlines()
    assert NO_CUDA in line
    assert (f"note: this runs on the CPU, without {noted}: " in line) == (noted != "")
    assert said.out == answer * (noted != "")
    with pytest.raises(SystemExit) as ended:
        command([*given, "--use_gpu=1", "--device=cpu"])
    assert ended.value.code == 2
    assert "contradict" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "asked"),
    [
        ("--device=gpu", "100 MB, GPU 0"),
        ("--device=gpu:1 --gpu_mem=700", "700 MB, GPU 1"),
        ("--use_gpu=true --gpu_id=1 --gpu_mem=8000", "8000 MB, GPU 1"),
        ("--use_gpu=false --gpu_id=1 --gpu_mem=700", None),
    ],
)
def test_what_paddle_is_asked_for(run_program, model_dir, fake, flags, asked):
    model = f"--model_file={model_dir / 'lenet.json'}"
    environment = {"LD_PRELOAD": str(fake), "FAKE_GPUS": "2"}
    done = run_program(model, "--engine=paddle", *flags.split(), env=environment)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("Paddle: ")]
    assert lines == ([f"Paddle: {asked}, precision 0"] if asked else [])


@pytest.mark.parametrize(("count", "words"), [(0, "finds no GPU"), (1, "no GPU 1; Paddle finds 1")])
def test_gpus_that_are_not_there(run_program, model_dir, fake, count, words):
    environment = {"LD_PRELOAD": str(fake), "FAKE_GPUS": str(count)}
    done = run_program(f"--model_dir={model_dir}", "--device=gpu:1", env=environment)
    assert done.returncode == UNSUPPORTED
    assert words in done.stderr


@pytest.mark.parametrize(
    ("flags", "asked", "runs"),
    [
        ("--device=gpu:3", {"CUDA": ["device_id=3", "use_tf32=0"]}, 1),
        ("--use_gpu=1 --batch_size=100 --threads=4", {"CUDA": ["device_id=0", "use_tf32=0"]}, 2),
        (
            "--use_gpu=1 --gpu_mem=512 --precision=tf32 --batch_size=100",
            {"CUDA": ["device_id=0", "use_tf32=1", "gpu_mem_limit=536870912"]},
            1,
        ),
        (
            "--device=gpu --precision=tf32 --accelerator=tensorrt",
            {"TensorRT": ["device_id=0"], "CUDA": ["device_id=0", "use_tf32=1"]},
            1,
        ),
    ],
)
def test_what_onnxruntime_is_asked_for(run_program, onnx_file, cuda, flags, asked, runs):
    environment = dict(cuda)
    command = (f"--model_file={onnx_file}", *flags.split())
    done = run_program(*command, env=environment)
    assert done.returncode == 0, done.stderr
    assert (
        done.stderr.splitlines()
        == [
            line
            for provider, given in asked.items()
            for line in (*given, f"{provider} appended", f"{provider} released")
        ]
        + ["run"] * runs
    )
    environment["FAKE_FAILURE"] = (
        'options.h:187 Parse Failed to parse provider option "device_id": CUDA failure 35: CUDA'
        " driver version is insufficient ; GPU=-1 ; hostname=vm ; file=; ; "
    )
    done = run_program(*command, env=environment)
    assert done.returncode == UNSUPPORTED
    said = "CUDA failure 35: CUDA driver version is insufficient; nvidia-smi lists the GPUs"
    assert f"{_core.engine_version('onnxruntime')}: {said}" in done.stderr
    environment["FAKE_FAILURE"] = "Failed to load library libonnxruntime_providers.so"
    library = "TensorRT" if "tensorrt" in flags else "CUDA and cuDNN"
    done = run_program(*command, env=environment)
    assert f"providers.so; install onnxruntime-gpu with {library}" in done.stderr


@pytest.mark.parametrize("place", [0, 784 * 1400 - 1])
def test_nan_that_is_found_while_a_gpu_computes(run_program, onnx_file, cuda, tmp_path, place):
    images = np.zeros((1400, 1, 28, 28), np.float32)  # more than a million values
    images.flat[place] = np.nan
    np.save(tmp_path / "x.npy", images)
    flags = ("--device=gpu", "--batch_size=1400", f"--input={tmp_path / 'x.npy'}")
    done = run_program(f"--model_file={onnx_file}", *flags, env=cuda)
    assert done.returncode == 5, done.stderr
    assert "holds NaN or infinity" in done.stderr
    assert "run" in done.stderr.splitlines()


@pytest.mark.parametrize(("failures", "code"), [(1, 0), (2, 8)])
def test_an_error_that_another_model_left_behind(run_program, onnx_file, cuda, failures, code):
    environment = cuda | {"FAKE_FULL": str(failures)}
    done = run_program(f"--model_file={onnx_file}", "--device=gpu", env=environment)
    assert done.returncode == code, done.stderr
    assert ("; run fewer images at once (max_batch_size)" in done.stderr) == (code != 0)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"precision": "tf32"}, "for a GPU; set device gpu"),
        ({"accelerator": "tensorrt", "precision": "tf32"}, "for a GPU; set device gpu"),
        ({"accelerator": "tensorrt", "device": "gpu"}, "computes in tf32; add precision tf32"),
    ],
)
@pytest.mark.parametrize("engine", ["auto", "onnxruntime"])
def test_what_belongs_to_a_gpu(onnx_file, engine, options, words):
    with pytest.raises(lenet_cpp.Unsupported, match=words):
        lenet_cpp.Predictor(onnx_file, engine=engine, **options)


@without_gpu("onnxruntime")
@without_gpu("paddle")
@pytest.mark.parametrize("kind", ["paddle", "onnx"])
def test_the_guides_flag_for_tensorrt(model_dir, onnx_file, tmp_path, capsys, kind):
    """The guide's first command runs on the processor, and names only what was typed."""
    image = tmp_path / "digit.png"
    Image.fromarray(read_mnist_dir(sample_dir()).test.images[0]).save(image)
    program, params = (model_dir / name for name in ("lenet.pdmodel", "lenet.pdiparams"))
    model = [f"-m={onnx_file}"] if kind == "onnx" else [f"-m={program}", f"-p={params}"]
    given = [f"-i={image}", *model, "--model_name=lenet"]
    assert predict(given) == 0
    answer = capsys.readouterr().out
    for flags, noted in (
        (("--use_gpu=1", "--use_tensorrt=True"), "--use_tensorrt and --use_gpu: device gpu"),
        (("--use_tensorrt=True",), "--use_tensorrt: it takes an .onnx, and a GPU"),
    ):
        assert predict([*given, *flags]) == 0
        said = capsys.readouterr()
        (line,) = said.err.splitlines()
        assert f": note: this runs on the CPU, without {noted}" in line
        assert "tf32" not in line
        assert said.out == answer
    given.append("--use_tensorrt=True")
    with pytest.raises(SystemExit) as ended:
        predict([*given, "--precision=bf16"])
    assert ended.value.code == 2


@pytest.mark.parametrize("library", ["paddle", "onnxruntime"])
def test_parity(model_dir, onnx_file, library):
    """Run on a GPU what the processor runs, from threads, and watch the memory."""
    if gpus(library) == 0:
        pytest.skip(
            f"it compares the answers of a GPU, and the installed {library} finds none: this"
            " machine has none, or the package's variant with -gpu is missing"
        )
    file = model_dir / "lenet.pdmodel" if library == "paddle" else onnx_file
    images = digits(64)
    expected = lenet_cpp.Predictor(file, engine="native").run(images)
    with lenet_cpp.Predictor(file, engine=library, device="gpu") as predictor:
        limit = 1e-4 * np.abs(expected).max()
        for size in (1, 8, 64):
            assert np.abs(predictor.run(images[:size]) - expected[:size]).max() <= limit
        clones = [predictor.clone() for _ in range(4)]
        found = [None] * 4

        def work(number):
            found[number] = clones[number].run(images)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert all(np.abs(each - expected).max() <= limit for each in found)
        for _ in range(1000):
            predictor.run(images[:1])
        before = psutil.Process().memory_info().rss
        for _ in range(10_000):
            predictor.run(images[:1])
        assert psutil.Process().memory_info().rss - before < 1 << 20


@pytest.mark.nightly
def test_the_build_says_what_an_archive_has(root, tmp_path):
    """An archive with CUDA, of which the version's file is enough to tell."""
    real = root / "third_party" / "paddle_inference"
    archive = tmp_path / "archive"
    archive.mkdir()
    (archive / "paddle").symlink_to((real / "paddle").resolve())
    facts = (real / "version.txt").read_text().replace("WITH_GPU: OFF", "WITH_GPU: ON")
    (archive / "version.txt").write_text(facts + "CUDA version: 12.6\n")
    parts = ("PYTHON", "TESTS")
    flags = (f"-DPADDLE_INFERENCE_DIR={archive}", "-DLENET_WEB=OFF", "-DLENET_SERVE=OFF")
    flags += tuple(f"-DLENET_BUILD_{part}=OFF" for part in parts)
    said = printed_by("cmake", "-S", root, "-B", tmp_path / "build", *flags, timeout=300)
    assert "computes on GPUs (WITH_GPU: ON, CUDA version: 12.6)" in said
