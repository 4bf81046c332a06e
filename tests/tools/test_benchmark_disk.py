"""The bytes on disk and in memory of what a user of the benchmark's contenders needs."""

import sys

from tools.benchmark.disk import package_bytes, program_bytes
from tools.benchmark.photos import _peak_of_program


def install(site, name, size, *requirements):
    """Install a package, as far as its metadata goes, with a module of so many bytes."""
    about = site / f"{name}-1.0.dist-info"
    about.mkdir(parents=True)
    lines = [f"Requires-Dist: {one}" for one in requirements]
    (about / "METADATA").write_text("\n".join(["Metadata-Version: 2.1", f"Name: {name}", *lines]))
    (site / f"{name}.py").write_bytes(b"#" * size)
    (about / "RECORD").write_text(f"{name}.py,,\n{name}/removed.py,,\n")


def test_bytes_of_packages(tmp_path):
    """Each package that is required here counts once, and nothing else in the folder does."""
    site = tmp_path / "site-packages"
    other = ("old; python_version < '3'", "many; extra == 'more'", "Cycle_Of")
    install(site, "cycle_of", 10, "first")
    install(site, "first", 200, "second[more]>=1", *other)
    install(site, "second", 3_000, "third; extra == 'more'", "many; extra == 'other'", "cycle-of")
    install(site, "third", 40_000)
    install(site, "many", 500_000)
    assert package_bytes(("first==1.0", "third"), site) == 43_210
    assert package_bytes(("first[more]",), site) == 543_210
    assert package_bytes(("third",), site) == 40_000
    sources = tmp_path / "sources"
    (sources / "folder").mkdir(parents=True)
    (sources / "folder" / "a.py").write_bytes(b"#" * 7)
    (sources / "first.py").symlink_to(site / "first.py")
    assert package_bytes(("first",), site, sources) == 43_217
    assert package_bytes(("first", "old"), site) is None


def test_bytes_of_programs(built, soname):
    program, library = built("lenet_classify"), built(soname)
    assert program_bytes(program) == program.stat().st_size + library.stat().st_size


def test_peak_of_a_program_is_not_that_of_its_parent():
    ballast = bytearray(b"x" * 200_000_000)
    peak = _peak_of_program(sys.executable, "-I", "-S", "-c", "bytearray(50_000_000).count(1)")
    assert 50e6 < peak < 100e6 < len(ballast)
