"""Do what README says on a machine that has nothing but Debian.

    python -m tools.bare                           Debian 12, by a user without rights
    python -m tools.bare --readme                  then every other block of README, in its order
    python -m tools.bare trixie --as-root          Debian 13, by root
    python -m tools.bare forky --without-paddle    testing, for whose Python there is no Paddle
    python -m tools.bare --folder "my dïgits" --quick

Needs root and debootstrap. A root of the suite is made in build/bare, HEAD is cloned into it, the
lines of README that begin with apt-get are run by root and all others by the user, with an empty
home. One line is printed for a step, and each 20 s the last line of what it prints; the whole is in
build/bare/SUITE.log. The exit status is 1 if a step failed. 7 GB; half an hour on two cores.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "tests"))
from snippets import read_snippets  # noqa: E402 - tests/ is on the path only after the line above

SUITES = ("bookworm", "trixie", "forky")
APT = re.compile(r"apt-get (?:update|install) [^&]*")
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
VARIABLES = {
    "LANG": "C.UTF-8",
    "TERM": "dumb",
    "PIP_CERT": CERTIFICATES,  # a mirror's certificate may be known to the machine alone
    "NODE_EXTRA_CA_CERTS": CERTIFICATES,
    "PIP_DEFAULT_TIMEOUT": "180",
}
MODELS = ("pdmodel", "json")
GUIDE = (
    "env -i ./build/lenet_infer_test --model_file=inference_model/lenet/lenet.{0}"
    " --params_file=inference_model/lenet/lenet.pdiparams"
)
SAME_BITS = """
for set in $(./build/{program} --version | grep -oE 'scalar|sse42|avx2|avx512vnni|avx512' | sort -u)
do
    first=
    for batch in 1 7 64 1000; do
        LENET_NATIVE_ISA=$set ./build/{program} --model_dir={model} --batch_size=$batch \
            --input=build/digits/t10k-images-idx3-ubyte --output=/tmp/bits.npy >/dev/null
        now=$(sha256sum </tmp/bits.npy)
        [ "${{first:=$now}}" = "$now" ] || {{ echo "$set: other bits at batch $batch"; exit 1; }}
    done
done
"""


class Line(NamedTuple):
    """What is typed: by root, or by the user in the clone."""

    by_root: bool
    command: str


def read_lines(page: Path) -> list[Line]:
    """Return what a page has a reader type, in its order; a block that is no session is one line.

    A server runs for ten seconds and ends by the signal of Ctrl-C. A fragment of C++ is left out.
    """
    lines = []
    for snippet in read_snippets(page):
        if snippet.language == "python":
            lines.append(Line(False, f".venv/bin/python -c {shlex.quote(snippet.text)}"))
        if snippet.language == "sh":
            lines.append(Line(False, snippet.text.strip()))
        if snippet.language != "console":
            continue
        for text in snippet.text.splitlines():
            command = re.sub(r" +#.*", "", text)
            for by_root in APT.findall(command):
                words = by_root.replace("install ", "install --yes ")
                lines.append(Line(True, f"apt-get update && {words.strip()}"))
            command = APT.sub("", command).removeprefix("&& ")
            if "lenet_serve" in command:
                command = f"timeout --preserve-status --signal=INT 10 {command}"
            if command:
                lines.append(Line(False, command))
    return lines


class Machine:
    """A root folder of Debian, which is left again by ``close``."""

    def __init__(self, suite: str, folder: str, *, as_root: bool) -> None:
        """Name its root, its log and its user; nothing is installed yet."""
        work = ROOT / "build" / "bare"
        work.mkdir(parents=True, exist_ok=True)
        self.root = Path(tempfile.mkdtemp(prefix=f"{suite}-", dir=work), "root")
        self.log = work / f"{suite}.log"
        self.log.write_text("", encoding="utf-8")
        self.user = "root" if as_root else "user"
        self.home = "/root" if as_root else "/home/user"
        self.clone = f"{self.home}/{folder}"
        self.failed = 0

    def step(self, label: str, command: list[str]) -> bool:
        """Run a command, print a line of it, and return whether it succeeded."""
        begun, before = time.monotonic(), self.log.stat().st_size
        with self.log.open("ab") as file:
            child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file)
            while True:
                try:
                    code = child.wait(20)
                    break
                except subprocess.TimeoutExpired:
                    last = self._printed(before)[-1:] or [""]
                    print(f"    {time.monotonic() - begun:.0f} s  {last[0][:90]}", flush=True)
        word = "ok" if code == 0 else f"FAILED ({code})"
        print(f"{label[:60]:60} {word}  {time.monotonic() - begun:.0f} s", flush=True)
        printed = self._printed(before)
        if code != 0:
            self.failed += 1
            print(*(f"    {line}" for line in printed[-25:]), sep="\n", flush=True)
        elif "test.sh" in label:
            counts = [line for line in printed if re.search(r"\d+ passed|tests passed", line)]
            print(*(f"    {line}" for line in counts), sep="\n", flush=True)
        return code == 0

    def _printed(self, begin: int) -> list[str]:
        with self.log.open("rb") as file:
            file.seek(begin)
            return file.read().decode("utf-8", "replace").splitlines()

    def make(self, suite: str) -> bool:
        """Install the suite and nothing else, and clone HEAD into the user's home."""
        script = Path("/usr/share/debootstrap/scripts")
        known = [] if (script / suite).exists() else [str(script / "sid")]
        bootstrap = ["debootstrap", "--variant=minbase", "--include=ca-certificates", suite]
        if not self.step(f"Debian {suite}", [*bootstrap, str(self.root), find_mirror(), *known]):
            return False
        # The list of a mirror that is behind is taken.
        valid = self.root / "etc/apt/apt.conf.d/99valid"
        valid.write_text('Acquire::Check-Valid-Until "false";\n', encoding="utf-8")
        for name in ("/etc/resolv.conf", "/etc/hosts", CERTIFICATES):
            shutil.copy(name, f"{self.root}{name}")
        for kind, name in (("proc", "proc"), ("devpts", "dev/pts"), ("tmpfs", "dev/shm")):
            (self.root / name).mkdir(exist_ok=True)
            subprocess.run(["mount", "-t", kind, kind, str(self.root / name)], check=True)
        if self.user != "root":
            self.step("a user", self.inside(f"useradd --create-home {self.user}", "root"))
        target = f"{self.root}{self.clone}"
        subprocess.run(["git", "clone", "-q", str(ROOT), target], check=True)
        owner = f"chown -R {self.user}: {shlex.quote(self.clone)}"
        return self.step("git clone", self.inside(owner, "root"))

    def inside(self, command: str, user: str | None = None) -> list[str]:
        """Return the command that runs another one inside, by the user in the clone, or by root."""
        user = user or self.user
        enter = ["chroot", f"--userspec={user}:{user}", str(self.root), "/usr/bin/env", "-i"]
        proxies = {key: value for key, value in os.environ.items() if key.endswith("_proxy")}
        variables = {**VARIABLES, **proxies, "HOME": self.home, "PATH": "/usr/bin:/bin"}
        if user == "root":
            variables |= {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"}
            variables["DEBIAN_FRONTEND"] = "noninteractive"
        place = f"cd {shlex.quote(self.clone)} 2>/dev/null || cd /\n"
        given = [f"{key}={value}" for key, value in variables.items()]
        return [*enter, *given, "sh", "-euc", place + command]

    def close(self, *, keep: bool) -> None:
        """Unmount, and remove the root unless it is to be kept."""
        for name in ("proc", "dev/pts", "dev/shm"):
            command = ["umount", "-l", str(self.root / name)]
            subprocess.run(command, check=False, capture_output=True)
        if keep:
            print(f"kept: {self.root}")
        else:
            shutil.rmtree(self.root.parent, ignore_errors=True)


def find_mirror() -> str:
    """Return the first mirror of the machine's own package lists that is not for security."""
    folder = Path("/etc/apt")
    files = [folder / "sources.list", *sorted(folder.glob("sources.list.d/*"))]
    text = "\n".join(file.read_text(encoding="utf-8") for file in files if file.is_file())
    lines = [line for line in text.splitlines() if line[:1] != "#" and "security" not in line]
    found = re.search(r"https?://\S+", "\n".join(lines))
    if found is None:
        sys.exit("bare: /etc/apt names no mirror")
    return found[0]


def follow(machine: Machine, args: argparse.Namespace) -> None:
    """Do README's first block, what shows that it did its work, and with --readme the rest."""
    extra = " --without-paddle" if args.without_paddle else ""
    packages, _run, *others = read_lines(ROOT / "README.md")
    rest = [line for line in others if line.command != "./test.sh"]
    if not machine.step(packages.command, machine.inside(packages.command, "root")):
        return
    if not machine.step(f"./run.sh{extra}", machine.inside(f"./run.sh{extra}")):
        return
    machine.step("./run.sh again, which is quick", machine.inside(f"./run.sh{extra}"))
    for kind in () if args.without_paddle else MODELS:
        machine.step(f"the guide's command, .{kind}", machine.inside(GUIDE.format(kind)))
    program, model = "lenet_infer_test", "inference_model/lenet"
    if args.without_paddle:
        program, model = "lenet_infer_native", "python/lenet_cpp/bundled/lenet"
    bits = SAME_BITS.format(program=program, model=model)
    machine.step("the same bits for every batch and set", machine.inside(bits))
    if not args.no_tests:
        tests = f"./test.sh{' --quick' * args.quick}{extra}"
        machine.step(tests, machine.inside(tests))
    clean = 'git status --porcelain; [ -z "$(git status --porcelain)" ]'
    machine.step("nothing is left in the tree", machine.inside(clean))
    for line in rest if args.readme else ():
        who = "root" if line.by_root else None
        machine.step(" ".join(line.command.split()), machine.inside(line.command, who))
    home = Path(f"{machine.root}{machine.home}")
    left = {path.name for path in home.iterdir()} - {Path(machine.clone).name}
    print("in the home:", *sorted(name for name in left if not name.startswith((".bash", ".prof"))))


def main() -> int:
    description, _, details = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        prog="python -m tools.bare",
        description=description,
        epilog=details,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("suite", nargs="?", default=SUITES[0], choices=SUITES)
    add("--as-root", action="store_true", help="everything by root, in /root")
    add("--folder", default="lenet_cpp", metavar="NAME", help="the name of the clone")
    add("--without-paddle", action="store_true", help="run.sh and test.sh without Paddle")
    add("--readme", action="store_true", help="also the other blocks of README; 3 GB more")
    add("--quick", action="store_true", help="./test.sh --quick")
    add("--no-tests", action="store_true", help="no ./test.sh")
    add("--keep", action="store_true", help="leave the root in build/bare")
    args = parser.parse_args()
    if args.readme and args.without_paddle:
        parser.error("README's other blocks need ./run.sh with Paddle")
    if os.geteuid() != 0 or not shutil.which("debootstrap"):
        sys.exit("bare: needs root, and debootstrap: apt-get install debootstrap")
    if "LENET_BARE" not in os.environ:  # mounts of this process alone, which end with it
        os.environ["LENET_BARE"] = "1"
        command = [sys.executable, "-m", "tools.bare", *sys.argv[1:]]
        os.execvp("unshare", ["unshare", "--mount", *command])
    machine = Machine(args.suite, args.folder, as_root=args.as_root)
    try:
        if machine.make(args.suite):
            follow(machine, args)
    except KeyboardInterrupt:
        sys.exit("bare: interrupted")
    finally:
        machine.close(keep=args.keep)
    return min(machine.failed, 1)


if __name__ == "__main__":
    sys.exit(main())
