"""The benchmark's part about the server."""

import json
import sys
from importlib.util import find_spec

import pytest

from snippets import run_command
from tools.benchmark import serve


@pytest.mark.nightly
def test_quick_run(root, program, model_dir, tmp_path):
    """Every server is measured, after it gave the predictor's outputs. No limit has to hold."""
    if not program.with_name("lenet_serve").is_file():
        pytest.skip(
            "a build without Debian's libboost-dev zlib1g-dev leaves lenet_serve out: apt-get"
            " install libboost-dev zlib1g-dev, then ./run.sh, as ./test.sh does for root"
        )
    if missing := [name for name in serve._PACKAGES if find_spec(name) is None]:
        pytest.skip(f"pip install {' '.join(missing)} (the extra bench), which not all need")
    arguments = ["--serve", "--quick", "--networks", "resnet18", "--image-size", "32"]
    arguments += ["--model-dir", str(model_dir), "--program", str(program)]
    arguments += ["--json", str(tmp_path / "result.json"), "--plots", str(tmp_path)]
    done = run_command(sys.executable, root / "scripts/benchmark.py", *arguments, timeout=500)
    assert done.returncode in (0, 1), done.stderr
    result = json.loads((tmp_path / "result.json").read_text())
    servers = {("lenet_serve", "binary"), ("lenet_serve", "json")}
    servers |= {(one, kind) for one in ("echo", "starlette", "fastapi") for kind in serve._PATHS}
    if program.with_name("lenet_serve_grpc").is_file():
        servers.add(("lenet_serve", "grpc"))
    else:
        assert "libgrpc++-dev" in result["absent"]["grpc"]
    cells = {(c["connections"], c["server"], c["kind"]): c for c in result["cells"]}
    assert cells.keys() == {(count, *one) for count in (1, 32) for one in servers}
    for (_, server, _), cell in cells.items():
        assert 0 < cell["p50_us"] <= cell["p99_us"]
        assert (cell["times_echo"] == 1) == (server == "echo")
    network, (series,) = result["network"], result["series"]
    assert (network["network"], network["probe"]["statuses"].keys()) == ("ResNet18", {"200"})
    assert min(network["in_process_ms"], network["over_http_ms"]) > 0
    assert series["statuses"].keys() == {"200", "400", "404"}
    assert series["samples"][-1][0] == sum(series["statuses"].values()) == 200
    assert done.returncode == (0 if all(one["holds"] for one in result["figures"]) else 1)
