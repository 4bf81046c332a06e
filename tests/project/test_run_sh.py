"""./run.sh and what the README tells a user to type after it."""

import fcntl
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import pytest

from lenet_cpp.data.mnist import read_idx, write_idx
from snippets import RUN, printed_by, read_snippets, run_command, run_snippet
from tools.bare import read_lines

pytestmark = pytest.mark.timeout(1800)

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
TRANSLATIONS = [ROOT / "README.ko.md", ROOT / "README.zh.md"]


def bare(text):
    """Code without comments, which are translated."""
    return re.sub(r" *(?:#|//) .*", "", text)


# Of blocks that are the same in several languages the first.
SNIPPETS = {}
for _page in (README, *TRANSLATIONS):
    for _snippet in read_snippets(_page):
        if _snippet.language in RUN:
            SNIPPETS.setdefault(bare(_snippet.text), _snippet)


def one_line(done, code=1):
    """What a failed command says, in one line."""
    assert done.returncode == code
    assert done.stderr.count("\n") == 1
    return done.stderr


@pytest.fixture(scope="module")
def finished(clone, reuse):
    """What ./run.sh prints when it does every step.

    As data of a user's own the sample is trained on for 188 steps, instead of 1,876. It has fewer
    test digits: each of them is compared in 28 ways, here and by README's command.
    """
    for part in ("images-idx3", "labels-idx1"):
        file = clone / "data" / "mnist_sample" / f"t10k-{part}-ubyte.gz"
        write_idx(file, read_idx(file)[:200])
    command = ("./run.sh", "--data-dir", "data/mnist_sample")
    return printed_by(*command, cwd=clone, env=os.environ | reuse)


@pytest.mark.nightly
def test_the_whole_mnist(root, clone, reuse, tmp_path):
    """The guides' recipe on all 60,000 images, as a user who has them runs it."""
    data = os.environ.get("LENET_TEST_MNIST")
    if data is None:
        pytest.skip("LENET_TEST_MNIST names no folder with the four files of MNIST, 11 MB")
    said = printed_by("./run.sh", "--data-dir", data, cwd=clone, env=os.environ | reuse)
    ((cpp, python, count),) = re.findall(r"C\+\+ ([\d.]+) %, Python ([\d.]+) % of ([\d,]+)", said)
    assert count == "10,000"
    assert cpp == python
    assert float(cpp) > 98  # the guides print 0.98 and more after two epochs


@pytest.mark.nightly
def test_steps_and_summary(finished, clone):
    table = finished[finished.index("\nSteps\n") :].splitlines()[2:13]
    steps = [
        *("1 tools", "2 engine", "3 environment", "4 library", "5 program", "6 package"),
        *("7 train", "8 export", "9 predict", "10 compare"),
    ]
    assert [" ".join(line.split()[:2]) for line in table[:10]] == steps
    assert all(re.search(r" (\d+ s|done already)$", line) for line in table)
    assert table[10].split()[0] == "total"
    # The first class stands there before Paddle is needed.
    assert "class 3" in finished[: finished.index("[3/10]")]
    # The package comes from the build of the programs: nothing is compiled twice.
    built = json.loads((clone / "build" / ".skbuild-info.json").read_text())
    assert Path(built["build_dir"]) == (clone / "build").resolve()
    summary = finished[finished.index("Done") :]
    accuracies = re.search(r"accuracy  C\+\+ ([\d.]+) %, Python ([\d.]+) % of", summary)
    assert accuracies, summary
    assert all(float(accuracy) > 85 for accuracy in accuracies.groups())
    assert "inference_model/lenet" in summary
    assert "digits to train on, of your own files" in summary
    typed = summary[summary.index("Next:") :].splitlines()[1:]
    for line in typed[:3]:  # the photos, and the guide's line
        assert run_command("sh", "-c", line, cwd=clone).returncode == 0
    assert all(line.strip() in README.read_text(encoding="utf-8") for line in typed[:2])
    share = re.search(r"largest difference .* \S+, (\d+) % of the tolerance", summary)
    assert share, summary
    assert int(share[1]) <= 100
    assert re.search(r"latency.*[\d.]+ ms", summary)


@pytest.mark.nightly
def test_again_skips_finished_steps_and_takes_edited_python(finished, clone, tmp_path):
    names = ("checkpoints/lenet/lenet.pdparams", "inference_model/lenet/lenet.pdmodel")
    made = [clone / name for name in names]
    before = [file.stat().st_mtime_ns for file in made]
    said = printed_by("sh", clone / "run.sh", cwd=tmp_path)
    for name in ("tools", "engine", "environment", "package", "train", "export", "compare"):
        assert f"{name}: done already" in said
    assert "program: no C++ source has changed" in said
    assert [file.stat().st_mtime_ns for file in made] == before
    assert list(tmp_path.iterdir()) == []
    with (clone / "python" / "lenet_cpp" / "agreement.py").open("a") as module:
        module.write("EDITED = __file__\n")
    assert "package: done already" in printed_by("./run.sh", "--build-only", cwd=clone)
    code = "from lenet_cpp import agreement; print(ascii(agreement.EDITED))"
    for locale in ({}, {"LC_ALL": "C"}):
        said = printed_by(clone / ".venv/bin/python", "-c", code, env=os.environ | locale)
        assert "lenet_" in said
        assert said.rstrip().endswith("/python/lenet_cpp/agreement.py'")


@pytest.mark.nightly
@pytest.mark.parametrize("snippet", SNIPPETS.values(), ids=lambda snippet: snippet.place)
def test_readme_snippet(finished, clone, snippet):
    done = run_snippet(snippet, clone, clone / ".venv")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


def test_a_bare_machine_gets_all_of_the_readme():
    """tools/bare.py: root installs packages, and a user does all the rest, word for word."""
    lines = read_lines(README)
    for_root = [line.command for line in lines if line.by_root]
    named = re.findall("apt-get install ([^&#\n]+)", README.read_text(encoding="utf-8"))
    update = "apt-get update && apt-get install --yes "
    assert for_root == [update + packages.strip() for packages in named]
    typed = "\n".join(line.command for line in lines if not line.by_root)
    assert "apt-get" not in typed
    for snippet in read_snippets(README):
        if snippet.language in {"sh", "console"}:
            for text in snippet.text.splitlines():
                assert bare(text).rpartition("&& ")[2] in typed or text.startswith("apt-get")


@pytest.mark.nightly
def test_lib_dir_is_the_library_of_the_program(finished, clone, tmp_path):
    mine = tmp_path / "my paddle"
    mine.symlink_to(clone / "third_party" / "paddle_inference")
    plug_in = clone / "build" / "liblenet_paddle.so"
    build = ("./run.sh", "--build-only")
    printed_by(*build, cwd=clone, env=os.environ | {"LIB_DIR": str(mine)})
    assert str(mine / "paddle" / "lib") in printed_by("readelf", "-d", plug_in)
    printed_by("build/lenet_infer_test", "--model_dir=inference_model/lenet", cwd=clone)
    printed_by(*build, cwd=clone)
    assert str(mine) not in printed_by("readelf", "-d", plug_in)


@pytest.fixture
def folder(root):
    """A folder that holds run.sh, and that other users may look into."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "first")
        folder.mkdir()
        Path(name).chmod(0o755)
        (folder / "scripts").mkdir()
        for file in ("run.sh", "pyproject.toml", "scripts/steps.sh"):
            shutil.copy(root / file, folder / file)
        yield folder


def alone(folder, **options):
    """./run.sh in such a folder, which ends at the package index at the latest."""
    given = {"PIP_NO_INDEX": "1", **options.pop("env", {})}
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | given
    return run_command("./run.sh", cwd=folder, env=environment, **options)


@pytest.mark.nightly
def test_a_moved_clone_gets_a_new_environment(folder):
    subprocess.run([sys.executable, "-m", "venv", ".venv"], cwd=folder, check=True)
    (folder / ".venv" / "old").touch()
    assert "before" not in alone(folder).stdout
    assert (folder / ".venv" / "old").exists()
    for name in ("CMakeCache.txt", "asan/CMakeCache.txt"):
        cache = folder / "build" / name
        cache.parent.mkdir(exist_ok=True)
        cache.write_text(f"CMAKE_CACHEFILE_DIR:INTERNAL={cache.parent}\n")
    (folder / "build" / "mine.txt").touch()
    moved = folder.rename(folder.with_name("with a space"))  # no #! line can name it
    done = alone(moved)
    assert f"this folder was {folder} before: .venv is made anew" in done.stdout
    assert not (moved / ".venv" / "old").exists()
    assert str(moved / ".venv") in printed_by(moved / ".venv/bin/python", "-m", "pip", "--version")
    assert not list(moved.rglob("CMakeCache.txt"))
    assert (moved / "build" / "mine.txt").is_file()
    assert "before" not in alone(moved).stdout


def test_a_second_run_is_refused(folder):
    (folder / "build").mkdir()
    with (folder / "build" / "run.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write("4711\n")
        lock.flush()
        done = alone(folder)
    assert re.search(r"another ./run.sh \(process 4711\).*wait until it ends", one_line(done))


def test_a_folder_that_cannot_be_written_to(folder):
    nobody = {"user": 65534, "group": 65534, "extra_groups": []} if os.getuid() == 0 else {}
    folder.chmod(0o555)
    done = alone(folder, **nobody)
    folder.chmod(0o755)
    assert re.search(f"cannot write to {folder}/build.*clone or copy", one_line(done))


def test_a_full_disk(folder):
    python = folder / "python"
    full = '[ "$1" = -c ] && echo 11 || { echo "[Errno 28] No space left on device" >&2; exit 1; }'
    python.write_text(f"#!/bin/sh\n{full}\n")
    python.chmod(0o755)
    done = alone(folder, env={"PYTHON": str(python)})
    assert "no space left on device; free some" in one_line(done)


@pytest.fixture
def machine(folder):
    """A PATH with the programs of this machine, but compilers and Pythons only of the test."""
    path = folder / "programs"
    path.mkdir()
    for program in [*Path("/usr/bin").iterdir(), *Path("/bin").iterdir()]:
        if not re.match(r"python|c\+\+|g\+\+", program.name) and not (path / program.name).exists():
            (path / program.name).symlink_to(program)
    return path


def add_python(path, name, minor):
    """A Python that says it were 3.``minor``."""
    ours = shlex.quote(sys.executable)
    says = f'case $2 in *version_info*) echo {minor} ;; *) exec {ours} "$@" ;; esac'
    (path / name).write_text(f"#!/bin/sh\n{says}\n")
    (path / name).chmod(0o755)


def test_all_that_is_missing_is_named_at_once(folder, machine):
    said = one_line(alone(folder, env={"PATH": str(machine)}))
    assert "apt-get install g++ python3 python3-dev python3-venv" in said
    add_python(machine, "python3", 11)
    assert one_line(alone(folder, env={"PATH": str(machine)})).endswith("apt-get install g++)\n")


def test_a_python_without_paddle(folder, machine):
    (machine / "c++").touch(0o755)
    add_python(machine, "python3", 14)
    said = one_line(alone(folder, env={"PATH": str(machine)}))
    assert "Python 3.14 has no PaddlePaddle yet: install python3.13" in said
    assert "./run.sh --without-paddle" in said
    assert not (folder / ".venv").exists()
    add_python(machine, "python3.12", 12)
    done = alone(folder, env={"PATH": str(machine)})
    assert "python3.12 in place of python3, which is Python 3.14" in done.stdout
    assert "check the network and pip's package index" in one_line(done)
    # For pip a full temporary folder is a connection that was interrupted.
    (machine / "df").unlink()
    (machine / "df").write_text("#!/bin/sh\necho; echo tmpfs 20000 1000 19000\n")
    (machine / "df").chmod(0o755)
    assert "no space left on device; free some" in one_line(
        alone(folder, env={"PATH": str(machine)})
    )


def test_a_python_that_is_too_old(folder, machine):
    (machine / "c++").touch(0o755)
    add_python(machine, "python3", 9)
    assert "python3 is Python 3.9, which is too old" in one_line(
        alone(folder, env={"PATH": str(machine)})
    )


@pytest.mark.parametrize(
    ("log", "said"),
    [
        (
            "-- A\nCMake Error at CMakeLists.txt:3 (message):\n  no B:\n  get it\n\n-- Failed\n",
            "CMake Error at CMakeLists.txt:3 (message): no B: get it",
        ),
        ("ERROR: Failed building wheel for x\nnotice\n", "ERROR: Failed building wheel for x"),
        ("ö" * 200 + " error " + "ö" * 200, "ö" * 200 + " error " + "ö" * 93),
        ("nothing", "see the log"),
    ],
)
def test_the_reason_that_a_log_gives(root, tmp_path, log, said):
    (tmp_path / "log").write_text(log, encoding="utf-8")
    command = ". scripts/steps.sh && reason " + str(tmp_path / "log")
    found = printed_by("sh", "-c", command, cwd=root, env=os.environ | {"LC_ALL": "C.UTF-8"})
    assert found.strip() == said


# apt-get sets up the terminal, too. In the background such a program is stopped.
IN_TERMINAL = """
import os, pty, sys

process, terminal = pty.fork()
if process == 0:
    os.execvp(sys.argv[1], sys.argv[1:])
try:
    while said := os.read(terminal, 4096):
        os.write(1, said)
except OSError:  # Linux says so that the other end is closed
    pass
sys.exit(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]))
"""


def test_packages_are_installed_in_a_terminal(root, tmp_path):
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "apt-get").write_text(
        '#!/bin/sh\nstty echo\necho "$DEBIAN_FRONTEND" "$@" >>"$DONE"\n'
    )
    (programs / "apt-get").chmod(0o755)
    install = f". scripts/steps.sh; logs={tmp_path}; install_packages 'a remedy' doxygen brotli"
    variables = {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "DONE": str(tmp_path / "done"),
        "DEBIAN_FRONTEND": "dialog",
    }
    said = printed_by(
        *(sys.executable, "-c", IN_TERMINAL, "sh", "-euc", install),
        cwd=root,
        env=os.environ | variables,
        timeout=60,
    )
    assert "installing Debian's packages: doxygen brotli" in said
    update, installed = (tmp_path / "done").read_text().splitlines()
    assert update == "dialog update"
    # A package's question would go to the log, and wait for an answer.
    assert installed == "noninteractive install --yes --no-install-recommends doxygen brotli"


@pytest.fixture
def tested(folder, machine):
    """How ./test.sh ends in a folder where run.sh fails, and with what it called apt-get."""
    shutil.copy(ROOT / "test.sh", folder)
    calls = folder / "calls"
    for program in ("em++", "chromium", "doxygen", "id", "apt-get"):
        (machine / program).unlink(missing_ok=True)

    def stand_in(path, text):
        path.unlink(missing_ok=True)
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    stand_in(folder / "run.sh", "echo run.sh begins; exit 9")
    stand_in(machine / "apt-get", f'echo "$@" >>{calls}')

    def run(*arguments, user=0, missing="no header"):
        stand_in(machine / "id", f"echo {user}")
        stand_in(machine / "c++", f"! grep -q '{missing}'")
        calls.write_text("")
        done = run_command("./test.sh", *arguments, cwd=folder, env={"PATH": str(machine)})
        return done, calls.read_text()

    return run


@pytest.mark.parametrize("arguments", [(), ("--quick",), ("--sanitizers",)])
def test_large_packages_are_not_installed_unasked(tested, arguments):
    done, calls = tested(*arguments)
    assert calls == ""
    (line,) = [line for line in done.stdout.splitlines() if "tests are skipped without" in line]
    assert "apt-get install emscripten" in line
    assert " chromium" in line
    assert " doxygen" in line
    assert "./test.sh --install" in line
    assert "run.sh begins" in done.stdout


def test_large_packages_are_installed_on_demand(tested):
    done, calls = tested("--quick", "--install")
    assert "installing Debian's packages: emscripten" in done.stdout
    update, installed = calls.splitlines()
    assert update == "update"
    assert {"emscripten", "chromium", "doxygen"} <= set(installed.split())
    assert "skipped" not in done.stdout
    refused, calls = tested("--install", user=1000)
    assert one_line(refused).startswith("test.sh: --install needs root: apt-get install emscripten")
    assert calls == ""


def test_small_packages_are_installed_by_root_alone(tested):
    done, calls = tested(missing="doctest")
    assert "installing Debian's packages: doctest-dev\n" in done.stdout
    assert calls == "update\ninstall --yes --no-install-recommends doctest-dev\n"
    refused, calls = tested(missing="doctest", user=1000)
    assert one_line(refused).endswith(
        "the tests need Debian's packages: apt-get install doctest-dev\n"
    )
    assert calls == ""


def test_the_package_is_found_in_a_folder_with_korean_letters(tmp_path):
    """Python 3.11 reads the file in the encoding of the locale, in which C has ASCII alone."""
    (file,) = Path(sysconfig.get_path("purelib")).glob("_editable_*lenet_cpp.pth")
    lines = file.read_bytes().decode("ascii").splitlines()
    folder = tmp_path / "lenet_한글"
    (folder / "python").mkdir(parents=True)
    (folder / "python" / "mine.py").touch()
    venv = folder / ".venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    (site,) = venv.glob("lib/python3*/site-packages")
    paths = [line for line in lines if not line.startswith("import ")]
    (site / file.name).write_text("\n".join(paths) + "\n")
    for mode in ({}, {"PYTHONUTF8": "0"}):
        done = run_command(
            *(venv / "bin" / "python", "-c", "import mine"), env=os.environ | {"LC_ALL": "C"} | mode
        )
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("script", "options"),
    [
        ("run.sh", "LIB_DIR --data-dir --without-paddle"),
        ("test.sh", "--quick --sanitizers --install"),
    ],
)
def test_help(root, script, options):
    said = printed_by(f"./{script}", "--help", cwd=root)
    assert [option for option in options.split() if option not in said] == []


@pytest.mark.parametrize(
    ("arguments", "environment", "code", "said"),
    [
        (["--unknown"], {}, 2, "--unknown"),
        (["--data-dir"], {}, 2, "--data-dir"),
        (["--data-dir", "/no/such/folder"], {}, 3, "/no/such/folder"),
        ([], {"LIB_DIR": "/no/such/folder"}, 3, "LIB_DIR"),
        (["--build-only"], {"CXX": "/no/such/compiler"}, 1, "compiler"),
    ],
)
def test_failure_is_one_line(clone, arguments, environment, code, said):
    done = run_command("./run.sh", *arguments, cwd=clone, env=os.environ | environment)
    assert said in one_line(done, code)
