"""README and docs hold the figures of docs/results, and no others."""

import json
import re
import xml.etree.ElementTree as ET

import pytest

from tools.pages.marks import outside_marks, write_pages, written
from tools.survey.figures import best_other

SPEED = re.compile(
    r"\d[\d.,]* ?(?:us|µs|microseconds|微秒|마이크로초)\b|[\d.]+ times as fast"
    r"|\d[\d.,]* (?:images|requests)(?:/s| a second)|\d\.\d+ (?:ms|milliseconds)\b"
)
"""A figure of speed in a text. Integers with ms are mostly limits and settings."""


def test_pages_hold_what_their_results_do(root):
    """Where this fails: python -m tools.pages."""
    texts = written(root)
    for path, text in texts.items():
        assert path.read_text(encoding="utf-8") == text, f"{path}: python -m tools.pages"


def test_results_of_the_benchmark_have_no_path_of_a_machine(root):
    """Other results quote messages of Paddle and names of nodes, which look like paths."""
    texts = {file.name: file.read_text() for file in (root / "docs" / "results").glob("*.json")}
    written = {name: text for name, text in texts.items() if "kind" in json.loads(text)}
    assert {"networks.json", "photos.json", "serve.json"} <= written.keys()
    path = re.compile(r"[\"' (]/\w+/")
    assert [name for name, text in written.items() if path.search(text)] == []


def test_no_line_of_a_sentence_begins_with_a_mark(root):
    """A line that begins with a comment is no Markdown: its links and code are not rendered."""
    found = re.compile(r"^ *<!-- (?:results: .+?|repository) -->.", re.MULTILINE)
    pages = [*root.glob("*.md"), *(root / "docs").rglob("*.md")]
    assert [page for page in pages if found.search(page.read_text(encoding="utf-8"))] == []


def test_no_other_figures_of_speed(root):
    found = {}
    for path in [*root.glob("*.md"), *(root / "docs").rglob("*.md")]:
        text = outside_marks(path.read_text(encoding="utf-8"))
        if figures := SPEED.findall(text):
            found[str(path.relative_to(root))] = figures
    assert found == {}


@pytest.fixture
def clone(tmp_path):
    """A folder with results whose tables are known, and a page."""

    def cell(contender, size, microseconds, *, spread=0.02, error=1e-6):
        of = {"contender": contender, "batch_size": size, "median_us": microseconds}
        of |= {"spread_between_turns": spread, "error": error}
        return of | {"threads": 1, "precision": "fp32"}

    machine = {"processor": "EPYC", "family, model, stepping": "25, 17, 1", "virtual machine": "no"}
    where = {"machine": machine, "date": "2026-11-30", "versions": {"openvino": "1", "MNN": "2"}}

    cells = [cell("onnxruntime", 1, 20.0), cell("onnxruntime", 8, 80.04)]
    cells += [cell("lenet_cpp/native", 1, 5.0), cell("lenet_cpp/native", 8, 32.0)]
    limit = [{"multiply_adds_per_second": 2e9}]
    about = {"multiply_adds_per_image": 8000, "multiply_add_limit": limit}
    lenet = {**where, "networks": [{"network": "LeNet", "cells": cells, **about}]}
    large = [cell("lenet_cpp/pdmodel/onednn", size, 4000.0 * size) for size in (1, 8)]
    large += [cell("lenet_cpp/native", size, 1000.0 * size) for size in (1, 8)]
    large += [cell("openvino", 1, 2001.0), cell("openvino", 8, 16064.0, spread=0.11)]
    large += [cell("mnn", size, 1500.0 * size, error=2e-4) for size in (1, 8)]
    large.append(cell("mnn", 1, 900.0) | {"threads": 2})
    names = [{"name": name} for name in dict.fromkeys(one["contender"] for one in large)]
    network = {"network": "ResNet50_vd", "cells": large, "contenders": names}
    networks = {**where, "networks": [network]}
    starts = {"lenet_infer_native": (5.0, 6e6), "paddle.inference/pdmodel/plain": (800.0, 3e8)}
    rows = [
        {"contender": name, "median_ms": ms, "peak_bytes": size, "absent": None}
        for name, (ms, size) in starts.items()
    ]
    startup = {**where, "rows": rows}
    folder = tmp_path / "docs" / "results"
    folder.mkdir(parents=True)
    # From C++, the native engine is the program's.
    program = [
        one | {"contender": one["contender"].replace("lenet_cpp", "program")} for one in large
    ]
    from_cpp = {**where, "networks": [network | {"cells": program}]}
    more = {**where, "networks": [network | {"network": "DeiT-T"}]}
    results = {"lenet": lenet, "networks": networks, "startup": startup}
    results |= {"cpp": from_cpp, "onnx-networks": more}
    for name, result in results.items():
        (folder / f"{name}.json").write_text(json.dumps(result), encoding="utf-8")
    return tmp_path


def filled(clone, mark):
    """What a mark in a page is filled with, the second time as the first."""
    page = clone / "README.md"
    page.write_text(f"before <!-- results: {mark} -->old<!-- end --> after\n", encoding="utf-8")
    write_pages(clone)
    text = page.read_text(encoding="utf-8")
    assert write_pages(clone) == []
    assert text.startswith(f"before <!-- results: {mark} -->")
    assert text.endswith("<!-- end --> after\n")
    return re.search(r"-->(.*)<!--", text, re.DOTALL)[1]


@pytest.mark.parametrize(
    ("mark", "expected"),
    [
        ("lenet.json us onnxruntime 8", "10.0"),
        ("lenet.json times lenet_cpp/native onnxruntime 1", "4.0"),
        ("lenet.json limit", "4.0"),
        ("networks.json network-ms ResNet50_vd 8", "8.0"),
        ("networks.json network-saving ResNet50_vd 1", "50"),
        ("cpp.json network-ms ResNet50_vd 8", "8.0"),
        ("cpp.json network-saving ResNet50_vd 1", "50"),
        ("cpp.json network-next ResNet50_vd 1", "OpenVINO"),
    ],
)
def test_marks_are_filled(clone, mark, expected):
    """The tables are those of the pages, which are compared above."""
    assert filled(clone, mark) == expected


def test_spreads_and_errors_stand_beside_the_times(clone):
    """Who is not accurate is no peer; a ratio of turns that are far apart is marked."""
    *_, line = filled(clone, "networks.json networks 1,8").strip().split("\n")
    assert line == (
        "| ResNet50_vd | 1.0 (2 %) | 2.0 (2 %), OpenVINO | 0.50"
        " | 8.0 (2 %) | 16.1 (11 %), OpenVINO | ~0.50 |"
    )
    header, _, line = filled(clone, "networks.json beside 8").strip().split("\n")
    assert header == "| milliseconds, 8 at once | native | oneDNN | OpenVINO | MNN |"
    assert line.endswith("| 32.0 (2 %) | 16.1 (11 %) | 12.0 (2 %), error 2.0e-04 |")
    header, _, line = filled(clone, "networks.json errors 8").strip().split("\n")
    assert header == "| error | native | oneDNN | OpenVINO | MNN |"
    assert line == "| ResNet50_vd | 1.0e-06 | 1.0e-06 | 1.0e-06 | 2.0e-04 |"
    *_, line = filled(clone, "networks.json networks 1").strip().split("\n")
    assert line == "| ResNet50_vd | 1.0 (2 %) | 2.0 (2 %), OpenVINO | 0.50 |"


def test_the_table_of_lenet_has_the_largest_error_of_each(clone):
    path = clone / "docs" / "results" / "lenet.json"
    result = json.loads(path.read_text())
    result["networks"][0]["cells"][0]["error"] = 3e-5
    path.write_text(json.dumps(result))
    header, _, *lines = filled(clone, "lenet.json latency fp32").strip().split("\n")
    assert header == "| microseconds per image, by batch size | 1 | 8 | error |"
    assert lines == [
        "| this project, Python, native engine | 5.0 (2 %) | 4.0 (2 %) | 1.0e-06 |",
        "| ONNX Runtime | 20.0 (2 %) | 10.0 (2 %) | 3.0e-05 |",
    ]


def test_a_contender_that_was_not_measured_is_a_dash(clone):
    path = clone / "docs" / "results" / "networks.json"
    result = json.loads(path.read_text())
    (network,) = result["networks"]
    few = [cell for cell in network["cells"] if cell["contender"] != "openvino"]
    result["networks"].append(network | {"network": "Swin-T", "cells": few})
    path.write_text(json.dumps(result))
    *_, line = filled(clone, "networks.json beside 1").strip().split("\n")
    assert line == "| Swin-T | 1.0 (2 %) | 4.0 (2 %) | - | 1.5 (2 %), error 2.0e-04 |"


def test_a_table_of_two_threads(clone):
    header, _, line = filled(clone, "networks.json beside 1 2").strip().split("\n")
    assert (header, line) == ("| milliseconds, 1 at once | MNN |", "| ResNet50_vd | 0.9 (2 %) |")


def test_reduced_precision_stands_beside_float32(clone):
    """The fastest other library is that of the same precision."""
    path = clone / "docs" / "results" / "networks.json"
    result = json.loads(path.read_text())
    cells = result["networks"][0]["cells"]
    for cell in [one for one in cells if one["contender"] in {"lenet_cpp/native", "openvino"}]:
        name = f"{cell['contender']}/bf16"
        half = {"contender": name, "precision": "bf16", "median_us": cell["median_us"] / 2}
        cells.append(cell | half)
    path.write_text(json.dumps(result))
    header, _, line = filled(clone, "networks.json networks 1 bf16").strip().split("\n")
    columns = "1 image | in float32 | fastest other | native / fastest other"
    assert header == f"| milliseconds per batch | {columns} |"
    assert line == "| ResNet50_vd, bf16 | 0.5 (2 %) | 1.0 (2 %) | 1.0 (2 %), OpenVINO | 0.50 |"


def test_photos_have_a_column_for_each_contender(clone):
    """A contender with one rule has no time in the rows of the other."""
    photo = "JPEG, 12 megapixels"

    def row(contender, rule, milliseconds, status="measured"):
        names = {"network": "MobileNetV2", "photo": photo, "rule": rule}
        of = {"contender": contender, "status": status, "ratio": 0.5, "first_ms": 300.0}
        of |= {"spread_between_turns": 0.02, "peak_bytes": 75e6}
        return names | of | {"median_us": 1e3 * milliseconds}

    rows = [row("Classifier", "opencv", 10), row("PaddleX", "opencv", 30) | {"disk_bytes": 1.3e9}]
    rows += [
        row("lenet_serve", "opencv", 9, "unavailable"),
        row("cv2 and onnxruntime", "opencv", 20),
    ]
    rows += [row("Classifier", "pillow", 11), row("Pillow and onnxruntime", "pillow", 22)]
    (clone / "docs" / "results" / "photos.json").write_text(json.dumps({"rows": rows}))
    header, _, *lines = filled(clone, "photos.json photos MobileNetV2").split("\n")[1:-1]
    assert header == (
        "| photo | by hand with | `Classifier` | `PaddleX` | by hand | `Classifier` / by hand"
        " | first photo, `Classifier` | first photo, `PaddleX` | first photo, by hand |"
    )
    assert lines == [
        f"| {photo} | cv2 and onnxruntime | 10.0 (2 %) | 30.0 (2 %) | 20.0 (2 %) | 0.50"
        " | 300 | 300 | 300 |",
        f"| {photo} | Pillow and onnxruntime | 11.0 (2 %) | - | 22.0 (2 %) | 0.50"
        " | 300 | - | 300 |",
    ]
    costs = filled(clone, "photos.json photo-costs MobileNetV2 JPEG 12")
    header, _, *lines = costs.split("\n")[1:-1]
    assert header == "|  | first photo, ms | each further photo, ms | memory, MB | disk, MB |"
    assert lines == [
        "| `Classifier` | 300 | 10.0 (2 %) | 75.0 | - |",
        "| `PaddleX` | 300 | 30.0 (2 %) | 75.0 | 1,300 |",
        "| cv2 and onnxruntime | 300 | 20.0 (2 %) | 75.0 | - |",
    ]
    figures = ("photo-first-ms", "300"), ("photo-ms", "20.0"), ("photo-mb", "75.0")
    for part, figure in figures:
        mark = f"photos.json {part} MobileNetV2 JPEG 12 cv2 and onnxruntime"
        assert filled(clone, mark) == figure


def test_servers_have_the_ratio_to_lenet_serve(clone):
    """It is marked where the rounds differ by more than a tenth of it."""

    def cell(server, ratio, spread, connections=32):
        of = {"connections": connections, "server": server, "kind": "json", "rate": 1200.0}
        of |= {"p50_us": 20.0, "p99_us": 250.0}
        return of | {"ratio": ratio and {"median": ratio, "spread_between_turns": spread}}

    cells = [cell("lenet_serve", None, 0), cell("fastapi", 5.5, 0.1), cell("echo", 0.5, 0.11)]
    cells.append(cell("fastapi", 2.0, 0.0, connections=1))
    (clone / "docs" / "results" / "serve.json").write_text(json.dumps({"cells": cells}))
    header, _, *lines = filled(clone, "serve.json serve 32").split("\n")[1:-1]
    assert header == (
        "| server, requests | p50, microseconds | p99 | requests per second"
        " | rate of `lenet_serve` / its rate |"
    )
    assert lines == [
        "| lenet_serve, json | 20.0 | 250 | 1,200 | - |",
        "| fastapi, json | 20.0 | 250 | 1,200 | 5.50 |",
        "| echo, json | 20.0 | 250 | 1,200 | ~0.50 |",
    ]


def test_the_pictures(clone):
    results = clone / "docs" / "results"
    names = ("latency.svg", "networks.svg", "networks-cpp.svg", "startup.svg")
    assert write_pages(clone) == [results / name for name in names]
    picture = ET.parse(results / "latency.svg").getroot()
    assert picture[0].text == (
        "LeNet, one digit, one core, from Python: lenet_cpp 5.0 µs, ONNX Runtime 20.0 µs;"
        " ResNet50_vd, one photo, one core, from Python: lenet_cpp 1.0 ms, OpenVINO 2.0 ms,"
        " Paddle Inference 4.0 ms"
    )
    startup = ET.parse(results / "startup.svg").getroot()
    assert startup[0].text == (
        "From the start of a process to its first result: lenet_cpp 5.0 ms,"
        " Paddle Inference 800 ms; Its memory: lenet_cpp 6.0 MB, Paddle Inference 300 MB"
    )
    assert startup[-1].text == "EPYC (family 25, model 17); 2026-11-30; openvino 1, MNN 2"
    widths = [float(one.get("width")) for one in picture if "bar" in one.get("class", "")]
    assert widths[1] == pytest.approx(4 * widths[0], rel=0.01)
    assert widths[4] == pytest.approx(4 * widths[2], rel=0.01)


def test_the_picture_of_networks_has_two_bars_for_each(clone):
    """They have one scale, and a line that is as long as the spread is wide."""
    write_pages(clone)
    picture = ET.parse(clone / "docs" / "results" / "networks.svg").getroot()
    notes = [one.text for one in picture if one.get("class") == "note"]
    assert notes[-2].startswith("ResNet50_vd and below: EPYC (family 25, model 17)")
    assert notes[-1].startswith("DeiT-T and below: EPYC (family 25, model 17)")
    pair = "ResNet50_vd, lenet_cpp 1.0 ms; ResNet50_vd, OpenVINO 2.0 ms"
    assert picture[0].text == f"{pair}; {pair.replace('ResNet50_vd', 'DeiT-T')}"
    own, other, *_ = (float(one.get("width")) for one in picture if "bar" in one.get("class", ""))
    assert own == pytest.approx(other / 2.001, abs=0.1)
    line = next(one for one in picture if one.get("class") == "spread")
    assert float(line.get("x2")) - float(line.get("x1")) == pytest.approx(0.02 * own, abs=0.11)
    said = [one.text for one in picture if one.get("class") == "value"]
    assert said[:2] == ["1.0 ms (2 %), lenet_cpp", "2.0 ms (2 %), OpenVINO"]
    from_cpp = ET.parse(clone / "docs" / "results" / "networks-cpp.svg").getroot()
    assert from_cpp[0].text == pair


def test_where_rounding_is_enlarged_those_count_that_are_no_worse():
    def cell(contender, microseconds, error):
        of = {"contender": contender, "threads": 1, "batch_size": 1, "precision": "fp32"}
        return of | {"median_us": microseconds, "error": error}

    peers = [cell("mnn", 1.0, 9e-4), cell("ncnn", 2.0, 4e-4), cell("openvino", 3.0, 1e-5)]
    for own, best in ((1e-5, "openvino"), (5e-4, "ncnn")):
        network = {"cells": [cell("program/native", 1.0, own), *peers]}
        assert best_other(network, 1)["contender"] == best


def test_the_address_to_clone_is_that_of_the_project(clone):
    """One line of pyproject.toml fills it in; the text until then says what belongs there."""
    project, page = clone / "pyproject.toml", clone / "README.md"
    mark = "<!-- repository -->{}<!-- end --> <!-- results: lenet.json limit -->4.0<!-- end -->"
    for line, address in ((" # [project.urls]", "ADDRESS"), ('Repository = "a.git"', "a.git")):
        project.write_text(f"[project]\n{line}\n")
        page.write_text(mark.format("before"))
        write_pages(clone)
        assert page.read_text() == mark.format(address)
