"""The server as it is put on other machines: one file, a container, a systemd unit.

Of the page's commands those are run here that build; they are marked as ``console``.
"""

import gzip
import hashlib
import io
import json
import os
import re
import shutil
import signal
import sys
import tarfile
from pathlib import Path

import kubernetes_validate
import numpy as np
import psutil
import pytest
import yaml
from raw_http import INFER, RAW

import lenet_cpp
from digit_photos import photo
from lenet_cpp.cli import serve
from lenet_cpp.data.images import Pipeline
from lenet_cpp.inference import program
from snippets import printed_by, read_snippets, run_command

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "deploy" / "lenet_serve.service"
PROGRAMS = ("lenet_serve", "lenet_classify", "lenet_infer_native")
MAX_BYTES = 7_499_999  # docs/serve.md says 7 MB, in whole megabytes
GZIP = {"Content-Encoding": "gzip"}
USER = "65532:65532"


def page_commands(word):
    """Return the page's block with a word in it, of those that only these tests run."""
    blocks = read_snippets(ROOT / "docs" / "serve.md")
    (text,) = (block.text for block in blocks if block.language == "console" and word in block.text)
    return text


def in_empty_root(folder, *command, user="0:0"):
    """Return the command that runs in a folder which holds all there is for it."""
    if os.geteuid() != 0:
        pytest.skip("needs root, who alone may call chroot")
    return (shutil.which("chroot"), f"--userspec={user}", folder, *command)


@pytest.fixture(scope="module")
def static_programs():
    """The folder of the static programs."""
    python = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    printed_by("sh", "-euc", page_commands("--preset static"), cwd=ROOT, env=os.environ | python)
    return ROOT / "build" / "static"


@pytest.fixture(scope="module")
def empty_root(static_programs, model_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("root")
    folder.chmod(0o755)
    for name in PROGRAMS:
        shutil.copy(static_programs / name, folder)
    shutil.copytree(model_dir, folder / "lenet")
    return folder


def predict_over_http(server, body, headers):
    status, found, content = server.ask("POST", INFER, body, headers)
    assert status == 200, content
    return np.frombuffer(content[int(found["Inference-Header-Content-Length"]) :], "<f4")


@pytest.mark.nightly
@pytest.mark.parametrize("name", PROGRAMS)
def test_is_one_small_file(static_programs, name):
    assert "no dynamic section" in printed_by("readelf", "--dynamic", static_programs / name)
    assert "INTERP" not in printed_by("readelf", "--program-headers", static_programs / name)
    assert (static_programs / name).stat().st_size <= MAX_BYTES


@pytest.mark.nightly
@pytest.mark.parametrize("user", ["0:0", USER])
def test_runs_in_an_empty_root(run_server, empty_root, digit, user):
    before = {*empty_root.rglob("*")}
    command = in_empty_root(empty_root, "/lenet_serve", "/lenet", "--port=0", user=user)
    with run_server(*command, env={}) as server:
        found = predict_over_http(server, digit.tobytes(), RAW)
        np.testing.assert_array_equal(found, lenet_cpp.predict(digit).ravel())
        pixels = photo(255 * np.eye(28, dtype=np.uint8), "paper", 0)
        for kind in ("png", "jpeg"):
            file = io.BytesIO()
            pixels.save(file, kind)
            status, _, content = server.ask("PUT", f"{INFER}?raw", file.getvalue())
            assert status == 200, content
            found = np.float32(json.loads(content)["outputs"][0]["data"])
            prepare = Pipeline.load(empty_root / "lenet" / "preprocess.json")
            expected = lenet_cpp.predict(prepare.batch([file.getvalue()]))
            np.testing.assert_array_equal(found, expected.ravel())
        predict_over_http(server, gzip.compress(digit.tobytes()), GZIP | RAW)
    assert {*empty_root.rglob("*")} == before


@pytest.mark.nightly
def test_other_programs_in_an_empty_root(empty_root, digit):
    np.save(empty_root / "x.npy", digit)
    files = ("--model_dir=/lenet", "--input=/x.npy", "--output=/y.npy")
    printed_by(*in_empty_root(empty_root, "/lenet_infer_native", *files))
    found = np.load(empty_root / "y.npy")
    np.testing.assert_array_equal(found, lenet_cpp.predict(digit))
    photo(255 * np.eye(28, dtype=np.uint8), "paper", 0).save(empty_root / "photo.png")
    files = ("--model_dir=/lenet", "/photo.png", "--format=csv")
    said = printed_by(*in_empty_root(empty_root, "/lenet_classify", *files))
    (label,) = lenet_cpp.classify(empty_root / "photo.png").labels
    assert f",{label}," in said


@pytest.fixture(scope="module")
def archive(static_programs, model_dir, tmp_path_factory):
    """The container image as the page's commands make it."""
    if shutil.which("buildah") is None:
        pytest.skip("needs buildah (Debian: apt-get install buildah), which not all systems have")
    folder = tmp_path_factory.mktemp("container")
    shutil.copytree(ROOT / "deploy", folder / "deploy")
    shutil.copytree(model_dir, folder / "inference_model" / "lenet")
    (folder / "build" / "static").mkdir(parents=True)
    shutil.copy(static_programs / "lenet_serve", folder / "build" / "static")
    storage = folder / "storage.conf"
    places = f'graphroot = "{folder}/images"\nrunroot = "{folder}/run"\n'
    storage.write_text(f'[storage]\ndriver = "vfs"\n{places}')
    variables = {"CONTAINERS_STORAGE_CONF": str(storage), "BUILDAH_ISOLATION": "chroot"}
    printed_by("sh", "-euc", page_commands("buildah"), cwd=folder, env=os.environ | variables)
    return folder / "lenet_serve.tar"


@pytest.mark.nightly
def test_container(run_server, archive, digit, tmp_path):
    """The image is read by its specification, and run where it is unpacked."""
    assert archive.stat().st_size < MAX_BYTES
    with tarfile.open(archive) as outer:

        def blob(digest):
            content = outer.extractfile(f"blobs/{digest.replace(':', '/')}").read()
            assert f"sha256:{hashlib.sha256(content).hexdigest()}" == digest
            return content

        index = json.load(outer.extractfile("index.json"))
        (listed,) = index["manifests"]
        # Without a name, podman load would give an image that podman run does not find.
        name = listed["annotations"]["org.opencontainers.image.ref.name"]
        assert name == "localhost/lenet_serve:latest"
        manifest = json.loads(blob(listed["digest"]))
        settings = json.loads(blob(manifest["config"]["digest"]))["config"]
        for layer in manifest["layers"]:
            packed = archive.with_suffix(".layer")
            packed.write_bytes(blob(layer["digest"]))
            printed_by("tar", "-xf", packed, "-C", tmp_path)
    files = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    models = {f"models/lenet/{path.name}" for path in lenet_cpp.bundled_model_dir().iterdir()}
    assert files == models | {"lenet_serve"}
    assert settings["User"] == USER
    assert settings["Cmd"] == ["/models", "--host=0.0.0.0"]
    assert {*settings["ExposedPorts"]} == {"8000/tcp"}
    assert settings["StopSignal"] == "SIGTERM"
    tmp_path.chmod(0o755)
    command = (*settings["Entrypoint"], "/models", "--port=0")
    with run_server(*in_empty_root(tmp_path, *command, user=USER), env={}) as server:
        found = predict_over_http(server, digit.tobytes(), RAW)
        np.testing.assert_array_equal(found, lenet_cpp.predict(digit).ravel())


def test_says_how_to_get_the_server(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(program, "files", lambda package: tmp_path / package)
    with pytest.raises(lenet_cpp.FileNotFound, match="libboost-dev"):
        serve.main(["model"], standalone_mode=False)


def documents(name):
    return list(yaml.safe_load_all((ROOT / "deploy" / name).read_text()))


def check_container(container, run_server, program, digit, **places):
    """Run a container's command as it is there, but for the places and the port that are free here;
    its probes are answered, and what it serves is right.
    """
    arguments = container["args"]
    for name, place in places.items():
        assert any(name in argument for argument in arguments)
        arguments = [argument.replace(name, str(place)) for argument in arguments]
    with run_server(program, *arguments, "--port=0") as server:
        probes = [container[name] for name in container if name.endswith("Probe")]
        assert len(probes) >= 2
        for probe in probes:
            assert server.ask("GET", probe["httpGet"]["path"])[0] == 200
        found = predict_over_http(server, digit.tobytes(), RAW)
        np.testing.assert_array_equal(found, lenet_cpp.predict(digit).ravel())
    security = container["securityContext"]
    assert security["readOnlyRootFilesystem"]
    assert not security["allowPrivilegeEscalation"]
    cores = container["resources"]["limits"]["cpu"]
    assert {f"--workers={cores}", f"--http_threads={cores}"} <= {*arguments}


def test_on_kubernetes(run_server, serve_program, digit, model_dir, tmp_path):
    deployment, service, scaler, policy = found = documents("kubernetes.yaml")
    for document in found:
        kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)
    pod = deployment["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "lenet").symlink_to(model_dir)
    models = {"/models": tmp_path / "models"}
    check_container(container, run_server, serve_program, digit, **models)
    labels = pod["metadata"]["labels"]
    for selector in (deployment["spec"]["selector"], policy["spec"]["podSelector"]):
        assert selector["matchLabels"] == labels
    assert service["spec"]["selector"] == labels
    assert scaler["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    assert container["ports"] == [{"name": "http", "containerPort": 8000}]
    defaults = printed_by(serve_program, "--help-all")
    port, stop = (
        re.search(rf"--{name}.*?default: (\d+)", defaults, re.S)[1]
        for name in ("port", "stop_seconds")
    )
    assert port == "8000"
    sleep = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod["spec"]["terminationGracePeriodSeconds"] > int(stop) + sleep
    assert f"{pod['spec']['securityContext']['runAsUser']}" == USER.partition(":")[0]
    container["readinesProbe"] = container["readinessProbe"]
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(deployment, kubernetes_validate.latest_version(), strict=True)


def test_on_kserve(run_server, serve_program, digit, model_dir):
    """No package has the schemas of these two kinds: what they say of each other and the server."""
    runtime, service = documents("kserve.yaml")
    assert (runtime["apiVersion"], runtime["kind"]) == (
        "serving.kserve.io/v1alpha1",
        "ServingRuntime",
    )
    assert (service["apiVersion"], service["kind"]) == (
        "serving.kserve.io/v1beta1",
        "InferenceService",
    )
    (container,) = runtime["spec"]["containers"]
    assert container["name"] == "kserve-container"
    places = {"{{.Name}}": "lenet", "/mnt/models": model_dir}
    check_container(container, run_server, serve_program, digit, **places)
    (port,) = {each["containerPort"] for each in container["ports"]}
    assert f"--port={port}" in container["args"]
    probes = [container[name]["httpGet"]["port"] for name in ("readinessProbe", "livenessProbe")]
    assert probes == [port, port]
    assert runtime["spec"]["annotations"]["prometheus.kserve.io/port"] == str(port)
    predictor = service["spec"]["predictor"]
    model = predictor["model"]
    assert model["runtime"] == runtime["metadata"]["name"]
    assert model["protocolVersion"] in runtime["spec"]["protocolVersions"]
    wanted = model["modelFormat"]
    assert any(wanted.items() <= each.items() for each in runtime["spec"]["supportedModelFormats"])
    assert predictor["minReplicas"] <= predictor["maxReplicas"]


@pytest.fixture
def analyze():
    if shutil.which("systemd-analyze") is None:
        pytest.skip("needs systemd-analyze (apt-get install systemd), which a container rarely has")
    return lambda *arguments, **more: printed_by("systemd-analyze", *arguments, **more)


@pytest.fixture
def unit(serve_program, tmp_path):
    """The unit, for the program where it is here."""
    path = tmp_path / UNIT.name
    path.write_text(UNIT.read_text().replace("/usr/local/bin/lenet_serve", str(serve_program)))
    return path


def test_unit_is_valid_and_restricted(analyze, unit):
    verified = run_command("systemd-analyze", "verify", unit)
    assert (verified.returncode, verified.stderr) == (0, "")
    # From 0 to 10. It may use the network, which is 0.8 of it.
    analyze("security", "--offline=true", "--threshold=12", unit)


def test_unit_allows_what_the_server_does(
    run_server, analyze, unit, serve_program, model_dir, digit, tmp_path
):
    """No system call of a server's life is outside the unit's filter."""
    if shutil.which("strace") is None:
        pytest.skip("needs strace (Debian: apt-get install strace), which few systems have")
    text = unit.read_text()
    start = re.search("^ExecStart=(.*)", text, re.M)[1].split()
    assert start == [str(serve_program), "/srv/lenet", "$LENET_SERVE_OPTIONS"]
    log = tmp_path / "calls"
    options = ("--port=0", "--loop_us=0")  # so that a worker computes
    command = ("strace", "-f", "-qq", "-o", log, serve_program, model_dir, *options)
    with run_server(*command, ends=False, env={}) as server:
        predict_over_http(server, digit.tobytes(), RAW)
        child = psutil.Process(server.process.pid).children()[0]
        child.send_signal(signal.SIGHUP)
        predict_over_http(server, gzip.compress(digit.tobytes()), RAW | GZIP)
        child.terminate()
        assert server.process.wait(40) == 0
    called = {*re.findall(r"^\d+ +(\w+)\(", log.read_text(), re.M)}
    groups = re.findall("^SystemCallFilter=(.*)", text, re.M)
    assert groups == ["@system-service", "~@privileged @resources", "setpriority"]
    allowed, *refused = (expand(analyze, name) for name in re.findall(r"@[\w-]+", " ".join(groups)))
    assert {"execve", "accept4", "memfd_create", "setpriority"} <= called
    assert called <= allowed.difference(*refused) | {"setpriority"}


def expand(analyze, group):
    """Return the system calls of a group of systemd's."""
    words = re.findall(r"^ {4}(\S+)", analyze("syscall-filter", group), re.M)
    names = {word for word in words if word[0] not in "@#"}
    return names.union(*(expand(analyze, word) for word in words if word[0] == "@"))
