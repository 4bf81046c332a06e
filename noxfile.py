"""What takes longer than ./test.sh, or needs environments of its own.

    nox               the quick tests: ./test.sh --quick
    nox -l            all sessions, and what each one does
    nox -s NAME       one session; its docstring says what it needs

Sessions that make no environment of their own use the interpreter that runs nox, or the one named
after ``--``: ``nox -s zoo -- /path/to/python``. It needs lenet_cpp with its extras paddle, torch
and onnx, and the group dev of pyproject.toml. The C++ programs are those that ./run.sh made.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from datetime import datetime, timezone
from importlib.util import find_spec
from pathlib import Path

import nox

nox.options.sessions = ["quick"]
nox.options.default_venv_backend = "venv"
nox.options.error_on_missing_interpreters = False

PYTHONS = ["3.10", "3.11", "3.12", "3.13"]
PADDLES = ["3.1.1", "3.2.2", "3.3.1"]
PYTEST = ("-m", "pytest", "-q", "-rs")
TESTS = ["tests/verify/test_parity.py", "-k", "same_bits or trained_network or verify or layers"]


def interpreter(session: nox.Session) -> str:
    """Return the interpreter named after ``--``, or the one that runs nox."""
    return session.posargs[0] if session.posargs else sys.executable


def run_python(session: nox.Session, *arguments: str | Path, **env: str) -> None:
    """Run that interpreter with arguments and additional environment variables."""
    command = (interpreter(session), *map(str, arguments))
    session.run(*command, env=env, external=True)


def skip_without_zig(session: nox.Session) -> None:
    """Skip a session where that interpreter lacks ziglang."""
    code = "from importlib.util import find_spec; print(find_spec('ziglang') is not None)"
    found = session.run(interpreter(session), "-c", code, silent=True, external=True)
    if str(found).strip() != "True":
        session.skip("no ziglang: pip install --group zig")


def require_build(session: nox.Session) -> None:
    """End the session with an error if ./run.sh has not built the programs that its tests need."""
    if not Path("build", "lenet_infer_test").is_file():
        session.error("the tests compare with the programs that ./run.sh builds: run it first")


@nox.session(python=False)
def quick(session: nox.Session) -> None:
    """Run the linters and the tests that most often find a mistake: ./test.sh --quick."""
    session.run("./test.sh", "--quick", *session.posargs, external=True)


@nox.session(python=PYTHONS)
@nox.parametrize("paddle", PADDLES)
def parity(session: nox.Session, paddle: str) -> None:
    """Run the parity tests with the wheel of this interpreter and one PaddlePaddle.

    For each interpreter that is found the wheel is built once, against the newest supported
    PaddlePaddle, and then used with each version; docs/compatibility.md has the result. The C++
    program is run with each version's library too. ``nox -s "parity(paddle='3.1.1')"`` runs one.
    """
    wheels = Path("build/wheels") / f"python{session.python}"
    if not list(wheels.glob("*.whl")):
        session.run("python", "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(wheels), ".")
    (wheel,) = wheels.glob("*.whl")
    session.install(f"paddlepaddle=={paddle}", "pytest", "pytest-timeout", f"{wheel}[paddle]")
    code = "import paddle; print(paddle.__path__[0])"
    package = session.run("python", "-W", "ignore", "-c", code, silent=True)
    library = Path(str(package).splitlines()[-1]) / "base" / "libpaddle.so"
    session.run(
        *("build/lenet_infer_test", "--version"),
        env={"LENET_PADDLE_LIBRARY": str(library)},
        external=True,
    )
    session.run(
        *("build/lenet_infer_test", f"--model_dir={Path('python/lenet_cpp/bundled/lenet')}"),
        env={"LENET_PADDLE_LIBRARY": str(library)},
        external=True,
    )
    environment = {"GLOG_minloglevel": "2", "LENET_PADDLE_LIBRARY": str(library)}
    session.run("pytest", "-q", *TESTS, *session.posargs, env=environment)


@nox.session
def without_paddle(session: nox.Session) -> None:
    """Build with LENET_PADDLE=OFF, run the C++ tests, link statically, and predict from Python."""
    environment = {"LENET_PADDLE": "OFF"}
    folder = Path(session.create_tmp()).resolve()
    session.install("pip>=25.1")  # for --group
    session.install("-v", ".", "--group", "run-without-paddle", env=environment)
    listed = str(session.run("python", "-m", "pip", "list", silent=True))
    if "paddle" in listed.lower():
        session.error("Paddle was installed")
    code = "import lenet_cpp, numpy; print(lenet_cpp.predict(numpy.zeros((2, 28, 28))).shape)"
    session.run("python", "-c", code)
    build = folder / "build"
    options = ("-DLENET_PADDLE=OFF", "-DLENET_STATIC=ON", "-DLENET_BUILD_TESTS=ON", "-GNinja")
    session.run("cmake", "-S", ".", "-B", str(build), *options)
    session.run("cmake", "--build", str(build))
    session.run("ctest", "--test-dir", str(build), "--output-on-failure")
    model = "--model_dir=python/lenet_cpp/bundled/lenet"
    session.run(str(build / "lenet_infer_native"), model, external=True)
    if (build / "lenet_serve").is_file():  # where Boost and zlib are; as in the package
        for serve in ([str(build / "lenet_serve")], ["lenet-cpp", "serve"]):
            session.run(*serve, "--version", external=True)
    session.run("cmake", "--install", str(build), "--prefix", str(folder / "prefix"))


@nox.session(python=False)
def aarch64(session: nox.Session) -> None:
    """Cross-compile for Linux on aarch64 without Paddle, and run the tests in an emulator."""
    emulators = ("qemu-aarch64", "qemu-aarch64-static")
    if shutil.which("aarch64-linux-gnu-g++") is None or not any(map(shutil.which, emulators)):
        session.skip("apt-get install g++-aarch64-linux-gnu qemu-user")
    require_build(session)
    python = f"-DPython3_EXECUTABLE={interpreter(session)}"
    session.run("cmake", "--preset", "aarch64", python, external=True)
    session.run("cmake", "--build", "--preset", "aarch64", external=True)
    session.run("ctest", "--preset", "aarch64", external=True)
    environment = {"LENET_TEST_AARCH64": "1", "GLOG_minloglevel": "2"}
    run_python(session, *PYTEST, "tests/cpp/test_aarch64.py", **environment)


@nox.session(python=False)
def windows(session: nox.Session) -> None:
    """Cross-compile for Windows on x86-64, make the zip in dist/, and run the tests in Wine."""
    wine = shutil.which("wine64", path=f"{os.environ['PATH']}:/usr/lib/wine")
    if shutil.which("x86_64-w64-mingw32-g++-posix") is None or wine is None:
        packages = "g++-mingw-w64-x86-64-posix libz-mingw-w64-dev wine64 dpkg-dev"
        session.skip(f"apt-get install {packages}")
    require_build(session)
    run_python(session, "-m", "tools.windows")
    wheel = ("--no-deps", "--only-binary=:all:", "--platform=win_amd64", "--python-version=3.11")
    download = ("-m", "pip", "download", "-q", *wheel, "-d", "build/windows-wheels")
    run_python(session, *download, "onnxruntime")
    environment = {"LENET_TEST_WINDOWS": "1", "WINEDEBUG": "-all", "GLOG_minloglevel": "2"}
    session.run("ctest", "--preset", "windows", env=environment, external=True)
    run_python(session, *PYTEST, "tests/cpp/test_windows.py", **environment)


@nox.session(python=False)
def musl(session: nox.Session) -> None:
    """Build for any Linux on x86-64 and aarch64, make archives in dist/, and run the tests."""
    emulators = ("qemu-aarch64", "qemu-aarch64-static")
    if not any(map(shutil.which, emulators)) or shutil.which("dpkg-source") is None:
        session.skip("apt-get install qemu-user dpkg-dev libboost-dev doctest-dev busybox-static")
    skip_without_zig(session)
    require_build(session)
    run_python(session, "-m", "tools.musl")
    if shutil.which("aarch64-linux-gnu-g++"):
        # The tests compare with the bits of GCC's build, and skip aarch64 without it.
        python = f"-DPython3_EXECUTABLE={interpreter(session)}"
        session.run("cmake", "--preset", "aarch64", python, external=True)
        target = ("--target", "lenet_infer_native")
        session.run("cmake", "--build", "--preset", "aarch64", *target, external=True)
    tests = ("--preset", "musl-x86_64")
    programs = ("--target", "lenet_tests", "lenet_fuzz_replay")
    session.run("cmake", "--build", *tests, *programs, external=True)
    session.run("ctest", *tests, external=True)
    run_python(session, *PYTEST, "tests/cpp/test_musl.py", LENET_TEST_MUSL="1")


@nox.session(python=False)
def macos(session: nox.Session) -> None:
    """Compile what needs no Paddle for macOS on both processors; on macOS itself, run the tests."""
    if sys.platform == "darwin":
        python = f"-DPython3_EXECUTABLE={interpreter(session)}"
        options = ("-DLENET_PADDLE=OFF", "-DLENET_BUILD_TESTS=ON", "-GNinja", python)
        session.run("cmake", "-S", ".", "-B", "build/macos", *options, external=True)
        session.run("cmake", "--build", "build/macos", external=True)
        session.run("ctest", "--test-dir", "build/macos", "--output-on-failure", external=True)
        return
    skip_without_zig(session)
    for preset in ("macos-x86_64", "macos-aarch64"):
        python = f"-DPython3_EXECUTABLE={interpreter(session)}"
        session.run("cmake", "--preset", preset, python, external=True)
        session.run("cmake", "--build", "--preset", preset, external=True)


@nox.session(python="3.10")
def paddleclas(session: nox.Session) -> None:
    """Compare with PaddleClas 2.6.0 and PaddleX: networks, and folders as they export them.

    docs/models.md has the result for our ResNet-D family. The environment of both toolkits is this
    session's: NumPy 1.24 and the last Paddle of version 2.
    """
    session.install("paddleclas==2.6.0", "paddlepaddle==2.6.2", "setuptools<70")
    ours = interpreter(session)
    folder = session.create_tmp()
    quiet = {"GLOG_minloglevel": "2", "PYTHONWARNINGS": "ignore"}

    def step(*command: str, by: str) -> None:
        session.run(by, *command, folder, env=quiet, external=True)

    for name, by in (("ours", ours), ("theirs", "python"), ("judge", ours)):
        step("scripts/compare_paddleclas.py", name, by=by)
    for version in ("2.1.0", "3.7.2"):  # of one name, and without what only training needs
        target = ("--upgrade", "--target", str(Path(folder, f"paddlex{version[0]}")))
        session.install("--no-deps", *target, f"paddlex=={version}")
    steps = (("prepare", "python"), ("ours", ours), ("theirs", "python"), ("judge", ours))
    for name, by in steps:
        step("-m", "tools.toolkits", name, by=by)


@nox.session(python=False)
def complexity(session: nox.Session) -> None:
    """Load files eight times as large as test_growth.py does; needs ./test.sh --sanitizers."""
    command = ("-m", "tools.hostile", "growth", "--unlimited", "--scale", "8", *session.posargs)
    session.run(sys.executable, *command, external=True)


@nox.session(python=False)
def sanitized(session: nox.Session) -> None:
    """Run random networks in a library with sanitizers; needs ./test.sh --sanitizers.

    The Python package then uses liblenet.so of build/asan-ubsan. What a sanitizer reports is a find
    with SIGABRT. It has the line of undefined behaviour; the report of a wrong access is in
    build/networks/sanitizer.PID. The networks are those that were ever wrong and 5,000 of whole
    blocks of the day's seed, or what follows ``--`` says:
    ``nox -s sanitized -- blocks --seed=15 --count=100``.
    """
    build = Path("build/asan-ubsan").resolve()
    counts = build / "liblenet_count_blocks.so"  # the library is compiled with LENET_COUNT_BLOCKS
    if not counts.is_file():
        session.error("./test.sh --sanitizers builds the library: run it first")
    report = Path("build/networks/sanitizer").resolve()
    report.parent.mkdir(exist_ok=True)
    names = ("libasan.so", "libubsan.so")
    found = [
        str(session.run("g++", f"-print-file-name={name}", silent=True, external=True)).strip()
        for name in names
    ]
    paddle = Path("third_party/paddle_inference/paddle").resolve()
    environment = {
        "LD_LIBRARY_PATH": os.pathsep.join(map(str, (build, paddle / "lib", paddle / "libs"))),
        "LD_PRELOAD": os.pathsep.join([*found, str(counts)]),
        # docs/sanitizers-and-fuzzing.md has the reasons; Python itself leaks.
        "TBB_ENABLE_SANITIZERS": "1",
        "ASAN_OPTIONS": f"abort_on_error=1:log_path={report}:detect_leaks=0"
        ":alloc_dealloc_mismatch=0:intercept_tls_get_addr=0",
        "UBSAN_OPTIONS": "abort_on_error=1",
    }
    command = ("-W", "ignore", "-m", "tools.hostile")
    cases = ("replay", "tools/hostile/cases.json")
    blocks = ("blocks", "--seed=today", "--count=5000")
    for arguments in [session.posargs] if session.posargs else [cases, blocks]:
        session.run(sys.executable, *command, *arguments, env=environment, external=True)


@nox.session(python=False)
def fuzz(session: nox.Session) -> None:
    """Run the fuzzer of each reader for a minute, or as what follows ``--`` says."""
    if shutil.which("clang++") is None:
        session.skip("apt-get install clang")
    session.run("scripts/fuzz.sh", *session.posargs, external=True)


@nox.session(python=False)
def caffe2(session: nox.Session) -> None:
    """Go from PyTorch to Caffe2 and back; docs/caffe2.md has the result.

    Caffe2's environment, which needs a Python 3.9, is made in the user's cache folder, unless it is
    there.
    """
    tests = "tests/interchange/test_caffe2_roundtrip.py"
    run_python(session, *PYTEST, "--nightly", tests, LENET_TEST_CAFFE2="1")


@nox.session(python=False)
def paddleslim(session: nox.Session) -> None:
    """Quantize by PaddleSlim 2.6.0, whose environment is made in the user's cache folder."""
    environment = {"LENET_TEST_PADDLESLIM": "1", "GLOG_minloglevel": "2"}
    run_python(session, *PYTEST, "tests/quantize/test_paddleslim.py", **environment)


@nox.session(python=False)
def published(session: nox.Session) -> None:
    """Run trained networks inside published packages, which the user's cache folder keeps."""
    run_python(session, "-W", "ignore", "-m", "tools.versions", "published")


@nox.session(python=False)
def exporters(session: nox.Session) -> None:
    """Make .onnx files by other tools and run them; docs/onnx.md has the result.

    Environments of the tools are made in the user's cache folder, 3 GB.
    """
    run_python(session, "-W", "ignore", "-m", "tools.exporters")
    run_python(session, "-W", "ignore", "-m", "tools.exporters", "check")
    run_python(session, "-m", "tools.pages")


@nox.session(python=False)
def zoo(session: nox.Session) -> None:
    """Run networks of Paddle, PaddleClas, torchvision and timm; docs/zoo.md has the result.

    The packages are installed in an environment in the user's cache folder, 0.1 GB.
    """
    run_python(session, "-W", "ignore", "-m", "tools.zoo")
    run_python(session, "-m", "tools.pages")


@nox.session(python=False)
def bare(session: nox.Session) -> None:
    """Do what README says in three bare systems: Debian 12, 13 and testing; before a release.

    That is all of README by a user without rights, the two commands by root, and those without
    Paddle. About two hours on two cores; tools/bare.py says what is needed, and does one of them.
    """
    if os.geteuid() != 0 or shutil.which("debootstrap") is None:
        session.skip("needs root, and debootstrap: apt-get install debootstrap")
    for options in ("bookworm --readme", "trixie --as-root", "forky --without-paddle"):
        command = ("-m", "tools.bare", *options.split(), *session.posargs)
        session.run(sys.executable, *command, external=True)


@nox.session(python=False)
def wheels(session: nox.Session) -> None:
    """Build wheels for any Linux by tools/wheels, and try them; docs/wheels.md has the result.

    It also needs ziglang and auditwheel. LENET_TEST_WHEELS is a folder with wheels that are built.
    """
    run_python(session, *PYTEST, "--nightly", "tests/project/test_wheels.py")


@nox.session(python=False)
def release(session: nox.Session) -> None:
    """Make what a release has in dist/VERSION, with -- --tag its tag too; docs/hacking.md says how.

    It refuses a version that CHANGELOG.md does not have with a date, a tag that exists and a tree
    with changes. Only ``-- --tag`` makes the tag; other arguments go to tools.wheels. The
    interpreter is the one that runs nox; it needs what the session wheels does, and cyclonedx-bom.
    """
    arguments = [each for each in session.posargs if each != "--tag"]
    found = re.search(r"(?m)^project\(lenet VERSION ([0-9.]+)", Path("CMakeLists.txt").read_text())
    version = found[1] if found else session.error("CMakeLists.txt has no version")
    dates = re.findall(
        rf"(?m)^## {re.escape(version)} \((\d{{4}}-\d\d-\d\d)\)$", Path("CHANGELOG.md").read_text()
    )
    if not dates or dates[0] > datetime.now(timezone.utc).date().isoformat():
        session.error(f"CHANGELOG.md has no section '## {version} (DATE)' with a date until today")
    if session.run("git", "tag", "--list", f"v{version}", silent=True, external=True):
        session.error(f"the tag v{version} exists: raise the version in CMakeLists.txt")
    if changes := session.run("git", "status", "--porcelain", silent=True, external=True):
        session.error(f"commit these changes first:\n{changes}")

    def run(*command: str | Path, **options: dict[str, str]) -> None:
        session.run(sys.executable, *map(str, command), external=True, **options)

    folder = Path("dist", version).resolve()
    shutil.rmtree(folder, ignore_errors=True)
    run("-m", "tools.wheels", "--output-dir", folder, *arguments)
    tests = ("-m", "pytest", "-q", "-rs", "--nightly", "tests/project/test_wheels.py")
    run(*tests, env={"LENET_TEST_WHEELS": str(folder)})
    if shutil.which("x86_64-w64-mingw32-g++-posix"):
        run("-m", "tools.windows", "--output-dir", folder)
    if shutil.which("dpkg-source"):
        run("-m", "tools.musl", "--output-dir", folder)
    environment = Path(session.create_tmp(), "venv")
    run("-m", "venv", "--clear", environment)
    pip = ("-m", "pip", "--python", environment / "bin/python")
    # By its name: the SBOM would say where on this machine the wheel was.
    run(*pip, "install", "--quiet", "--find-links", folder, f"lenet-cpp=={version}")
    run(*pip, "uninstall", "--quiet", "--yes", "pip", "setuptools")  # not of the package
    parts = folder / f"lenet_cpp-{version}.cdx.json"
    run("-m", "cyclonedx_py", "environment", "--output-reproducible", "-o", parts, environment)
    with session.chdir(folder):
        names = sorted(path.name for path in folder.iterdir())
        sums = str(session.run("sha256sum", *names, silent=True, external=True))
        Path("SHA256SUMS").write_text(sums)
    if "--tag" in session.posargs:
        message = f"lenet_cpp {version}"
        session.run("git", "tag", "--annotate", "--message", message, f"v{version}", external=True)


@nox.session(python=False)
def coverage(session: nox.Session) -> None:
    """Count the lines that the C++ tests and the Python tests run; docs/hacking.md has the result.

    The reports are in build/coverage/report. What follows ``--`` goes to pytest; the result is then
    not written to docs/results. The interpreter is the one that runs nox.
    """
    for command in ("cmake", "cmake --build", "ctest"):
        session.run(*command.split(), "--preset", "coverage", external=True)
    report = Path("build", "coverage", "report")
    report.mkdir(exist_ok=True)
    cpp, python = report / "cpp.json", report / "python.json"

    def run(*command: str | Path) -> None:
        session.run(sys.executable, *map(str, command), external=True)

    # gcov would add the counts of the next run to these; lines of kernels run billions of times.
    counts = ("--delete", "--gcov-ignore-parse-errors", "suspicious_hits.warn_once_per_file")
    sources = ("--filter", "cpp/(apps|serve|src)/", "build/coverage", *counts)
    run("-m", "gcovr", *sources, "--json-summary", cpp, "--html-nested", report / "cpp.html")
    reports = (f"--cov-report=json:{python}", f"--cov-report=html:{report / 'python'}")
    processes = ("--numprocesses=logical", "--maxprocesses=4", "--dist=loadfile")
    tests = ("--no-loadscope-reorder", *session.posargs)
    run("-m", "pytest", "-q", "--cov", "--cov-context=test", *reports, *processes, *tests)
    if not session.posargs:
        lines = {
            "date": datetime.now(timezone.utc).date().isoformat(),
            "cpp": json.loads(cpp.read_text())["line_percent"],
            "python": json.loads(python.read_text())["totals"]["percent_covered"],
            "tests": "all but nightly ones",
        }
        Path("docs/results/coverage.json").write_text(json.dumps(lines, indent=1) + "\n")
        run("-m", "tools.pages")


@nox.session(python=False)
def nightly(session: nox.Session) -> None:
    """Run what takes too long for ./test.sh and rarely finds anything, before an issue is closed.

    That is the tests marked ``nightly``, 3,000 random networks of the day's seed, which is printed,
    through every engine, an hour of channel traffic, 10,000 networks of tokens and 20,000 of whole
    blocks in the native engine, 2,000 damaged models of each format with the engines paddle and
    native, as many of a network of tokens in the native engine, the corpus of tools/versions on
    every engine, and the sessions caffe2, paddleslim, published, aarch64, complexity, sanitized,
    fuzz and coverage.

    What follows ``--`` goes to the tester of random networks: ``nox -s nightly -- --count=500``.
    The interpreter is the one that runs nox; it needs lenet_cpp with its extras paddle, torch and
    onnx, and pytest; for the tests of clusters also the extras ray and spark, dask[dataframe] and
    daft, which they name where they are skipped. A find is minimised, printed and saved in
    build/networks; its network then belongs into tools/hostile/cases.json, from which ./test.sh
    runs it ever after.
    """
    sessions = ("caffe2", "paddleslim", "published", "aarch64")
    for name in (*sessions, "complexity", "sanitized", "fuzz", "coverage"):
        session.notify(name, posargs=[])
    session.run(sys.executable, "-m", "pytest", "-q", "--nightly", "-m", "nightly", external=True)
    command = (sys.executable, "-W", "ignore", "-m", "tools.hostile")
    networks = (*command, "networks", "--seed=today", "--count=3000", *session.posargs)
    session.run(*networks, external=True)
    session.run(*command, "traffic", "--seed=today", "--count=150000", external=True)
    session.run(*command, "tokens", "--seed=today", "--count=10000", external=True)
    session.run(*command, "blocks", "--seed=today", "--count=20000", external=True)
    for engine in ("paddle", "native"):
        session.run(*command, "mutants", f"--engine={engine}", external=True)
    session.run(*command, "mutants", "--engine=native", "--tokens=3", external=True)
    corpus = (sys.executable, "-W", "ignore", "-m", "tools.versions", "check")
    session.run(*corpus, "--output=build/versions.json", external=True)
    drawn = (sys.executable, "-W", "ignore", "-m", "tools.drawn")
    session.run(*drawn, "--output=build/drawn.json", external=True)


@nox.session(python=False)
def docs(session: nox.Session) -> None:
    """Build the site of the documents and of both APIs in build/docs; no warning is allowed.

    The interpreter is the one that runs nox; it needs lenet_cpp installed, and the group docs.
    """
    missing = [name for name in ("sphinx", "myst_parser", "breathe") if find_spec(name) is None]
    if missing or shutil.which("doxygen") is None:
        session.error("pip install --group docs . and apt-get install doxygen")
    command = ("-m", "sphinx", "-b", "html", "-W", "--keep-going", "docs", "build/docs")
    session.run(sys.executable, *command, *session.posargs, external=True)
