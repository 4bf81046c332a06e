"""BatchPredictor: every form of a column, bad rows, and processes that get it pickled.

What it gives is compared with LeNet in NumPy, written from the definition, and with predict.
"""

import gc
import hashlib
import io
import multiprocessing
import pickle
import shutil
import sys
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

import numpy_reference
from digit_photos import photo
from lenet_cpp import BadInput, BadModel, BatchPredictor, FileNotFound, Predictor, images, predict
from lenet_cpp.bulk import batch_predictor
from lenet_cpp.data.mnist import read_idx
from predictor_cases import close, in_child, same

SAMPLE = "data/mnist_sample/t10k-images-idx3-ubyte.gz"
LOGITS = {"outputs": ["logits"]}


@pytest.fixture(scope="module")
def pixels(root):
    """uint8 [24, 28, 28]: digits of MNIST."""
    return read_idx(root / SAMPLE)[:24].copy()


@pytest.fixture(scope="module")
def expected(model_dir, pixels):
    return numpy_reference.lenet(model_dir / "lenet.pdiparams", pixels / 255)


def png(image, kind="PNG"):
    file = io.BytesIO()
    Image.fromarray(image).save(file, kind)
    return file.getvalue()


def objects(values):
    array = np.empty(len(values), object)
    array[:] = values
    return array


def variable_tensors(images):
    storage = pa.array(
        [{"data": image.ravel(), "shape": list(image.shape)} for image in images],
        pa.struct({"data": pa.list_(pa.uint8()), "shape": pa.list_(pa.int32(), 2)}),
    )
    kind = pa.opaque(storage.type, "arrow.variable_shape_tensor", "tests")
    return pa.ExtensionArray.from_storage(kind, storage)


def flat(x, kind):
    return [kind(row.ravel().tolist()) for row in x]


FORMS = {
    **{
        name: lambda x, name=name: x.astype(name)
        for name in ("uint8", "int8", "int16", "uint16", ">i4", "uint32", "int64", "uint64")
    },
    **{
        name: lambda x, name=name: (x / 255).astype(name)
        for name in ("float16", "float32", ">f8", "float64", "longdouble")
    },
    "channels first": lambda x: x[:, None],
    "channels last": lambda x: x[..., None],
    "flat": lambda x: x.reshape(len(x), 784),
    "strided": lambda x: np.repeat(x, 2, axis=2)[:, :, ::2],
    "objects of arrays": lambda x: objects([*x[:12], *x[12:].reshape(12, 1, 28, 28)]),
    "lists of integers": lambda x: flat(x, list),
    "bytes": lambda x: [row.tobytes() for row in x],
    "memoryviews": lambda x: objects([memoryview(row.tobytes()) for row in x]),
    "NumPy's bytes": lambda x: np.array([row.tobytes() for row in x]),
    "encoded": lambda x: objects([png(row) for row in x]),
    "encoded and pixels": lambda x: [png(x[0]), *(row.tobytes() for row in x[1:])],
    "binary": lambda x: pa.array([row.tobytes() for row in x]),
    "part of binary": lambda x: pa.array([b"?", *(row.tobytes() for row in x), b""]).slice(1, 24),
    "large binary": lambda x: pa.array([row.tobytes() for row in x], pa.large_binary()),
    "fixed binary": lambda x: pa.array([b"?" * 784, *(row.tobytes() for row in x)], pa.binary(784))[
        1:
    ],
    "binary view": lambda x: pa.array([row.tobytes() for row in x]).cast(pa.binary_view()),
    "dictionary": lambda x: pa.array([row.tobytes() for row in x]).dictionary_encode(),
    "encoded in Arrow": lambda x: pa.array([png(row) for row in x]),
    "encoded in as many bytes as pixels": lambda x: pa.array(
        [png(row).ljust(784, b"\0") for row in x], pa.binary(784)
    ),
    "lists": lambda x: pa.array([*x.reshape(-1, 784)], pa.list_(pa.uint8())),
    "part of lists": lambda x: pa.array([[1], *x.reshape(-1, 784)], pa.list_(pa.int16()))[1:],
    "large lists": lambda x: pa.array([*(x.reshape(-1, 784) / 255)], pa.large_list(pa.float64())),
    "fixed lists": lambda x: pa.FixedSizeListArray.from_arrays(pa.array(x.ravel()), 784),
    "nested lists": lambda x: pa.array(x.tolist(), pa.list_(pa.list_(pa.uint8(), 28))),
    "tensors": lambda x: pa.FixedShapeTensorArray.from_numpy_ndarray(x),
    "tensors of any shape": variable_tensors,
    "chunks": lambda x: pa.chunked_array(
        [pa.FixedShapeTensorArray.from_numpy_ndarray(part) for part in (x[:5], x[5:])]
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_column(form, pixels, model_dir):
    x = pixels // 2 if form == "int8" else pixels
    column = FORMS[form](x)
    found = BatchPredictor(**LOGITS)({"image": column})["logits"]
    assert (found.dtype, found.shape) == (np.float32, (24, 10))
    values = np.float64(column) if form == "float16" else x / 255
    expected = numpy_reference.lenet(model_dir / "lenet.pdiparams", values)
    assert close(found, expected.astype(np.float32))
    assert close(found, predict(column if form == "float16" else x))


def test_pictures_are_prepared(tmp_path, pixels, model_dir):
    """Paths, bytes of files and pixels of another size give what the preprocessing gives."""
    files = []
    for number, digit in enumerate(pixels[:6]):
        files.append(tmp_path / f"{number}.png")
        photo(digit, "paper", number).convert("RGB").save(files[-1])
    pictures = [np.asarray(Image.open(file)) for file in files]
    pipeline = BatchPredictor().pipeline
    expected = predict(np.stack([pipeline(picture) for picture in pictures]))
    for column in (
        [str(file) for file in files],
        files,
        np.array([str(file) for file in files]),
        [file.read_bytes() for file in files],
        pictures,
        pa.array([str(file) for file in files]),
        pa.array([file.read_bytes() for file in files]),
    ):
        for threads in (1, 3):
            predictor = BatchPredictor(**LOGITS, threads=threads)
            assert close(predictor({"image": column})["logits"], expected)
    names = np.array([str(file).encode() for file in files])
    by_path = BatchPredictor(**LOGITS, kind="path", preprocess=model_dir / "preprocess.json")
    assert same(by_path({"image": names})["logits"], expected)


def test_results_and_tables(pixels, expected):
    predictor = BatchPredictor(
        outputs={"class_id": "digit", "label": "label", "probability": "p", "probabilities": "all"}
    )
    batch = {"id": np.arange(24), "image": pixels}
    found = predictor(batch)
    assert list(found) == ["id", "digit", "label", "p", "all"]
    assert (found["digit"] == expected.argmax(axis=1)).all()
    assert found["digit"].dtype == np.int32
    assert found["label"].tolist() == [str(digit) for digit in found["digit"]]
    shares = numpy_reference.softmax(expected)
    assert np.abs(found["all"] - shares).max() < 1e-5
    assert (found["p"] == found["all"].max(axis=1)).all()
    table = pa.table({"id": batch["id"], "image": FORMS["binary"](pixels)})
    for arrow in (predictor(table), predictor(table.to_batches()[0])):
        assert arrow.column_names == list(found)
        assert arrow["digit"].to_pylist() == found["digit"].tolist()
        assert arrow["all"].to_pylist() == found["all"].tolist()
    assert list(BatchPredictor(keep=())(batch)) == ["class_id", "label", "probability"]
    empty = BatchPredictor()({"image": pixels[:0]})
    assert [(values.dtype.kind, values.shape) for values in empty.values()] == [
        ("i", (0,)),
        ("O", (0,)),
        ("f", (0,)),
    ]


def test_pandas(pixels):
    pandas = pytest.importorskip("pandas", reason="pandas comes with ray[data] and pyspark only")
    frame = pandas.DataFrame({"id": range(24), "image": [row.tobytes() for row in pixels]})
    found = BatchPredictor(outputs=["class_id", "logits"])(frame)
    assert isinstance(found, pandas.DataFrame)
    assert found["class_id"].tolist() == predict(pixels).argmax(axis=1).tolist()


BAD = {
    "null": (None, "missing"),
    "too few pixels": (b"12345", "not an image"),
    "no bytes": (b"", "is empty"),
    "a damaged file": (png(np.eye(40, dtype=np.uint8))[:60], "is a damaged PNG"),
    "no digit": (png(np.full((90, 80), 200, np.uint8)), "found no digit"),
    "no file": ("there/is/no.png", "there/is/no.png"),
    "a folder": ("/", "is a folder"),
    "NaN": (np.full((28, 28), np.nan, np.float32), "NaN or infinity"),
    "infinity in float64": (np.full((28, 28), 1e300), "NaN or infinity"),
    "another shape": (np.zeros((3, 5, 7)), "expected 1x28x28 values, got 3x5x7 of float64"),
    "a pixel of 256": (np.full((28, 28), 256), "0 to 255"),
    "a negative pixel": (np.full(784, -1), "0 to 255"),
    "a number": (5, "got a number"),
    "an object": ({"a": 1}, "expected numbers, got dict"),
    "a ragged list": ([[1], [2, 3]], "not an array"),
    "a truth value": (True, "expected numbers"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_row(kind, pixels):
    """It costs itself alone, or stops the job with its name."""
    value, why = BAD[kind]
    column = [*(row.tobytes() for row in pixels[:5]), value, pixels[6], pixels[7] / 255]
    found = BatchPredictor(errors="error", outputs=["class_id", "label", "probability", "logits"])(
        {"image": column}
    )
    good = [0, 1, 2, 3, 4, 6, 7]
    assert close(found["logits"][good], predict(pixels[good]))
    assert (found["class_id"][5], found["label"][5]) == (-1, None)
    assert np.isnan([found["probability"][5], *found["logits"][5]]).all()
    assert why in found["error"][5]
    assert [found["error"][i] for i in good] == [None] * 7
    with pytest.raises(BadInput, match="there/is/no" if kind == "no file" else "row 5 of 'image'"):
        BatchPredictor()({"image": column})
    with pytest.raises(BadInput, match=r"ten|there/is/no"):
        BatchPredictor(name="id")({"image": column, "id": [*"abcde", "ten", *"gh"]})


def test_nulls_in_arrow(pixels):
    for column in (
        pa.array([None, *(row.tobytes() for row in pixels[:3])]),
        pa.array([None, *pixels[:3].reshape(3, 784)], pa.list_(pa.uint8(), 784)),
        pa.array([None, *pixels[:3].reshape(3, 784)], pa.list_(pa.uint8())),
        pa.array([[None] * 784, *pixels[:3].reshape(3, 784).tolist()], pa.list_(pa.uint8())),
        pa.array([[None] * 784, *pixels[:3].reshape(3, 784).tolist()], pa.list_(pa.uint8(), 784)),
        pa.array([[1, 2], *pixels[:3].reshape(3, 784).tolist()], pa.list_(pa.uint8())),
    ):
        found = BatchPredictor(errors="error", **LOGITS)({"image": column})
        assert [why is None for why in found["error"]] == [False, True, True, True]
        assert close(found["logits"][1:], predict(pixels[:3]))


def filled(file, kind):
    """Fill an image file to as many bytes as a digit has pixels."""
    more = 784 - len(file)
    if kind == "JPEG":  # with a comment: it is told by its end too
        comment = b"\xff\xfe" + (more - 2).to_bytes(2, "big") + bytes(more - 4)
        return file[:2] + comment + file[2:]
    size = (784).to_bytes(4, "little")  # which a BMP says
    return (file[:2] + size + file[6:] if kind == "BMP" else file) + bytes(more)


def test_a_file_of_as_many_bytes_as_pixels(pixels):
    """An image file is told from pixels by how it begins, unless the user says what it is."""
    black_and_white = pixels[0] > 127
    for kind in ("PNG", "JPEG", "BMP"):
        file = png(black_and_white, kind)
        padded = filled(file, kind)
        assert len(padded) == 784
        found = BatchPredictor(**LOGITS)({"image": [padded]})["logits"]
        assert same(found, BatchPredictor(**LOGITS, kind="encoded")({"image": [file]})["logits"])
    padded = filled(png(pixels[0]), "PNG")
    found = BatchPredictor(**LOGITS)({"image": [padded, pixels[1].tobytes()]})["logits"]
    assert close(found, predict(pixels[:2]))
    found = BatchPredictor(**LOGITS, kind="pixels")({"image": [padded]})["logits"]
    assert close(found, predict(np.frombuffer(padded, np.uint8).reshape(1, 28, 28)))
    with pytest.raises(BadInput, match="not an image"):
        BatchPredictor(kind="encoded")({"image": pixels.reshape(24, 784).view("S784")[:, 0]})


def test_arguments_that_make_no_sense(pixels):
    for arguments, why in (
        ({"kind": "photo"}, "kind"),
        ({"outputs": ["digit"]}, "digit"),
        ({"outputs": []}, "outputs"),
        ({"thread": 2}, "unknown option 'thread'"),
    ):
        with pytest.raises(BadInput, match=why):
            BatchPredictor(**arguments)
    with pytest.raises(BadInput, match="no column 'image' among 'picture'"):
        BatchPredictor()({"picture": pixels})
    with pytest.raises(BadInput, match="has a column 'label' already"):
        BatchPredictor()({"image": pixels, "label": pixels[:, 0, 0]})
    with pytest.raises(BadInput, match="got uint8"):
        BatchPredictor()({"image": np.uint8(5)})
    with pytest.raises(BadInput, match="2 labels for 10 classes"):
        BatchPredictor(labels=["a", "b"])({"image": pixels})
    with pytest.raises(FileNotFound):
        BatchPredictor(model_dir="nowhere")({"image": pixels})


def test_the_model_in_bytes_and_its_checksum(model_dir, pixels):
    files = [(model_dir / name).read_bytes() for name in ("lenet.pdmodel", "lenet.pdiparams")]
    carried = BatchPredictor.from_bytes(*files, **LOGITS)
    assert same(carried({"image": pixels})["logits"], predict(pixels))
    digest = hashlib.sha256(b"".join(files)).hexdigest()
    assert carried.checksum == digest == BatchPredictor(model_dir / "lenet.pdmodel").checksum
    assert BatchPredictor(model_dir=model_dir, checksum=digest)({"image": pixels})
    with pytest.raises(BadModel, match="expected 0"):
        BatchPredictor(model_dir=model_dir, checksum="0" * 64)({"image": pixels})
    with pytest.warns(UserWarning, match="preprocess="), pytest.raises(BadInput, match="no digit"):
        carried({"image": [png(np.eye(90, dtype=np.uint8))]})


@pytest.mark.filterwarnings("ignore:nothing describes how images")
def test_a_checksum_is_that_of_the_model_which_runs(model_dir, pixels, tmp_path):
    """The files are replaced when they have been read."""
    for name in ("lenet.pdmodel", "lenet.pdiparams"):
        shutil.copy(model_dir / name, tmp_path)
    program, params = tmp_path / "lenet.pdmodel", tmp_path / "lenet.pdiparams"
    first = BatchPredictor(program, outputs=["logits"])
    before = first({"image": pixels})["logits"]
    old = first.checksum
    negative = bytearray(params.read_bytes())
    for at in range(1, 2000, 4):
        negative[-at] ^= 0x80  # the sign of a weight
    params.write_bytes(negative)
    new = hashlib.sha256(program.read_bytes() + negative).hexdigest()
    assert first.checksum == old
    with pytest.raises(BadModel, match="is another model here"):
        first.for_bulk(["logits"], None)({"image": pixels})
    found = BatchPredictor(program, outputs=["logits"], checksum=new)({"image": pixels})["logits"]
    with Predictor(program) as fresh:
        assert same(found, fresh.run(pixels))
    assert not same(found, before)


def logits_of(job):
    predictor, batch = job
    return predictor({"image": batch})["logits"]


def compute_in_pool(method, threads):
    """Also after this process, from which it forks, has used it."""
    predictor = BatchPredictor(**LOGITS, threads=threads)
    many = np.arange(48 * 784, dtype=np.uint32).astype(np.uint8).reshape(48, 28, 28)
    expected = predictor({"image": many})["logits"]
    with multiprocessing.get_context(method).Pool(2) as pool:
        for found in pool.imap(logits_of, [(predictor, many)] * 4):
            assert same(found, expected)


@pytest.mark.parametrize(
    ("method", "threads"), [("fork", 1), ("fork", 2), ("spawn", 2), ("forkserver", 2)]
)
def test_pool_of_processes(method, threads, tmp_path):
    """In a fresh process: the libraries of other tests keep threads, which a fork would lose."""
    code = f"import sys; sys.path[:0] = {sys.path!r}; from {__name__} import compute_in_pool"
    in_child(f"{code}; compute_in_pool({method!r}, {threads})", cwd=tmp_path)


def test_pickled_into_a_fresh_process(tmp_path, pixels):
    """It is small, and brings no model; a worker needs nothing that the driver imported."""
    predictor = BatchPredictor(**LOGITS)
    before = pickle.dumps(predictor)
    predictor({"image": pixels})
    assert len(before) < 2000
    assert len(pickle.dumps(predictor)) == len(before)
    (tmp_path / "predictor").write_bytes(before)
    np.save(tmp_path / "pixels.npy", pixels)
    code = """
import pickle, sys, numpy as np
predictor = pickle.load(open("predictor", "rb"))
found = predictor({"image": np.load("pixels.npy")})["logits"]
again = pickle.load(open("predictor", "rb"))({"image": np.load("pixels.npy")})["logits"]
from lenet_cpp.bulk import batch_predictor
assert len(batch_predictor._loaded) == 1 and (found == again).all()
print(found.tobytes().hex())
assert not {"pyarrow", "ray", "pyspark", "pandas", "paddle"} & set(sys.modules)
"""
    assert in_child(code, cwd=tmp_path).strip() == predict(pixels).tobytes().hex()


def bare_copy(model_dir, folder):
    """The files of a model without anything that describes it."""
    folder.mkdir()
    for name in ("lenet.pdmodel", "lenet.pdiparams"):
        (folder / name).symlink_to(model_dir / name)
    return folder


def test_the_registry_in_a_fresh_process(model_dir, tmp_path, pixels):
    """Labels and preprocessing of model_name, where nothing has imported the registry."""
    folder = bare_copy(model_dir, tmp_path / "bare")
    picture = photo(pixels[0], "paper", 0)
    picture.save(tmp_path / "photo.png")
    predictor = BatchPredictor(model_dir=folder, model_name="lenet")
    (tmp_path / "predictor").write_bytes(pickle.dumps(predictor))
    code = """
import pickle, sys
assert not [name for name in sys.modules if name.startswith("lenet_cpp")]
predictor = pickle.load(open("predictor", "rb"))
assert "lenet_cpp.models" not in sys.modules
found = predictor({"image": ["photo.png"]})
assert "paddle" not in sys.modules
print(found["label"][0], found["class_id"][0])
"""
    label, class_id = in_child(code, cwd=tmp_path).split()
    assert label == class_id == str(predict(images.digit()(picture)).argmax())
    unknown = BatchPredictor(model_dir=folder)({"image": pixels})
    assert unknown["label"].tolist() == [None] * 24
    with pytest.raises(BadInput, match="unknown model 'nothing'"):
        BatchPredictor(model_dir=folder, model_name="nothing")({"image": ["photo.png"]})


def test_models_are_freed(pixels):
    """All but the four that were used last, and those that are closed."""
    for old in list(batch_predictor._loaded):
        del batch_predictor._loaded[old]
    alive = []

    def use(threads):
        predictor = BatchPredictor(threads=threads)
        predictor({"image": pixels})
        alive.append(weakref.ref(predictor._shared.get()))
        return predictor

    for threads in (1, 2, 3, 4, 1, 5):
        last = use(threads)
    gc.collect()
    assert [each() is not None for each in alive] == [True, False, True, True, True, True]
    with last:
        last({"image": pixels})
    last.close()
    gc.collect()
    assert alive[-1]() is None
    assert len(last({"image": pixels})["label"]) == 24  # it is loaded again


THREADS = """
import os, sys
import numpy as np
from lenet_cpp import Predictor, BatchPredictor
count = lambda: len(os.listdir("/proc/self/task"))
x = np.zeros((2000, 28, 28), np.uint8)
before = count()
BatchPredictor(engine="native", threads=int(sys.argv[1]))({"image": x})
print(count() - before)
"""


def test_threads_whatever_omp_num_threads_says(tmp_path, monkeypatch):
    for threads, variable in ((1, "7"), (3, "1"), (3, "7")):
        monkeypatch.setenv("OMP_NUM_THREADS", variable)
        assert int(in_child(THREADS, threads, cwd=tmp_path)) == threads - 1


def test_shared_by_threads(pixels):
    predictor = BatchPredictor(**LOGITS)
    start = threading.Barrier(4)

    def run(seed):
        if seed < 4:
            start.wait()
        return predictor({"image": np.roll(pixels, seed, axis=0)})["logits"]

    with ThreadPoolExecutor(4) as pool:
        for seed, found in enumerate(pool.map(run, range(20))):
            assert same(found, predict(np.roll(pixels, seed, axis=0)))


def test_what_spark_takes(pixels):
    """The protocol of predict_batch_udf: a maker, pickled, of a function of arrays."""
    make = pickle.loads(pickle.dumps(BatchPredictor(errors="error").predict_batch_fn()))
    function = make()
    # Spark has no uint8, and a bytearray for binary.
    for column in (pixels.astype(np.int16), objects([bytearray(row.tobytes()) for row in pixels])):
        found = function(column)
        assert found["class_id"].tolist() == predict(pixels).argmax(axis=1).tolist()
    assert list(found) == ["class_id", "label", "probability", "error"]
