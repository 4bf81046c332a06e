"""Run models on a GPU in every engine that has one, and write docs/results/gpu.json.

    python -m tools.gpu check                          on the first GPU; some minutes
    python -m tools.gpu check --device gpu:1 --models FOLDER --output FILE
    python -m tools.gpu check --device cpu             the same on the processor: a rehearsal
    python -m tools.gpu make FOLDER                    only make the models, to take them elsewhere

The models have random weights. Each is run from Python and by the C++ program, in float32 and,
where the engine has it, in TF32; the answers are compared with those that the native engine gives
on the processor, by lenet_cpp.agreement. Runs of .onnx are timed beside onnxruntime's own Python
on the same GPU, in processes that take turns. Then come the errors: too little memory, a GPU that
is not there, none at all. Each part runs in a process of its own.

It needs ./run.sh, and in its environment onnxruntime-gpu in place of onnxruntime, or paddle with
CUDA; docs/gpu.md says how. Making models needs the extras paddle and onnx; with --models nothing
but this package. ``python -m tools.pages`` writes the results into docs/gpu.md. The exit
status is 1 where an answer or an error is not as it should be.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import tempfile
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

import lenet_cpp
from lenet_cpp._base.files import write_text
from lenet_cpp._base.worker import call, run_program
from lenet_cpp.agreement import TOLERANCES, compare
from lenet_cpp.errors import BackendFailure, Error, FileNotFound
from tools.benchmark import making
from tools.gpu.worker import OWN, PEER, gpu_facts
from tools.survey import machine

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator, Mapping, Sequence

    Row = dict[str, Any]

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "docs" / "results" / "gpu.json"
NETWORKS = ("lenet", "ResNet18", "ResNet50_vd", "MobileNetV2")
ENGINES = {"onnxruntime": ("fp32", "tf32"), "paddle": ("fp32",)}
SUFFIXES = {"onnxruntime": ("onnx",), "paddle": ("pdmodel", "json")}
BATCHES = (1, 8, 64, 256)
_NUMBER_OF_NO_GPU = 1000
_GPU_MEM = 256
_SECONDS = 300.0


def make(folder: Path, networks: Sequence[str]) -> None:
    """Write the models: FOLDER/NAME.onnx, and FOLDER/NAME with the files of Paddle."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as other:
        make_one = partial(making.make, folder=Path(other))
        for name in tqdm(networks, desc="models", unit="model", disable=None):
            make_one("export", network=name, image_size=None, target=folder / name)
            (program,) = (folder / name).glob("*.pdmodel")
            params = program.with_suffix(".pdiparams")
            make_one("onnx", program=program, params=params, target=folder / f"{name}.onnx")


def find(folder: Path, name: str, suffix: str) -> Path | None:
    """Return a model's file; None where it was not made or not taken along."""
    of_paddle = sorted((folder / name).glob(f"*.{suffix}"))
    files = [folder / f"{name}.onnx"] if suffix == "onnx" else of_paddle
    return next((path for path in files if path.is_file()), None)


def _timed(turns_of: Mapping[str, Sequence[Row]], place: int) -> Row:
    """Return the times of each peer for the batch size at a place, and their ratio."""
    cells = {who: [turn["cells"][place] for turn in turns] for who, turns in turns_of.items()}
    found: Row = {}
    for who, turns in cells.items():
        runs = np.concatenate([turn["runs_us"] for turn in turns])
        found[who] = {
            "median_us": float(np.median(runs)),
            "p99_us": float(np.percentile(runs, 99)),
            "first_s": median(turn["first_s"] for turn in turns),
            "runs": len(runs),
        }
    if PEER in cells:
        ratios = [
            median(own["runs_us"]) / median(peer["runs_us"])
            for own, peer in zip(cells[OWN], cells[PEER], strict=True)
        ]
        found |= {"ratio": median(ratios), "ratios": ratios}
    return found


class Check:
    """The parts of the check, and what they found."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        """Keep what is made while it runs in a folder that the caller removes."""
        self.device: str = options.device
        self._options, self._folder = options, folder
        self.result = machine.describe(argparse.Namespace(), "onnxruntime-gpu", "paddlepaddle-gpu")
        self.result.pop("settings")
        gpu = gpu_facts(self.device) or {}
        gpu.pop("memory.used", None)
        self.rows: list[Row] = []
        self.errors: list[Row] = []
        self.not_run: dict[str, str] = {}
        self.result |= {
            "device": self.device,
            "gpu": gpu,
            "cuda": {},
            "libraries": {each.name: each.version for each in lenet_cpp.available_engines()},
            "rows": self.rows,
            "errors": self.errors,
            "not_run": self.not_run,
        }
        self.bar = tqdm(unit="part", disable=None)

    def run(self) -> None:
        """Run all parts; what each found is written at once."""
        smallest = self._options.networks[0]
        for engine, precisions in ENGINES.items():
            file = find(self._options.models, smallest, SUFFIXES[engine][0])
            if file is None:
                self.not_run[engine] = "there are no models for it"
                continue
            answer = self._ask("load", file=file, engine=engine)
            if answer != "runs":
                self.not_run[engine] = answer
                self._write()
                continue
            for name in self._options.networks:
                self._network(name, engine, precisions)
            self._failures(engine)
        self.bar.close()

    def _call(self, function: str, **arguments: Any) -> Any:
        self.bar.set_postfix_str(f"{function} {arguments.get('file', '')}")
        plain = {
            name: str(value) if isinstance(value, Path) else value
            for name, value in arguments.items()
        }
        doing = f"running a model on {self.device}"
        try:
            return call(f"tools.gpu.worker:{function}", plain, doing=doing, seconds=_SECONDS).result
        finally:
            self.bar.update()

    def _ask(self, function: str, **arguments: Any) -> str:
        """Return the answer of a worker's function, or the error that ended it."""
        try:
            answer = self._call(function, **{"device": self.device, **arguments})
        except Error as error:
            answer = f"{type(error).__name__}: {error}"
        return without_folders(str(answer))

    def _network(self, name: str, engine: str, precisions: Sequence[str]) -> None:
        for suffix in SUFFIXES[engine]:
            file = find(self._options.models, name, suffix)
            if file is None:
                continue
            images, target = self._images(name, file)
            for precision in precisions if self.device != "cpu" else ["fp32"]:
                row: Row = {
                    "network": name,
                    "engine": engine,
                    "format": suffix,
                    "precision": precision,
                }
                try:
                    row |= self._python(file, engine, precision, images, target)
                    row["program"] = dict(self._program(file, engine, precision, images, target))
                    self.rows.append(row)
                    self._write()
                except Error as error:  # the other precisions and models may run
                    what = f"{name}.{suffix} in {precision}"
                    self._note(engine, what, "runs", f"{type(error).__name__}: {error}")

    def _images(self, name: str, file: Path) -> tuple[Path, Path]:
        """Return files with images, and with what the native engine gives for them."""
        images, target = self._folder / f"{name}.npy", self._folder / f"{name}-expected.npy"
        if not target.exists():
            with lenet_cpp.Predictor(file, engine="native") as predictor:
                shape = predictor.input_spec.shape[1:]
            count = max(self._options.batches)
            drawn = np.random.default_rng(0).random((count, *shape), np.float32)
            np.save(images, drawn)
            self._call("expected", file=file, images=images, target=target)
        return images, target

    def _compared(self, target: Path, found: Path, precision: str) -> Row:
        outputs = np.load(found)
        same = compare(np.load(target)[: len(outputs)], outputs, tolerance=TOLERANCES[precision])
        return {"share": float(same.share), "agrees": bool(same.agrees)}

    def _python(self, file: Path, engine: str, precision: str, images: Path, target: Path) -> Row:
        """Run from Python in turn with onnxruntime's own; return times, memory and agreement."""
        batches = self._options.batches
        outputs = [self._folder / f"{size}.npy" for size in batches]
        peers = (OWN, PEER) if engine == "onnxruntime" else (OWN,)
        turns_of: dict[str, list[Row]] = {who: [] for who in peers}
        agreements: list[Row] = []
        for _ in range(self._options.turns if precision == "fp32" else 1):
            for who in peers:
                measured = self._call(
                    "measure",
                    who=who,
                    file=file,
                    engine=engine,
                    device=self.device,
                    precision=precision,
                    batches=batches,
                    images=images,
                    folder=self._folder,
                    seconds=self._options.seconds,
                )
                self.result["cuda"] |= measured.pop("cuda")
                turns_of[who].append(measured)
                if who == OWN:
                    agreements = [self._compared(target, each, precision) for each in outputs]
        cells = [
            {"images": size, **agreement, **_timed(turns_of, place)}
            for place, (size, agreement) in enumerate(zip(batches, agreements, strict=True))
        ]
        loading = {
            who: {
                "load_s": median(turn["load_s"] for turn in turns),
                "memory_mb": turns[0]["memory_mb"],
            }
            for who, turns in turns_of.items()
        }
        return {"cells": cells, **loading}

    def _program(
        self, file: Path, engine: str, precision: str, images: Path, target: Path
    ) -> Iterator[tuple[str, Row]]:
        """Run the C++ program; yield how each number of images agrees, in TF32 the last alone."""
        for size in self._options.batches[0 if precision == "fp32" else -1 :]:
            some, found = self._folder / "some.npy", self._folder / "found.npy"
            np.save(some, np.load(images, mmap_mode="r")[:size])
            self.bar.set_postfix_str(f"{self._options.program.name} {file.name} {size}")
            done = self._run_program(
                file,
                engine,
                input=some,
                precision=precision,
                batch_size=size,
                output=found,
                warmup=0,
            )
            self.bar.update()
            if done.returncode:
                raise BackendFailure(f"{self._options.program}: {done.stderr.strip()}")
            yield str(size), self._compared(target, found, precision)

    def _failures(self, engine: str) -> None:
        """Check that what cannot work ends in the right error, and that work goes on after it.

        The largest model is used.
        """
        sizes = {}
        for each in self._options.networks:
            if (made := find(self._options.models, each, SUFFIXES[engine][0])) is not None:
                sizes[made.stat().st_size] = (each, made)
        name, file = sizes[max(sizes)]
        images, target = self._images(name, file)
        ask = partial(self._ask, file=file, engine=engine)
        found = self._folder / "found.npy"

        def compared(function: str, **more: object) -> str:
            found.unlink(missing_ok=True)
            answer = ask(function, images=images, target=found, **more)
            if not found.exists():
                return answer
            same = [compare(np.load(target)[: len(one)], one) for one in np.load(found)]
            worst = max(each.share for each in same)
            agree = "they agree" if all(each.agrees for each in same) else "they do not agree"
            return f"{answer}; {agree}: {worst:.2g} of the tolerance"

        every = len(np.load(images, mmap_mode="r"))
        cases: list[tuple[str, str, Callable[[], str]]] = [
            ("two predictors in two threads", ".*they agree.*", partial(compared, "two_threads")),
            # Whether they agree is up to the library, and shown.
            (
                f"{every} images at once, `max_batch_size={every}`",
                ".*agree.*",
                partial(compared, "one_batch", max_batch_size=every),
            ),
            (
                f"GPU {_NUMBER_OF_NO_GPU}",
                "Unsupported: .*",
                lambda: ask("load", device=f"gpu:{_NUMBER_OF_NO_GPU}"),
            ),
            ("`CUDA_VISIBLE_DEVICES` empty", "Unsupported: .*", lambda: self._hidden(file, engine)),
            (
                "another process holds the memory",
                "BackendFailure: .*it runs.*",
                lambda: ask("taken_memory"),
            ),
        ]
        if engine == "onnxruntime":  # Paddle takes gpu_mem at first, and then more
            tensorrt = partial(ask, "load", accelerator="tensorrt", precision="tf32")
            cases.append(("TensorRT", "runs|Unsupported: .*", tensorrt))
            little = partial(ask, "little_memory", images=images, gpu_mem=_GPU_MEM)
            what = f"{every} images with `gpu_mem={_GPU_MEM}`"
            cases.append((what, "BackendFailure: .*one image runs.*", little))
        for what, pattern, do in cases:
            # A processor has other memory, and no variable hides it.
            self._note(engine, what, pattern if self.device != "cpu" else ".*", do())

    def _note(self, engine: str, what: str, expected: str, message: str) -> None:
        self.errors.append({"engine": engine, "what": what, "expected": expected, "said": message})
        self._write()

    def _write(self) -> None:
        if not self.rows:  # those of another machine are not overwritten by nothing
            return
        write_text(self._options.output, json.dumps(self.result, indent=1) + "\n")

    def _run_program(
        self, file: Path, engine: str, variables: Mapping[str, str] | None = None, **more: object
    ) -> subprocess.CompletedProcess[str]:
        options = {"model_file": file, "engine": engine, "device": self.device, **more}
        flags = [f"--{name}={value}" for name, value in options.items()]
        return run_program([self._options.program, *flags], seconds=_SECONDS, variables=variables)

    def _hidden(self, file: Path, engine: str) -> str:
        done = self._run_program(file, engine, os.environ | {"CUDA_VISIBLE_DEVICES": ""})
        message = done.stderr.strip() or "runs"
        _program, _, error = message.partition(": ")
        return without_folders(error or message)


def without_folders(message: str) -> str:
    """Return a message that names files, not where they are on this machine."""
    return re.sub(r"(?<=[\s'])/[^\s']*/(?=[^\s'/]+\.(onnx|so|json|pdmodel))", "", message)


def failures(result: Row) -> list[str]:
    """Return what is not as it should be, a line each."""
    found = []
    for row in result["rows"]:
        name = f"{row['network']}.{row['format']} {row['engine']} {row['precision']}"
        routes = [("Python", each["images"], each) for each in row["cells"]]
        routes += [("C++", size, each) for size, each in row["program"].items()]
        found += [
            f"{name}, {route}, {size} images: {each['share']:.3g} of the tolerance"
            for route, size, each in routes
            if not each["agrees"]
        ]
    found += [
        f"{row['engine']}, {row['what']}: {row['said']}"
        for row in result["errors"]
        if not re.fullmatch(row["expected"], row["said"], re.DOTALL)
    ]
    return found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tools.gpu",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    making_one = commands.add_parser("make", help="write the models into a folder")
    making_one.add_argument("models", type=Path, metavar="FOLDER")
    checking = commands.add_parser("check", help="run the models, and write the results")
    checking.add_argument("--models", type=Path, metavar="FOLDER", help="made before by make")
    checking.add_argument("--device", default="gpu", help="gpu, gpu:ID, or cpu for a rehearsal")
    checking.add_argument(
        "--batches",
        type=int,
        nargs="+",
        default=list(BATCHES),
        metavar="N",
        help=f"images at once ({' '.join(map(str, BATCHES))})",
    )
    checking.add_argument("--turns", type=int, default=3, help="processes of each of the two (3)")
    checking.add_argument("--seconds", type=float, default=0.3, help="for each batch (0.3)")
    program = ROOT / "build" / "lenet_infer_test"
    checking.add_argument("--program", type=Path, default=program, help="build/lenet_infer_test")
    checking.add_argument(
        "--output", type=Path, default=RESULTS, metavar="FILE", help="docs/results/gpu.json"
    )
    for each in (making_one, checking):
        each.add_argument(
            "--networks",
            nargs="+",
            default=list(NETWORKS),
            metavar="NAME",
            help=f"models of lenet-cpp ({' '.join(NETWORKS)})",
        )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        if options.command == "make":
            make(options.models, options.networks)
            return 0
        if min(*options.batches, options.turns, 1) < 1:
            parser.error("--batches and --turns are at least 1")
        if not re.fullmatch(r"cpu|gpu(:\d+)?", options.device):
            parser.error("--device is gpu, gpu:ID or cpu")
        check = _run(options)
    except Error as error:
        print(f"gpu: {error}", file=sys.stderr)
        return error.exit_code
    for engine, reason in check.not_run.items():
        print(f"not run: {engine}: {reason}")
    wrong = failures(check.result) if check.rows else ["no engine computes there"]
    for line in wrong:
        print(line)
    if check.rows:
        print(f"{options.output}: {len(check.rows)} models and precisions, {len(wrong)} failures")
    return int(bool(wrong))


def _run(options: argparse.Namespace) -> Check:
    """Make the models, unless there are some, and run the check on them."""
    if not options.program.is_file():
        raise FileNotFound(f"there is no program {options.program}; ./run.sh builds it")
    with tempfile.TemporaryDirectory() as folder:
        if options.models is None:
            options.models = Path(folder, "models")
            make(options.models, options.networks)
        check = Check(options, Path(folder))
        check.run()
    return check


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("gpu: interrupted; what was run is in the file", file=sys.stderr)
        sys.exit(130)
