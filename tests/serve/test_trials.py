"""Files that somebody puts into the repository: whatever they are, the server goes on.

A model is loaded in a process of its own first. Here that is a load by an onnxruntime which crashes
with some models, so that the tests do not depend on a fault of the real one.
"""

import json
import resource
import shutil
import time
from pathlib import Path

import psutil
import pytest

from slow_loads import environment, put_model, wait_until
from snippets import run_command

CRASHES = "LENET_CRASHES"
NEVER = "LENET_NEVER_LOADS"
OPTIONS = ("--port=0", "--poll_seconds=1")


@pytest.fixture(scope="module")
def faulty(tmp_path_factory):
    return environment(tmp_path_factory.mktemp("faulty"))


@pytest.fixture
def repository(tmp_path):
    put_model(tmp_path / "models" / "good" / "1" / "m.onnx")
    return tmp_path / "models"


def largest_first(server, name="good"):
    """Return what a model makes of [1, 3, 2, 0], of which the first value is 1."""
    tensor = {"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 3, 2, 0]}
    body = json.dumps({"inputs": [tensor]})
    answer = json.loads(server.ask("POST", f"/v2/models/{name}/infer", body)[2])
    return answer["outputs"][0]["data"]


def reason(server, name, version):
    """Wait until a version is not served; return why."""
    wait_until(lambda: server.states().get((name, version), ("", ""))[0] == "UNAVAILABLE")
    return server.states()[name, version][1]


def test_a_file_that_crashes_its_load(run_server, serve_program, repository, faulty):
    """It is tried once for its content, whatever its name and its times are."""
    command = (serve_program, repository, *OPTIONS)
    with run_server(*command, ends=False, env=faulty) as server:
        bad = put_model(repository / "bad.onnx", CRASHES)
        why = reason(server, "bad", "1")
        assert f"'{bad}' is set aside until its content changes" in why
        assert "signal 11 (an invalid memory access)" in why
        assert server.metric("lenet_died_loads_total") == 1
        bad.touch()
        shutil.copy(bad, repository / "copy.onnx")
        assert "copy.onnx' is set aside" in reason(server, "copy", "1")
        # A new version of a model that is served: the old one answers.
        put_model(repository / "good" / "2" / "other.onnx", CRASHES)
        assert "good/2' is set aside" in reason(server, "good", "2")
        assert server.states()["good", "1"] == ("READY", "")
        assert largest_first(server) == [1, 0, 0, 0]
        assert server.metric("lenet_died_loads_total") == 1
        # One that is served, in its own file.
        put_model(repository / "good" / "1" / "m.onnx", CRASHES + " again")
        wait_until(lambda: "set aside" in server.states()["good", "1"][1])
        assert server.states()["good", "1"][0] == "READY"
        assert largest_first(server) == [1, 0, 0, 0]
        assert server.metric("lenet_died_loads_total") == 2
        put_model(bad)
        wait_until(lambda: server.states()["bad", "1"] == ("READY", ""))
        assert largest_first(server, "bad") == [1, 0, 0, 0]
        assert server.ask("GET", "/v2/health/ready")[0] == 200
        server.process.terminate()
        assert server.process.wait(30) == 0
        lines = server.process.stderr.read().splitlines()
    told = [line for line in lines if f"'{bad}' is set aside" in line]
    assert told
    assert all("model 'bad' version 1 is not served" in line for line in told)


def test_a_start_leaves_out_what_crashes(run_server, serve_program, repository, faulty):
    put_model(repository / "bad" / "1" / "m.onnx", CRASHES)
    (repository / "damaged.onnx").write_text("no model")
    with run_server(serve_program, repository, *OPTIONS, env=faulty) as server:
        assert "set aside" in server.states()["bad", "1"][1]
        assert "damaged.onnx" in server.states()["damaged", "1"][1]
        assert largest_first(server) == [1, 0, 0, 0]
    # A model that was named is an error of who named it, and so are models of which none can be.
    for named in (repository / "bad", repository / "damaged.onnx"):
        done = run_command(serve_program, named, *OPTIONS, env=faulty, timeout=60)
        assert done.returncode in {4, 8}
        assert "model '" in done.stderr
    shutil.rmtree(repository / "good")
    done = run_command(serve_program, repository, *OPTIONS, env=faulty, timeout=60)
    assert done.returncode == 8
    assert "model 'bad'" in done.stderr


def test_a_load_that_never_ends_ends_with_its_process(
    run_server, serve_program, repository, faulty
):
    command = (serve_program, repository, *OPTIONS, "--load_seconds=1")
    with run_server(*command, env=faulty) as server:
        for version in ("2", "3", "4", "5"):
            put_model(repository / "good" / version / "m.onnx", NEVER + version)
            assert "its load takes longer than load_seconds, 1" in reason(server, "good", version)
        assert server.metric("lenet_given_up_loads") == 0
        assert server.ask("GET", "/v2/health/ready")[0] == 200


def test_the_process_of_a_load_has_limits_and_ends_with_the_server(
    run_server, serve_program, repository, faulty
):
    with run_server(serve_program, repository, *OPTIONS, ends=False, env=faulty) as server:
        put_model(repository / "never.onnx", NEVER)
        wait_until(server.watched.children)
        (child,) = server.watched.children()
        wait_until(lambda: child.cpu_times().user > 1)  # it loads
        assert child.net_connections() == []
        assert child.rlimit(resource.RLIMIT_CORE) == (0, 0)
        assert child.rlimit(resource.RLIMIT_CPU)[1] == 140 * psutil.cpu_count()
        assert Path(f"/proc/{child.pid}/oom_score_adj").read_text() == "1000\n"
        assert largest_first(server) == [1, 0, 0, 0]
        began = time.monotonic()
        server.process.terminate()
        assert server.process.wait(30) == 0
        assert time.monotonic() - began < 10
        assert not child.is_running()


def test_killed_and_ended_by_itself(run_server, serve_program, repository, faulty):
    """As a process is that takes all memory; whoever ends the server ends it too."""
    with run_server(serve_program, repository, *OPTIONS, ends=False, env=faulty) as server:
        put_model(repository / "never.onnx", NEVER)
        wait_until(server.watched.children)
        server.watched.children()[0].kill()
        assert "as the system does where memory runs out" in reason(server, "never", "1")
        put_model(repository / "never.onnx", NEVER + "2")
        wait_until(server.watched.children)
        (child,) = server.watched.children()
        wait_until(lambda: child.cpu_times().user > 1)
        server.process.kill()
        server.process.wait(30)
        wait_until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)


def test_a_repository_stays_one(run_server, serve_program, repository, faulty):
    """Neither a program nor a folder with the name of a version makes one model of it."""
    put_model(repository / "other.onnx")
    (repository / "7").mkdir()
    for _ in range(2):  # at the start, and while it runs
        with run_server(serve_program, repository, *OPTIONS, env=faulty) as server:
            put_model(repository / "8" / "m.onnx")
            put_model(repository / "more.onnx")
            (repository / "x.pdmodel").write_bytes(b"")
            wait_until(lambda: server.states().get(("8", "1")) == ("READY", ""))
            wait_until(lambda: server.states().get(("more", "1")) == ("READY", ""))
            assert server.states()["good", "1"] == ("READY", "")
            assert server.states()["other", "1"] == ("READY", "")
            assert {name for name, _ in server.states()} == {"good", "other", "more", "8"}
    with run_server(serve_program, f"all={repository}", *OPTIONS, env=faulty) as server:
        assert server.states() == {("all", "8"): ("READY", "")}  # who gives a name has one model


def test_check_model(serve_program, model_dir, repository, faulty):
    bad = put_model(repository / "bad.onnx", CRASHES)
    done = run_command(serve_program, f"--check_model={model_dir}", env=faulty, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"'{model_dir}' can be served\n"
    assert run_command(serve_program, f"--check_model={bad}", env=faulty).returncode == -11
    bad.write_text("no model")
    done = run_command(serve_program, f"--check_model={bad}", env=faulty)
    assert (done.returncode, done.stderr.count("\n")) == (4, 1)
