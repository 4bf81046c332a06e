"""Compare what each face of lenet_cpp says about a folder with what the toolkit says."""

from __future__ import annotations

import json
import re
import struct
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lenet_cpp import errors, images
from tools.toolkits.cases import TOLERANCE, Case, Result, paths, read_cases

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence


@dataclass(frozen=True)
class Trial:
    """A folder, and what its toolkit makes of each picture: the tensor and the result."""

    case: Case
    model_dir: Path
    programs: Path
    pictures: list[str]
    tensors: list[Any]
    results: list[Result]

    def verdict(self, problem: str) -> str:
        """Return a problem; of a folder that must be refused, what is wrong with the refusal."""
        named = self.case.unsupported
        if not named:
            return problem
        refused = named in problem and not re.match("exit status [^6]", problem)
        return "" if refused else f"expected that it is refused for {named}: {problem}"


def judge(folder: Path, programs: Path) -> int:
    """Print a table and the first problem of each face with each folder; return 1 if there is one.

    Args:
        folder: Where the other steps have written.
        programs: The folder of lenet_classify and lenet_serve.
    """
    faces = {"tensors": compare_tensors, "C++": by_program, "Python": by_python}
    faces |= {"bulk": by_bulk, "server": by_server}
    print(f"| folder | toolkit | result | {' | '.join(faces)} |")
    print("| --- " * (3 + len(faces)) + "|")
    problems: list[str] = []
    pictures = paths(folder)
    for case in read_cases(folder):
        model_dir = folder / case.name
        with np.load(model_dir / "tensors.npz") as stored:
            tensors = [stored[path] for path in pictures]
        results = json.loads((model_dir / "results.json").read_text())
        trial = Trial(
            case=case,
            model_dir=model_dir,
            programs=programs,
            pictures=pictures,
            tensors=tensors,
            results=results,
        )
        cells = []
        for name, problem_of in faces.items():
            problem = trial.verdict(problem_of(trial))
            problems += [f"{case.name}, {name}: {problem}"] if problem else []
            fine = "refused" if case.unsupported else "the same"
            cells.append("DIFFERENT" if problem else fine)
        print(f"| {' | '.join((case.name, case.toolkit, case.kind, *cells))} |", flush=True)
    print(f"\n{len(pictures)} pictures; scores within {TOLERANCE}.")
    print("".join(f"{problem}\n" for problem in problems), end="")
    print("verdict:", "NOT the same" if problems else "the same")
    return 1 if problems else 0


def compare_tensors(trial: Trial) -> str:
    """Return how the tensors of Python differ, or nothing."""
    try:
        pipeline = images.Pipeline.load(trial.model_dir / trial.case.config)
        return tensors_difference(trial, [pipeline(path) for path in trial.pictures])
    except errors.Unsupported as error:
        return f"Unsupported: {error}"
    except errors.Error as error:
        return f"exit status {error.exit_code}: {error}"


def tensors_difference(trial: Trial, found: Sequence[Any]) -> str:
    """Compare tensors: to the bit those of PaddleClas, those of PaddleX within 1e-6."""
    allowed = 0 if trial.case.toolkit.startswith("PaddleClas") else 1e-6
    for path, tensor, expected in zip(trial.pictures, found, trial.tensors, strict=True):
        if tensor.dtype != np.float32 or tensor.shape != expected.shape:
            return f"{Path(path).name}: {tensor.dtype} {tensor.shape}, not {expected.shape}"
        apart = np.abs(tensor - expected) / np.maximum(1, np.abs(expected))
        if apart.max() > allowed:
            return f"{Path(path).name}: tensors up to {apart.max():.1e} apart"
    return ""


def by_program(trial: Trial) -> str:
    """Compare with lenet_classify, and with the tensors that it made."""
    command = [trial.programs / "lenet_classify", "--model_dir", trial.model_dir, "--format=json"]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "tensors.npy")
        # It writes one array.
        one_size = len({tensor.shape for tensor in trial.tensors}) == 1
        command += ["--output_tensor", file] if one_size else []
        printed, problem = run([*command, *trial.pictures])
        if not problem and one_size:
            problem = tensors_difference(trial, np.load(file))
    return problem or compare(trial, json.loads(printed), difference)


def by_python(trial: Trial) -> str:
    """Compare with lenet-cpp predict."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "r.json")
        return predict(trial, file) or compare(trial, json.loads(file.read_text()), difference)


def by_bulk(trial: Trial) -> str:
    """Compare with the rows of lenet-cpp predict-many."""
    from pyarrow import parquet

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "r.parquet")
        if problem := predict(trial, file):
            return problem
        return compare(trial, parquet.read_table(file).to_pylist(), row_difference)


def predict(trial: Trial, output: Path) -> str:
    """Return how lenet-cpp predict failed, or nothing."""
    command = (sys.executable, "-W", "ignore", "-m", "lenet_cpp")
    name = "predict-many" if output.suffix == ".parquet" else "predict"
    return run([*command, name, trial.model_dir, *trial.pictures, "-o", output])[1]


def run(command: Sequence[Any]) -> tuple[str, str]:
    """Return what a program printed, and how it failed."""
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    last = (done.stderr.strip().splitlines() or [""])[-1]
    return done.stdout, f"exit status {done.returncode}: {last}" if done.returncode else ""


def compare(trial: Trial, found: Sequence[Any], problem_of: Callable[[Result, Any], str]) -> str:
    """Return how what was found about the pictures, in order, differs from the results."""
    files = [Path(one["file"]).name for one in found]
    if files != [Path(path).name for path in trial.pictures]:
        return f"the files are {files}"
    return first(files, map(problem_of, trial.results, found))


def first(names: Iterable[str], problems: Iterable[str]) -> str:
    """Return the first problem, with its name; or nothing."""
    pairs = zip(names, problems, strict=True)
    return next((f"{name}: {problem}" for name, problem in pairs if problem), "")


def difference(expected: Result, found: Any) -> str:
    """Compare an element of the JSON of C++ or Python."""
    if "attributes" in expected:
        return attributes_difference(expected, found.get("attributes"), found.get("output"))
    keys = ("class_id", "label", "probability")
    rows = [tuple(one.get(key) for key in keys) for one in found.get("predictions", ())]
    return classes_difference(expected, rows)


def classes_difference(expected: Result, found: Sequence[Any]) -> str:
    """Compare (class_id, label, probability) of each class, in order."""
    keys = ("class_ids", "label_names", "scores")
    wanted = list(zip(*(expected[key] for key in keys), strict=True))
    same = [one[:2] for one in wanted] == [one[:2] for one in found] and all(
        isinstance(one[2], float) and abs(one[2] - score) <= TOLERANCE
        for one, (*_, score) in zip(found, wanted, strict=True)
    )
    return "" if same else f"expected {wanted}, found {found}"


def attributes_difference(expected: Result, texts: Any, output: Any) -> str:
    """Compare the texts, in which numbers may differ a little, and the 0 or 1 of each output."""
    wanted = expected["attributes"]
    if isinstance(wanted, str):  # VehicleAttribute's, of two parts
        wanted, texts = [wanted], [", ".join(texts or ())]
    if expected["output"] != output:
        return f"expected {expected['output']}, found {output}"
    number = re.compile(r"\d+\.\d+")
    texts = texts or []
    same = [number.sub("#", text) for text in wanted] == [number.sub("#", text) for text in texts]
    pairs = zip(*(number.findall("\n".join(each)) for each in (wanted, texts)), strict=False)
    same = same and all(abs(float(one) - float(other)) <= TOLERANCE for one, other in pairs)
    return "" if same else f"expected {wanted}, found {texts}"


def row_difference(expected: Result, row: Any) -> str:
    """Compare a row: the best class, or lists of all classes or attributes."""
    if row["error"]:
        return str(row["error"])
    if "attributes" in expected:
        output = [int(number in row["class_ids"]) for number in range(len(expected["output"]))]
        return attributes_difference(expected, row["labels"], output)
    if "labels" in row:
        found = (row["class_ids"], row["labels"])
        wanted = (expected["class_ids"], expected["label_names"])
        return "" if found == wanted else f"expected {wanted}, found {found}"
    values = [row.get(key) for key in ("class_id", "label", "probability")]
    best = {key: expected[key][:1] for key in ("class_ids", "label_names", "scores")}
    return classes_difference(best, [tuple(values)])


def served_difference(expected: Result, texts: Sequence[str]) -> str:
    """Compare the texts: VALUE:INDEX:NAME, or those of attributes; what is empty does not count."""
    found = [text for text in texts if text]
    if "attributes" in expected:
        return attributes_difference(expected, found, expected["output"])  # it has no outputs
    parts = [[*text.split(":", 2), "", ""][:3] for text in found]
    rows = [(int(i) if i.isdigit() else i, name, float(value)) for value, i, name in parts]
    return classes_difference(expected, rows)


def by_server(trial: Trial) -> str:
    """Compare with lenet_serve: an image file each request, and the extension classification."""
    command = [str(trial.programs / "lenet_serve"), f"case={trial.model_dir}", "--port=0"]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as server:
        try:
            port = re.search(r"http://127\.0\.0\.1:(\d+)", next(iter(server.stdout or ()), ""))
            if port is None:
                _, message = server.communicate(timeout=30)
                return f"exit status {server.returncode}: {message.strip()}"
            connection = HTTPConnection("127.0.0.1", int(port[1]), timeout=30)
            replies = [ask(connection, trial.case, path) for path in trial.pictures]
        finally:
            server.terminate()
    problems = [
        reply["error"] if "error" in reply else served_difference(expected, texts_of(reply))
        for expected, reply in zip(trial.results, replies, strict=True)
    ]
    return first([Path(path).name for path in trial.pictures], problems)


def texts_of(reply: Any) -> list[str]:
    return [str(text) for text in np.ravel(reply["outputs"][0]["data"])]


def ask(connection: HTTPConnection, case: Case, path: str) -> Any:
    """Return the reply about an image file: all classes, or as many as the file's Topk has."""
    image = Path(path).read_bytes()
    connection.request("GET", "/v2/models/case")
    model = json.loads(connection.getresponse().read())
    tensor = {"name": model["inputs"][0]["name"], "datatype": "BYTES", "shape": [1]}
    tensor["parameters"] = {"binary_data_size": len(image) + 4}
    output = {"name": model["outputs"][0]["name"]}
    output["parameters"] = {"classification": case.shown}
    head = json.dumps({"inputs": [tensor], "outputs": [output]}).encode()
    headers = {"Inference-Header-Content-Length": str(len(head))}
    body = head + struct.pack("<I", len(image)) + image
    connection.request("POST", "/v2/models/case/infer", body, headers)
    return json.loads(connection.getresponse().read())
