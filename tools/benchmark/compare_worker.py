"""The child process of a comparison of two Python environments: one turn, one line of JSON.

Run by its path, by the interpreter of either environment, with the task as JSON. It uses only what
every version of ``lenet_cpp`` has: ``Predictor``, ``run``, ``options`` and ``accelerator``. The
line has the keys of ``lenet_infer_test --format=json``, and processor time beside elapsed time.
"""

from __future__ import annotations

import sys

# Run by its path, Python would look for modules beside this file first.
if __name__ == "__main__":
    del sys.path[0]

import gc
import json
import math
import os
import time
from pathlib import Path
from typing import Any

__all__: list[str] = []


def _turn(task: dict[str, Any]) -> dict[str, Any]:
    import numpy as np

    import lenet_cpp

    images = np.load(task["images"])
    clock, processor = time.perf_counter_ns, time.process_time_ns
    begin = clock(), processor()
    predictor = lenet_cpp.Predictor(task["model_file"], task.get("params_file"), **task["options"])
    load_ms, load_cpu_ms = (clock() - begin[0]) / 1e6, (processor() - begin[1]) / 1e6
    outputs = predictor.run(images)
    answer: dict[str, Any] = {
        "version": lenet_cpp.__version__,
        "package": str(Path(lenet_cpp.__file__).parent),
        "engine": predictor.options["engine"],
        "accelerator": predictor.accelerator(len(images)),
        "outputs": outputs.ravel().tolist(),
        "output_shape": outputs.shape,
        "load_ms": load_ms,
        "load_cpu_ms": load_cpu_ms,
    }
    if "repeats" in task:
        gc.collect()
        gc.disable()
        for _ in range(task["warmup"]):
            predictor.run(images)
        times = []
        before = processor()
        for _ in range(task["repeats"]):
            start = clock()
            predictor.run(images)
            times.append((clock() - start) / 1e6)
        cpu_ms = (processor() - before) / 1e6 / len(times)
        times.sort()
        median, p99 = (times[math.ceil(part * len(times)) - 1] for part in (0.5, 0.99))
        answer["latency"] = {"median_ms": median, "p99_ms": p99, "cpu_ms": cpu_ms}
    status = Path("/proc/self/status").read_text(encoding="ascii")
    answer["peak_bytes"] = 1024 * int(status.partition("VmHWM:")[2].split()[0])
    return answer


def _main() -> None:
    # Whatever else prints does so on standard error.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    try:
        answer = _turn(json.loads(sys.argv[1]))
    except Exception as error:  # noqa: BLE001 - the parent says it in one line
        line = " ".join(str(error).split())
        print(f"{type(error).__name__}: {line}", file=sys.stderr)
        sys.exit(getattr(error, "exit_code", 1))
    answers.write(json.dumps(answer) + "\n")
    answers.flush()
    # The engines' own way down takes long and is not what is measured.
    os._exit(0)


if __name__ == "__main__":
    _main()
